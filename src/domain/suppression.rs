//! Who is not to be mailed, whatever breaks: people who said so, and addresses that do not work.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::id::{SuppressionId, Toolkit, UserId};
use super::notification::EmailAddress;

/// Why somebody is not mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionKind {
    /// They said that they want no more, for one app or for all.
    OptOut,
    /// They said that they want none until an instant.
    Snooze,
    /// The mail server refused the address for good, or a bounce came back.
    Bounce,
    /// They marked a mail as spam.
    Complaint,
}

impl SuppressionKind {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptOut => "opt_out",
            Self::Snooze => "snooze",
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
        }
    }
}

/// Whom a suppression concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// A user, at whatever address.
    User(UserId),
    /// An address, whosever it is: when the user gets another one, mails leave again.
    Address(AddressHash),
}

/// One reason not to mail somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suppression {
    /// Its row.
    pub id: SuppressionId,
    /// Who.
    pub whom: Whom,
    /// Why.
    pub kind: SuppressionKind,
    /// For this app only; none: for all.
    pub toolkit: Option<Toolkit>,
    /// Until when; none: until somebody lifts it.
    pub until: Option<DateTime<Utc>>,
    /// Who said so: `cli`, `smtp`, `mail provider`, `unsubscribe`.
    pub source: String,
    /// What they said, without any address.
    pub detail: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

impl Suppression {
    /// Whether it keeps a mail about this app from leaving now.
    #[must_use]
    pub fn covers(&self, toolkit: &Toolkit, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until) && self.toolkit.as_ref().is_none_or(|only| only == toolkit)
    }
}

/// An address as the store knows it again without keeping it: SHA-256 of it in lower case. One who has the store can still try
/// addresses out, so it is personal data all the same, and goes when its user is erased.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct AddressHash(String);

impl AddressHash {
    /// Of this address; case does not matter.
    #[must_use]
    pub fn of(address: &EmailAddress) -> Self {
        let digest = Sha256::digest(address.as_str().to_lowercase().as_bytes());
        Self(digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// As it was stored.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Address(hash) => write!(f, "address {}…", hash.as_str().get(..12).unwrap_or_default()),
        }
    }
}
