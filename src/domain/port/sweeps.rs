//! Schedules and sweeps.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::id::SweepId;
use crate::domain::lease::Lease;
use crate::domain::sweep::{Check, NewSweep, Sweep, SweepState};

/// Schedules and sweeps.
#[async_trait]
pub trait SweepStore: Send + Sync + 'static {
    /// Remembers a schedule and returns since when it is known *with this cron text and time zone*; a changed text starts anew at `now`.
    async fn schedule_known_since(
        &self,
        name: &str,
        cron: &str,
        time_zone: &str,
        now: DateTime<Utc>,
    ) -> StoreResult<DateTime<Utc>>;
    /// The newest tick of a schedule that has a row, whatever became of it.
    async fn newest_tick(&self, schedule: &str) -> StoreResult<Option<DateTime<Utc>>>;
    /// Inserts a sweep; `false` if (schedule, tick) has one already: another replica won. In the same statement or transaction
    /// the overlap rule is applied: if the schedule has an unfinished sweep, `Skip` inserts the row as *skipped* with a note, and
    /// `Queue` inserts it as *pending*, or as *skipped* if one is *pending* already.
    async fn insert_sweep(&self, sweep: &NewSweep, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Claims the oldest sweep that can be carried on: *pending* with `start_at` reached and no other sweep of its schedule in
    /// *paging*, *draining* or *paused*; or *paging* or *paused* whose lease has lapsed (or was released). State is left as it is.
    async fn claim_sweep(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<Sweep>>;
    /// Renews the lease; `false` if it was lost or the sweep is final.
    async fn renew_sweep(&self, id: SweepId, lease: Lease) -> StoreResult<bool>;
    /// Moves a sweep that this token holds to a state, with a note; a final state stamps `finished_at` and ends its checks, claimed ones too (their workers are fenced), the first *paging* stamps
    /// `started_at`. Releases the lease where `until` says so: the sweep can be claimed again from then on. `false` if fenced.
    async fn set_sweep_state(
        &self,
        id: SweepId,
        token: Uuid,
        change: &SweepChange,
        now: DateTime<Utc>,
    ) -> StoreResult<bool>;
    /// Stores one page: its chunks and the new cursor, together; `last` moves the sweep to *draining*. `false` if fenced.
    async fn append_page(&self, id: SweepId, token: Uuid, page: &SweepPage, now: DateTime<Utc>) -> StoreResult<bool>;
    /// How many checks of the sweep are not done yet.
    async fn outstanding_checks(&self, id: SweepId) -> StoreResult<u64>;
    /// Pauses a sweep in *paging* or *draining* from outside (a checker found that the key is refused). Clears the lease, so that a
    /// sweeper claims it and asks the canary. A *draining* sweep keeps its cursor `None` and remembers that paging is over.
    async fn pause_sweep(&self, id: SweepId, note: &str, now: DateTime<Utc>) -> StoreResult<()>;
    /// Ends every *draining* sweep that has no check left, with its final tally: *completed*, or *failed* (with a note) if not one
    /// user could be checked and some were given up. Returns those it ended; a second call returns none of them. One that cannot be
    /// read is told in the log and keeps no other from ending. The pending notifications that an ended sweep made are due `now`: the group is complete.
    /// So it is wherever else a sweep comes to its end ([`Self::set_sweep_state`]).
    async fn finish_sweeps(&self, now: DateTime<Utc>) -> StoreResult<Vec<Sweep>>;
}

/// How a sweep changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepChange {
    /// The new state.
    pub state: SweepState,
    /// Why; replaces the note that is there.
    pub note: Option<String>,
    /// How many users the source says there are; `None` leaves what is there.
    pub users_expected: Option<i64>,
    /// From when on another sweeper may claim it.
    pub claimable_from: DateTime<Utc>,
}

/// One page of users, cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPage {
    /// The checks to insert, due now.
    pub chunks: Vec<Check>,
    /// Where the next page begins.
    pub cursor: Option<String>,
    /// No page follows.
    pub last: bool,
}
