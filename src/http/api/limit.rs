//! How many requests one token may make, or one address where nobody shows a token: so many a second on average, twice as
//! many at once. Who stays below never notices; a script that runs wild does not take the database from the others.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::http::problem::Problem;

/// The window in which what may come at once comes again, in seconds.
const WINDOW: u32 = 2;
/// So many are remembered before those that have calmed down are forgotten: addresses are free to make up.
const REMEMBERED: usize = 10_000;
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// All bearers of tokens of this name.
    Token(Arc<str>),
    /// An address; of the newer kind, its network: one host has a whole one.
    Address(IpAddr),
}

impl Key {
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Counts requests.
pub(super) struct Limiter {
    counts: RateLimiter<Key, DefaultKeyedStateStore<Key>, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
    per_second: NonZeroU32,
}

/// How far a caller is from the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    per_second: NonZeroU32,
    remaining: u32,
}

impl Limiter {
    /// So many requests a second.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(at_once(per_second));
        let clock = DefaultClock::default();
        let counts = RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>();
        Self { counts, clock, per_second }
    }

    /// Counts a request in, or refuses it.
    pub(super) fn check(&self, key: &Key) -> Result<Standing, Problem> {
        if self.counts.len() > REMEMBERED {
            self.counts.retain_recent();
        }
        let per_second = self.per_second;
        match self.counts.check_key(key) {
            Ok(state) => Ok(Standing { per_second, remaining: StateSnapshot::remaining_burst_capacity(&state) }),
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let mut headers = HeaderMap::new();
                Standing { per_second, remaining: 0 }.tell(&mut headers);
                let detail = format!("more than {per_second} requests a second: http.ops.rate_limit");
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).coded("rate_limited");
                let problem = problem.retry_after(wait.max(Duration::from_secs(1)));
                let told = headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
                Err(told.fold(problem, |problem, (name, value)| problem.with(name, value)))
            }
        }
    }
}

impl Standing {
    /// As the draft on `RateLimit` header fields of the IETF writes it.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let at_once = at_once(self.per_second).get();
        let full_after = at_once.saturating_sub(self.remaining).div_ceil(self.per_second.get());
        let texts = [
            (POLICY, format!("\"default\";q={at_once};w={WINDOW}")),
            (STANDING, format!("\"default\";r={};t={full_after}", self.remaining)),
        ];
        for (name, text) in texts {
            headers.insert(name, HeaderValue::from_str(&text).expect("it is visible ASCII"));
        }
    }
}

fn at_once(per_second: NonZeroU32) -> NonZeroU32 {
    per_second.saturating_mul(NonZeroU32::new(WINDOW).unwrap_or(NonZeroU32::MIN))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn one_who_runs_wild_is_slowed_down_and_others_are_not() {
        let limiter = Limiter::new(3);
        let key = |name: &str| Key::Token(name.into());
        let left: Vec<u32> = (0..6).map(|_| limiter.check(&key("app")).expect("it is let in").remaining).collect();
        assert_eq!(left, [5, 4, 3, 2, 1, 0]);
        let refused = limiter.check(&key("app")).expect_err("it is too much").into_response();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(refused.headers()["ratelimit-policy"], "\"default\";q=6;w=2");
        assert_eq!(refused.headers()["ratelimit"], "\"default\";r=0;t=2");
        assert!(limiter.check(&key("support")).is_ok());
    }

    #[test]
    fn addresses_of_one_network_of_the_newer_kind_are_one_host() {
        let key = |text: &str| Key::address(text.parse().expect("an address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn made_up_addresses_are_forgotten_again() {
        let limiter = Limiter::new(1_000_000);
        for n in 0..30_000_u32 {
            let _ = limiter.check(&Key::address(IpAddr::V4(n.into())));
        }
        assert!(limiter.counts.len() <= REMEMBERED + 1, "{}", limiter.counts.len());
    }
}
