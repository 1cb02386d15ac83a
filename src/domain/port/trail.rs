//! Everything that is known of one user, for whoever asks why; and what was observed of all, for who asks what if.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::clicks::Click;
use super::deliveries::Delivery;
use super::entity::LinkTrace;
use super::reports::LastCheck;
use super::store::StoreResult;
use crate::domain::account::Account;
use crate::domain::guard::Trip;
use crate::domain::history::KnownAccount;
use crate::domain::id::{AccountId, IncidentId, NotificationId, UserId};
use crate::domain::incident::Incident;
use crate::domain::notification::Notification;
use crate::domain::stage::Stage;
use crate::domain::suppression::{AddressHash, Suppression};

/// Everything that is known of one user, and what was observed of all.
#[async_trait]
pub trait TrailStore: Send + Sync + 'static {
    /// Everything that is kept of one user; what there is a lot of is cut to the newest `limit` of its kind.
    async fn trail(&self, user: &UserId, limit: u32) -> StoreResult<Trail>;
    /// Deletes everything that is kept of one user, also suppressions of this address, in one transaction. A mail that is on its way at this
    /// moment is let go. Returns the number of rows deleted by table.
    async fn erase(&self, user: &UserId, address: Option<&AddressHash>) -> StoreResult<Vec<(String, u64)>>;
    /// What was observed, in the order of time, then user; after a place, at most `limit` rows.
    async fn observations(
        &self,
        after: Option<&(DateTime<Utc>, UserId, AccountId)>,
        limit: u32,
    ) -> StoreResult<Vec<Observed>>;
    /// Mails that left since then, in the order of time, then id, after a place, at most `limit`, with what they listed.
    async fn mails_sent(
        &self,
        since: DateTime<Utc>,
        after: Option<(DateTime<Utc>, NotificationId)>,
        limit: u32,
    ) -> StoreResult<Vec<SentMail>>;
}

/// Everything that is kept of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trail {
    /// How the newest check ended; none if the user was never checked.
    pub last_check: Option<LastCheck>,
    /// Accounts as they were last seen, gone ones too.
    pub accounts: Vec<KnownAccount>,
    /// What changed when, oldest first.
    pub observations: Vec<Observed>,
    /// Incidents, oldest first.
    pub incidents: Vec<Incident>,
    /// Notifications, oldest first.
    pub notifications: Vec<Notification>,
    /// Which notification lists which incident as which stage, in the order of notifications.
    pub listed: Vec<(NotificationId, IncidentId, Stage)>,
    /// Which trip held which incident, and what became of that: `held`, `released` or `discarded`.
    pub guarded: Vec<(IncidentId, String, Trip)>,
    /// Reasons not to mail, past ones too.
    pub suppressions: Vec<Suppression>,
    /// Which mails made the user ask for a new connection, oldest first.
    #[serde(default)]
    pub clicks: Vec<Click>,
    /// Events that named the user, oldest first.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// Sweeps and re-audits that could not be told apart are not here: see `last_check`. Dead jobs that hold the user.
    pub dead_jobs: Vec<uuid::Uuid>,
    /// Links that were asked for, oldest first, without where they lead.
    #[serde(default)]
    pub links: Vec<LinkTrace>,
    /// When it was last said that the accounts may have changed.
    #[serde(default)]
    pub doubted_at: Option<DateTime<Utc>>,
}

/// One change of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whose.
    pub user: UserId,
    /// When the list was read.
    pub at: DateTime<Utc>,
    /// Which account.
    pub account: AccountId,
    /// As it was seen; none if a complete list was without it.
    pub seen: Option<Account>,
}

/// A mail that left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMail {
    /// The notification.
    pub id: NotificationId,
    /// To whom.
    pub user: UserId,
    /// When the mail server took it.
    pub at: DateTime<Utc>,
    /// The incidents whose stages it consumed.
    pub incidents: Vec<(Incident, Stage)>,
}
