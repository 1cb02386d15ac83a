//! Events that Composio sends by itself: whether one is really Composio's, and whom it is about (`composio-api.md` §4).
//!
//! `webhook-signature` holds, among others that may stand there, `v1,` and in base64 HMAC-SHA256 over
//! `{webhook-id}.{webhook-timestamp}.{body}`. That is the layout of Standard Webhooks, but the key is the secret *as it stands*:
//! its bytes, not base64-decoded, and with `whsec_` if it begins so. An event that is signed is still not believed: it says whom
//! to look at.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::page::storable;
use crate::domain::id::{AccountId, UserId};

/// How far the time of a delivery may be from ours, in either direction: what is older may be a replay.
const TOLERANCE: TimeDelta = TimeDelta::seconds(300);
/// No id of a delivery is longer.
const LONGEST_ID: usize = 256;

/// The headers of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// `webhook-id`: the same on every try.
    pub id: &'a str,
    /// `webhook-timestamp`: of this try, in seconds.
    pub timestamp: &'a str,
    /// `webhook-signature`: some, with spaces between them.
    pub signatures: &'a str,
}

/// Why a delivery is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// A header is missing or no such thing.
    #[error("webhook-id, webhook-timestamp and webhook-signature are expected as Composio sends them")]
    Malformed,
    /// Its time is too far from ours.
    #[error("webhook-timestamp is more than five minutes away")]
    Stale,
    /// No secret of ours made any of its signatures.
    #[error("webhook-signature was not made with a secret of ours")]
    Wrong,
}

/// Whether Composio sent this body at about this time, with one of these secrets.
///
/// # Errors
/// [`NotSigned`]; the time that the comparison takes tells nothing of the secrets.
pub fn verify(signed: Signed<'_>, body: &[u8], secrets: &[SecretString], now: DateTime<Utc>) -> Result<(), NotSigned> {
    let is_id =
        !signed.id.is_empty() && signed.id.len() <= LONGEST_ID && signed.id.bytes().all(|b| b.is_ascii_graphic());
    let seconds: i64 = signed.timestamp.parse().map_err(|_| NotSigned::Malformed)?;
    let sent_at = DateTime::from_timestamp(seconds, 0).filter(|_| is_id).ok_or(NotSigned::Malformed)?;
    let whole = now.timestamp() - sent_at.timestamp();
    if TimeDelta::try_seconds(whole).is_none_or(|apart| apart.abs() > TOLERANCE) {
        return Err(NotSigned::Stale);
    }
    let candidates: Vec<Vec<u8>> = signed
        .signatures
        .split_ascii_whitespace()
        .filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .take(16)
        .collect();
    let is_made_with = |secret: &SecretString| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok();
        let mac = mac.map(|mac| {
            let head = format!("{}.{}.", signed.id, signed.timestamp);
            mac.chain_update(head).chain_update(body)
        });
        // All are compared, so that the time does not tell which one it was.
        candidates.iter().fold(false, |found, one| mac.clone().is_some_and(|mac| mac.verify_slice(one).is_ok()) | found)
    };
    let found = secrets.iter().fold(false, |found, secret| is_made_with(secret) | found);
    if found { Ok(()) } else { Err(NotSigned::Wrong) }
}

/// What an event says, reduced to whom to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type, as Composio names it.
    pub kind: String,
    /// Whose connection it is about.
    pub user: Option<UserId>,
    /// Which account it is about.
    pub account: Option<AccountId>,
}

/// The body, in any version; fields that are not named here, credentials among them, are skipped while parsing.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    r#type: Option<Text>,
    #[serde(default)]
    trigger_name: Option<Text>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Known(Box<Fields>),
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    id: Option<Text>,
    user_id: Option<Text>,
    connected_account_id: Option<Text>,
    connected_account: Option<Nested>,
    connection_nano_id: Option<Text>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Known(Box<Account>),
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    id: Option<Text>,
    user_id: Option<Text>,
}

/// A text, or anything else, which says nothing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Text {
    fn said(this: Option<Self>) -> Option<String> {
        match this {
            Some(Self::Text(text)) if !text.is_empty() => Some(storable(text)),
            _ => None,
        }
    }
}

impl Event {
    /// Reads a body; none if it is no JSON object.
    ///
    /// The account stands in `data.id` of an event about an account, and in `data.connected_account_id` (or the like) of one about a
    /// trigger: what names no account of ours is left to the caller.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        // What derives from serde takes the fields of an object as a list too.
        let body = Some(body).filter(|body| body.trim_ascii_start().starts_with(b"{"))?;
        let body: Body = serde_json::from_slice(body).ok()?;
        let kind = Text::said(body.r#type).or_else(|| Text::said(body.trigger_name)).unwrap_or_default();
        let fields = match body.data {
            Some(Data::Known(fields)) => *fields,
            _ => Fields::default(),
        };
        let nested = match fields.connected_account {
            Some(Nested::Known(account)) => *account,
            _ => Account::default(),
        };
        let is_account = |id: &String| id.starts_with("ca_");
        let account = Text::said(fields.connected_account_id)
            .or_else(|| Text::said(nested.id))
            .or_else(|| Text::said(fields.connection_nano_id))
            .or_else(|| Text::said(fields.id).filter(is_account));
        let user = Text::said(fields.user_id).or_else(|| Text::said(nested.user_id));
        Some(Self { kind, user: user.map(UserId::new), account: account.map(AccountId::new) })
    }
}

#[cfg(test)]
mod tests;
