//! What one user's handle rests on: what is known of the user and how far it is doubted, and the links that were asked for.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::connection::AppNames;
use crate::domain::freshness::Seen;
use crate::domain::history::History;
use crate::domain::id::{AccountId, AuthConfigId, LinkId, Toolkit, UserId};
use crate::domain::link::{InVain, KeptLink, Link, LinkKey, Reserved, Wish};
use crate::domain::sweep::Check;

/// What one user's handle rests on.
#[async_trait]
pub trait EntityStore: Send + Sync + 'static {
    /// Everything that an answer about one user is made of, in two statements; a user who was never seen has an empty standing.
    async fn standing(&self, user: &UserId) -> StoreResult<Standing>;
    /// Something says that this user's accounts may have changed at this instant (a webhook, a reconnect, a tool that failed):
    /// what was observed before is not fresh from now on. The newest doubt stands.
    async fn doubt(&self, user: &UserId, at: DateTime<Utc>) -> StoreResult<()>;
    /// Doubts as [`Self::doubt`], and inserts this check of one user, unless one that came this way is still waiting or under way.
    /// Returns whether it was inserted; it is then to be handed over.
    async fn recheck(&self, user: &UserId, check: &Check, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Reserves a wish for a link, so that of all who wish the same one asks; see [`Reserved`].
    async fn reserve_link(&self, wish: &Wish, now: DateTime<Utc>) -> StoreResult<Reserved>;
    /// Keeps the link that was made, and returns whether that was still ours to do.
    async fn keep_link(&self, id: LinkId, token: Uuid, link: &Link, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Asking was in vain: the wish is free to be reserved again. What may have been made counts against
    /// [`MOST_LOST`](crate::domain::link::MOST_LOST), what was refused does not.
    async fn give_up_link(&self, id: LinkId, token: Uuid, how: InVain, now: DateTime<Utc>) -> StoreResult<()>;
    /// The link of a wish, whatever became of it.
    async fn link(&self, user: &UserId, key: &LinkKey) -> StoreResult<Option<KeptLink>>;
}

/// What is known of one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Accounts, open incidents, and when they were observed.
    pub history: History,
    /// When it was last said that the accounts may have changed.
    pub doubted_at: Option<DateTime<Utc>>,
    /// What the apps of the accounts are called.
    pub names: AppNames,
}

impl Standing {
    /// When the user was last looked at, and whether that is doubted.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { observed_at: self.history.observed_at, doubted_at: self.doubted_at }
    }
}

/// A link as it is handed out to the person whose data it is: without where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTrace {
    /// The app.
    pub toolkit: Toolkit,
    /// Through which auth config.
    pub auth_config: AuthConfigId,
    /// The name of the connection.
    pub alias: Option<String>,
    /// The account that was made for it.
    pub account: Option<AccountId>,
    /// Until when it could be followed.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was first wished for.
    pub created_at: DateTime<Utc>,
}
