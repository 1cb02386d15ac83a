//! The ledger of notifications.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::id::{IncidentId, NotificationId, UserId};
use crate::domain::incident::Resolution;
use crate::domain::lease::{Claim, Lease};
use crate::domain::notification::{Notification, NotificationState};

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
    /// their user has pending. Those that were buried as poison stay: see [`retry_dead`](super::DeadJobStore::retry_dead). In any other state there are none.
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
