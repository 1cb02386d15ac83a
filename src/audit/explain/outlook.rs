//! What happens next, and when.
//!
//! The plan is asked what it would do now, then at the instants it names itself, until a mail leaves or nothing more is
//! to come: so reminders, the end of a snooze, the hours of the send window and the time between two mails are all told as
//! the notifier will decide them, if nothing changes meanwhile.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::fate::{Fate, Lot};
use super::gist::Gist;
use super::words::{self, on};
use super::{Facts, Presence};
use crate::config::NotifyMode;
use crate::domain::guard::TripState;
use crate::domain::id::{AuthConfigId, IncidentId};
use crate::domain::incident::IncidentKind;
use crate::domain::notice::capitalized;
use crate::domain::notification::hold;
use crate::domain::plan::{Listed, Next, Waiting};
use crate::domain::stage::Stage;
use crate::domain::verdict::{SlotVerdict, Verdict};

/// The plan is asked so often; more instants than this it never names.
const STEPS: usize = 32;

/// What happens next, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outlook {
    /// In a sentence or two.
    pub text: String,
    /// When the next mail leaves, if nothing changes; none if none does by itself.
    pub mail_at: Option<DateTime<Utc>>,
    /// What it lists.
    pub mail_lists: Vec<Listed>,
    /// What the plan says now.
    pub plan: Next,
    /// When each open incident is worth another look.
    pub looks: BTreeMap<IncidentId, Option<DateTime<Utc>>>,
}

/// A mail that is to come.
struct Coming {
    at: DateTime<Utc>,
    list: Vec<Listed>,
    why: Option<Waiting>,
}

impl Facts {
    pub(super) fn outlook(&self, gist: Gist, verdicts: &[SlotVerdict], fates: &[Fate<'_>]) -> Outlook {
        let policy = &self.rules.policy;
        let coming = if self.is_let_alone(fates) { None } else { self.coming() };
        let text = match &coming {
            Some(coming) => self.announced(coming),
            None if fates.is_empty() => self.at_rest_next(gist, verdicts),
            None => self.stuck(fates),
        };
        let nothing_leaves = self.presence == Presence::Gone || self.paused.is_some();
        Outlook {
            text,
            mail_at: coming.as_ref().filter(|_| !nothing_leaves).map(|coming| coming.at),
            mail_lists: coming.map(|coming| coming.list).unwrap_or_default(),
            plan: self.situation.next(policy, self.zone(), self.now),
            looks: self.situation.looks(policy, self.now).into_iter().collect(),
        }
    }

    /// Whether the ledger is done with the user until somebody acts: what failed, or reached nobody, is not tried again by
    /// itself, though the plan would mail.
    fn is_let_alone(&self, fates: &[Fate<'_>]) -> bool {
        let is_over = |fate: &Fate<'_>| matches!(fate.lot, Lot::Failed(_) | Lot::Unreachable(_) | Lot::NotAdmitted);
        self.presence == Presence::Gone
            || (fates.iter().any(is_over)
                && fates.iter().all(|fate| is_over(fate) || !matches!(fate.lot, Lot::Waiting | Lot::Mailed)))
    }

    /// The next mail, if nothing changes.
    fn coming(&self) -> Option<Coming> {
        let policy = &self.rules.policy;
        let zone = self.zone();
        let mut at = self.active().map_or(self.now, |active| active.due_at.max(self.now));
        let mut why = match self.situation.next(policy, zone, self.now) {
            Next::Wait { why, .. } => Some(why),
            _ => None,
        };
        for _ in 0..STEPS {
            let later = match self.situation.next(policy, zone, at) {
                Next::Send { list, .. } => return Some(Coming { at, list, why }),
                Next::Wait { until, why: waits } => {
                    why = Some(waits);
                    Some(until)
                }
                Next::Hold(_) | Next::Nothing { .. } => {
                    why = None;
                    self.situation.looks(policy, at).into_iter().filter_map(|(_, look)| look).min()
                }
            };
            at = later.filter(|later| *later > at)?;
        }
        None
    }

    fn announced(&self, coming: &Coming) -> String {
        let of = |ids: &[IncidentId]| {
            let open = self.situation.open.iter().map(|standing| &standing.incident);
            self.subjects(open.filter(|incident| ids.contains(&incident.id)))
        };
        let mut stages: BTreeMap<Stage, Vec<IncidentId>> = BTreeMap::new();
        let mut mentions = Vec::new();
        for listed in &coming.list {
            match listed.stages.iter().max() {
                Some(stage) => stages.entry(*stage).or_default().push(listed.incident),
                None => mentions.push(listed.incident),
            }
        }
        let parts: Vec<String> = stages
            .iter()
            .map(|(stage, ids)| {
                let apps = words::list(&of(ids));
                if stage.is_reminder() {
                    format!("{stage} about {apps}")
                } else {
                    format!("the first mail about {apps}")
                }
            })
            .collect();
        let what = capitalized(&words::list(&parts));
        let leaves = if parts.len() == 1 { "leaves" } else { "leave, in one mail," };
        let consuming = coming.list.len() - mentions.len();
        let when = if coming.at > self.now {
            format!("on {}", on(coming.at))
        } else {
            "as soon as a worker gets to it".to_owned()
        };
        let mut text = format!("{what} {leaves} {when}, unless {} reconnected before", words::it_is(consuming));
        if let Some(why) = coming.why {
            text = format!("{text}; it waits for {}", why.as_str());
        }
        text.push('.');
        if !mentions.is_empty() {
            text = format!("{text} It mentions {} too.", words::list(&of(&mentions)));
        }
        if let Some(active) = self.active().filter(|active| active.attempts > 0) {
            let why = active.error.as_deref().map(|why| format!("; the last one: {why}")).unwrap_or_default();
            let tries = if active.attempts == 1 { "1 try".to_owned() } else { format!("{} tries", active.attempts) };
            text = format!("{text} {tries} failed so far{why}.");
        }
        if self.rules.mode == NotifyMode::Hold && self.active().is_none() {
            text = format!("{text} It will be held under the name {}: notify.mode is \"hold\".", hold::GO_LIVE);
        }
        self.unless_paused(text)
    }

    fn unless_paused(&self, text: String) -> String {
        let Some(pause) = &self.paused else { return text };
        let note = pause.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
        format!("All mails are paused since {}{note}: nothing leaves before `resume`. {text}", on(pause.since))
    }

    /// Something is open, and no mail leaves by itself: what would change that.
    fn stuck(&self, fates: &[Fate<'_>]) -> String {
        if self.presence == Presence::Gone {
            return "What is still open about this user is closed at the next look, and nobody is mailed.".to_owned();
        }
        let mut said: Vec<String> = Vec::new();
        for fate in fates {
            let text = self.way_out(fate);
            if !said.contains(&text) {
                said.push(text);
            }
        }
        said.join(" ")
    }

    fn way_out(&self, fate: &Fate<'_>) -> String {
        match &fate.lot {
            Lot::Ambiguous { held: true } => format!(
                "`notifications release {0}` sends it again with the same Message-ID, `notifications discard {0}` drops it.",
                hold::AMBIGUOUS
            ),
            Lot::Ambiguous { held: false } => "As soon as the notification is settled, the rest is decided.".to_owned(),
            Lot::Failed(_) => "Nothing is tried again by itself: `notifications retry failed` does.".to_owned(),
            Lot::Unreachable(_) => {
                "Nothing is tried again by itself: `notifications retry unreachable` does, once there is an address."
                    .to_owned()
            }
            Lot::NotAdmitted => "Nothing is caught up later by itself, also when notify.only_to changes.".to_owned(),
            Lot::Guard(trip) => match self.trip(*trip) {
                Some(held) if held.state == TripState::Releasing => match held.ramp_at {
                    Some(at) => format!("The rest of the trip, this user with it, is released on {}.", on(at)),
                    None => "The rest of the trip, this user with it, is released soon.".to_owned(),
                },
                _ => format!(
                    "Nothing leaves until most of what broke works again, or you decide: `guard release {trip}` or `guard discard {trip}`."
                ),
            },
            Lot::Held(name) => {
                format!("`notifications release {name}` lets it go, `notifications discard {name}` drops it.")
            }
            Lot::Flapping(until) => format!("Its owner is left alone until {}.", on(*until)),
            Lot::Suppressed(suppression) => match suppression.until {
                Some(until) => format!("Nothing leaves until {}.", on(until)),
                None => "Nothing leaves until `suppressions remove` lifts that.".to_owned(),
            },
            Lot::Discarded(_) => "Nothing is ever mailed about it.".to_owned(),
            Lot::Filtered => "Nothing leaves about it while the settings stay as they are.".to_owned(),
            Lot::Waiting => "A look at it is due.".to_owned(),
            Lot::Mailed => {
                let ladder = &self.rules.policy.reminders;
                if fate.standing.incident.kind != IncidentKind::Broken {
                    "There are no reminders of attempts to connect: there is silence until something changes."
                        .to_owned()
                } else if ladder.is_empty() {
                    "policy.reminders has none: there is silence until something changes.".to_owned()
                } else {
                    "All reminders were sent: there is silence until something changes.".to_owned()
                }
            }
        }
    }

    /// Nothing is open: when somebody looks again.
    fn at_rest_next(&self, gist: Gist, verdicts: &[SlotVerdict]) -> String {
        let sweep = match self.ticks.first() {
            Some(tick) => format!("The next sweep is due on {} (schedule {})", on(tick.at), tick.schedule),
            None => "No schedule is set: nothing is swept by itself".to_owned(),
        };
        if self.presence == Presence::Gone {
            return format!("Nothing to come. {sweep}.");
        }
        match gist {
            Gist::NeverChecked | Gist::NotRead => format!("{sweep}; `check` looks now."),
            Gist::OperatorFault => {
                let faults = verdicts.iter().filter(|about| about.verdict == Verdict::OperatorFault);
                let mut configs: Vec<&AuthConfigId> = faults.map(|about| &about.slot.auth_config).collect();
                configs.sort();
                configs.dedup();
                let configs: Vec<String> = configs.iter().map(ToString::to_string).collect();
                let (noun, it) = if configs.len() == 1 { ("auth config", "it") } else { ("auth configs", "them") };
                format!("Switch the {noun} {} on again at Composio, or remove {it}. {sweep}.", words::list(&configs))
            }
            _ => format!("No mail is to come while nothing changes. {sweep}."),
        }
    }
}
