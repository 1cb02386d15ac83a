//! What Composio tells of by itself.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::store::StoreResult;
use crate::domain::id::{AccountId, CheckId, Toolkit, UserId};
use crate::domain::sweep::Check;

/// The event of an account whose authorization died.
pub const ACCOUNT_EXPIRED: &str = "composio.connected_account.expired";

/// What Composio tells of by itself.
#[async_trait]
pub trait DeliveryStore: Send + Sync + 'static {
    /// Keeps a delivery and the check that it starts, in one transaction. `false`, and nothing is kept, if it was delivered before.
    async fn take_delivery(&self, delivery: &Delivery, check: Option<&Check>) -> StoreResult<bool>;
    /// Whose an account is; none if nobody's, or more than one person's.
    async fn owner_of(&self, account: &AccountId) -> StoreResult<Option<UserId>>;
    /// How many events of each type came since then, the most frequent first.
    async fn deliveries(&self, since: DateTime<Utc>) -> StoreResult<Vec<(String, u64)>>;
    /// What broke since then, by app, and how much of it an event told of.
    async fn coverage(&self, since: DateTime<Utc>) -> StoreResult<Vec<Coverage>>;
}

/// One event, as it was delivered first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The header `webhook-id`.
    pub id: String,
    /// As Composio names it.
    pub kind: String,
    /// The user that it is about, as far as that is known.
    pub user: Option<UserId>,
    /// The account that it is about.
    pub account: Option<AccountId>,
    /// The check that it started.
    pub check: Option<CheckId>,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// How much of what broke at one app an event told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The app.
    pub toolkit: Toolkit,
    /// How many connections broke.
    pub broke: u64,
    /// Of how many an event told.
    pub told: u64,
    /// How many a sweep found of which no event told.
    pub missed: u64,
}
