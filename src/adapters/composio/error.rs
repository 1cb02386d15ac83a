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
        /// What that means for the caller.
        refusal: Refusal,
    },
    /// A request that makes or does something was sent, and its answer was lost: it may have been done, or not. It is never sent
    /// again by itself.
    #[error("composio's answer was lost, so it may have been done or not: {what}")]
    Ambiguous {
        /// What happened, without any part of the answer's body.
        what: String,
    },
    /// An id or name that no path can carry; it was not sent.
    #[error("{what} may hold letters, digits, - and _ alone")]
    Malformed {
        /// Which one.
        what: &'static str,
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

/// What a refusal means for the caller (`composio-api.md` §3 and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 404: there is no such auth config, app or tool.
    NotFound,
    /// Code 1810 or 606: there is no such account.
    NoAccount,
    /// 409: there is one already, or it is being worked on.
    Conflict,
    /// 410, or code 1820: the account has expired.
    Expired,
    /// Code 1812: the account is not this user's.
    NotTheirs,
    /// 422: not in the state that the account is in.
    InvalidState,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Sorts a 4xx by its code, its name and its status, in that order: the codes are the most precise.
    pub(super) fn of(status: u16, code: Option<u32>, slug: &str) -> Self {
        match (code, slug, status) {
            (Some(1820), _, _) | (_, "ActionExecute_ConnectedAccountExpired", _) => Self::Expired,
            (Some(1812), _, _) | (_, "ActionExecute_ConnectedAccountEntityIdMismatch", _) => Self::NotTheirs,
            (Some(1810 | 606), _, _)
            | (_, "ActionExecute_ConnectedAccountNotFound" | "ConnectedAccount_ResourceNotFound", _) => Self::NoAccount,
            (_, _, 404) => Self::NotFound,
            (_, _, 409) => Self::Conflict,
            (_, _, 410) => Self::Expired,
            (_, _, 422) => Self::InvalidState,
            _ => Self::Other,
        }
    }
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

    /// What a refusal means, if this is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Rejected { refusal, .. } => Some(*refusal),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(410, Some(1820), "ActionExecute_ConnectedAccountExpired", Refusal::Expired)]
    #[case(410, None, "no detail", Refusal::Expired)]
    #[case(400, Some(1820), "no detail", Refusal::Expired)]
    #[case(404, Some(1810), "ActionExecute_ConnectedAccountNotFound", Refusal::NoAccount)]
    #[case(404, Some(606), "ConnectedAccount_ResourceNotFound", Refusal::NoAccount)]
    #[case(404, Some(607), "AuthConfig_ResourceNotFound", Refusal::NotFound)]
    #[case(400, Some(1812), "ActionExecute_ConnectedAccountEntityIdMismatch", Refusal::NotTheirs)]
    #[case(409, Some(409), "HTTP_Conflict", Refusal::Conflict)]
    #[case(422, None, "no detail", Refusal::InvalidState)]
    #[case(400, Some(400), "HTTP_BadRequest", Refusal::Other)]
    fn a_refusal_is_sorted_by_its_code_then_its_name_then_its_status(
        #[case] status: u16,
        #[case] code: Option<u32>,
        #[case] slug: &str,
        #[case] refusal: Refusal,
    ) {
        assert_eq!(Refusal::of(status, code, slug), refusal);
    }
}
