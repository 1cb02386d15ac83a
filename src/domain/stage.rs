//! Which mail about an incident a mail is: the first, or the n-th reminder. Each stage of an incident is mailed once, ever.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `0` is the first mail, `n` the n-th reminder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Stage(pub u8);

impl Stage {
    /// The mail that tells of the incident.
    pub const FIRST: Self = Self(0);

    /// Whether it was told of before.
    #[must_use]
    pub fn is_reminder(self) -> bool {
        self > Self::FIRST
    }

    /// The stage that follows; ladders are short, so the last one there can be follows itself.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// As people read it: `first mail`, `reminder 2`.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("first mail"),
            n => write!(f, "reminder {n}"),
        }
    }
}
