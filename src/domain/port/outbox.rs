//! What the queue should hold, the housekeeping around it, and jobs that were given up.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::id::NotificationId;
use crate::domain::job::{Job, Lane};
use crate::domain::lease::Lease;

/// What the queue should hold, as the database sees it, and the housekeeping around it.
///
/// A row remembers the *generation* of the queue into which it was pushed. A wiped queue has a new generation, so that every
/// row that still waits is found and pushed again, and so is a row that was stored but, because of a crash, never pushed.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// Rows that are due (or will be before `until`) and wait (*queued* checks, *pending* notifications) but were pushed into
    /// another generation, or never and were made before `unpushed_before`. At most `limit`, oldest due first, with their due time.
    async fn unqueued(
        &self,
        generation: &str,
        until: DateTime<Utc>,
        unpushed_before: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<(Job, DateTime<Utc>)>>;
    /// Remembers that these were pushed into this generation.
    async fn mark_queued(&self, jobs: &[Job], generation: &str) -> StoreResult<()>;
    /// The queue's lane is empty although rows of this generation wait: it came back older than it was. Those that have waited since before `before` forget their generation. Returns how many.
    async fn forget_queued(&self, lane: Lane, generation: &str, before: DateTime<Utc>) -> StoreResult<u64>;
    /// Rows whose lease lapsed before `lapsed_before`: claimed checks become *queued*, claimed notifications *pending*, and both forget
    /// their generation so that [`Self::unqueued`] finds them at once. A *sending* notification stays as it is and is returned too (it is
    /// to be pushed so that a notifier decides); it is not returned again before another lease length. At most `limit`.
    async fn reclaim_lapsed(&self, lapsed_before: DateTime<Utc>, limit: u32) -> StoreResult<Vec<Job>>;
    /// Users with an open incident whose look has come get a pending notification due `now` (held under this name, if one is given), unless one is pending, claimed or
    /// being sent; their looks are forgotten. At most `limit` users; returns the pending ones made, which are not in the queue yet.
    async fn wake(&self, hold: Option<&str>, now: DateTime<Utc>, limit: u32) -> StoreResult<Vec<NotificationId>>;
    /// Takes or renews a named lease that one replica holds at a time; `false` if another holds it.
    async fn hold_office(&self, name: &str, lease: Lease, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Deletes what has been kept for long enough; bounded to some thousand rows a call. Returns the number of rows deleted.
    async fn prune(&self, horizon: &Horizon) -> StoreResult<u64>;
    /// A cheap statement that shows that the database answers and is migrated.
    async fn ping(&self) -> StoreResult<()>;
}

/// What is deleted that ended before these instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Sweeps, their checks and findings, and dead checks.
    pub sweeps: DateTime<Utc>,
    /// Settled notifications, incidents that ended, and trips that have.
    pub incidents: DateTime<Utc>,
    /// What was observed, and what events told.
    pub observations: DateTime<Utc>,
    /// Accounts that are gone, and users (with their accounts) that were not checked since and have no open incident.
    pub users: DateTime<Utc>,
    /// Alerts that ended, with their messages, and suppressions whose time is over.
    pub alerts: DateTime<Utc>,
    /// Where links that expired led to; the rest of them goes with the users.
    pub links: DateTime<Utc>,
}

/// Jobs that were given up as poison: an operator decides.
#[async_trait]
pub trait DeadJobStore: Send + Sync + 'static {
    /// Buries a job: its row becomes *dead* (a check) or *failed* (a notification; one in *sending* is ambiguous and unclear from
    /// then on), and a dead job is recorded. The users of a
    /// dead check count as given up in its sweep, which can so end.
    async fn bury(&self, dead: &DeadJob) -> StoreResult<()>;
    /// Dead jobs, newest first.
    async fn dead_jobs(&self, limit: u32) -> StoreResult<Vec<DeadJob>>;
    /// Makes a dead job's row wait again (*queued* or *pending*, attempts from 0, never pushed) and forgets the dead job. `false` if there is none.
    /// A check whose sweep has ended goes on without it; one of a dry run stays one.
    async fn retry_dead(&self, id: Uuid, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Forgets a dead job; its row stays dead. `false` if there is none.
    async fn drop_dead(&self, id: Uuid) -> StoreResult<bool>;
}

/// A job that was given up as poison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadJob {
    /// The id of its row, or a fresh one if the entry could not be decoded.
    pub id: Uuid,
    /// Where it travelled.
    pub lane: Lane,
    /// Why it was given up.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
}
