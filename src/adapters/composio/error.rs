//! What can go wrong at the API, sorted by what the caller can do about it. None of it is ever a verdict.

use std::time::Duration;

use crate::domain::fault;

/// We could not look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposioError {
    /// 401 or 403: the key is wrong, expired, or lacks a scope. Trying again will not help; the operator must act.
    #[error("{} with {status} ({slug})", fault::KEY_REFUSED)]
    Unauthorized {
        /// 401 or 403.
        status: u16,
        /// The error's stable name, where the answer has one.
        slug: String,
    },
    /// 429: the organization's requests of this minute are used up.
    #[error("composio's rate limit is reached")]
    RateLimited {
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// A timeout, a reset, a 5xx, or an answer that is no JSON or ends too early: another try may succeed.
    #[error("composio is unavailable: {what}")]
    Unavailable {
        /// What happened, without any part of the answer's body.
        what: String,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Another 4xx: the request itself is refused.
    #[error("composio refused the request with {status} ({slug})")]
    Rejected {
        /// The status.
        status: u16,
        /// The error's stable name, where the answer has one.
        slug: String,
    },
    /// The list did not hold still or was cut: it proves nothing. Another try may succeed.
    #[error("the list of accounts is incomplete: {what}")]
    Incomplete {
        /// What showed it.
        what: String,
    },
    /// A row of somebody else came back. Nothing of this answer may be used.
    #[error("asked for one user's accounts, got account {account} of another user")]
    Foreign {
        /// The account that should not have been there.
        account: String,
    },
    /// Rows came back for a user who cannot exist: filters are being ignored, and nothing may be concluded from any list.
    #[error("{}: asked for a user who cannot exist, it listed {rows} accounts", fault::FILTERS_IGNORED)]
    FiltersIgnored {
        /// How many.
        rows: usize,
    },
    /// The id cannot be sent as a filter.
    #[error("the user id contains a comma or is empty, which composio's filter cannot carry")]
    Unfilterable,
}

impl ComposioError {
    /// Whether another try may succeed without anybody acting.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Incomplete { .. })
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What is wrong and, where an operator can mend it, how.
    pub fn for_operator(&self) -> String {
        match self {
            Self::Unauthorized { .. } => {
                format!("{self}; check composio.api_key and its scope Connected accounts: Read")
            }
            other => other.to_string(),
        }
    }

    /// An answer that could not be read.
    pub(super) fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), retry_after: None }
    }
}
