//! A connected account as Composio lists it, reduced to what a verdict needs; credentials never reach this type.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::id::{AccountId, AuthConfigId, Toolkit};
use super::slot::Slot;

/// The lifecycle state that Composio reports. It grows over time (REVOKED came in May 2026), so unknown values are kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// The row exists and a hosted flow was created.
    Initializing,
    /// The user has opened the flow; it times out after ten minutes.
    Initiated,
    /// Credentials are stored.
    Active,
    /// Nearly always a failed attempt: consent denied, wrong identity, misconfigured auth config.
    Failed,
    /// Authorization died, or the flow was never completed: only the reason tells.
    Expired,
    /// Switched off through the API.
    Inactive,
    /// Revoked through the API.
    Revoked,
    /// A status that this version does not know.
    Unknown(String),
}

impl Status {
    /// The name that the API uses.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Initiated => "INITIATED",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
            Self::Unknown(other) => other,
        }
    }
}

impl From<String> for Status {
    fn from(text: String) -> Self {
        match text.as_str() {
            "INITIALIZING" => Self::Initializing,
            "INITIATED" => Self::Initiated,
            "ACTIVE" => Self::Active,
            "FAILED" => Self::Failed,
            "EXPIRED" => Self::Expired,
            "INACTIVE" => Self::Inactive,
            "REVOKED" => Self::Revoked,
            _ => Self::Unknown(text),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a status changed: free text, of which these sentences are known (`composio-api.md` §2).
pub mod reason {
    /// The user never finished connecting: an EXPIRED row with this reason is an abandoned attempt, not a breakage.
    pub const INITIATION_TIMEOUT: &str = "Connection initiation did not complete within 10 minutes";
    /// The provider refused the refresh token for good.
    pub const PERMANENT_AUTH_ERROR: &str = "Permanent auth error during token refresh";
    /// Refreshing failed too often.
    pub const MAX_AUTH_FAILURES: &str = "Max auth failures reached";
    /// The provider's callback could not be turned into a token.
    pub const CALLBACK_FAILED: &str = "OAuth callback failed during token exchange";
    /// Somebody changed the status through the API.
    pub const STATUS_UPDATED_BY_USER: &str = "Connection status updated by user";
    /// The operator switched the auth config off.
    pub const AUTH_CONFIG_DISABLED: &str = "Auth config is disabled";
}

/// One connected account, proven to belong to the user that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `ca_…`.
    pub id: AccountId,
    /// The place this account fills for its user.
    pub slot: Slot,
    /// What Composio says of it.
    pub status: Status,
    /// Why, if Composio says so.
    pub reason: Option<String>,
    /// Switched off on its own.
    pub is_disabled: bool,
    /// Its auth config is switched off.
    pub auth_config_disabled: bool,
    /// When the row was made.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: Option<DateTime<Utc>>,
    /// When the credential died, where the API tells.
    pub expired_at: Option<DateTime<Utc>>,
}

impl Account {
    /// ACTIVE, and nothing switched it off.
    #[must_use]
    pub fn works(&self) -> bool {
        self.status == Status::Active && !self.is_disabled && !self.auth_config_disabled
    }

    /// A row that only says that somebody began to connect.
    #[must_use]
    pub fn is_attempt(&self) -> bool {
        match self.status {
            Status::Initializing | Status::Initiated => true,
            Status::Expired => self.reason.as_deref() == Some(reason::INITIATION_TIMEOUT),
            _ => false,
        }
    }

    /// Whether this row alone proves that the account once worked.
    #[must_use]
    pub fn proves_it_worked(&self) -> bool {
        self.status == Status::Active
            || matches!(self.reason.as_deref(), Some(reason::PERMANENT_AUTH_ERROR | reason::MAX_AUTH_FAILURES))
    }

    /// The app that the account connects.
    #[must_use]
    pub fn toolkit(&self) -> &Toolkit {
        &self.slot.toolkit
    }

    /// The auth config through which it was connected.
    #[must_use]
    pub fn auth_config(&self) -> &AuthConfigId {
        &self.slot.auth_config
    }

    /// Since when the account has been as it is: `expired_at`, else `updated_at`, else its making.
    #[must_use]
    pub fn changed_at(&self) -> DateTime<Utc> {
        self.expired_at.or(self.updated_at).unwrap_or(self.created_at)
    }
}
