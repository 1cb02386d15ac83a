//! An outage of the queue is told once when it begins and once when it ends, however often it is tried meanwhile.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::domain::port::{QueueError, QueueResult};

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
                    let cause = cause(&error);
                    tracing::warn!(worker = self.worker, %error, cause, "the queue fails; trying until it answers");
                }
                None
            }
        }
    }
}

fn cause(error: &QueueError) -> String {
    error.source.to_string()
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
