//! The life of one broken slot: opened, mailed, resolved.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::id::{AccountId, IncidentId};
use super::slot::Slot;

/// What kind of trouble an incident is; it decides the words of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A connection that worked has stopped working.
    Broken,
    /// An attempt to connect was refused; nothing that worked was lost.
    AttemptFailed,
    /// An attempt to connect was never finished; happens at most once per slot, ever.
    Unfinished,
}

impl IncidentKind {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::AttemptFailed => "attempt_failed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The slot, or one that supersedes it, is ACTIVE.
    Reconnected,
    /// Somebody switched the connection off or revoked it on purpose.
    Disconnected,
    /// The accounts that were broken are no longer listed.
    Removed,
    /// The auth config was switched off: for the operator to mend, not for the user.
    OperatorFault,
    /// Another kind of incident took its place.
    Replaced,
    /// The user is no longer in the app's own database.
    UserDeleted,
}

impl Resolution {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reconnected => "reconnected",
            Self::Disconnected => "disconnected",
            Self::Removed => "removed",
            Self::OperatorFault => "operator_fault",
            Self::Replaced => "replaced",
            Self::UserDeleted => "user_deleted",
        }
    }
}

/// One broken slot of one user, from its opening to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its row.
    pub id: IncidentId,
    /// What broke.
    pub slot: Slot,
    /// In which way.
    pub kind: IncidentKind,
    /// The account whose state decided.
    pub account: AccountId,
    /// The status that decided, as the API names it.
    pub status: String,
    /// The reason that the API gave.
    pub reason: Option<String>,
    /// When it broke, as far as the API tells.
    pub broke_at: DateTime<Utc>,
    /// When it counts as broken for the outage guard: when it was found, if the slot had been seen healthy before, else `broke_at`.
    #[serde(default)]
    pub counts_from: DateTime<Utc>,
    /// When a check found it.
    pub opened_at: DateTime<Utc>,
    /// When and how it ended.
    pub resolved: Option<(DateTime<Utc>, Resolution)>,
}
