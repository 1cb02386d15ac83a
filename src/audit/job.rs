//! What every stage that works jobs off does first: read the job, give up poison, and hold the row's lease while it works.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::clock::Clock;
use crate::domain::job::Job;
use crate::domain::lease::Lease;
use crate::domain::port::{DeadJob, Entry, Handled, Store, StoreResult};

/// How long a job waits when the store cannot be asked about it.
const STORE_AWAY: Duration = Duration::from_secs(2);

/// What stages know about working jobs off. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lease: Duration,
    max_deliveries: u32,
}

impl Desk {
    /// A desk at which rows are leased for `lease`, and entries delivered more than `max_deliveries` times are given up.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, lease: Duration, max_deliveries: u32) -> Self {
        Self { store, clock, lease, max_deliveries }
    }

    /// Reads the job of an entry. An entry that is none of ours, or that was delivered again and again because whoever took it
    /// died of it, is buried; `Err` is then what to tell the queue.
    ///
    /// # Errors
    /// There is nothing to work on.
    pub async fn open(&self, entry: &Entry) -> Result<Job, Handled> {
        let (id, reason) = match Job::parse(entry.lane, &entry.payload) {
            Ok(job) if entry.deliveries <= self.max_deliveries => return Ok(job),
            Ok(job) => (job.id(), format!("delivered {} times without coming to an end", entry.deliveries)),
            Err(error) => (Uuid::now_v7(), error.to_string()),
        };
        Err(self.bury(entry, id, reason).await.unwrap_or_else(|later| later))
    }

    /// Gives a job up: its row is dead, and an operator decides (`queue dead`).
    ///
    /// # Errors
    /// The store is away: the job comes again.
    pub async fn bury(&self, entry: &Entry, id: Uuid, reason: String) -> Result<Handled, Handled> {
        let dead = DeadJob { id, lane: entry.lane, reason, deliveries: entry.deliveries, died_at: self.clock.now() };
        tracing::error!(event = "job.dead", job = %dead.id, lane = dead.lane.as_str(), deliveries = dead.deliveries, reason = dead.reason);
        self.answer(self.store.bury(&dead).await).map(|()| Handled::Done)
    }

    /// How long a lease is.
    pub fn length(&self) -> Duration {
        self.lease
    }

    /// A lease from now, with a token that was never used.
    pub fn lease(&self) -> Lease {
        Lease::new(Uuid::new_v4(), self.clock.now(), self.lease)
    }

    /// Unwraps what the store answered; if it did not, the job comes again soon.
    ///
    /// # Errors
    /// What to tell the queue.
    pub fn answer<T>(&self, result: StoreResult<T>) -> Result<T, Handled> {
        result.map_err(|error| {
            tracing::warn!(event = "store.unavailable", %error, "the job will come again");
            Handled::Later(STORE_AWAY)
        })
    }

    /// How long until this instant, and a little more, so that whoever comes then is not too early.
    pub fn until(&self, at: DateTime<Utc>) -> Handled {
        let wait = (at - self.clock.now()).to_std().unwrap_or_default();
        Handled::Later(wait + Duration::from_millis(100))
    }

    /// Does the work while renewing the lease of its row. `None` if the lease was lost: the work is dropped at once, as somebody
    /// else does it.
    pub async fn while_leased<T, R>(
        &self,
        lease: Lease,
        mut renew: impl FnMut(Lease) -> R,
        work: impl Future<Output = T>,
    ) -> Option<T>
    where
        R: Future<Output = StoreResult<bool>>,
    {
        let renewing = async {
            loop {
                tokio::time::sleep(self.lease / 3).await;
                let next = Lease::new(lease.token, self.clock.now(), self.lease);
                match renew(next).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    // The row may still be ours; what ends the work is fenced by the token in any case.
                    Err(error) => tracing::warn!(event = "lease.renewal_failed", %error),
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = renewing => None,
        }
    }
}
