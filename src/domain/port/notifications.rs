//! The ledger of notifications.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::id::{IncidentId, NotificationId, UserId};
use crate::domain::incident::Resolution;
use crate::domain::lease::{Claim, Lease};
use crate::domain::notification::{Notification, NotificationState};
use crate::domain::plan::Situation;
use crate::domain::stage::Stage;
use crate::domain::suppression::AddressHash;

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
    /// Commits *claimed → sending* and makes the stages that the digest consumes this notification's own: the last word on
    /// whether a mail may leave. See [`Begun`].
    async fn begin_sending(&self, id: NotificationId, sending: &Sending<'_>) -> StoreResult<Begun>;
    /// Ends a try, and notes with it when each incident is worth another look; `false` if fenced.
    async fn settle(
        &self,
        id: NotificationId,
        token: Uuid,
        settled: &Settled<'_>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool>;
    /// Everything that decides on a user's next mail. The notification `except` counts neither as a mail nor as a hold. Suppressions
    /// are those of the user, and of the address if one is given.
    async fn situation(
        &self,
        user: &UserId,
        address: Option<&AddressHash>,
        except: Option<NotificationId>,
        now: DateTime<Utc>,
    ) -> StoreResult<Situation>;
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
    /// their user has pending. Those that were buried as poison stay: see [`retry_dead`](super::DeadJobStore::retry_dead). In any other state there are none.
    async fn retry_settled(&self, state: NotificationState, now: DateTime<Utc>) -> StoreResult<u64>;
}

/// What is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending<'a> {
    /// The claim, renewed.
    pub lease: Lease,
    /// The stages that the mail consumes; incidents that it only mentions have none here.
    pub stages: &'a [(IncidentId, Stage)],
    /// Another mail to this user that left after this instant is too near.
    pub quiet_since: DateTime<Utc>,
    /// So many mails within an hour at most.
    pub max_per_hour: Option<u32>,
    /// What it was written with, as the mailer names it; to tell what works.
    pub template: Option<&'a str>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// Whether a mail may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It may: *sending* is committed.
    Yes,
    /// The claim was lost.
    Fenced,
    /// Something changed since it was decided: another notification of the user is being sent, is ambiguous and to be tried again, or left or
    /// may have left after `quiet_since`; a stage, or a later one, was mailed by another; an incident has ended or is held or
    /// discarded; or the user is suppressed for one of the apps. So is a mail that consumes no stage. Whoever looks again sees
    /// it. The claim still stands.
    Refused,
    /// So many have left within the hour; there is room from this instant on. The claim still stands.
    Full(DateTime<Utc>),
    /// The kill switch is thrown. The claim still stands.
    Paused,
}

/// How a try ended, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<'a> {
    /// How it ended.
    pub settlement: &'a Settlement,
    /// When open incidents are worth another look; each replaces what is noted. Empty: nothing is changed.
    pub looks: &'a [(IncidentId, Option<DateTime<Utc>>)],
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
