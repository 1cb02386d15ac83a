//! Messages on their way: claimed, handed to their channel, and tried again until somebody takes them or a day is over.
//!
//! At least once: whoever dies between handing over and noting it hands over again, with the same id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Alerter;
use crate::adapters::hooks::{HookError, Hooks};
use crate::adapters::mailer::{Mailer, SendError};
use crate::domain::alert::{Channel, Message};
use crate::domain::clock::Clock;
use crate::domain::lease::Lease;
use crate::domain::notification::EmailAddress;
use crate::domain::port::{ClaimedMessage, MessageEnd, Store, StoreResult};
use crate::domain::retry::{Next, Retry};

/// How long a delivery may take; a channel that hangs longer is tried again.
const DELIVERY: Duration = Duration::from_secs(60);
/// How long a claim holds: longer than a delivery.
const LEASE: Duration = Duration::from_secs(90);
/// From ten seconds to an hour; with the jitter, about a day in all.
const RETRY: Retry = Retry { max_attempts: 40, base: Duration::from_secs(10), max: Duration::from_secs(3_600) };

/// The ways to the operator that are configured.
pub struct Channels {
    /// Writes and sends mails, and to whom; none: no mail.
    pub mail: Option<(Mailer, Vec<EmailAddress>)>,
    /// Webhook and Slack.
    pub hooks: Hooks,
}

/// A message that was not taken. The texts hold no address and no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Another try may succeed.
    #[error("{why}")]
    Again {
        /// Why.
        why: String,
        /// How long the receiver asks us to wait.
        retry_after: Option<Duration>,
    },
    /// It cannot be delivered.
    #[error("{0}")]
    Never(String),
}

impl From<HookError> for Undelivered {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Unconfigured => Self::Never(error.to_string()),
            error => Self::Again { why: error.to_string(), retry_after: error.retry_after() },
        }
    }
}

impl Channels {
    /// Which they are.
    #[must_use]
    pub fn configured(&self) -> Vec<Channel> {
        let all = [
            (Channel::Email, self.mail.is_some()),
            (Channel::Webhook, self.hooks.has_webhook()),
            (Channel::Slack, self.hooks.has_slack()),
        ];
        all.into_iter().filter(|(_, is_set)| *is_set).map(|(channel, _)| channel).collect()
    }

    /// Hands a message to one channel; says in a few words who took it. `reached` holds the addresses that got it before: they
    /// get no copy when it is tried again for the others.
    ///
    /// # Errors
    /// It was not taken, or not by everybody.
    pub async fn deliver(
        &self,
        channel: Channel,
        id: Uuid,
        message: &Message,
        reached: &mut HashSet<EmailAddress>,
        now: DateTime<Utc>,
    ) -> Result<String, Undelivered> {
        match channel {
            Channel::Webhook => Ok(self.hooks.webhook(id, message, now).await?),
            Channel::Slack => Ok(self.hooks.slack(message).await?),
            Channel::Email => self.mail(id, message, reached, now).await,
        }
    }

    async fn mail(
        &self,
        id: Uuid,
        message: &Message,
        reached: &mut HashSet<EmailAddress>,
        now: DateTime<Utc>,
    ) -> Result<String, Undelivered> {
        let Some((mailer, operators)) = &self.mail else {
            return Err(Undelivered::Never("alerts.email is not set any more".to_owned()));
        };
        let (mut again, mut never) = (None, None);
        for operator in operators {
            if reached.contains(operator) {
                continue;
            }
            let mail = match mailer.compose_alert(id, message, operator, now) {
                Ok(mail) => mail,
                Err(error) => {
                    never = Some(error.to_string());
                    continue;
                }
            };
            match mailer.send(&mail).await {
                Ok(()) => {
                    reached.insert(operator.clone());
                }
                Err(SendError::Permanent(why) | SendError::Bounced(why)) => {
                    tracing::warn!(event = "alert.address_refused", ?operator, why);
                    never = Some(why);
                }
                Err(SendError::Unavailable(why) | SendError::Transient(why) | SendError::Ambiguous(why)) => {
                    again = Some(why);
                }
            }
        }
        match (again, never) {
            (Some(why), _) => Err(Undelivered::Again { why, retry_after: None }),
            (None, Some(why)) if reached.is_empty() => Err(Undelivered::Never(why)),
            _ => Ok(format!("the mail server took it for {} of {} addresses", reached.len(), operators.len())),
        }
    }

    /// Ends what is open towards the mail server.
    pub async fn close(&self) {
        if let Some((mailer, _)) = &self.mail {
            mailer.close().await;
        }
    }
}

/// Delivers what is stored.
pub struct Postman<'a> {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    channels: &'a Channels,
    interval: Duration,
    /// Who got which message, while others did not.
    reached: HashMap<Uuid, HashSet<EmailAddress>>,
}

impl<'a> Postman<'a> {
    /// Takes what this alerter, or another replica's, has stored to the channels of this one.
    #[must_use]
    pub fn new(alerter: &'a Alerter) -> Self {
        Self {
            store: Arc::clone(&alerter.store),
            clock: Arc::clone(&alerter.clock),
            channels: &alerter.channels,
            interval: alerter.interval,
            reached: HashMap::new(),
        }
    }

    pub(super) async fn deliver_on(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.deliver_one().await {
                Ok(true) => continue,
                Ok(false) => {}
                // The round that judges says so, once.
                Err(error) => tracing::debug!(event = "alert.store_unavailable", %error),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Tries the message that has waited longest; `false` if none is due.
    ///
    /// # Errors
    /// The store cannot be asked, or could not note how it ended: then the message is tried again when its claim lapses.
    pub async fn deliver_one(&mut self) -> StoreResult<bool> {
        let now = self.clock.now();
        let lease = Lease::new(Uuid::new_v4(), now, LEASE);
        let Some(claimed) = self.store.claim_message(lease, now).await? else { return Ok(false) };
        let ClaimedMessage { id, channel, message, .. } = &claimed;
        let reached = self.reached.entry(*id).or_default();
        let delivery = self.channels.deliver(*channel, *id, message, reached, now);
        let delivered = tokio::time::timeout(DELIVERY, delivery).await.unwrap_or_else(|_| {
            let why = format!("no end within {}", humantime::format_duration(DELIVERY));
            Err(Undelivered::Again { why, retry_after: None })
        });
        let end = self.end(&claimed, delivered);
        if !matches!(end, MessageEnd::Again(..)) {
            self.reached.remove(id);
        }
        self.store.settle_message(*id, lease.token, &end, self.clock.now()).await?;
        Ok(true)
    }

    fn end(&self, claimed: &ClaimedMessage, delivered: Result<String, Undelivered>) -> MessageEnd {
        let (channel, kind, tries) = (claimed.channel.as_str(), &claimed.message.kind, claimed.attempts + 1);
        let (why, retry_after) = match delivered {
            Ok(who) => {
                tracing::info!(event = "alert.delivered", channel, kind, tries, who);
                return MessageEnd::Delivered;
            }
            Err(Undelivered::Never(why)) => {
                tracing::error!(event = "alert.given_up", channel, kind, tries, why);
                return MessageEnd::GivenUp(why);
            }
            Err(Undelivered::Again { why, retry_after }) => (why, retry_after),
        };
        match RETRY.after(tries, rand::random(), retry_after) {
            Next::GiveUp => {
                tracing::error!(event = "alert.given_up", channel, kind, tries, why);
                MessageEnd::GivenUp(why)
            }
            Next::Again(wait) => {
                tracing::warn!(event = "alert.delivery_failed", channel, kind, tries, why, wait = ?wait);
                let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::hours(1));
                MessageEnd::Again(self.clock.now() + wait, why)
            }
        }
    }
}
