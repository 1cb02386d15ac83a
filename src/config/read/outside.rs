//! The sections about what reaches the operator, and what the outside may reach.

use std::net::{AddrParseError, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{DAY, HOUR, MINUTE};
use crate::config::ops::{HttpOps, token_list};
use crate::config::outside::{AlertSlack, AlertWebhook, Alerts, Http, HttpPublic};
use crate::config::rule::{duration, hook, is_address, list, parsed, public_url, whole};
use crate::config::section::{Section, Show};
use crate::config::source::Node;
use crate::domain::network::Network;

pub(super) fn alerts(s: &mut Section<'_>) -> Alerts {
    let d = Alerts::default();
    Alerts {
        email: s.optional_shown("email", Show::Nothing, list("addresses", is_address)).unwrap_or(d.email),
        repeat_interval: s.value("repeat_interval", d.repeat_interval, duration(MINUTE..=30 * DAY)),
        group_wait: s.value("group_wait", d.group_wait, duration(Duration::ZERO..=HOUR)),
        expected_within: s.value("expected_within", d.expected_within, duration(MINUTE..=366 * DAY)),
        webhook: s.section("webhook", |s| AlertWebhook {
            url: s.secret("url", hook),
            secret: s.secret("secret", signing_key),
        }),
        slack: s.section("slack", |s| AlertSlack { url: s.secret("url", hook) }),
    }
}

/// Standard Webhooks: `whsec_` and the key in base64, of 24 to 64 bytes.
fn signing_key(text: &str) -> Result<(), String> {
    let key = text.strip_prefix("whsec_").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    match key.map(|key| key.len()) {
        Some(24..=64) => Ok(()),
        _ => Err("expected whsec_ and 24 to 64 bytes in base64; make one with `openssl rand -base64 32`".to_owned()),
    }
}

/// Long enough that nobody guesses it.
fn token_key(text: &str) -> Result<(), String> {
    match text.len() {
        32..=1_024 if text.chars().all(|c| c.is_ascii_graphic()) => Ok(()),
        _ => {
            Err("expected keys of 32 to 1024 visible ASCII characters; make one with `openssl rand -base64 32`"
                .to_owned())
        }
    }
}

fn networks(node: &Node) -> Result<Vec<Network>, String> {
    let is_network = |text: &str| text.parse::<Network>().is_ok();
    let texts = list("IP addresses or networks, such as \"10.0.0.0/8\"", is_network)(node)?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

pub(super) fn http(s: &mut Section<'_>) -> Http {
    Http { public: s.section("public", public), ops: s.section("ops", ops) }
}

fn public(s: &mut Section<'_>) -> HttpPublic {
    let d = HttpPublic::default();
    let listen = |text: &str| text.parse::<SocketAddr>().map_err(|error| error.to_string());
    HttpPublic {
        url: s.optional("url", public_url()),
        listen: s.value("listen", d.listen, parsed("an IP address and a port, such as \"0.0.0.0:8640\"", listen)),
        token_keys: s.secrets("token_keys", token_key),
        link_lifetime: s.value("link_lifetime", d.link_lifetime, duration(HOUR..=366 * DAY)),
        trusted_proxies: s.value("trusted_proxies", d.trusted_proxies, networks),
        mail_events_secret: s.secret("mail_events_secret", |text| match text.len() {
            16..=1_024 if text.chars().all(|c| c.is_ascii_graphic()) => Ok(()),
            _ => Err("expected 16 to 1024 visible ASCII characters; make one with `openssl rand -hex 32`".to_owned()),
        }),
    }
}

fn ops(s: &mut Section<'_>) -> HttpOps {
    let d = HttpOps::default();
    let listen = |text: &str| match text {
        "off" => Ok(None),
        address => address.parse().map(Some).map_err(|error: AddrParseError| error.to_string()),
    };
    let expected = "an IP address and a port, such as \"127.0.0.1:8641\", or \"off\"";
    HttpOps {
        listen: s.value("listen", d.listen, parsed(expected, listen)),
        read_tokens: s.secret("read_tokens", token_list),
        write_tokens: s.secret("write_tokens", token_list),
        rate_limit: s.value("rate_limit", d.rate_limit, whole(1..=1_000_000)),
    }
}
