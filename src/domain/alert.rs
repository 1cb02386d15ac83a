//! What the operator is told of: grouped by kind, told once, repeated only after a while, and told when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::AlertId;

/// The kinds of alert, as they are named in the store, in messages and in output.
pub mod kind {
    /// The outage guard holds mails back.
    pub const GUARD: &str = "guard_tripped";
    /// The API key is refused, or lacks a scope.
    pub const API_KEY: &str = "api_key_refused";
    /// The API ignores filters: other people's rows would come back.
    pub const FILTERS: &str = "filters_ignored";
    /// A sweep is paused or has failed.
    pub const SWEEP: &str = "sweep_troubled";
    /// No sweep was completed for too long.
    pub const LATE: &str = "sweep_late";
    /// Notifications fail.
    pub const NOTIFICATIONS: &str = "notifications_failing";
    /// Slots break again and again.
    pub const FLAPPING: &str = "flapping";
    /// An auth config is switched off.
    pub const OPERATOR_FAULT: &str = "auth_config_disabled";
    /// Jobs were given up as poison.
    pub const DEAD_JOBS: &str = "dead_jobs";
    /// The kill switch has been thrown for long.
    pub const PAUSED: &str = "mails_paused";
    /// Nothing is wrong: a person tries the channels out.
    pub const TEST: &str = "test";
}

/// Something that is so now, and that the operator should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// One of [`kind`].
    pub kind: String,
    /// About what, within the kind: a trip, a schedule, an app.
    pub subject: String,
    /// One line: what is so.
    pub summary: String,
    /// What is known of it, the likely cause, and what to do; a few lines of plain text, without addresses or secrets.
    pub detail: String,
}

/// A condition as the store remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Its row.
    pub id: AlertId,
    /// What is, or was, so.
    #[serde(flatten)]
    pub condition: Condition,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it was last told.
    pub told_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether its end was told.
    pub end_told: bool,
}

/// By which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By mail, to `alerts.email`.
    Email,
    /// By a signed webhook, to `alerts.webhook.url`.
    Webhook,
    /// By a Slack-compatible incoming webhook, to `alerts.slack.url`.
    Slack,
}

impl Channel {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
        }
    }
}

/// What one message says: all alerts of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The kind of all of them.
    pub kind: String,
    /// What fires.
    pub firing: Vec<Alert>,
    /// What has ended.
    pub ended: Vec<Alert>,
}

/// How long new alerts of a kind wait after that kind was told of.
pub const GROUP_INTERVAL: Duration = Duration::from_secs(300);

/// How alerts are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// How long the first alert of a kind waits for others.
    pub group_wait: Duration,
    /// How long until what still fires is told again.
    pub repeat_interval: Duration,
}

impl Telling {
    /// The messages that are due, one a kind. What goes on firing is named again whenever its kind is told of.
    ///
    /// An alert that ends before it was told of is never told.
    #[must_use]
    pub fn due(&self, alerts: &[Alert], now: DateTime<Utc>) -> Vec<Message> {
        let mut kinds: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
        for alert in alerts {
            kinds.entry(&alert.condition.kind).or_default().push(alert);
        }
        kinds.into_iter().filter_map(|(kind, alerts)| self.message(kind, &alerts, now)).collect()
    }

    fn message(&self, kind: &str, alerts: &[&Alert], now: DateTime<Utc>) -> Option<Message> {
        let since = |at: DateTime<Utc>, wait: Duration| TimeDelta::from_std(wait).is_ok_and(|wait| now - at >= wait);
        let firing: Vec<&Alert> = alerts.iter().copied().filter(|alert| alert.ended_at.is_none()).collect();
        let ended =
            alerts.iter().filter(|alert| alert.ended_at.is_some() && alert.told_at.is_some() && !alert.end_told);
        let ended: Vec<Alert> = ended.map(|alert| (*alert).clone()).collect();
        // More of a kind that was told of just now can wait a little, or a sweep that finds one after the other tells each alone.
        let last = alerts.iter().filter_map(|alert| alert.told_at).max();
        let rested = last.is_none_or(|last| since(last, GROUP_INTERVAL.max(self.group_wait)));
        let is_new = |alert: &&Alert| alert.told_at.is_none() && rested && since(alert.since, self.group_wait);
        let is_old = |alert: &&Alert| alert.told_at.is_some_and(|told| since(told, self.repeat_interval));
        let due = !ended.is_empty() || firing.iter().any(|alert| is_new(alert) || is_old(alert));
        due.then(|| Message { kind: kind.to_owned(), firing: firing.into_iter().cloned().collect(), ended })
    }
}

#[cfg(test)]
mod tests;
