//! How old an answer may be that comes from the store instead of from Composio.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Whatever is known; Composio is never asked.
    Stored,
    /// What was seen within this time; else Composio is asked.
    Within(Duration),
    /// Composio is asked in any case.
    Now,
}

/// When a user was last looked at, and whether something has happened since that says that it may be otherwise by now: a webhook, a
/// reconnect, a tool that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// When the accounts were last read in full; none if they never were.
    pub observed_at: Option<DateTime<Utc>>,
    /// When it was last said that they may have changed.
    pub doubted_at: Option<DateTime<Utc>>,
}

impl Seen {
    /// Whether the doubt is newer than the look.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.doubted_at.is_some_and(|doubted| self.observed_at.is_none_or(|observed| observed < doubted))
    }

    /// Whether the store may answer at `now`: somebody has looked, nothing was doubted since, and it is not too long ago.
    #[must_use]
    pub fn is_fresh(&self, freshness: Freshness, now: DateTime<Utc>) -> bool {
        let Some(observed_at) = self.observed_at else { return false };
        !self.is_doubted()
            && match freshness {
                Freshness::Stored => true,
                // A span beyond the calendar admits everything.
                Freshness::Within(span) => TimeDelta::from_std(span).map_or(true, |span| now - observed_at <= span),
                Freshness::Now => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a valid instant")
    }

    fn seen(observed: Option<i64>, doubted: Option<i64>) -> Seen {
        Seen { observed_at: observed.map(at), doubted_at: doubted.map(at) }
    }

    #[test]
    fn what_was_never_seen_is_never_fresh() {
        for freshness in [Freshness::Stored, Freshness::Within(Duration::MAX), Freshness::Now] {
            assert!(!seen(None, None).is_fresh(freshness, at(0)));
            assert!(!seen(None, Some(-5)).is_fresh(freshness, at(0)));
        }
    }

    #[test]
    fn a_look_is_fresh_for_as_long_as_was_said_and_until_it_is_doubted() {
        let minute = Freshness::Within(Duration::from_secs(60));
        assert!(seen(Some(0), None).is_fresh(minute, at(60)));
        assert!(!seen(Some(0), None).is_fresh(minute, at(61)));
        assert!(!seen(Some(0), Some(1)).is_fresh(minute, at(2)), "somebody said that it is otherwise");
        assert!(seen(Some(2), Some(1)).is_fresh(minute, at(3)), "it was looked at since");
        assert!(!seen(Some(0), None).is_fresh(Freshness::Now, at(0)));
        assert!(seen(Some(0), None).is_fresh(Freshness::Stored, at(1_000_000)));
        assert!(!seen(Some(0), Some(1)).is_fresh(Freshness::Stored, at(2)));
        assert!(seen(Some(0), None).is_fresh(Freshness::Within(Duration::MAX), at(1_000_000)));
    }

    proptest! {
        #[test]
        fn what_is_doubted_is_never_fresh(observed in any::<Option<i16>>(), after in 1..10_000_i64, span in any::<u32>()) {
            let observed = observed.map(i64::from);
            let seen = seen(observed, Some(observed.unwrap_or(0) + after));
            let within = Freshness::Within(Duration::from_secs(span.into()));
            for freshness in [Freshness::Stored, within, Freshness::Now] {
                prop_assert!(!seen.is_fresh(freshness, at(0)));
            }
        }
    }
}
