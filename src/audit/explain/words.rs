//! How instants, apps and causes are written.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::Facts;
use crate::domain::id::Toolkit;
use crate::domain::incident::{Incident, IncidentKind, Resolution};
use crate::domain::slot::Slot;
use crate::domain::suppression::{Suppression, SuppressionKind};
use crate::domain::verdict::Verdict;

/// An instant within a sentence.
pub(super) fn on(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Of so many: `it is`, `they are`.
pub(super) fn it_is(items: usize) -> &'static str {
    if items == 1 { "it is" } else { "they are" }
}

/// A status with its reason, if it has one.
pub(super) fn state(status: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| status.to_owned(), |reason| format!("{status} ({reason})"))
}

/// What is wrong with an open incident's connection.
pub(super) fn trouble(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Broken => "is broken",
        IncidentKind::AttemptFailed => "could not be connected",
        IncidentKind::Unfinished => "was never connected to the end",
    }
}

/// What a verdict means for mail.
pub(super) fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "it works",
        Verdict::Superseded => "a working account of the same app took its place",
        Verdict::Unfinished => "nobody ever finished connecting",
        Verdict::OperatorFault => "its auth config is disabled at Composio: yours to mend, not the user's",
        Verdict::ByChoice => "switched off or revoked on purpose",
        Verdict::AttemptFailed => "an attempt to connect was refused; nothing that worked was lost",
        Verdict::Broken => "it worked and does no more",
        Verdict::Unknown => "a status that this version does not know: the state before stands",
    }
}

/// How an incident ended.
pub(super) fn end(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Reconnected => "reconnected",
        Resolution::Disconnected => "disconnected on purpose",
        Resolution::Removed => "removed",
        Resolution::OperatorFault => "the auth config was disabled",
        Resolution::Replaced => "another kind of trouble took its place",
        Resolution::UserDeleted => "the app has no such user any more",
    }
}

/// Why a suppression keeps mail from leaving.
pub(super) fn because(suppression: &Suppression) -> String {
    let since = on(suppression.created_at);
    match (suppression.kind, suppression.until) {
        (SuppressionKind::OptOut, None) => format!("the user opted out on {since}"),
        (SuppressionKind::OptOut, Some(until)) => format!("the user opted out on {since}, until {}", on(until)),
        (SuppressionKind::Snooze, Some(until)) => format!("the user asked for silence until {}", on(until)),
        (SuppressionKind::Snooze, None) => format!("the user asked for silence on {since}"),
        (SuppressionKind::Bounce, _) => format!("the address does not work: a mail bounced on {since}"),
        (SuppressionKind::Complaint, _) => format!("a mail was marked as spam on {since}"),
    }
}

impl Facts {
    /// How an app is called.
    pub(super) fn app(&self, toolkit: &Toolkit) -> String {
        self.names.get(toolkit).cloned().unwrap_or_else(|| toolkit.to_string())
    }

    /// A connection as people think of it: `Slack`, `Slack "work"`.
    pub(super) fn connection_name(&self, slot: &Slot) -> String {
        let app = self.app(&slot.toolkit);
        slot.alias.as_ref().map_or_else(|| app.clone(), |alias| format!("{app} \"{alias}\""))
    }

    /// What these incidents are about, each once.
    pub(super) fn subjects<'a>(&self, incidents: impl IntoIterator<Item = &'a Incident>) -> Vec<String> {
        let names: BTreeSet<String> =
            incidents.into_iter().map(|incident| self.connection_name(&incident.slot)).collect();
        names.into_iter().collect()
    }
}
