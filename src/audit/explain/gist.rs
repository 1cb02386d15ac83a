//! What is so, in a sentence or two.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fate::{Fate, Lot};
use super::words::{self, on};
use super::{Facts, Presence};
use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, IncidentKind, Resolution};
use crate::domain::notification::NotificationState;
use crate::domain::port::{CheckOutcome, LastCheck};
use crate::domain::verdict::{SlotVerdict, Verdict};

/// What is so of a user, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gist {
    /// No check has looked at the user.
    NeverChecked,
    /// The app has no such user any more.
    Deleted,
    /// Every check so far failed.
    NotRead,
    /// Nobody knows whether a mail went out.
    Ambiguous,
    /// A mail failed for good.
    Failed,
    /// Something is broken, and the user has no usable address.
    Unreachable,
    /// A mail is held, by the guard or for the operator.
    Held,
    /// A mail will leave.
    Waiting,
    /// The user was mailed, and it is still broken.
    Mailed,
    /// Something breaks again and again.
    Flapping,
    /// The user or the address is not to be mailed.
    Suppressed,
    /// The operator discarded what there was to say.
    Discarded,
    /// Something is broken that the settings do not mail about.
    LeftOut,
    /// An auth config is disabled.
    OperatorFault,
    /// What was broken is not any more.
    Recovered,
    /// A working account took the place of one that does not.
    Superseded,
    /// Nobody finished connecting.
    Unfinished,
    /// Switched off on purpose.
    ByChoice,
    /// A status that this version does not know.
    Unknown,
    /// Everything works.
    Healthy,
    /// The user has connected nothing.
    NoConnections,
}

impl Lot<'_> {
    fn gist(&self) -> Gist {
        match self {
            Self::Ambiguous { .. } => Gist::Ambiguous,
            Self::Failed(_) => Gist::Failed,
            Self::Unreachable(_) => Gist::Unreachable,
            Self::NotAdmitted | Self::Filtered => Gist::LeftOut,
            Self::Guard(_) | Self::Held(_) => Gist::Held,
            Self::Waiting => Gist::Waiting,
            Self::Mailed => Gist::Mailed,
            Self::Flapping(_) => Gist::Flapping,
            Self::Suppressed(_) => Gist::Suppressed,
            Self::Discarded(_) => Gist::Discarded,
        }
    }
}

impl Facts {
    pub(super) fn gist(&self, verdicts: &[SlotVerdict], fates: &[Fate<'_>]) -> (Gist, String) {
        if self.was_never_seen() {
            return (Gist::NeverChecked, self.never_checked());
        }
        let (mut gist, mut said) = if fates.is_empty() { self.at_rest(verdicts) } else { self.in_trouble(fates) };
        if self.presence == Presence::Gone {
            gist = Gist::Deleted;
            said.insert(0, "The app has no such user (any more): nobody is mailed.".to_owned());
        }
        (gist, said.join(" "))
    }

    fn never_checked(&self) -> String {
        let app = match &self.presence {
            Presence::Known { .. } => "The app has this user, but no check has looked at them yet",
            Presence::Gone => "The app has no such user: ids are taken as they are, capitals and spaces included",
            Presence::Unasked(_) => "It could not be asked whether the app has such a user",
        };
        format!("Never checked. {app}.")
    }

    /// Something is open: each fate in its turn, those that share one together.
    fn in_trouble(&self, fates: &[Fate<'_>]) -> (Gist, Vec<String>) {
        let mut ordered: Vec<&Fate<'_>> = fates.iter().collect();
        ordered.sort_by_key(|fate| fate.lot.gist());
        let mut groups: Vec<Vec<&Fate<'_>>> = Vec::new();
        for fate in ordered {
            let alike = |group: &&mut Vec<&Fate<'_>>| group.first().is_some_and(|first| self.alike(first, fate));
            match groups.iter_mut().find(alike) {
                Some(group) => group.push(fate),
                None => groups.push(vec![fate]),
            }
        }
        let gist = fates.iter().map(|fate| fate.lot.gist()).min().unwrap_or(Gist::Waiting);
        (gist, groups.iter().map(|group| self.sentence(group)).collect())
    }

    /// Whether two fates can be told in one sentence.
    fn alike(&self, one: &Fate<'_>, other: &Fate<'_>) -> bool {
        let kind = |fate: &Fate<'_>| fate.standing.incident.kind;
        one.lot == other.lot
            && (one.lot != Lot::Waiting || kind(one) == kind(other))
            && self.mails_about(one.standing) == self.mails_about(other.standing)
    }

    fn sentence(&self, group: &[&Fate<'_>]) -> String {
        let Some(first) = group.first() else { return String::new() };
        let apps = words::list(&self.subjects(group.iter().map(|fate| &fate.standing.incident)));
        let mails: Vec<String> = self
            .mails_about(first.standing)
            .into_iter()
            .map(|(stage, at)| if stage.is_reminder() { format!("{stage} on {}", on(at)) } else { on(at) })
            .collect();
        match (self.why_not(first), mails.as_slice()) {
            (None, []) => {
                let incident = &first.standing.incident;
                let since = group.iter().map(|fate| fate.standing.incident.broke_at).min();
                let trouble = match (group.len(), incident.kind) {
                    (1, kind) => words::trouble(kind),
                    (_, IncidentKind::Broken) => "are broken",
                    (_, IncidentKind::AttemptFailed) => "could not be connected",
                    (_, IncidentKind::Unfinished) => "were never connected to the end",
                };
                let since = on(since.unwrap_or(incident.broke_at));
                format!("{apps} {trouble} since {since}; nobody was mailed yet.")
            }
            (None, mails) => format!("Mailed about {apps} on {}.", mails.join(", ")),
            (Some(why), []) => format!("Not mailed about {apps}: {why}."),
            (Some(why), mails) => format!("Mailed about {apps} on {}; no more now: {why}.", mails.join(", ")),
        }
    }

    /// Nothing is open: what ended last, and what is said of the connections.
    fn at_rest(&self, verdicts: &[SlotVerdict]) -> (Gist, Vec<String>) {
        if let Some(LastCheck { observed_at: None, outcome, .. }) = &self.trail.last_check {
            let why = match outcome {
                CheckOutcome::GivenUp(why) => format!("Every check so far failed, the last one with: {why}."),
                CheckOutcome::Refused(why) => format!("The user cannot be asked for: {why}."),
                CheckOutcome::Checked => "The accounts were never read in full.".to_owned(),
            };
            return (Gist::NotRead, vec![why]);
        }
        let mut told: Vec<(Gist, String)> = Vec::new();
        if let Some((at, incidents)) = &self.last_ended()
            && incidents.iter().any(|incident| matches!(incident.resolved, Some((_, how)) if is_relief(how)))
        {
            told.push((Gist::Recovered, self.ended(*at, incidents)));
        }
        let groups = [
            (Gist::OperatorFault, Verdict::OperatorFault),
            (Gist::LeftOut, Verdict::Broken),
            (Gist::LeftOut, Verdict::AttemptFailed),
            (Gist::Superseded, Verdict::Superseded),
            (Gist::Unfinished, Verdict::Unfinished),
            (Gist::ByChoice, Verdict::ByChoice),
            (Gist::Unknown, Verdict::Unknown),
        ];
        for (gist, verdict) in groups.into_iter().filter(|_| self.presence != Presence::Gone) {
            let slots: Vec<&SlotVerdict> = verdicts.iter().filter(|about| about.verdict == verdict).collect();
            if let Some(first) = slots.first() {
                let names: Vec<String> = slots.iter().map(|about| self.connection_name(&about.slot)).collect();
                let why = match verdict {
                    Verdict::Broken | Verdict::AttemptFailed => self.left_out(first),
                    verdict => words::meaning(verdict).to_owned(),
                };
                told.push((gist, format!("Not mailed about {}: {why}.", words::list(&names))));
            }
        }
        told.sort_by_key(|(gist, _)| *gist);
        if let Some((gist, _)) = told.first() {
            return (*gist, told.into_iter().map(|(_, text)| text).collect());
        }
        if self.presence == Presence::Gone {
            return (Gist::Deleted, Vec::new());
        }
        if verdicts.is_empty() {
            return (Gist::NoConnections, vec!["The user has no connections.".to_owned()]);
        }
        let all = if verdicts.len() == 1 { "The one connection works" } else { "All connections work" };
        (Gist::Healthy, vec![format!("{all}; there is nothing to mail about.")])
    }

    /// The incidents that ended last, together.
    fn last_ended(&self) -> Option<(DateTime<Utc>, Vec<&Incident>)> {
        let at = self.trail.incidents.iter().filter_map(|incident| incident.resolved.map(|(at, _)| at)).max()?;
        let is_of_then = |incident: &&Incident| incident.resolved.is_some_and(|(ended, _)| ended == at);
        Some((at, self.trail.incidents.iter().filter(is_of_then).collect()))
    }

    /// How it ended, and whether anybody was mailed before.
    fn ended(&self, at: DateTime<Utc>, incidents: &[&Incident]) -> String {
        let apps = words::list(&self.subjects(incidents.iter().copied()));
        let was = if incidents.len() == 1 { "it was" } else { "they were" };
        let how = incidents.first().and_then(|incident| incident.resolved).map_or("", |(_, how)| words::end(how));
        let ids: Vec<_> = incidents.iter().map(|incident| incident.id).collect();
        let carries = |listed: &[IncidentId]| listed.iter().any(|id| ids.contains(id));
        let about = self.trail.notifications.iter().filter(|one| carries(&one.incidents));
        match about.filter_map(|one| (one.state == NotificationState::Sent).then_some(one.sent_at?)).min() {
            Some(sent) => format!("Mailed about {apps} on {}; {was} {how} by {}.", on(sent), on(at)),
            None => format!("Not mailed about {apps}: {was} {how} by {}, before any mail left.", on(at)),
        }
    }

    /// Why no incident is open about a slot that does not work.
    fn left_out(&self, about: &SlotVerdict) -> String {
        let policy = &self.rules.policy;
        let kind = if about.verdict == Verdict::Broken { IncidentKind::Broken } else { IncidentKind::AttemptFailed };
        if !policy.mails_about(&about.slot, kind) {
            return super::fate::filtered(policy, &about.slot, kind).to_owned();
        }
        let known = self.trail.accounts.iter().find(|known| known.account.id == about.deciding.id);
        let since = about.deciding.changed_at();
        match known {
            Some(known) if policy.is_too_old(since, known.changed_at) => {
                format!("it broke on {}, longer ago than policy.ignore_older_than when it was first seen", on(since))
            }
            _ => "no incident was opened yet (a dry run opens none): the next full sweep opens it".to_owned(),
        }
    }
}

/// Whether what was broken is no more, and nobody else must mend anything.
fn is_relief(how: Resolution) -> bool {
    matches!(how, Resolution::Reconnected | Resolution::Disconnected | Resolution::Removed)
}
