//! The configuration as people may see it: TOML, with secrets and addresses masked.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use url::Url;

pub(super) use crate::domain::duration::written as show_duration;
use crate::domain::retry::Retry;

use super::Config;

/// What stands where a secret would.
const REDACTED: &str = "[redacted]";

/// Query parameters of database URLs that say how to connect, not who may.
const PLAIN_PARAMETERS: &[&str] = &[
    "application_name",
    "cache",
    "charset",
    "connect_timeout",
    "db",
    "mode",
    "protocol",
    "socket",
    "ssl-mode",
    "sslmode",
    "sslrootcert",
    "timezone",
];

impl Config {
    /// The whole configuration as it is in effect, as TOML: secrets are `"[redacted]"`, URLs keep their scheme, host and
    /// database, addresses their domain. Settings that are unset do not appear.
    pub fn redacted_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# the configuration cannot be printed: {error}\n"))
    }
}

/// A section as its `Debug`: what may be printed, and no more.
pub(super) fn debug(section: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let table = toml::Table::try_from(section).map_err(|_| fmt::Error)?;
    fmt::Debug::fmt(&table, f)
}

/// A database's URL without the user, the password, and parameters that may be secret.
pub(super) fn show_url(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.split('?').next().unwrap_or_default().to_owned();
    }
    let Some(parsed) = Url::parse(url).ok().filter(Url::has_host) else { return REDACTED.to_owned() };
    let user = if parsed.username().is_empty() && parsed.password().is_none() { "" } else { "[redacted]@" };
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    let parameters: Vec<String> = parsed
        .query_pairs()
        .map(|(name, value)| {
            let plain = PLAIN_PARAMETERS.contains(&name.as_ref());
            format!("{name}={}", if plain { &value } else { REDACTED })
        })
        .collect();
    let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    format!("{}://{user}{host}{port}{}{query}", parsed.scheme(), parsed.path())
}

/// `Acme <…@example.org>`: the name and the domain are kept.
pub(super) fn show_mailbox(text: &str) -> String {
    let Some((before, domain)) = text.rsplit_once('@') else { return text.to_owned() };
    if before.is_empty() {
        return text.to_owned();
    }
    match before.rsplit_once('<') {
        Some((name, _)) if !name.contains('@') => format!("{name}<…@{domain}"),
        _ => format!("…@{domain}"),
    }
}

pub(super) fn duration<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&show_duration(*value))
}

pub(super) fn address<S: Serializer>(value: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&show_url(value.expose_secret()))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(super) fn optional_address<S: Serializer>(value: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|url| show_url(url.expose_secret())).serialize(to)
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(super) fn secret<S: Serializer>(value: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|_| REDACTED).serialize(to)
}

pub(super) fn secrets<S: Serializer>(value: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(value.iter().map(|_| REDACTED))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(super) fn mailbox<S: Serializer>(value: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    value.as_deref().map(show_mailbox).serialize(to)
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
pub(super) fn listen<S: Serializer>(value: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(address) => address.serialize(to),
        None => to.serialize_str("off"),
    }
}

pub(super) fn mailboxes<S: Serializer>(value: &[String], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(value.iter().map(|text| show_mailbox(text)))
}

pub(super) fn retry<S: Serializer>(value: &Retry, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        max_attempts: u32,
        base: String,
        max: String,
    }
    let Retry { max_attempts, base, max } = *value;
    Shown { max_attempts, base: show_duration(base), max: show_duration(max) }.serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_where_it_leads_and_loses_who_goes_there() {
        assert_eq!(
            show_url("postgres://u:hunter2@db:5433/app?sslmode=require&password=hunter2"),
            "postgres://[redacted]@db:5433/app?sslmode=require&password=[redacted]"
        );
        assert_eq!(show_url("rediss://:hunter2@cache/1"), "rediss://[redacted]@cache/1");
        assert_eq!(show_url("sqlite:/var/lib/a.sqlite?key=hunter2"), "sqlite:/var/lib/a.sqlite");
        assert_eq!(show_url("hunter2"), "[redacted]");
        assert_eq!(show_url("hunter2:hunter2"), "[redacted]");
    }

    #[test]
    fn an_address_keeps_its_domain_only() {
        assert_eq!(show_mailbox("Acme <ann@example.org>"), "Acme <…@example.org>");
        assert_eq!(show_mailbox("ann@example.org"), "…@example.org");
        assert_eq!(show_mailbox("ann@example.org <bob@example.org>"), "…@example.org>");
        assert_eq!(show_mailbox("@example.org"), "@example.org");
    }
}
