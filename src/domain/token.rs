//! What a link of a mail carries: who may do what with it, signed, so that nobody can make one up or bend one.
//!
//! ```text
//!  version  key id  purpose  expires  mail   about   signature
//!     1        4       1        6      16      16       16      bytes, in base64url without padding: 80 characters
//! ```
//!
//! A token names rows of ours and nothing else: no user, no address, no app. It is good for one purpose, so that the link that
//! stops mails reconnects nothing. The signature is HMAC-SHA256 over all that stands before it, cut to its first half as RFC
//! 2104 §5 allows: 128 bits that nobody can guess, in a link that still fits a line. The length is a multiple of three, so that
//! each token has one spelling only.
//!
//! Of several keys the first signs and all are believed: a new key is put in front, and the old one taken away when the links
//! that it signed have expired.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::id::{IncidentId, NotificationId};

const VERSION: u8 = 1;
const BODY: usize = 44;
const SIGNATURE: usize = 16;
/// The length of a token, in characters.
pub const LENGTH: usize = (BODY + SIGNATURE) / 3 * 4;

/// What whoever holds a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    /// Connect again what this incident is about.
    Reconnect(Subject),
    /// See what came of it, on the way back from connecting.
    Outcome(Subject),
    /// Say that mails like this one are not wanted.
    Unsubscribe(NotificationId),
}

/// What a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The broken connection.
    pub incident: IncidentId,
    /// The mail that told of it.
    pub mail: NotificationId,
}

/// Why a token grants nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key of ours signed it as it stands.
    #[error("the token is not one of ours")]
    Forged,
    /// It is one of ours, and was good until an instant.
    #[error("the token has expired")]
    Expired,
}

impl Grant {
    fn purpose(self) -> u8 {
        match self {
            Self::Reconnect(_) => b'r',
            Self::Outcome(_) => b'c',
            Self::Unsubscribe(_) => b'u',
        }
    }

    fn ids(self) -> (Uuid, Uuid) {
        match self {
            Self::Reconnect(subject) | Self::Outcome(subject) => (subject.mail.0, subject.incident.0),
            Self::Unsubscribe(mail) => (mail.0, Uuid::nil()),
        }
    }

    fn of(purpose: u8, mail: Uuid, about: Uuid) -> Option<Self> {
        let subject = Subject { incident: IncidentId(about), mail: NotificationId(mail) };
        match purpose {
            b'r' => Some(Self::Reconnect(subject)),
            b'c' => Some(Self::Outcome(subject)),
            b'u' if about.is_nil() => Some(Self::Unsubscribe(subject.mail)),
            _ => None,
        }
    }
}

/// The keys that tokens are signed with, the newest first. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    newest: Key,
    older: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    /// Which key a token was signed with, so that one is tried and not all.
    id: [u8; 4],
    mac: Hmac<Sha256>,
}

/// Shows no key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", 1 + self.older.len())
    }
}

impl Keyring {
    /// A ring of these secrets, the newest first; none without a secret.
    #[must_use]
    pub fn new(secrets: &[SecretString]) -> Option<Self> {
        let mut keys = secrets.iter().map(|secret| Key::new(secret.expose_secret().as_bytes()));
        Some(Self { newest: keys.next()?, older: keys.collect() })
    }

    /// A token, signed with the newest key; good until then, to the second.
    #[must_use]
    pub fn sign(&self, grant: Grant, expires_at: DateTime<Utc>) -> String {
        let key = &self.newest;
        let (mail, about) = grant.ids();
        let seconds = u64::try_from(expires_at.timestamp()).unwrap_or_default().to_be_bytes();
        let mut token = Vec::with_capacity(BODY + SIGNATURE);
        token.push(VERSION);
        token.extend(key.id);
        token.push(grant.purpose());
        token.extend(seconds.iter().skip(2));
        token.extend(mail.as_bytes());
        token.extend(about.as_bytes());
        let signature = key.mac.clone().chain_update(&token).finalize().into_bytes();
        token.extend(signature.iter().take(SIGNATURE));
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token grants now.
    ///
    /// # Errors
    /// It is none of ours, or its time is over; the first is said of whatever was not signed exactly so.
    pub fn read(&self, token: &str, now: DateTime<Utc>) -> Result<Grant, Refused> {
        if token.len() != LENGTH {
            return Err(Refused::Forged);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| Refused::Forged)?;
        let (body, signature) = bytes.split_at_checked(BODY).ok_or(Refused::Forged)?;
        let body: &[u8; BODY] = body.try_into().map_err(|_| Refused::Forged)?;
        let [version, k0, k1, k2, k3, purpose, e0, e1, e2, e3, e4, e5, ids @ ..] = body;
        let mut keys = std::iter::once(&self.newest).chain(&self.older);
        let key = keys.find(|key| key.id == [*k0, *k1, *k2, *k3]).ok_or(Refused::Forged)?;
        // In constant time; and nothing of the body is believed before.
        key.mac.clone().chain_update(body).verify_truncated_left(signature).map_err(|_| Refused::Forged)?;
        let (mail, about) = ids.split_at_checked(16).ok_or(Refused::Forged)?;
        let id = |bytes| Uuid::from_slice(bytes).map_err(|_| Refused::Forged);
        let grant = Grant::of(*purpose, id(mail)?, id(about)?).filter(|_| *version == VERSION);
        let grant = grant.ok_or(Refused::Forged)?;
        let seconds = i64::from_be_bytes([0, 0, *e0, *e1, *e2, *e3, *e4, *e5]);
        if seconds > now.timestamp() { Ok(grant) } else { Err(Refused::Expired) }
    }
}

impl Key {
    fn new(secret: &[u8]) -> Self {
        let name = Sha256::new_with_prefix(b"connection-auditor key id ").chain_update(secret).finalize();
        let mut id = [0; 4];
        id.iter_mut().zip(name).for_each(|(to, from)| *to = from);
        Self { id, mac: Hmac::new_from_slice(secret).expect("HMAC takes a key of any length") }
    }
}

/// Until when the links of a mail are good that was made at an instant and is written now.
///
/// It is counted from the making and not from the writing, so that every try to send one mail writes the same links. A mail that was
/// held back for long gets another lifetime, as often as it takes: at least half of one is always left.
#[must_use]
pub fn expiry(made_at: DateTime<Utc>, lifetime: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    let lifetime = TimeDelta::from_std(lifetime).unwrap_or(TimeDelta::days(36_500)).max(TimeDelta::seconds(1));
    let waited = (now - made_at).max(TimeDelta::zero());
    let whole = (waited + lifetime / 2).num_milliseconds() / lifetime.num_milliseconds();
    made_at + lifetime * i32::try_from(whole + 1).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
