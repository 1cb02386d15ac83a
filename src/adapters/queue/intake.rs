//! Where a worker's entries come from: a free slot first, then lapsed leases, then the lane itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend::Feed;
use super::hold::Hold;
use super::outage::{Backoff, Caller, Outage};
use crate::domain::job::Lane;
use crate::domain::port::{Entry, JobStore, QueueResult};

/// The longest wait for an entry; a soft stop waits this long at most for a fetch that is under way.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The most entries of one fetch.
const BATCH: usize = 256;
/// How long a stopping worker waits for a queue that does not answer; leases give back what is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// The task that fills a worker's feed.
pub(super) struct Intake {
    pub(super) store: Arc<dyn JobStore>,
    pub(super) lane: Lane,
    pub(super) consumer: String,
    pub(super) lease: Duration,
    pub(super) hold: Arc<Hold>,
    pub(super) feed: Feed,
    pub(super) outage: Arc<Outage>,
}

impl Intake {
    /// Fills the feed until `soft`; then nothing new is taken and what no handler has begun is given back at once.
    pub(super) async fn run(self, soft: CancellationToken) {
        let close = async {
            soft.cancelled().await;
            self.give_back(self.feed.close()).await;
        };
        tokio::join!(close, self.fill(&soft));
    }

    async fn fill(&self, soft: &CancellationToken) {
        let mut backoff = Backoff::new();
        let mut reclaim_at = Instant::now();
        while !soft.is_cancelled() {
            let mut slots = tokio::select! {
                slots = self.hold.slots(BATCH) => slots,
                () = soft.cancelled() => return,
            };
            let answer = tokio::select! {
                answer = self.ask(slots.num_permits(), &mut reclaim_at) => answer,
                () = patience(soft) => return,
            };
            if let Some(entries) = self.outage.noted(Caller::Intake, answer) {
                backoff.reset();
                let new = self.hold.take_in(entries, &mut slots);
                let late = self.feed.offer(new);
                self.give_back(late).await;
            } else {
                drop(slots);
                tokio::select! {
                    () = backoff.wait() => {}
                    () = soft.cancelled() => {}
                }
            }
        }
    }

    async fn ask(&self, most: usize, reclaim_at: &mut Instant) -> QueueResult<Vec<Entry>> {
        if Instant::now() < *reclaim_at {
            let wait = LONGEST_WAIT.min(self.lease / 3);
            return self.store.fetch(self.lane, &self.consumer, most, wait).await;
        }
        let entries = self.store.reclaim(self.lane, &self.consumer, most).await?;
        if entries.len() < most {
            // Otherwise there may be more.
            *reclaim_at = Instant::now() + self.lease / 3;
        }
        Ok(entries)
    }

    async fn give_back(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        // From here on nobody renews them: if giving back fails, their leases lapse.
        self.hold.release(&entries);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, self.store.give_back(&entries)).await {
            self.outage.noted(Caller::Intake, answer);
        }
    }
}

/// Ends [`PATIENCE`] after the soft stop.
async fn patience(soft: &CancellationToken) {
    soft.cancelled().await;
    tokio::time::sleep(PATIENCE).await;
}
