//! What can be made to go wrong, and which request it happens to.
//!
//! A share of the requests fails, drawn anew for each request from the seed and the request's number: a retry has the same
//! chances as the request before it, and the same sequence of requests fails in the same places. An outage fails all of
//! them. Lies are answers that look right and are not.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::chance::{fraction, mix};

/// One way in which a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 500 with an error envelope.
    InternalError,
    /// 503 with an error envelope.
    Unavailable,
    /// 429 with the flat body and `Retry-After`.
    TooManyRequests,
    /// 502 with a proxy's HTML page, and none of the API's headers.
    HtmlBadGateway,
    /// The right status and headers, and the first half of the JSON as a complete body.
    TruncatedJson,
    /// The connection is reset before anything was answered.
    ResetBeforeHeaders,
    /// The connection is reset after half of the body.
    ResetMidBody,
    /// The right answer, [`Faults::slow_ms`] late.
    Slow,
    /// No answer at all, while the client waits.
    Silent,
}

impl FaultKind {
    /// Every kind there is.
    pub const ALL: [Self; 9] = [
        Self::InternalError,
        Self::Unavailable,
        Self::TooManyRequests,
        Self::HtmlBadGateway,
        Self::TruncatedJson,
        Self::ResetBeforeHeaders,
        Self::ResetMidBody,
        Self::Slow,
        Self::Silent,
    ];
}

/// A list that looks right and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Filters are not looked at: everybody's accounts come back, whoever was asked for.
    IgnoreFilters,
    /// No row carries `user_id`.
    DropUserId,
    /// A list for certain users holds a PRIVATE, EXPIRED row of somebody else besides.
    ForeignRows,
    /// `next_cursor` is the same for ever.
    RepeatCursor,
    /// A row of an earlier page is gone when the next page is read, so that one row is never seen.
    ShiftRows,
    /// A row came in before the next page is read, so that one row is seen twice.
    DuplicateRows,
    /// `total_items` counts seven rows too many.
    WrongTotal,
    /// The first page is given as the only one, though `total_items` says otherwise.
    TruncateList,
    /// A list of a user's accounts is that of somebody else, who is named in its rows.
    OthersList,
    /// One account, asked for by its id, comes back as somebody else's.
    OthersAccount,
    /// A link is minted for somebody else than was named.
    OthersLink,
    /// A tool is refused, as the account that was named counts as somebody else's.
    OthersTool,
    /// No account is made under an alias (409): another has it already.
    AliasTaken,
    /// Where there is no next page, `next_cursor` is missing instead of null.
    AbsentCursor,
}

/// What becomes of the right key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It opens everything.
    #[default]
    Valid,
    /// 401, code 801: it is not known.
    Unknown,
    /// 401, code 811: it has expired.
    Expired,
    /// 401, code 902: the address it is used from is not on its list.
    Blocked,
    /// 403, code 812: it may read nothing.
    NoAccess,
    /// 403, code 812, on everything that writes.
    ReadOnly,
}

/// How the project masks credentials in bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// Not at all, so that a log that repeats a body is found out.
    #[default]
    Raw,
    /// As projects are made: `REDACTED` for a config that Composio manages, four characters and dots for the others.
    Masked,
}

impl Masking {
    pub(super) fn apply(self, secret: &str, is_managed: bool) -> String {
        match self {
            Self::Raw => secret.to_owned(),
            Self::Masked if is_managed => "REDACTED".to_owned(),
            Self::Masked => format!("{}...", secret.chars().take(4).collect::<String>()),
        }
    }
}

/// Everything that is wrong at the moment. The default is nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// What the draws start from.
    pub seed: u64,
    /// The share of requests that fail, from 0 to 1.
    pub rate: f64,
    /// How they fail, each as likely as the others. None: nothing fails.
    pub kinds: Vec<FaultKind>,
    /// Every request fails, like this.
    pub outage: Option<FaultKind>,
    /// Only requests that write fail like this.
    pub only_writes: bool,
    /// What becomes of the right key.
    pub key: KeyState,
    /// What is wrong with lists.
    pub lies: BTreeSet<Lie>,
    /// How secrets are masked.
    pub masking: Masking,
    /// How late a slow answer is, in milliseconds.
    pub slow_ms: u64,
    /// The `Retry-After` of a [`FaultKind::TooManyRequests`], in seconds.
    pub retry_after: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            rate: 0.0,
            kinds: Vec::new(),
            outage: None,
            only_writes: false,
            key: KeyState::Valid,
            lies: BTreeSet::new(),
            masking: Masking::Raw,
            slow_ms: 30_000,
            retry_after: 1,
        }
    }
}

impl Faults {
    /// A share of the requests fails, in any of these ways.
    #[must_use]
    pub fn some(rate: f64, kinds: &[FaultKind]) -> Self {
        Self { rate, kinds: kinds.to_vec(), ..Self::default() }
    }

    /// Every request fails like this.
    #[must_use]
    pub fn outage(kind: FaultKind) -> Self {
        Self { outage: Some(kind), ..Self::default() }
    }

    /// Every request that writes fails like this.
    #[must_use]
    pub fn outage_of_writes(kind: FaultKind) -> Self {
        Self { only_writes: true, ..Self::outage(kind) }
    }

    /// Lists tell this lie.
    #[must_use]
    pub fn lie(lie: Lie) -> Self {
        Self { lies: BTreeSet::from([lie]), ..Self::default() }
    }

    /// The right key is answered like this.
    #[must_use]
    pub fn key(key: KeyState) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn tells(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// What happens to the request of this number.
    pub(super) fn draw(&self, request: u64) -> Option<FaultKind> {
        if self.outage.is_some() {
            return self.outage;
        }
        if self.kinds.is_empty() || fraction(mix(self.seed, request, 51)) >= self.rate {
            return None;
        }
        let pick = usize::try_from(mix(self.seed, request, 52) % self.kinds.len() as u64).unwrap_or(0);
        self.kinds.get(pick).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_fails_is_the_rate_and_every_kind_occurs() {
        let faults = Faults::some(0.1, &FaultKind::ALL);
        let drawn: Vec<_> = (0..20_000).filter_map(|request| faults.draw(request)).collect();
        assert!((1_800..2_200).contains(&drawn.len()), "{}", drawn.len());
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), FaultKind::ALL.len());
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let draw = |seed| {
            let faults = Faults { seed, ..Faults::some(0.3, &[FaultKind::Unavailable]) };
            (0..200).map(|request| faults.draw(request).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn an_outage_fails_everything() {
        assert!((0..100).all(|request| Faults::outage(FaultKind::Silent).draw(request) == Some(FaultKind::Silent)));
        assert!((0..100).all(|request| Faults::default().draw(request).is_none()));
    }
}
