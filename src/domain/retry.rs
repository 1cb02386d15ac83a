//! When a thing that failed is tried again, and when it is given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential backoff with jitter, bounded in time and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often a thing is tried in all, the first time included; at least 1.
    pub max_attempts: u32,
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait that is chosen by itself; a server's `Retry-After` may ask for more.
    pub max: Duration,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this wait.
    Again(Duration),
    /// The attempts are used up.
    GiveUp,
}

impl Retry {
    /// Decides after attempt number `attempt` (counted from 1) has failed.
    ///
    /// The wait doubles from `base` to `max`, of which `jitter` (0 to 1, handed in) takes away up to a half, so that many
    /// failures at once do not come back at once. A longer `retry_after` from the server wins, and jitter then adds to it.
    #[must_use]
    pub fn after(&self, attempt: u32, jitter: f64, retry_after: Option<Duration>) -> Next {
        if attempt >= self.max_attempts {
            return Next::GiveUp;
        }
        let doubled = self.base.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let jitter = jitter.clamp(0.0, 1.0);
        let own = doubled.min(self.max).mul_f64(1.0 - jitter / 2.0);
        Next::Again(match retry_after {
            Some(asked) if asked >= own => asked + self.base.mul_f64(jitter),
            _ => own,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RETRY: Retry = Retry { max_attempts: 5, base: Duration::from_secs(2), max: Duration::from_secs(10) };

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_then_it_is_given_up() {
        let wait = |attempt| RETRY.after(attempt, 0.0, None);
        assert_eq!(wait(1), Next::Again(Duration::from_secs(2)));
        assert_eq!(wait(2), Next::Again(Duration::from_secs(4)));
        assert_eq!(wait(3), Next::Again(Duration::from_secs(8)));
        assert_eq!(wait(4), Next::Again(Duration::from_secs(10)));
        assert_eq!(wait(5), Next::GiveUp);
    }

    #[test]
    fn a_server_that_asks_for_more_time_gets_it() {
        assert_eq!(RETRY.after(1, 0.0, Some(Duration::from_secs(60))), Next::Again(Duration::from_secs(60)));
        assert_eq!(RETRY.after(1, 0.0, Some(Duration::ZERO)), Next::Again(Duration::from_secs(2)));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_asked_for_nor_shorter_than_half(attempt in 1_u32..5, jitter in 0.0_f64..=1.0) {
            let Next::Again(wait) = RETRY.after(attempt, jitter, None) else { panic!("attempts are left") };
            prop_assert!(wait <= RETRY.max);
            prop_assert!(wait >= RETRY.base / 2);
        }
    }
}
