//! Soft stop, then hard stop.
//!
//! *Soft*: take nothing new, finish what is in flight. *Hard*: drop everything; leases give the work back. SIGTERM and SIGINT
//! begin the soft stop, and so does whoever cancels the soft token (a stage that ended); after the grace, or at a second signal,
//! the hard stop follows.

use std::io;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stops of this process.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take nothing new.
    pub soft: CancellationToken,
    /// Drop everything.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Stops that nothing has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens for SIGTERM and SIGINT from now on, for as long as the process lives.
    ///
    /// # Errors
    /// If the signals cannot be listened for.
    pub fn listen(grace: Duration) -> io::Result<Self> {
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signals = futures::stream::poll_fn(move |context| match terminate.poll_recv(context) {
            Poll::Ready(received) => Poll::Ready(received.map(|()| "SIGTERM")),
            Poll::Pending => interrupt.poll_recv(context).map(|received| received.map(|()| "SIGINT")),
        });
        let watch = shutdown.clone().watch(signals, grace);
        #[expect(
            clippy::disallowed_methods,
            reason = "it lives as long as the process; shutdown must not wait for it"
        )]
        tokio::spawn(watch);
        Ok(shutdown)
    }

    /// Turns signals into stops; ends with the hard stop.
    pub async fn watch(self, signals: impl Stream<Item = &'static str>, grace: Duration) {
        let mut signals = std::pin::pin!(signals.fuse());
        tokio::select! {
            Some(signal) = signals.next() => {
                tracing::info!(signal, ?grace, "stopping: what is in flight is finished; a second signal stops at once");
            }
            () = self.soft.cancelled() => {}
            () = self.hard.cancelled() => {}
        }
        self.soft.cancel();
        tokio::select! {
            Some(signal) = signals.next() => tracing::warn!(signal, "stopping at once: leases give the work back"),
            () = tokio::time::sleep(grace) => {
                tracing::warn!(?grace, "the grace is over, stopping at once: leases give the work back");
            }
            () = self.hard.cancelled() => {}
        }
        self.hard.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::*;

    const GRACE: Duration = Duration::from_millis(200);
    const LIMIT: Duration = Duration::from_secs(10);

    /// Stops under signals that the test sends.
    fn watched(grace: Duration) -> (Shutdown, mpsc::UnboundedSender<&'static str>, impl Future<Output = ()>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let shutdown = Shutdown::new();
        let signals = stream::poll_fn(move |context| receiver.poll_recv(context));
        let watch = shutdown.clone().watch(signals, grace);
        (shutdown, sender, watch)
    }

    #[tokio::test]
    async fn a_signal_stops_softly_and_the_grace_hardly() {
        let (shutdown, signals, watch) = watched(GRACE);
        let begin = Instant::now();
        signals.send("SIGTERM").expect("it listens");
        let observed = async {
            shutdown.soft.cancelled().await;
            (begin.elapsed(), shutdown.hard.is_cancelled())
        };
        let ((), (soft_after, hard_at_soft)) =
            timeout(LIMIT, async { tokio::join!(watch, observed) }).await.expect("in time");
        assert!(soft_after < GRACE && !hard_at_soft);
        assert!(shutdown.hard.is_cancelled() && begin.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn a_second_signal_stops_at_once() {
        let (shutdown, signals, watch) = watched(Duration::from_secs(3600));
        signals.send("SIGTERM").expect("it listens");
        signals.send("SIGINT").expect("it listens");
        timeout(LIMIT, watch).await.expect("it does not wait for the grace");
        assert!(shutdown.soft.is_cancelled() && shutdown.hard.is_cancelled());
    }

    #[tokio::test]
    async fn a_stage_that_ends_begins_the_grace_too() {
        let (shutdown, _signals, watch) = watched(GRACE);
        let begin = Instant::now();
        shutdown.soft.cancel();
        timeout(LIMIT, watch).await.expect("in time");
        assert!(shutdown.hard.is_cancelled() && begin.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn without_any_reason_nothing_stops() {
        let (shutdown, signals, watch) = watched(Duration::ZERO);
        assert!(timeout(Duration::from_millis(100), watch).await.is_err());
        assert!(!shutdown.soft.is_cancelled() && !shutdown.hard.is_cancelled());
        drop(signals);
    }

    #[tokio::test]
    async fn signals_that_can_no_longer_come_stop_nothing() {
        let shutdown = Shutdown::new();
        let watch = shutdown.clone().watch(stream::empty(), Duration::ZERO);
        assert!(timeout(Duration::from_millis(100), watch).await.is_err());
        assert!(!shutdown.soft.is_cancelled());
    }
}
