//! Handing stored rows over to the queue. The row is written first; if the push fails or the process dies before it, the
//! keeper finds a row that no generation of the queue has seen, and pushes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::job::{Job, Lane};
use crate::domain::port::{JobStore, QueueError, Store, StoreError};

/// Jobs could not be handed over, or it could not be noted that they were.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// From the store to the queue. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    store: Arc<dyn Store>,
    queue: Arc<dyn JobStore>,
}

impl Outbox {
    /// An outbox between these two.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn JobStore>) -> Self {
        Self { store, queue }
    }

    /// Pushes jobs whose rows are stored, each from its instant on. Returns whether that worked; if it did not, nothing is lost.
    pub async fn hand_over(&self, jobs: &[(Job, Option<DateTime<Utc>>)]) -> bool {
        match self.try_hand_over(jobs).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    event = "outbox.push_failed",
                    jobs = jobs.len(),
                    %error,
                    "the keeper will push them again"
                );
                false
            }
        }
    }

    async fn try_hand_over(&self, jobs: &[(Job, Option<DateTime<Utc>>)]) -> Result<(), OutboxError> {
        if jobs.is_empty() {
            return Ok(());
        }
        // Read before the push: if the queue is wiped in between, the rows carry a generation that is gone, and are found.
        let generation = self.queue.generation().await?;
        let mut lanes: BTreeMap<Lane, Vec<_>> = BTreeMap::new();
        for (job, at) in jobs {
            lanes.entry(job.lane()).or_default().push((job.payload(), *at));
        }
        for (lane, payloads) in lanes {
            self.queue.push(lane, &payloads).await?;
        }
        let jobs: Vec<Job> = jobs.iter().map(|(job, _)| *job).collect();
        self.store.mark_queued(&jobs, &generation).await?;
        Ok(())
    }
}
