//! What a value may be: each rule takes a value as it was written and gives a valid one, or says what is allowed.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::{Host, Url};

use crate::domain::notification::EmailAddress;

use super::print::show_duration;
use super::section::Rule;
use super::source::{Node, Origin, Value};

/// A duration within bounds, written `"30s"`.
pub(super) fn duration(allowed: RangeInclusive<Duration>) -> impl Rule<Duration> {
    move |node| {
        let read = match &node.value {
            Value::Text(text) => humantime::parse_duration(text.trim()).ok(),
            _ => None,
        };
        read.filter(|duration| allowed.contains(duration)).ok_or_else(|| {
            let (least, most) = (show_duration(*allowed.start()), show_duration(*allowed.end()));
            format!("expected a duration such as \"30s\" or \"1h 30m\", from {least} to {most}")
        })
    }
}

/// Some durations, each longer than the one before it.
pub(super) fn rising_durations(allowed: RangeInclusive<Duration>, most: usize) -> impl Rule<Vec<Duration>> {
    move |node| {
        let (least, longest) = (show_duration(*allowed.start()), show_duration(*allowed.end()));
        let expected =
            format!("durations such as [\"3d\", \"10d\"], rising, from {least} to {longest}, at most {most}");
        let is_duration = |text: &str| humantime::parse_duration(text).is_ok_and(|one| allowed.contains(&one));
        let texts = list(&expected, is_duration)(node)?;
        let durations: Vec<Duration> = texts.iter().filter_map(|text| humantime::parse_duration(text).ok()).collect();
        let rising = durations.iter().zip(durations.iter().skip(1)).all(|(one, next)| one < next);
        if rising && durations.len() <= most { Ok(durations) } else { Err(format!("expected {expected}")) }
    }
}

/// A share, written `"10%"`.
pub(super) fn share() -> impl Rule<f64> {
    parsed("a share above 0% and up to 100%, such as \"10%\"", |text| {
        let number = text.trim().strip_suffix('%').ok_or("it has no %")?;
        let percent: f64 = number.trim().parse().map_err(|_| "it is no number")?;
        if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err("it is out of bounds".to_owned()) }
    })
}

/// A whole number within bounds.
pub(super) fn whole<T>(allowed: RangeInclusive<T>) -> impl Rule<T>
where
    T: TryFrom<i64> + FromStr + PartialOrd + Display,
{
    move |node| {
        let read = match &node.value {
            Value::Integer(number) => T::try_from(*number).ok(),
            Value::Text(text) if from_env(node) => text.trim().parse().ok(),
            _ => None,
        };
        read.filter(|number| allowed.contains(number))
            .ok_or_else(|| format!("expected a whole number from {} to {}", allowed.start(), allowed.end()))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Rule<T> {
    move |node| {
        let chosen = match &node.value {
            Value::Text(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("expected {}", words.join(" or "))
        })
    }
}

/// A text that is not blank.
pub(super) fn text() -> impl Rule<String> {
    parsed("a text", |text| if text.trim().is_empty() { Err("it is blank".to_owned()) } else { Ok(text.to_owned()) })
}

/// A path.
pub(super) fn path() -> impl Rule<PathBuf> {
    parsed("a path", |text| if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.into()) })
}

/// A text with rules of its own.
pub(super) fn parsed<T>(expected: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> impl Rule<T> {
    move |node| match &node.value {
        Value::Text(text) => parse(text).map_err(|why| format!("expected {expected}: {why}")),
        _ => Err(format!("expected {expected}, in quotes")),
    }
}

/// A list of texts; in an environment variable they are separated by commas.
pub(super) fn list(expected: &str, check: impl Fn(&str) -> bool) -> impl Rule<Vec<String>> {
    move |node| {
        let items: Option<Vec<String>> = match &node.value {
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Some(text.trim().to_owned()),
                    _ => None,
                })
                .collect(),
            Value::Text(text) if from_env(node) => {
                Some(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
            }
            _ => None,
        };
        let Some(items) = items else { return Err(format!("expected a list of {expected}, in brackets")) };
        match items.iter().position(|item| item.is_empty() || !check(item)) {
            None => Ok(items),
            Some(place) => Err(format!("expected a list of {expected}: item {} is none", place + 1)),
        }
    }
}

/// The address of a database: one of these schemes, or `sqlite:PATH`.
pub(super) fn database_url<'a>(schemes: &'a [&'a str]) -> impl Fn(&str) -> Result<(), String> + 'a {
    move |text| {
        let allowed: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://…")).collect();
        let allowed = format!("{} or sqlite:PATH", allowed.join(", "));
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.split('?').next().unwrap_or_default();
            return match path.trim_start_matches("//") {
                "" => Err(format!("expected {allowed}: the path is missing")),
                ":memory:" => {
                    Err("expected sqlite:PATH: a database in memory forgets everything at the end".to_owned())
                }
                _ => Ok(()),
            };
        }
        // The scheme is not quoted: what is no URL at all may be a password in the wrong place.
        let url = Url::parse(text).map_err(|error| format!("expected {allowed}: {error}"))?;
        if !schemes.contains(&url.scheme()) {
            return Err(format!("expected {allowed}: its scheme is none of these"));
        }
        if !url.has_host() || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("expected {allowed}: the host is missing"));
        }
        Ok(())
    }
}

/// The origin of an HTTP API. Over plain `http`, which lets everybody on the way read the key, only to a host nearby.
pub(super) fn origin() -> impl Rule<Url> {
    parsed("an https URL without a path, such as \"https://backend.composio.dev\"", |text| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must not hold a user or a password".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err("it has more than an origin".to_owned());
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_near(&url) => Ok(url),
            "http" => Err("over http the API key could be read on the way; only hosts nearby are allowed".to_owned()),
            _ => Err("its scheme is not https".to_owned()),
        }
    })
}

/// Where the internet reaches the public pages: https, or this machine for trying out.
pub(super) fn public_url() -> impl Rule<Url> {
    parsed("an https URL, such as \"https://connections.example.org\"", |text| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err("it has more than a host and a path".to_owned());
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if url.host_str().is_some_and(is_loopback) => Ok(url),
            _ => Err("its scheme is not https".to_owned()),
        }
    })
}

/// The URL of a webhook, which may hold a token: https, or a host nearby.
pub(super) fn hook(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_near(&url)) => Ok(()),
        _ => Err("expected an https URL; http only for hosts nearby".to_owned()),
    }
}

/// Whether a host is this machine, on a private network, or a name without a dot (a neighbouring container).
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Some(Host::Domain(name)) => !name.contains('.'),
        None => false,
    }
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A link with `{toolkit}` and `{user_id}` in its path or query.
pub(super) fn link_template() -> impl Rule<String> {
    let expected = "an http or https URL, in whose path and query {toolkit} and {user_id} may stand";
    parsed(expected, |text| {
        let filled = |with: &str| text.replace("{toolkit}", with).replace("{user_id}", with);
        let one = filled("a");
        if let Some(start) = one.find(['{', '}']) {
            let rest = one.get(start..).unwrap_or_default();
            let name: String =
                rest.chars().take(40).take_while(|c| *c != '}').chain(rest.contains('}').then_some('}')).collect();
            return Err(format!("{name:?} is none of the two"));
        }
        let one = Url::parse(&one).map_err(|error| error.to_string())?;
        let two = Url::parse(&filled("b")).map_err(|error| error.to_string())?;
        if !matches!(one.scheme(), "http" | "https") {
            return Err("its scheme is neither".to_owned());
        }
        if one.origin() != two.origin() || one.username() != two.username() || one.password() != two.password() {
            return Err("a user or an app must not choose the host".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// `Name <address>` or an address.
pub(super) fn mailbox() -> impl Rule<String> {
    parsed("an address, or a name and an address in angle brackets", |text| {
        let text = text.trim();
        let address = match text.strip_suffix('>').and_then(|inner| inner.rsplit_once('<')) {
            Some((name, _)) if name.contains(['\r', '\n', '<', '>']) => {
                return Err("the name is not one line".to_owned());
            }
            Some((_, address)) => address,
            None => text,
        };
        if is_address(address) { Ok(text.to_owned()) } else { Err("this is none".to_owned()) }
    })
}

/// An address alone.
pub(super) fn address() -> impl Rule<String> {
    parsed(
        "an address",
        |text| if is_address(text) { Ok(text.trim().to_owned()) } else { Err("this is none".to_owned()) },
    )
}

/// Whether a text is an address, or a domain after an `@`.
pub(super) fn is_address_or_domain(text: &str) -> bool {
    is_address(text) || (text.starts_with('@') && is_address(&format!("a{text}")))
}

/// Whether a text is an address.
pub(super) fn is_address(text: &str) -> bool {
    EmailAddress::from_str(text).is_ok()
}

fn from_env(node: &Node) -> bool {
    matches!(node.origin, Origin::Env(_))
}
