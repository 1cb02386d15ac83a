//! Who is not to be mailed, and whether anybody is.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::store::StoreResult;
use crate::domain::id::{Toolkit, UserId};
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};

/// Who is not to be mailed.
#[async_trait]
pub trait SuppressionStore: Send + Sync + 'static {
    /// Keeps a suppression. One of the same person, kind and app is renewed: it lasts until the later instant, and keeps its id. Returns whether it is new.
    async fn suppress(&self, suppression: &Suppression) -> StoreResult<bool>;
    /// Ends suppressions of somebody: of this kind, or all; of this app, or all. Open incidents of a user get another look at
    /// `now`; those of whoever has the address do so when they are next looked at. Returns how many ended.
    async fn lift(
        &self,
        whom: &Whom,
        kind: Option<SuppressionKind>,
        toolkit: Option<&Toolkit>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64>;
    /// Those in force at `now` of a user, and of an address if one is given; newest first.
    async fn suppressions_of(
        &self,
        user: &UserId,
        address: Option<&AddressHash>,
        now: DateTime<Utc>,
    ) -> StoreResult<Vec<Suppression>>;
    /// Those in force at `now`, newest first.
    async fn suppressions(&self, limit: u32, now: DateTime<Utc>) -> StoreResult<Vec<Suppression>>;
    /// No mail leaves from now on. Asked again, the first word stands. Returns what is in force.
    async fn pause(&self, pause: &Pause) -> StoreResult<Pause>;
    /// Mails may leave again, those that wait at once. Returns what was in force.
    async fn resume(&self, now: DateTime<Utc>) -> StoreResult<Option<Pause>>;
    /// Whether mails may leave.
    async fn paused(&self) -> StoreResult<Option<Pause>>;
}

/// The kill switch is thrown: no mail leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, in the operator's words.
    pub note: Option<String>,
}
