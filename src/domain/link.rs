//! Links: what a person follows to connect an account, how one is asked for, and how many times it is asked for in vain.
//!
//! Asking for a link makes a row at Composio (`composio-api.md` §0 trap 5), so an answer that was lost must not be asked for
//! again and again. A link is therefore reserved under a key before it is asked for: who comes with the same key gets the link
//! that is there, waits for the one that is under way, or, after [`MOST_LOST`] lost answers within the life of a link, is told to
//! wait.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::id::{AccountId, AuthConfigId, LinkId, Toolkit, UserId};
use super::lease::Lease;

/// How long a link lives where Composio does not say (trap 4).
pub const LIFE: TimeDelta = TimeDelta::minutes(10);

/// A link with less left than this is not handed out again: nobody could follow it in time.
pub const LEAST_LEFT: TimeDelta = TimeDelta::minutes(1);

/// How often a link is asked for within its life while answers are lost.
pub const MOST_LOST: u32 = 3;

/// What Composio is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRequest {
    /// Through which auth config.
    pub auth_config: AuthConfigId,
    /// For whom.
    pub user: UserId,
    /// Where the person is sent afterwards, with `status` and `connected_account_id` appended; not a proof of anything.
    pub callback_url: Option<Url>,
    /// The name of the connection, where a user has several of one app.
    pub alias: Option<String>,
}

/// A link to follow. Whoever has it can connect an account for the user it was made for.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where the person goes; a secret, so it is never printed by itself.
    pub url: SecretString,
    /// Until when, where Composio says so.
    pub expires_at: Option<DateTime<Utc>>,
    /// The account that comes to be if the person follows it.
    pub account: AccountId,
}

/// An auth config of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthConfig {
    /// `ac_…`.
    pub id: AuthConfigId,
    /// What the operator named it.
    pub name: Option<String>,
    /// The app.
    pub toolkit: Toolkit,
    /// OAUTH2 and the like.
    pub scheme: Option<String>,
    /// Composio's own OAuth app is behind it.
    pub is_managed: bool,
    /// Not switched off.
    pub is_enabled: bool,
}

/// What names one wish for a link, so that the same wish is granted once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(String);

impl LinkKey {
    /// A key that the caller chose. Two callers that choose the same mean the same link; keys of different users never meet.
    #[must_use]
    pub fn chosen(text: &str) -> Self {
        Self(format!("c:{}", digest(&[text])))
    }

    /// The key of a wish without one: the same app, auth config, page and alias mean the same link.
    #[must_use]
    pub fn derived(
        toolkit: &Toolkit,
        auth_config: Option<&AuthConfigId>,
        callback_url: Option<&Url>,
        alias: Option<&str>,
    ) -> Self {
        let auth_config = auth_config.map_or("", AuthConfigId::as_str);
        Self(format!(
            "d:{}",
            digest(&[toolkit.as_str(), auth_config, callback_url.map_or("", Url::as_str), alias.unwrap_or_default()])
        ))
    }

    /// A key as it was stored.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text that is stored; it tells nothing of what it was made from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A digest of texts, each with its length, so that no two lists of texts look the same.
fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A wish that is to be reserved before Composio is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// A fresh id, should this be the first of its key.
    pub id: LinkId,
    /// For whom.
    pub user: UserId,
    /// The same wish has the same key.
    pub key: LinkKey,
    /// What is wished for, as [`LinkKey::derived`] sees it: a chosen key that comes with another is a mistake.
    pub content: LinkKey,
    /// The app.
    pub toolkit: Toolkit,
    /// Through which auth config.
    pub auth_config: AuthConfigId,
    /// The name of the connection.
    pub alias: Option<String>,
    /// The link of this account is known to have been followed: it is as good as none.
    pub used_up: Option<AccountId>,
    /// For how long, and under which token.
    pub lease: Lease,
}

/// A link as it is kept.
#[derive(Debug, Clone)]
pub struct KeptLink {
    /// Its row.
    pub id: LinkId,
    /// What was wished for.
    pub content: LinkKey,
    /// The app.
    pub toolkit: Toolkit,
    /// Through which auth config.
    pub auth_config: AuthConfigId,
    /// The name of the connection.
    pub alias: Option<String>,
    /// The account, for direct reference; none while the link is being made.
    pub account: Option<AccountId>,
    /// Where it leads; deleted when it has expired.
    pub url: Option<SecretString>,
    /// Until when it can be followed.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was first wished for.
    pub created_at: DateTime<Utc>,
}

impl KeptLink {
    /// The link, if there is time enough left to follow it.
    #[must_use]
    pub fn good(&self, now: DateTime<Utc>) -> Option<Link> {
        let expires_at = self.expires_at.filter(|at| *at > now + LEAST_LEFT)?;
        Some(Link { url: self.url.clone()?, expires_at: Some(expires_at), account: self.account.clone()? })
    }
}

/// What came of reserving a wish.
#[derive(Debug, Clone)]
pub enum Reserved {
    /// Ask for it now, under this row.
    Won(LinkId),
    /// Somebody else's wish of the same key was granted.
    Made(Box<KeptLink>),
    /// Somebody is asking for it, until this instant at the latest.
    Busy(DateTime<Utc>),
    /// Too many answers were lost: not before this instant again.
    Lost(DateTime<Utc>),
    /// The key was used for another wish.
    Other,
}

/// How asking for a link ended without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InVain {
    /// It was refused: nothing was made.
    Refused,
    /// Nobody knows whether something was made.
    Unclear,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_has_the_same_key_and_another_has_not() {
        let slack = Toolkit::new("slack");
        let page = Url::parse("https://app.example/back").expect("a URL");
        let key = LinkKey::derived(&slack, None, Some(&page), None);
        assert_eq!(key, LinkKey::derived(&slack, None, Some(&page), None));
        assert_ne!(key, LinkKey::derived(&Toolkit::new("gmail"), None, Some(&page), None));
        assert_ne!(key, LinkKey::derived(&slack, None, None, None));
        assert_ne!(key, LinkKey::derived(&slack, None, Some(&page), Some("work")));
        assert_ne!(key, LinkKey::derived(&slack, Some(&AuthConfigId::new("ac_1")), Some(&page), None));
        assert_ne!(LinkKey::chosen("a"), LinkKey::chosen("b"));
        assert!(
            !LinkKey::chosen("order 7").as_str().contains("order"),
            "a key that holds something personal is not kept"
        );
    }

    #[test]
    fn a_link_does_not_print_where_it_leads() {
        let link = Link {
            url: "https://connect.composio.dev/link/lk_secret".into(),
            expires_at: None,
            account: AccountId::new("ca_1"),
        };
        assert!(!format!("{link:?}").contains("lk_secret"));
    }
}
