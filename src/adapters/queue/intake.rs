//! Where a worker's entries come from: a free slot first, then lapsed leases, then the lane itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend::Feed;
use super::hold::Hold;
use super::outage::{Backoff, Caller, Outage};
use crate::domain::job::Lane;
use crate::domain::port::{Entry, JobStore};

/// The longest wait for an entry; a soft stop waits this long at most for a fetch that is under way.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The most entries of one fetch.
const BATCH: usize = 256;
/// How long giving back may take when the queue does not answer; leases give back what is left.
const GIVE_BACK: Duration = Duration::from_secs(3);

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
        let (early, late) = tokio::join!(
            async {
                soft.cancelled().await;
                let unbegun = self.feed.close();
                self.give_back(unbegun).await;
            },
            self.fill(&soft),
        );
        let ((), ()) = (early, late);
    }

    async fn fill(&self, soft: &CancellationToken) {
        let mut backoff = Backoff::new();
        let mut reclaim_at = Instant::now();
        while !soft.is_cancelled() {
            let mut slots = tokio::select! {
                slots = self.hold.slots(BATCH) => slots,
                () = soft.cancelled() => return,
            };
            let answer = if Instant::now() >= reclaim_at {
                let reclaimed = self.store.reclaim(self.lane, &self.consumer, slots.num_permits()).await;
                // A full answer means that there may be more.
                if reclaimed.as_ref().is_ok_and(|entries| entries.len() < slots.num_permits()) {
                    reclaim_at = Instant::now() + self.lease / 3;
                }
                reclaimed
            } else {
                let wait = LONGEST_WAIT.min(self.lease / 3);
                self.store.fetch(self.lane, &self.consumer, slots.num_permits(), wait).await
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

    async fn give_back(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        // From here on nobody renews them: if giving back fails, their leases lapse.
        self.hold.release(&entries);
        if let Ok(answer) = tokio::time::timeout(GIVE_BACK, self.store.give_back(&entries)).await {
            self.outage.noted(Caller::Intake, answer);
        }
    }
}
