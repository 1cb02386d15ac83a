//! An outage of the queue is told once when it begins and once when it ends, however often it is tried meanwhile.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::domain::port::QueueResult;

/// The first wait after a failed call; each further one doubles, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);

/// The tasks that talk to the queue on a worker's behalf.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    Intake = 1,
    Renewal = 2,
    Promotion = 4,
    Settlement = 8,
}

/// Which of a worker's tasks have no answer from the queue at present.
#[derive(Debug)]
pub(super) struct Outage {
    worker: String,
    failing: AtomicU8,
}

impl Outage {
    pub(super) fn new(worker: String) -> Self {
        Self { worker, failing: AtomicU8::new(0) }
    }

    /// Takes note of an answer and hands on what it holds; `None` if it failed.
    pub(super) fn noted<T>(&self, caller: Caller, answer: QueueResult<T>) -> Option<T> {
        let bit = caller as u8;
        match answer {
            Ok(value) => {
                if self.failing.fetch_and(!bit, Ordering::AcqRel) == bit {
                    tracing::info!(worker = self.worker, "the queue answers again");
                }
                Some(value)
            }
            Err(error) => {
                if self.failing.fetch_or(bit, Ordering::AcqRel) == 0 {
                    let cause = error.source.to_string();
                    tracing::warn!(worker = self.worker, %error, cause, "the queue fails; trying until it answers");
                }
                None
            }
        }
    }
}

/// Growing waits between tries.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::port::QueueError;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no poison").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_when_every_caller_has_an_answer() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let lines = || {
            let log = String::from_utf8(log.0.lock().expect("no poison").clone()).expect("text");
            log.lines().map(|line| line.contains("WARN")).collect::<Vec<_>>()
        };
        let fails = || Err::<(), _>(QueueError { action: "fetch jobs", source: "refused".into() });
        tracing::subscriber::with_default(subscriber, || {
            let outage = Outage::new("check".into());
            assert_eq!(outage.noted(Caller::Intake, Ok(7)), Some(7));
            assert_eq!(lines(), [false; 0], "nothing to tell");
            for caller in [Caller::Intake, Caller::Renewal, Caller::Intake, Caller::Settlement, Caller::Intake] {
                assert_eq!(outage.noted(caller, fails()), None);
            }
            assert_eq!(lines(), [true], "one warning");
            for caller in [Caller::Promotion, Caller::Intake, Caller::Renewal] {
                outage.noted(caller, Ok(()));
            }
            assert_eq!(lines(), [true], "settling still fails");
            outage.noted(Caller::Settlement, Ok(()));
            outage.noted(Caller::Settlement, Ok(()));
            assert_eq!(lines(), [true, false], "it ends once");
            outage.noted(Caller::Intake, fails());
            assert_eq!(lines(), [true, false, true], "the next one is told again");
        });
    }
}
