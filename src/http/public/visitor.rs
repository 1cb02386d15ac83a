//! Who asks, and how often: the address behind proxies, the bounds for each address and each token, and whether a form was
//! sent from our own page.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, header};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use url::{Origin, Url};

use crate::domain::network::Network;
use crate::domain::token::Grant;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// One address may open so many pages within a minute, at once or one by one. A whole office may stand behind one.
const PAGES: u32 = 120;
/// One token may be opened so often within a minute: a page that waits for an outcome comes back every few seconds.
const OPENINGS: u32 = 40;
/// One token may be acted upon so often at once, and once more in each [`ACTION_EVERY`].
const ACTIONS: u32 = 8;
/// See [`ACTIONS`].
const ACTION_EVERY: Duration = Duration::from_secs(15);
/// So many addresses are remembered before those that were not seen lately are forgotten.
const REMEMBERED: usize = 50_000;

/// Somebody asks too often: not before this wait again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOften(pub(super) Duration);

/// The bounds of one process.
pub(super) struct Bounds {
    pages: DefaultKeyedRateLimiter<IpAddr>,
    openings: DefaultKeyedRateLimiter<Grant>,
    actions: DefaultKeyedRateLimiter<Grant>,
}

impl Bounds {
    pub(super) fn new() -> Self {
        let per_minute = |count| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        let actions = Quota::with_period(ACTION_EVERY).unwrap_or_else(|| per_minute(1));
        Self {
            pages: RateLimiter::keyed(per_minute(PAGES)),
            openings: RateLimiter::keyed(per_minute(OPENINGS)),
            actions: RateLimiter::keyed(actions.allow_burst(NonZeroU32::new(ACTIONS).unwrap_or(NonZeroU32::MIN))),
        }
    }

    /// A page is asked for from this address.
    pub(super) fn visit(&self, address: IpAddr) -> Result<(), TooOften> {
        asked(&self.pages, &block(address))
    }

    /// The page of a token is asked for.
    pub(super) fn open(&self, grant: Grant) -> Result<(), TooOften> {
        asked(&self.openings, &grant)
    }

    /// Something is to be done with a token.
    pub(super) fn act(&self, grant: Grant) -> Result<(), TooOften> {
        asked(&self.actions, &grant)
    }
}

fn asked<K>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), TooOften>
where
    K: Clone + Eq + std::hash::Hash,
{
    if limiter.len() > REMEMBERED {
        limiter.retain_recent();
    }
    let clock = governor::clock::DefaultClock::default();
    limiter.check_key(key).map_err(|until| TooOften(until.wait_time_from(governor::clock::Clock::now(&clock))))
}

/// What counts as one visitor: an address, or of version 6 the network that one customer is given.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// Where a request comes from. What proxies of ours say of it is believed, from the nearest on, as far as they are ours; what
/// anybody else wrote before is not.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let said: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut nearest = peer;
    for text in said.iter().rev().map(|text| text.trim()) {
        if !is_trusted(nearest) {
            break;
        }
        match text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())) {
            Ok(address) => nearest = address,
            Err(_) => break,
        }
    }
    nearest
}

/// Whether a form may have been sent from our own page, or by a mail program. A browser says where a form stood; what says
/// nothing is no browser, and has the token, which nobody else has. With `Referrer-Policy: no-referrer` a browser gives no
/// origin (`null`), so its word on the site is what counts.
pub(super) fn is_ours(headers: &HeaderMap, public: &Url) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    match headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) {
        None | Some("null") => true,
        Some(origin) => {
            let origin = Url::parse(origin).map(|url| url.origin());
            origin.is_ok_and(|origin| matches!(origin, Origin::Tuple(..)) && origin == public.origin())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")))
            .collect()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1"].iter().map(|text| text.parse().expect("a network")).collect();
        for (peer, said, from) in [
            ("203.0.113.9", None, "203.0.113.9"),
            ("203.0.113.9", Some("198.51.100.1"), "203.0.113.9"),
            ("10.1.1.1", None, "10.1.1.1"),
            ("10.1.1.1", Some("198.51.100.1"), "198.51.100.1"),
            ("10.1.1.1", Some("6.6.6.6, 198.51.100.1"), "198.51.100.1"),
            ("10.1.1.1", Some("6.6.6.6, 198.51.100.1, 10.2.2.2"), "198.51.100.1"),
            ("10.1.1.1", Some("198.51.100.1:4711"), "198.51.100.1"),
            ("::1", Some("[2001:db8::7]:4711"), "2001:db8::7"),
            ("10.1.1.1", Some("6.6.6.6, unknown, 10.2.2.2"), "10.2.2.2"),
            ("10.1.1.1", Some(""), "10.1.1.1"),
        ] {
            let said = said.map_or_else(HeaderMap::new, |said| headers(&[("x-forwarded-for", said)]));
            let from: IpAddr = from.parse().expect("an address");
            assert_eq!(address(peer.parse().expect("a peer"), &said, &trusted), from, "{peer} {said:?}");
        }
    }

    #[test]
    fn a_form_of_another_site_is_refused_and_a_mail_program_is_not() {
        let public: Url = "https://connections.acme.example/mail".parse().expect("a URL");
        for (said, ours) in [
            (&[][..], true),
            (&[("origin", "https://connections.acme.example")], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "null")], false),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://connections.acme.example")], false),
            (&[("origin", "file:///etc")], false),
        ] {
            assert_eq!(is_ours(&headers(said), &public), ours, "{said:?}");
        }
    }

    #[test]
    fn one_address_or_one_network_of_version_six_has_its_share_and_no_more() {
        let bounds = Bounds::new();
        let visits = |address: &str| bounds.visit(address.parse().expect("an address"));
        assert!((0..PAGES).all(|_| visits("203.0.113.9").is_ok()));
        assert!(visits("203.0.113.9").is_err_and(|too_often| too_often.0 <= Duration::from_secs(1)));
        assert!(visits("203.0.113.10").is_ok(), "another address");
        assert!((0..PAGES).all(|number| visits(&format!("2001:db8::{number:x}")).is_ok()));
        assert!(visits("2001:db8::ffff:1").is_err() && visits("2001:db8:0:1::1").is_ok());
    }
}
