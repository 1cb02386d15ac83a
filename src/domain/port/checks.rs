//! Checks: claiming them, what is known of their users, recording what was seen.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::history::{History, KnownAccount};
use crate::domain::id::{AccountId, CheckId, IncidentId, NotificationId, SweepId, Toolkit, UserId};
use crate::domain::incident::{Incident, Resolution};
use crate::domain::lease::{Claim, Lease};
use crate::domain::sweep::{Check, Tally};

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
/// check named by `fence` is done, its tally kept, and `retries` take its failed users on; if the token no longer holds,
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
    /// The checks that take on the users that failed.
    pub retries: Vec<Check>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// It is written. Pending notifications that were made or grew and are due; they are not in the queue yet. Those that are not
    /// due are left to the keeper.
    Written(Vec<NotificationId>),
    /// Nothing is written: these users were recorded by somebody else meanwhile. Read their history again.
    Stale(Vec<UserId>),
    /// Nothing is written: the lease was lost.
    Fenced,
}
