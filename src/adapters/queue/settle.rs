//! How a worker's entries end: a small layer notes what the handler said, and a task tells the queue in batches.
//!
//! What is done while the queue is away is kept, renewed and told when it is back. A handler that panicked says nothing: its
//! entry is let go of, so that its lease lapses and it comes again, here or elsewhere, with one delivery more. That counts
//! towards poison, as a killed worker does; delaying would start the count anew.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::hold::Hold;
use super::outage::{Backoff, Caller, Outage};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::port::{Entry, Handled, JobStore, QueueResult};

/// The most settlements that wait for a queue that is away; beyond, entries are let go of and come again.
const MOST: usize = 10_000;
/// How long the last settlements may take after the worker has stopped.
const LAST_CALL: Duration = Duration::from_secs(5);

/// What is to be told to the queue.
#[derive(Debug)]
enum Settlement {
    Ack(Entry),
    Delay(Entry, DateTime<Utc>),
}

impl Settlement {
    fn entry(&self) -> &Entry {
        match self {
            Self::Ack(entry) | Self::Delay(entry, _) => entry,
        }
    }
}

/// The settlements of one worker.
pub(super) struct Settlements {
    hold: Arc<Hold>,
    waiting: Mutex<Vec<Settlement>>,
    added: Notify,
}

impl Settlements {
    pub(super) fn new(hold: Arc<Hold>) -> Self {
        Self { hold, waiting: Mutex::default(), added: Notify::new() }
    }

    fn take(&self) -> Vec<Settlement> {
        mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could not be told goes first next time, together with what has come meanwhile.
    fn put_back(&self, mut batch: Vec<Settlement>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        batch.append(&mut waiting);
        *waiting = batch;
    }

    fn note(&self, entry: Entry, handled: Handled) {
        let settlement = match handled {
            Handled::Done => Settlement::Ack(entry),
            Handled::Later(delay) => {
                // Real time: the queue's server compares it with its own clock.
                let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
                let until = SystemClock.now().checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC);
                Settlement::Delay(entry, until)
            }
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.hold.free_slot(settlement.entry());
        if waiting.len() >= MOST {
            self.hold.release([settlement.entry()]);
            return;
        }
        waiting.push(settlement);
        self.added.notify_one();
    }

    fn let_go(&self, entry: &Entry) {
        self.hold.release([entry]);
    }

    /// Tells the queue, whatever has piled up at a time, until `done`; then what is left, within [`LAST_CALL`].
    pub(super) async fn run(&self, store: &dyn JobStore, outage: &Outage, done: CancellationToken) {
        let until_done = async {
            done.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            () = self.tell_all(store, outage, &done) => {}
            () = until_done => {
                tracing::warn!("the queue does not answer; what was done last is delivered once more");
            }
        }
    }

    async fn tell_all(&self, store: &dyn JobStore, outage: &Outage, done: &CancellationToken) {
        let mut backoff = Backoff::new();
        loop {
            let mut batch = self.take();
            if batch.is_empty() {
                if done.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.added.notified() => {}
                    () = done.cancelled() => {}
                }
                continue;
            }
            let answer = self.tell(store, &mut batch).await;
            if outage.noted(Caller::Settlement, answer).is_some() {
                backoff.reset();
            } else {
                self.put_back(batch);
                backoff.wait().await;
            }
        }
    }

    /// Tells one batch, acknowledgements first, as they need no memory there; what was told is taken out of it.
    async fn tell(&self, store: &dyn JobStore, batch: &mut Vec<Settlement>) -> QueueResult<()> {
        let done: Vec<Entry> =
            batch.iter().filter(|one| matches!(one, Settlement::Ack(_))).map(|one| one.entry().clone()).collect();
        if !done.is_empty() {
            store.ack(&done).await?;
            self.hold.release(&done);
            batch.retain(|one| !matches!(one, Settlement::Ack(_)));
        }
        while let Some(Settlement::Delay(entry, until)) = batch.last() {
            store.delay(entry, *until).await?;
            self.hold.release([entry]);
            batch.pop();
        }
        Ok(())
    }
}

/// Puts [`Settle`] around the handler.
#[derive(Clone)]
pub(super) struct SettleLayer(pub(super) Arc<Settlements>);

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;

    fn layer(&self, inner: S) -> Settle<S> {
        Settle { inner, settlements: Arc::clone(&self.0) }
    }
}

/// Notes what the handler said of each entry; for apalis every job has gone well.
#[derive(Clone)]
pub(super) struct Settle<S> {
    inner: S,
    settlements: Arc<Settlements>,
}

impl<S> Service<Task<Entry>> for Settle<S>
where
    S: Service<Task<Entry>, Response = Handled, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Nothing below is ever unready for good: the handler has no state of its own to fail.
        self.inner.poll_ready(context).map(|_| Ok(()))
    }

    fn call(&mut self, task: Task<Entry>) -> Self::Future {
        let entry = task.args.clone();
        let settlements = Arc::clone(&self.settlements);
        let working = self.inner.call(task);
        Box::pin(async move {
            if let Ok(handled) = working.await {
                settlements.note(entry, handled);
            } else {
                // The panic's own text is not repeated here: it may hold anything.
                let (lane, deliveries) = (entry.lane.as_str(), entry.deliveries);
                tracing::error!(lane, entry = entry.id, deliveries, "a handler panicked; the job comes again");
                settlements.let_go(&entry);
            }
            Ok(())
        })
    }
}
