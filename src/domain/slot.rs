//! A slot is what a person thinks of as "my Slack"; reconnecting puts a new account into the same slot.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{AuthConfigId, Toolkit};

/// The place of an account among one user's connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Slot {
    /// The app.
    pub toolkit: Toolkit,
    /// The auth config.
    pub auth_config: AuthConfigId,
    /// The name that the app gave the connection; empty text counts as none.
    pub alias: Option<String>,
}

impl Slot {
    /// A slot; an alias of blanks is no alias.
    #[must_use]
    pub fn new(toolkit: Toolkit, auth_config: AuthConfigId, alias: Option<String>) -> Self {
        Self { toolkit, auth_config, alias: alias.filter(|alias| !alias.trim().is_empty()) }
    }
}
