//! What the operator chose: about which trouble people are mailed, and how often.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};

use super::duration::written;
use super::incident::{Incident, IncidentKind};
use super::slot::Slot;
use super::window::SendWindow;

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Whether a failed attempt to connect is mailed about.
    pub attempt_failed: AttemptFailed,
    /// Whether an attempt that was never finished is mailed about.
    pub unfinished: Unfinished,
    /// Breakage older than this, when it is first seen, is dropped; unset: everything counts.
    #[serde(serialize_with = "as_text")]
    pub ignore_older_than: Option<Duration>,
    /// How long after the first mail each reminder follows; rising. After the last one there is silence.
    #[serde(serialize_with = "as_texts")]
    pub reminders: Vec<Duration>,
    /// The shortest time between two mails to one user.
    #[serde(serialize_with = "as_one_text")]
    pub min_interval: Duration,
    /// How long an incident that a sweep opened waits for others of its sweep, unless that ends before.
    #[serde(serialize_with = "as_one_text")]
    pub group_wait: Duration,
    /// The same for an incident that a re-audit or an event opened.
    #[serde(serialize_with = "as_one_text")]
    pub group_wait_single: Duration,
    /// How long an incident must last before its first mail.
    #[serde(serialize_with = "as_one_text")]
    pub confirm_after: Duration,
    /// The hours of the day in which mails leave, in the user's time zone; unset: all.
    pub send_window: Option<SendWindow>,
    /// Apps that mails are about.
    pub toolkits: Filter,
    /// Auth configs that mails are about.
    pub auth_configs: Filter,
}

impl Default for Policy {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            attempt_failed: AttemptFailed::default(),
            unfinished: Unfinished::default(),
            ignore_older_than: None,
            reminders: vec![3 * DAY, 10 * DAY],
            min_interval: DAY,
            group_wait: Duration::from_secs(600),
            group_wait_single: Duration::from_secs(30),
            confirm_after: Duration::ZERO,
            send_window: None,
            toolkits: Filter::default(),
            auth_configs: Filter::default(),
        }
    }
}

/// Durations are written as they are configured: `30d`.
#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn as_text<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    duration.map(written).serialize(to)
}

fn as_one_text<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&written(*duration))
}

fn as_texts<S: Serializer>(durations: &[Duration], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(durations.iter().map(|duration| written(*duration)))
}

/// `policy.attempt_failed`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptFailed {
    /// One mail, with words of its own.
    #[default]
    Mail,
    /// No mail.
    Ignore,
}

/// `policy.unfinished`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfinished {
    /// No mail.
    #[default]
    Ignore,
    /// One "finish connecting" mail a slot, ever.
    Nudge,
}

/// Which names count: all but the excluded, or, if any are included, only those.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// If not empty, only these.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl Filter {
    /// Whether this name counts.
    pub fn admits(&self, name: &str) -> bool {
        !self.exclude.iter().any(|excluded| excluded == name)
            && (self.include.is_empty() || self.include.iter().any(|included| included == name))
    }
}

impl Policy {
    /// Whether people are mailed about this kind of trouble in this slot at all.
    pub fn mails_about(&self, slot: &Slot, kind: IncidentKind) -> bool {
        let wanted = match kind {
            IncidentKind::Broken => true,
            IncidentKind::AttemptFailed => self.attempt_failed == AttemptFailed::Mail,
            IncidentKind::Unfinished => self.unfinished == Unfinished::Nudge,
        };
        wanted && self.toolkits.admits(slot.toolkit.as_str()) && self.auth_configs.admits(slot.auth_config.as_str())
    }

    /// Whether trouble that began at `since` is too old to begin with now.
    pub fn is_too_old(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.ignore_older_than
            .and_then(|limit| TimeDelta::from_std(limit).ok())
            .is_some_and(|limit| now - since > limit)
    }

    /// Whether a mail may list this incident.
    pub fn lists(&self, incident: &Incident) -> bool {
        incident.resolved.is_none() && self.mails_about(&incident.slot, incident.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_name_never_counts_and_an_include_list_admits_only_its_own() {
        let filter = |include: &[&str], exclude: &[&str]| Filter {
            include: include.iter().map(ToString::to_string).collect(),
            exclude: exclude.iter().map(ToString::to_string).collect(),
        };
        assert!(filter(&[], &[]).admits("slack"));
        assert!(!filter(&[], &["slack"]).admits("slack"));
        assert!(filter(&["slack"], &[]).admits("slack"));
        assert!(!filter(&["gmail"], &[]).admits("slack"));
        assert!(!filter(&["slack"], &["slack"]).admits("slack"));
    }

    #[test]
    fn trouble_is_too_old_only_beyond_the_limit() {
        let day = Duration::from_secs(86_400);
        let policy = Policy { ignore_older_than: Some(day), ..Policy::default() };
        let now = DateTime::from_timestamp(1_000_000_000, 0).expect("a valid instant");
        assert!(!policy.is_too_old(now - TimeDelta::days(1), now));
        assert!(policy.is_too_old(now - TimeDelta::days(1) - TimeDelta::seconds(1), now));
        assert!(!Policy::default().is_too_old(now - TimeDelta::days(9_999), now));
    }
}
