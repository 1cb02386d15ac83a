//! The sections about what reaches the operator, and what the outside may reach.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use url::Url;

use super::ops::HttpOps;
use super::print;
use crate::domain::network::Network;

/// `[alerts]`
#[derive(Clone, Serialize)]
pub struct Alerts {
    /// Addresses of the operators; empty: no mail.
    #[serde(serialize_with = "print::mailboxes")]
    pub email: Vec<String>,
    /// How long until what is still so is told again.
    #[serde(serialize_with = "print::duration")]
    pub repeat_interval: Duration,
    /// How long the first alert of a kind waits for others.
    #[serde(serialize_with = "print::duration")]
    pub group_wait: Duration,
    /// A sweep must have been completed within this time.
    #[serde(serialize_with = "print::duration")]
    pub expected_within: Duration,
    /// `[alerts.webhook]`
    pub webhook: AlertWebhook,
    /// `[alerts.slack]`
    pub slack: AlertSlack,
}

/// Addresses are masked.
impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::debug(self, f)
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            email: Vec::new(),
            repeat_interval: Duration::from_secs(12 * 3_600),
            group_wait: Duration::from_secs(30),
            expected_within: Duration::from_secs(26 * 3_600),
            webhook: AlertWebhook::default(),
            slack: AlertSlack::default(),
        }
    }
}

/// `[alerts.webhook]`: signed as the Standard Webhooks specification says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AlertWebhook {
    /// Where it is sent; unset: nowhere. May hold a token.
    #[serde(serialize_with = "print::optional_address")]
    pub url: Option<SecretString>,
    /// The key of the signature, `whsec_…`.
    #[serde(serialize_with = "print::secret")]
    pub secret: Option<SecretString>,
}

/// `[alerts.slack]`: an incoming webhook of Slack, Mattermost, Rocket.Chat or Discord (`…/slack`).
#[derive(Debug, Clone, Default, Serialize)]
pub struct AlertSlack {
    /// Its URL, which is a secret.
    #[serde(serialize_with = "print::secret")]
    pub url: Option<SecretString>,
}

/// `[http]`
#[derive(Debug, Clone, Default, Serialize)]
pub struct Http {
    /// `[http.public]`
    pub public: HttpPublic,
    /// `[http.ops]`
    pub ops: HttpOps,
}

/// `[http.public]`: what the internet may reach.
#[derive(Debug, Clone, Serialize)]
pub struct HttpPublic {
    /// Its address as the internet sees it; unset: nothing is answered.
    pub url: Option<Url>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The keys that sign the links of mails, the newest first; all of them are believed.
    #[serde(serialize_with = "print::secrets")]
    pub token_keys: Vec<SecretString>,
    /// How long the link of a mail that reconnects is good.
    #[serde(serialize_with = "print::duration")]
    pub link_lifetime: Duration,
    /// The proxies before it, whose word on where a request comes from is believed.
    pub trusted_proxies: Vec<Network>,
    /// What a mail provider must show when it reports bounces and complaints; unset: none are taken.
    #[serde(serialize_with = "print::secret")]
    pub mail_events_secret: Option<SecretString>,
}

impl Default for HttpPublic {
    fn default() -> Self {
        Self {
            url: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8_640)),
            token_keys: Vec::new(),
            link_lifetime: Duration::from_secs(14 * 86_400),
            trusted_proxies: Vec::new(),
            mail_events_secret: None,
        }
    }
}
