//! What can go wrong for one user. "It is denied" and "we do not know" are answers, not errors; these are what there is no answer to.

use chrono::{DateTime, Utc};

use crate::adapters::composio::ComposioError;
use crate::audit::observe::RecordError;
use crate::domain::gate::Usable;
use crate::domain::id::{AccountId, AuthConfigId, Toolkit};
use crate::domain::link::AuthConfig;
use crate::domain::port::StoreError;

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EntityError {
    /// Composio could not be asked, or refused.
    #[error(transparent)]
    Composio(#[from] ComposioError),
    /// The auditor's own database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others keep recording the same user; the same call may succeed later.
    #[error("what was seen could not be recorded: others recorded the same user meanwhile")]
    Contended,
    /// Nobody has looked at this user yet, and nobody was to look now.
    #[error("nothing is known of this user yet")]
    NeverSeen,
    /// No app was named.
    #[error("no app was named")]
    NothingAsked,
    /// The page to return to is no web page.
    #[error("the redirect must be an http or https URL")]
    BadRedirect,
    /// The project has no auth config of the app.
    #[error("composio has no auth config for {toolkit}: create one in its dashboard")]
    NoAuthConfig {
        /// The app.
        toolkit: Toolkit,
    },
    /// All auth configs of the app are switched off.
    #[error("every auth config for {toolkit} is disabled ({}): enable one in composio's dashboard", listed(configs))]
    AuthConfigsDisabled {
        /// The app.
        toolkit: Toolkit,
        /// Those there are.
        configs: Vec<AuthConfig>,
    },
    /// The app has several, and none was named.
    #[error("{toolkit} has several auth configs ({}): name the one to use", listed(configs))]
    SeveralAuthConfigs {
        /// The app.
        toolkit: Toolkit,
        /// Those that can be used.
        configs: Vec<AuthConfig>,
    },
    /// The one that was named is none of the app's, or is switched off.
    #[error("{wanted} is no auth config for {toolkit} that is enabled; there is {}", listed(configs))]
    OtherAuthConfig {
        /// The app.
        toolkit: Toolkit,
        /// The one that was named.
        wanted: AuthConfigId,
        /// Those there are.
        configs: Vec<AuthConfig>,
    },
    /// The user has a connection that works; another must be asked for.
    #[error("{toolkit} is connected already, by {}: say so if another connection is wanted", accounts.join(", "))]
    AlreadyConnected {
        /// The app.
        toolkit: Toolkit,
        /// The accounts that work.
        accounts: Vec<String>,
    },
    /// The idempotency key was used for another wish.
    #[error("the idempotency key was used for another app, page, auth config or alias")]
    KeyReused,
    /// Somebody asks for the same link, and does not come to an end.
    #[error("the same link is being asked for at this moment: try again")]
    LinkBusy,
    /// Too many answers were lost.
    #[error("composio's answers were lost several times, so no further link is asked for before {until}")]
    LinkLost {
        /// When to try again.
        until: DateTime<Utc>,
    },
    /// The user has several connections of the app, and none was named.
    #[error("the user has several {toolkit} connections ({}): name one by alias or account id", usable(accounts))]
    SeveralAccounts {
        /// The app.
        toolkit: Toolkit,
        /// Those that work.
        accounts: Vec<Usable>,
    },
    /// The tool needs no account, so there is nothing of this user that it could use.
    #[error("{tool} needs no connected account and is not run for a user")]
    NoAccountNeeded {
        /// The tool.
        tool: String,
    },
}

impl From<RecordError> for EntityError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(error) => Self::Store(error),
            RecordError::Fenced | RecordError::Contended => Self::Contended,
        }
    }
}

fn listed(configs: &[AuthConfig]) -> String {
    if configs.is_empty() {
        return "none".to_owned();
    }
    let one = |config: &AuthConfig| match &config.name {
        Some(name) => format!("{} \"{name}\"", config.id),
        None => config.id.to_string(),
    };
    configs.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn usable(accounts: &[Usable]) -> String {
    let one = |usable: &Usable| match &usable.alias {
        Some(alias) => format!("{} \"{alias}\"", usable.account),
        None => AccountId::to_string(&usable.account),
    };
    accounts.iter().map(one).collect::<Vec<_>>().join(", ")
}
