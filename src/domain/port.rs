//! What the floors above need from the outside: a store, a queue, and a stage that works jobs off.
//!
//! The traits are small and by topic. `Store` and `JobStore` have two implementations each, which pass the same contract
//! tests (`tests/it/store.rs`, `tests/it/queue.rs`): PostgreSQL and SQLite, Redis Streams and SQLite.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::{History, KnownAccount};
use super::id::{AccountId, CheckId, IncidentId, NotificationId, SweepId, Toolkit, UserId};
use super::incident::{Incident, Resolution};
use super::job::{Job, Lane};
use super::lease::{Claim, Lease};
use super::notification::{Notification, NotificationState};
use super::sweep::{Check, NewSweep, Sweep, SweepState, Tally};

// ---------------------------------------------------------------------------------------------------------------- store

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is overloaded; the same call may succeed later.
    #[error("{action}: the database is unavailable")]
    Unavailable {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The statement itself failed; trying again will not help.
    #[error("{action}: the database refused the statement")]
    Rejected {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds what this version cannot read.
    #[error("{action}: {what}")]
    Corrupt {
        /// What was attempted.
        action: &'static str,
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// Whether trying the same again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Corrupt { .. })
    }
}

/// The result of a call to the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Everything that is stored; the database is the truth.
pub trait Store: SweepStore + CheckStore + NotificationStore + OutboxStore + DeadJobStore + ReportStore {}
impl<T: SweepStore + CheckStore + NotificationStore + OutboxStore + DeadJobStore + ReportStore> Store for T {}

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
    /// read is told in the log and keeps no other from ending.
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

/// Checks: claiming them, what is known of their users, recording what was seen.
#[async_trait]
pub trait CheckStore: Send + Sync + 'static {
    /// Inserts checks that no sweep asked for (re-audits).
    async fn insert_checks(&self, checks: &[Check], now: DateTime<Utc>) -> StoreResult<()>;
    /// Claims a check. Those of a *paused* sweep are `NotDue` some seconds from now; those of a final sweep are `Over`.
    async fn claim_check(&self, id: CheckId, lease: Lease, now: DateTime<Utc>) -> StoreResult<Claim<ClaimedCheck>>;
    /// Renews the lease; `false` if it was lost.
    async fn renew_check(&self, id: CheckId, lease: Lease) -> StoreResult<bool>;
    /// Puts a claimed check back, untouched, due at `due_at` (nothing was lost, no attempt used). `false` if fenced.
    async fn release_check(&self, id: CheckId, token: Uuid, due_at: DateTime<Utc>) -> StoreResult<bool>;
    /// What is known of these users; an unknown user has an empty history.
    async fn history(&self, users: &[UserId]) -> StoreResult<HashMap<UserId, History>>;
    /// Records one check: one transaction, all or nothing. See [`Record`].
    async fn record(&self, record: &Record) -> StoreResult<Recorded>;
    /// Names and logos of apps, as far as they are known, with the time they were read.
    async fn toolkits(&self, slugs: &[Toolkit]) -> StoreResult<HashMap<Toolkit, ToolkitName>>;
    /// Remembers an app's name and logo.
    async fn remember_toolkit(&self, slug: &Toolkit, name: &ToolkitName) -> StoreResult<()>;
}

/// A check that was claimed, and what its sweep wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedCheck {
    /// The check.
    pub check: Check,
    /// It belongs to a dry run, or did before its sweep ended: it opens nothing.
    pub dry_run: bool,
}

/// An app as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolkitName {
    /// "Google Calendar".
    pub name: String,
    /// Where its logo is.
    pub logo: Option<String>,
    /// When this was read.
    pub read_at: DateTime<Utc>,
}

/// What one check writes.
///
/// In one transaction: (1) each user's row moves from `base` to `observed_at`; if one of them was recorded by somebody else
/// since its history was read, everything is rolled back and [`Recorded::Stale`] names those users. (2) Accounts that changed
/// are written, those that vanished are marked gone. (3) Incidents are opened (one open incident a slot: a second is ignored)
/// and closed (if still open). (4) Users for whom an incident was really opened get a pending notification, or the one that is
/// pending (or held under the same hold) takes the incident in; `join` takes them into that notification instead. (5) The
/// check named by `fence` is done, its tally kept, and `retry` takes its failed users on; if the token no longer holds,
/// everything is rolled back and [`Recorded::Fenced`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The check that ends with this record; none for the re-read before a mail.
    pub fence: Option<(CheckId, Uuid)>,
    /// The sweep it belongs to.
    pub sweep: Option<SweepId>,
    /// Now.
    pub now: DateTime<Utc>,
    /// Users that were seen.
    pub users: Vec<UserRecord>,
    /// The check that takes on the users that failed.
    pub retry: Option<Check>,
    /// Counters.
    pub tally: Tally,
    /// The notification that takes in what is opened here, instead of a pending one.
    pub join: Option<NotificationId>,
    /// The hold under which new notifications are made; none makes them pending.
    pub hold: Option<String>,
    /// When new notifications are due.
    pub notify_at: DateTime<Utc>,
}

/// What one check writes about one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// Whose.
    pub user: UserId,
    /// The `observed_at` of the history that this was decided upon.
    pub base: Option<DateTime<Utc>>,
    /// When the accounts were read; for a failed check the time of the failure, which does not move `observed_at`.
    pub observed_at: DateTime<Utc>,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// Accounts that are new or changed.
    pub changed: Vec<KnownAccount>,
    /// Accounts that are no longer listed.
    pub gone: Vec<AccountId>,
    /// Incidents to open (their ids are fresh).
    pub open: Vec<Incident>,
    /// Incidents to close.
    pub close: Vec<(IncidentId, Resolution)>,
    /// A fresh id for the notification, should one be needed.
    pub notification: NotificationId,
    /// What a full sweep would have opened; kept for the report of a dry run.
    pub findings: Vec<Incident>,
}

/// How a check of one user ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "error", rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The whole list was seen.
    Checked,
    /// We could not look, after all attempts; the previous state stands.
    GivenUp(String),
    /// The user cannot be asked for.
    Refused(String),
}

/// What came of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is written. Pending notifications that were made or grew; they are not in the queue yet.
    Written(Vec<NotificationId>),
    /// Nothing is written: these users were recorded by somebody else meanwhile. Read their history again.
    Stale(Vec<UserId>),
    /// Nothing is written: the lease was lost.
    Fenced,
}

/// The ledger of notifications.
#[async_trait]
pub trait NotificationStore: Send + Sync + 'static {
    /// Claims a notification that is *pending* and due, or *claimed* with a lapsed lease. A lapsed *sending* is claimed with
    /// its `ambiguous` count raised (the caller decides what to do). The state is *claimed* afterwards.
    async fn claim_notification(
        &self,
        id: NotificationId,
        lease: Lease,
        now: DateTime<Utc>,
    ) -> StoreResult<Claim<Notification>>;
    /// Renews the lease of a *claimed* or *sending* notification; `false` if it was lost.
    async fn renew_notification(&self, id: NotificationId, lease: Lease) -> StoreResult<bool>;
    /// Commits *claimed → sending* and takes in the incidents that the digest lists as this notification's own; `false` if fenced,
    /// or if another notification lists one of them that is being sent, was sent, or is ambiguous and not settled.
    async fn begin_sending(&self, id: NotificationId, lease: Lease, incidents: &[IncidentId]) -> StoreResult<bool>;
    /// Ends a try; `false` if fenced.
    async fn settle(
        &self,
        id: NotificationId,
        token: Uuid,
        settlement: &Settlement,
        now: DateTime<Utc>,
    ) -> StoreResult<bool>;
    /// The incidents of a user that another notification than `except` mailed, may have mailed, or holds.
    async fn carried_incidents(
        &self,
        user: &UserId,
        except: NotificationId,
    ) -> StoreResult<HashMap<IncidentId, Carried>>;
    /// Closes all open incidents of a user (deleted from the app's own database).
    async fn close_incidents_of(&self, user: &UserId, resolution: Resolution, now: DateTime<Utc>) -> StoreResult<u64>;
    /// Notifications held under this name become pending, due `now`; only those made before `made_before`, if given.
    async fn release_held(
        &self,
        hold: &str,
        made_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64>;
    /// Notifications held under this name are skipped as *discarded*; only those made before `made_before`, if given.
    async fn discard_held(
        &self,
        hold: &str,
        made_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64>;
    /// Notifications that *failed* or were *unreachable* become pending again (attempts from 0, due `now`, never pushed) and join what
    /// their user has pending. Those that were buried as poison stay: see [`DeadJobStore::retry_dead`]. In any other state there are none.
    async fn retry_settled(&self, state: NotificationState, now: DateTime<Utc>) -> StoreResult<u64>;
}

/// What became of an incident in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// A mail that went out then lists it.
    Mailed(DateTime<Utc>),
    /// A notification that waits for the operator carries it.
    Held,
    /// A notification lists it of which nobody knows whether it went out, and which is not settled yet.
    Ambiguous,
}

/// How a try to send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The mail server took it.
    Sent,
    /// Not sent, on purpose; the text says why (`recovered`, `deleted` …).
    Skipped(String),
    /// The user cannot be reached; the text says why.
    Unreachable(String),
    /// Failed for good.
    Failed(String),
    /// To be tried again. `counted` says whether a try was used up.
    Again {
        /// Not before this instant.
        due_at: DateTime<Utc>,
        /// What went wrong, without any address.
        error: String,
        /// Whether this raises `attempts`.
        counted: bool,
        /// Whether the mail may have gone out all the same; raises `ambiguous`.
        ambiguous: bool,
    },
    /// Waits for the operator, under this name.
    Held {
        /// The hold.
        hold: String,
        /// Why.
        error: String,
    },
}

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
    /// Takes or renews a named lease that one replica holds at a time; `false` if another holds it.
    async fn hold_office(&self, name: &str, lease: Lease, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Deletes what is older than `before`: done checks, dry-run findings, final sweeps, settled notifications with their resolved incidents,
    /// accounts gone since. Bounded to some thousand rows a call. Returns the number of rows deleted.
    async fn prune(&self, before: DateTime<Utc>) -> StoreResult<u64>;
    /// A cheap statement that shows that the database answers and is migrated.
    async fn ping(&self) -> StoreResult<()>;
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What operators and the command line read.
#[async_trait]
pub trait ReportStore: Send + Sync + 'static {
    /// One sweep, with the tally of its checks so far.
    async fn sweep(&self, id: SweepId) -> StoreResult<Option<Sweep>>;
    /// The newest sweeps.
    async fn sweeps(&self, limit: u32) -> StoreResult<Vec<Sweep>>;
    /// The findings of a dry run, in the order of users, after `after`.
    async fn findings(
        &self,
        sweep: SweepId,
        after: Option<&UserId>,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Incident)>>;
    /// Open incidents by app and kind.
    async fn open_incidents(&self) -> StoreResult<Vec<OpenIncidents>>;
    /// Notifications by state (and hold), all of them or those that one sweep made.
    async fn notification_counts(&self, sweep: Option<SweepId>) -> StoreResult<Vec<NotificationCount>>;
    /// The newest notifications in a state.
    async fn notifications(&self, state: NotificationState, limit: u32) -> StoreResult<Vec<Notification>>;
    /// How a user's newest check ended and when; `None` for a user that was never checked.
    async fn last_check(&self, user: &UserId) -> StoreResult<Option<LastCheck>>;
    /// Which of these checks, their retries included, are not done yet.
    async fn unfinished_checks(&self, ids: &[CheckId]) -> StoreResult<Vec<CheckId>>;
}

/// How a user's newest check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// When the accounts were last seen in full.
    pub observed_at: Option<DateTime<Utc>>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
}

/// Open incidents of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIncidents {
    /// The app.
    pub toolkit: Toolkit,
    /// `broken`, `attempt_failed` or `unfinished`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// How many users they concern.
    pub users: u64,
    /// Since when the oldest is open.
    pub oldest: DateTime<Utc>,
}

/// Notifications in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCount {
    /// The state.
    pub state: NotificationState,
    /// The hold, or why it was skipped; `None` where neither applies.
    pub detail: Option<String>,
    /// How many.
    pub count: u64,
}

// ---------------------------------------------------------------------------------------------------------------- queue

/// The queue could not do what it was asked. It is transport only: callers try again, and the Keeper pushes what is missing.
#[derive(Debug, thiserror::Error)]
#[error("{action}: the queue is unavailable")]
pub struct QueueError {
    /// What was attempted.
    pub action: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The result of a call to the queue.
pub type QueueResult<T> = Result<T, QueueError>;

/// One delivery of one job to one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The lane it came on.
    pub lane: Lane,
    /// The queue's own id of the entry.
    pub id: String,
    /// What it carries: [`Job::payload`].
    pub payload: String,
    /// How often it was delivered, this time included. Giving back does not count.
    pub deliveries: u32,
}

/// How much a lane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// The lane.
    pub lane: Lane,
    /// Waiting for a worker.
    pub waiting: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// With a worker, under a lease.
    pub in_flight: u64,
}

/// A queue of job ids with leases. At least once: an entry is delivered until it is acknowledged.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Makes what is missing (streams, groups, tables) and returns the queue's generation: a text that is the same until the
    /// queue is wiped.
    async fn generation(&self) -> QueueResult<String>;
    /// Pushes jobs, in order. A job whose instant lies ahead is delivered from then on.
    async fn push(&self, lane: Lane, jobs: &[(String, Option<DateTime<Utc>>)]) -> QueueResult<()>;
    /// Takes up to `max` waiting entries for `consumer`, waiting up to `wait` for the first. They are leased from now on.
    async fn fetch(&self, lane: Lane, consumer: &str, max: usize, wait: Duration) -> QueueResult<Vec<Entry>>;
    /// Ends entries; nothing of them is left.
    async fn ack(&self, entries: &[Entry]) -> QueueResult<()>;
    /// Renews the leases of entries that `consumer` works on.
    async fn renew(&self, consumer: &str, entries: &[Entry]) -> QueueResult<()>;
    /// Takes over up to `max` entries whose lease has lapsed.
    async fn reclaim(&self, lane: Lane, consumer: &str, max: usize) -> QueueResult<Vec<Entry>>;
    /// Gives entries back untouched: another worker can have them at once.
    async fn give_back(&self, entries: &[Entry]) -> QueueResult<()>;
    /// Ends an entry and delivers its payload anew from `until` on, in one step.
    async fn delay(&self, entry: &Entry, until: DateTime<Utc>) -> QueueResult<()>;
    /// Moves delayed jobs whose time has come to their lanes, in bounded steps; returns how many.
    async fn promote(&self) -> QueueResult<u64>;
    /// How much each lane holds.
    async fn depths(&self) -> QueueResult<Vec<Depth>>;
}

/// What a stage says of a job it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// Nothing is left to do: acknowledge.
    Done,
    /// Deliver it again after this time.
    Later(Duration),
}

/// A stage of the pipeline that works jobs off. It answers for its own errors: every job is done, or comes again.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Works one entry off.
    async fn handle(&self, entry: Entry) -> Handled;
}
