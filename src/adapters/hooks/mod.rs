//! Messages to the operator over HTTP: a signed webhook, and an incoming webhook as Slack takes it.
//!
//! | file | what |
//! |---|---|
//! | `post` | one request: bounded in time and size, no redirects, and no URL in any error |
//! | `standard` | the body and the signature of the Standard Webhooks specification |
//! | `slack` | text and blocks, within Slack's limits |

mod post;
mod slack;
mod standard;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

pub use post::HookError;

use crate::config;
use crate::domain::alert::Message;
use post::Poster;
use standard::Signer;

/// Settings with which no hook can be called. Each names the setting; none repeats a URL or a key.
#[derive(Debug, thiserror::Error)]
pub enum HookSetupError {
    /// The text is no URL.
    #[error("{0} is not a URL")]
    Url(&'static str),
    /// The key of the signature is missing or not as it must be.
    #[error("alerts.webhook.secret is not whsec_ and a key in base64: make one with `openssl rand -base64 32`")]
    Secret,
    /// The HTTP client refused its settings.
    #[error("cannot set up the HTTP client for alerts")]
    Client(#[source] reqwest::Error),
}

/// The hooks that are configured.
pub struct Hooks {
    app: Option<String>,
    webhook: Option<(Poster, Signer)>,
    slack: Option<Poster>,
}

impl Hooks {
    /// Hooks for these settings; `app` is how the installation is called in messages.
    ///
    /// # Errors
    /// A URL or the key cannot be used.
    pub fn new(settings: &config::Alerts, app: Option<&str>) -> Result<Self, HookSetupError> {
        let poster = |url: &SecretString, name| Poster::new(url.expose_secret(), name);
        let webhook = match (&settings.webhook.url, &settings.webhook.secret) {
            (None, _) => None,
            (Some(_), None) => return Err(HookSetupError::Secret),
            (Some(url), Some(secret)) => {
                let signer = Signer::new(secret.expose_secret()).ok_or(HookSetupError::Secret)?;
                Some((poster(url, "alerts.webhook.url")?, signer))
            }
        };
        let slack = settings.slack.url.as_ref().map(|url| poster(url, "alerts.slack.url")).transpose()?;
        Ok(Self { app: app.map(ToOwned::to_owned), webhook, slack })
    }

    /// Whether a webhook is configured.
    #[must_use]
    pub fn has_webhook(&self) -> bool {
        self.webhook.is_some()
    }

    /// Whether Slack is configured.
    #[must_use]
    pub fn has_slack(&self) -> bool {
        self.slack.is_some()
    }

    /// Calls the webhook. The id and the body are the same on every try, so that the receiver knows a copy.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn webhook(&self, id: Uuid, message: &Message, now: DateTime<Utc>) -> Result<String, HookError> {
        let Some((poster, signer)) = &self.webhook else { return Err(HookError::Unconfigured) };
        let body = standard::body(id, message, self.app.as_deref(), now);
        poster.post(&body, &signer.headers(id, &body, now)).await
    }

    /// Calls the incoming webhook of Slack, or of what takes the same.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn slack(&self, message: &Message) -> Result<String, HookError> {
        let Some(poster) = &self.slack else { return Err(HookError::Unconfigured) };
        poster.post(&slack::body(message, self.app.as_deref()), &[]).await
    }
}
