//! One user at a time: everything that an app does with the connections of one of its users, through a handle that is bound to that
//! user when it is made.
//!
//! The pattern has older names in many articles; today's are used in code:
//!
//! | the article says | Composio says today | here |
//! |---|---|---|
//! | *entity*, `entity_id` | `user_id` | [`UserId`], and [`Entity`], the handle that is bound to one |
//! | *app*, `app_name` | toolkit | [`Toolkit`] |
//! | *connection* | connected account | [`Connection`](crate::domain::connection::Connection), told from its accounts |
//! | *integration* | auth config | [`AuthConfig`](crate::domain::link::AuthConfig) |
//! | *action* | tool | [`Tool`](crate::domain::tool::Tool) |
//! | `client.get_entity(id=…)` | | [`Entities::of`] |
//! | `entity.initiate_connection(app_name, redirect_url)` | `connected_accounts.link(…)` | [`Entity::initiate_connection`] |
//! | `entity.get_connections()` | `connected_accounts.list(user_ids=…)` | [`Entity::connections`] |
//! | `if connections["slack"] != "ACTIVE"` | | [`Entity::gate`] |
//! | `ComposioToolSet(entity_id=…).get_tools(actions=[…])` | `tools.get(user_id, …)` | [`Entity::tools`], [`Entity::execute`] |
//!
//! Two handles share a pool of connections, never state: whatever an answer holds was read for the handle's own user. Answers come
//! from the store if they are fresh enough, else from Composio, and what Composio says is recorded as by an audit: incidents open and
//! close, so that a gate, a settings page and a mail tell the same story.

mod connect;
mod error;
mod gate;
mod look;
mod tools;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use connect::{Initiate, Initiated, LinkOrigin};
pub use error::EntityError;
pub use tools::{Executed, ScopedTools, ToolCall};

use super::names::Names;
use super::observe::Auditor;
use super::outbox::Outbox;
use super::reaudit::recheck;
use crate::adapters::composio::Composio;
use crate::domain::account::Account;
use crate::domain::clock::Clock;
use crate::domain::connection::{Connections, ReconnectPage, connections};
use crate::domain::freshness::Freshness;
use crate::domain::id::{AccountId, CheckId, ToolSlug, Toolkit, UserId};
use crate::domain::port::Store;

/// What handles are made of.
pub struct EntityParts {
    /// The API.
    pub composio: Composio,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Records what is seen.
    pub auditor: Auditor,
    /// Hands over re-checks and mails.
    pub outbox: Outbox,
    /// Where users reconnect.
    pub reconnect_page: ReconnectPage,
    /// How long one request may take: for so long, and a little more, a link that is asked for is reserved.
    pub request_timeout: Duration,
}

/// Makes handles. Cheap to clone.
#[derive(Clone)]
pub struct Entities(Arc<Shared>);

/// What all handles share: nothing of it is about a user.
struct Shared {
    parts: EntityParts,
    names: Names,
    /// Which app a tool belongs to, as far as it was asked.
    toolkit_of: Mutex<BTreeMap<ToolSlug, (Toolkit, bool)>>,
}

/// One user. Every call through it carries that user's id, and no call exists without one.
#[derive(Clone)]
pub struct Entity {
    user: UserId,
    shared: Arc<Shared>,
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entity").field(&self.user).finish()
    }
}

/// What came of saying that something just failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The user is looked at again, as soon as a worker is free.
    Recheck(CheckId),
    /// One such look is waiting or under way already.
    UnderWay,
}

impl Entities {
    /// Handles over these parts.
    #[must_use]
    pub fn new(parts: EntityParts) -> Self {
        let names = Names::new(parts.composio.clone(), Arc::clone(&parts.store), Arc::clone(&parts.clock));
        Self(Arc::new(Shared { parts, names, toolkit_of: Mutex::default() }))
    }

    /// The handle of one user. Nothing is asked for and nothing is made: a user is known by being asked about.
    #[must_use]
    pub fn of(&self, user: UserId) -> Entity {
        Entity { user, shared: Arc::clone(&self.0) }
    }
}

impl Entity {
    /// Whose handle this is.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    fn parts(&self) -> &EntityParts {
        &self.shared.parts
    }

    /// What the user has connected, for a settings page. If Composio cannot be asked, what is known is told, marked stale.
    ///
    /// # Errors
    /// Nothing is known, or the store failed.
    pub async fn connections(&self, freshness: Freshness) -> Result<Connections, EntityError> {
        let known = self.known(freshness).await?;
        let standing = known.standing;
        let Some(as_of) = standing.history.observed_at else {
            return Err(known.why_not.unwrap_or(EntityError::NeverSeen));
        };
        let page = &self.parts().reconnect_page;
        Ok(Connections {
            connections: connections(&self.user, &standing.history.verdicts(), &standing.names, page, as_of),
            as_of,
            stale: known.stale,
            why_stale: known.why_not.map(|why| why.to_string()),
        })
    }

    /// One of the user's accounts as it is now, by the id that [`Self::initiate_connection`] gave.
    ///
    /// # Errors
    /// There is none, it is not proven to be this user's, or it could not be asked for.
    pub async fn account(&self, id: &AccountId) -> Result<Account, EntityError> {
        Ok(self.parts().composio.account(&self.user, id).await?)
    }

    /// The app says that using this app has just failed for the user. That is a hint: what was observed before is doubted, and the
    /// user is looked at again, once at a time.
    ///
    /// # Errors
    /// The store failed.
    pub async fn report(&self, toolkit: &Toolkit) -> Result<Reported, EntityError> {
        tracing::info!(event = "entity.reported", user = ?self.user, toolkit = ?usual(toolkit), "it is looked at again");
        self.recheck().await
    }

    /// Doubts what is known, and has the user looked at again.
    async fn recheck(&self) -> Result<Reported, EntityError> {
        let parts = self.parts();
        let asked = recheck(parts.store.as_ref(), &parts.outbox, &self.user, parts.clock.now()).await?;
        Ok(asked.map_or(Reported::UnderWay, Reported::Recheck))
    }
}

/// An app as the API names it, however the caller wrote it: slugs are lower-case.
fn usual(toolkit: &Toolkit) -> Toolkit {
    Toolkit::new(toolkit.as_str().trim().to_lowercase())
}
