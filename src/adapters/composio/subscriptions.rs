//! Where Composio sends events: the one webhook subscription of a project (`composio-api.md` §4). For an operator's hand, never
//! for a worker's.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::client::{Composio, Urgency};
use super::connect::in_path;
use super::error::ComposioError;

/// Only this version of the payload has events about accounts.
const VERSION: &str = "V3";

/// The subscription of a project.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscription {
    /// `ws_…`.
    pub id: String,
    /// Where events are sent.
    pub webhook_url: String,
    /// Which events.
    #[serde(default)]
    pub enabled_events: Vec<String>,
    /// In which form.
    #[serde(default)]
    pub version: Option<String>,
    /// Since when.
    #[serde(default)]
    pub created_at: Option<String>,
    /// With which secret they are signed; whole only right after it was made or changed.
    #[serde(default)]
    pub secret: Option<SecretString>,
}

#[derive(Deserialize)]
struct SubscriptionPage {
    items: Vec<Subscription>,
}

#[derive(Serialize)]
struct SubscriptionBody<'a> {
    webhook_url: &'a str,
    enabled_events: &'a [&'a str],
    version: &'a str,
}

#[derive(Deserialize)]
struct Rotated {
    secret: SecretString,
}

#[derive(Deserialize)]
struct Nothing {}

impl Composio {
    /// The subscription of the project, if there is one.
    ///
    /// # Errors
    /// It could not be asked for.
    pub async fn subscription(&self) -> Result<Option<Subscription>, ComposioError> {
        let mut url = self.url(&["webhook_subscriptions"]);
        url.query_pairs_mut().append_pair("limit", "10");
        let (page, _): (SubscriptionPage, _) = self.get(&url, Urgency::Now).await?;
        Ok(page.items.into_iter().next())
    }

    /// Makes the subscription of the project. If there is one already, that is a conflict.
    ///
    /// # Errors
    /// It was refused, or nobody knows whether it was made.
    pub async fn subscribe(&self, to: &Url, events: &[&str]) -> Result<Subscription, ComposioError> {
        let body = SubscriptionBody { webhook_url: to.as_str(), enabled_events: events, version: VERSION };
        self.post(&self.url(&["webhook_subscriptions"]), &body, self.settings.timeout).await
    }

    /// Deletes a subscription.
    ///
    /// # Errors
    /// It was refused, or nobody knows whether it is gone.
    pub async fn unsubscribe(&self, id: &str) -> Result<(), ComposioError> {
        let id = in_path("a subscription's id", id)?;
        let _: Nothing = self.delete(&self.url(&["webhook_subscriptions", id])).await?;
        Ok(())
    }

    /// Gives a subscription another secret; the old one signs nothing any more.
    ///
    /// # Errors
    /// It was refused, or nobody knows which secret it has.
    pub async fn rotate_secret(&self, id: &str) -> Result<SecretString, ComposioError> {
        let id = in_path("a subscription's id", id)?;
        let url = self.url(&["webhook_subscriptions", id, "rotate_secret"]);
        let rotated: Rotated = self.post(&url, &serde_json::json!({}), self.settings.timeout).await?;
        Ok(rotated.secret)
    }
}
