//! Starting a connection: one link a wish, whatever is retried, lost or asked for twice at once.
//!
//! ```text
//!  is there a link of this key that can still be followed? ─ yes ─► that one
//!  which auth config? is there an ACTIVE account?                   (none, several, or one too many: an error that says so)
//!  reserve ─► ask Composio, once ─► keep ─► is the account really this user's? ─► the link
//! ```
//!
//! The row is reserved before Composio is asked, so that of all who come with the same key one asks, and a crash leaves a trace
//! that counts (see [`crate::domain::link`]).

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::{Entity, EntityError, usual};
use crate::adapters::composio::{ComposioError, Refusal};
use crate::domain::account::Status;
use crate::domain::id::{AccountId, AuthConfigId, LinkId, Toolkit};
use crate::domain::lease::Lease;
use crate::domain::link::{AuthConfig, InVain, KeptLink, Link, LinkKey, LinkRequest, Reserved, Wish};

/// How often one looks whether somebody else's link has come.
const LOOK: Duration = Duration::from_millis(50);

/// What a reservation lasts beyond the request: keeping the link takes a moment too.
const BEYOND: Duration = Duration::from_secs(5);

/// A connection that is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiate {
    /// The app.
    pub toolkit: Toolkit,
    /// Where the person is sent afterwards.
    pub redirect: Option<Url>,
    /// The name of the connection, where the user is to have several of the app.
    pub alias: Option<String>,
    /// Through which auth config; needed only if the app has several.
    pub auth_config: Option<AuthConfigId>,
    /// Also if the user has a connection that works.
    pub allow_another: bool,
    /// What names this wish. Without one, the same app, page, auth config and alias are the same wish.
    pub idempotency_key: Option<String>,
}

impl Initiate {
    /// A first connection of an app, with nothing special about it.
    #[must_use]
    pub fn new(toolkit: Toolkit, redirect: Option<Url>) -> Self {
        Self { toolkit, redirect, alias: None, auth_config: None, allow_another: false, idempotency_key: None }
    }
}

/// A connection that was started.
#[derive(Debug, Clone)]
pub struct Initiated {
    /// What the person follows; with the account that comes to be.
    pub link: Link,
    /// The app.
    pub toolkit: Toolkit,
    /// Through which auth config.
    pub auth_config: AuthConfigId,
    /// Whether it was made now.
    pub origin: LinkOrigin,
}

/// Whether a link was made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkOrigin {
    /// Composio was asked for it now.
    Made,
    /// The same wish had been granted before, and its link can still be followed.
    Kept,
}

impl Entity {
    /// Starts a connection: a link for the person to follow, and the account that comes to be, which is stored for reference.
    ///
    /// # Errors
    /// There is no link; the error says what to do about it.
    pub async fn initiate_connection(&self, initiate: &Initiate) -> Result<Initiated, EntityError> {
        let toolkit = usual(&initiate.toolkit);
        if initiate.redirect.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
            return Err(EntityError::BadRedirect);
        }
        let content = LinkKey::derived(
            &toolkit,
            initiate.auth_config.as_ref(),
            initiate.redirect.as_ref(),
            initiate.alias.as_deref(),
        );
        let key = initiate.idempotency_key.as_deref().map_or_else(|| content.clone(), LinkKey::chosen);
        let mut used_up = None;
        if let Some(kept) = self.parts().store.link(&self.user, &key).await? {
            if kept.content != content {
                return Err(EntityError::KeyReused);
            }
            match self.still_good(&kept).await? {
                Good::Yes(initiated) => return Ok(*initiated),
                Good::UsedUp(account) => used_up = Some(account),
                Good::No => {}
            }
        }
        let auth_config = self.auth_config_for(&toolkit, initiate.auth_config.as_ref()).await?;
        let working = self.parts().composio.active_accounts(&self.user, &auth_config.id).await?;
        if !working.is_empty() && !initiate.allow_another {
            let accounts = working.iter().map(|account| account.id.to_string()).collect();
            return Err(EntityError::AlreadyConnected { toolkit, accounts });
        }
        let request = LinkRequest {
            auth_config: auth_config.id,
            user: self.user.clone(),
            callback_url: initiate.redirect.clone(),
            alias: initiate.alias.clone(),
        };
        self.ask_once(toolkit, key, content, &request, used_up).await
    }

    /// Reserves the wish and asks, or waits for whoever does.
    async fn ask_once(
        &self,
        toolkit: Toolkit,
        key: LinkKey,
        content: LinkKey,
        request: &LinkRequest,
        mut used_up: Option<AccountId>,
    ) -> Result<Initiated, EntityError> {
        let parts = self.parts();
        let length = parts.request_timeout + BEYOND;
        let patience = Instant::now() + length + BEYOND;
        loop {
            let now = parts.clock.now();
            let wish = Wish {
                id: LinkId(Uuid::now_v7()),
                user: self.user.clone(),
                key: key.clone(),
                content: content.clone(),
                toolkit: toolkit.clone(),
                auth_config: request.auth_config.clone(),
                alias: request.alias.clone(),
                used_up: used_up.clone(),
                lease: Lease::new(Uuid::new_v4(), now, length),
            };
            match parts.store.reserve_link(&wish, now).await? {
                Reserved::Won(id) => {
                    if self.ask(id, wish.lease.token, request).await? {
                        let kept = parts.store.link(&self.user, &key).await?;
                        let Some(kept) = kept else { return Err(EntityError::LinkBusy) };
                        return match self.still_good(&kept).await? {
                            Good::Yes(initiated) => Ok(Initiated { origin: LinkOrigin::Made, ..*initiated }),
                            // It was followed, or ended, within the moment since it was made.
                            Good::UsedUp(_) | Good::No => Err(EntityError::LinkBusy),
                        };
                    }
                }
                Reserved::Made(kept) => match self.still_good(&kept).await? {
                    Good::Yes(initiated) => return Ok(*initiated),
                    Good::UsedUp(account) => used_up = Some(account),
                    Good::No => {}
                },
                Reserved::Busy(_) => {}
                Reserved::Lost(until) => return Err(EntityError::LinkLost { until }),
                Reserved::Other => return Err(EntityError::KeyReused),
            }
            if Instant::now() >= patience {
                return Err(EntityError::LinkBusy);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks for the link and keeps it. `false`: it was made, but somebody else holds the wish by now.
    async fn ask(&self, id: LinkId, token: Uuid, request: &LinkRequest) -> Result<bool, EntityError> {
        let parts = self.parts();
        match parts.composio.create_link(request).await {
            Ok(link) => Ok(parts.store.keep_link(id, token, &link, parts.clock.now()).await?),
            Err(error) => {
                let how = match error {
                    ComposioError::Ambiguous { .. } => InVain::Unclear,
                    _ => InVain::Refused,
                };
                parts.store.give_up_link(id, token, how, parts.clock.now()).await?;
                Err(error.into())
            }
        }
    }

    /// Whether a link that is kept can still be followed: Composio is asked, as a link that was followed is used up, and as only
    /// Composio can say that its account is this user's.
    async fn still_good(&self, kept: &KeptLink) -> Result<Good, EntityError> {
        let Some(link) = kept.good(self.parts().clock.now()) else { return Ok(Good::No) };
        match self.parts().composio.account(&self.user, &link.account).await {
            Ok(account) if matches!(account.status, Status::Initializing | Status::Initiated) => {
                Ok(Good::Yes(Box::new(Initiated {
                    link,
                    toolkit: kept.toolkit.clone(),
                    auth_config: kept.auth_config.clone(),
                    origin: LinkOrigin::Kept,
                })))
            }
            Ok(_) => Ok(Good::UsedUp(link.account)),
            Err(error) if matches!(error.refusal(), Some(Refusal::NoAccount | Refusal::NotFound)) => {
                Ok(Good::UsedUp(link.account))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The auth config that an app is connected through.
    async fn auth_config_for(
        &self,
        toolkit: &Toolkit,
        wanted: Option<&AuthConfigId>,
    ) -> Result<AuthConfig, EntityError> {
        let toolkit = toolkit.clone();
        let mut configs = self.parts().composio.auth_configs(&toolkit).await?;
        if let Some(wanted) = wanted {
            let found = configs.iter().position(|config| config.id == *wanted && config.is_enabled);
            return match found {
                Some(place) => Ok(configs.swap_remove(place)),
                None => Err(EntityError::OtherAuthConfig { toolkit, wanted: wanted.clone(), configs }),
            };
        }
        if configs.is_empty() {
            return Err(EntityError::NoAuthConfig { toolkit });
        }
        let (mut enabled, disabled): (Vec<_>, Vec<_>) = configs.into_iter().partition(|config| config.is_enabled);
        match (enabled.pop(), enabled.is_empty()) {
            (None, _) => Err(EntityError::AuthConfigsDisabled { toolkit, configs: disabled }),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                enabled.push(last);
                Err(EntityError::SeveralAuthConfigs { toolkit, configs: enabled })
            }
        }
    }
}

/// What has become of a link that was kept.
enum Good {
    /// It can be followed.
    Yes(Box<Initiated>),
    /// It was followed, or its account is gone.
    UsedUp(AccountId),
    /// Its time is over, or it was never made.
    No,
}
