//! A lease is a promise to finish soon: who holds its token may write, and who lost it may not.
//!
//! Every unit of work is a row. A worker claims it with a fresh token until an instant, renews it while it works, and every
//! write that ends the work names the token: a worker that slept through its lease finds that its token no longer holds
//! (it is *fenced*) and its result is thrown away, because somebody else has done the work meanwhile.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// A claim on one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The fencing token.
    pub token: Uuid,
    /// When the claim lapses unless it is renewed.
    pub until: DateTime<Utc>,
}

impl Lease {
    /// A lease from `now` for `length`, with a token that was never used.
    #[must_use]
    pub fn new(token: Uuid, now: DateTime<Utc>, length: std::time::Duration) -> Self {
        Self { token, until: now + TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX) }
    }
}

/// What came of trying to claim a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim<T> {
    /// It is ours until the lease lapses.
    Won(T),
    /// Another worker holds it until then: come back later, it may die.
    Held(DateTime<Utc>),
    /// It is not due before then.
    NotDue(DateTime<Utc>),
    /// It is done, or was given up; nothing is left to do.
    Over,
    /// There is no such row.
    Missing,
}
