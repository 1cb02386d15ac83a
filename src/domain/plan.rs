//! What happens to one user next, and when: pure, from everything that is known of their open incidents.
//!
//! A notification is a look at a user. Each look ends in one of four ways: a mail leaves now; it is put off to an instant; it
//! is held; or there is nothing to mail about, and each incident says when it is worth another look. So whatever crashes or
//! comes twice, the next look sees what is so, and decides again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{IncidentId, TripId};
use super::incident::{Incident, IncidentKind};
use super::policy::Policy;
use super::stage::Stage;
use super::suppression::Suppression;

/// So many openings of one slot within [`FLAPPING_WINDOW`] are no accident: the operator is told, the owner is left alone.
pub const FLAPPING_INCIDENTS: usize = 3;
/// See [`FLAPPING_INCIDENTS`].
pub const FLAPPING_WINDOW: TimeDelta = TimeDelta::days(14);

/// Everything that decides on a user's next mail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Situation {
    /// Every open incident of the user.
    pub open: Vec<Standing>,
    /// When the newest mail to the user left, or may have left; the notification that is being looked at does not count.
    pub last_mail: Option<DateTime<Utc>>,
    /// Reasons not to mail, past ones left out.
    pub suppressions: Vec<Suppression>,
}

/// An open incident, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The incident.
    pub incident: Incident,
    /// What opened it.
    pub origin: Origin,
    /// The newest stage that was mailed, and when the first was; none if nobody was told.
    pub mailed: Option<Mailed>,
    /// What keeps it from being mailed about, until the operator or the guard lets go.
    pub hold: Option<Hold>,
    /// When incidents of this slot were opened within [`FLAPPING_WINDOW`] before now, this one included, oldest first. Attempts that
    /// were never finished do not count.
    pub openings: Vec<DateTime<Utc>>,
}

/// What opened an incident; it decides how long the incident waits for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A re-audit, an event, or a second look.
    Single,
    /// A sweep.
    Sweep {
        /// Whether it has ended, or is no longer known.
        over: bool,
        /// Its schedule, as long as it is known.
        schedule: Option<String>,
    },
}

/// What was mailed about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailed {
    /// The newest stage.
    pub stage: Stage,
    /// When the first stage left.
    pub first_at: DateTime<Utc>,
}

/// What keeps an incident from being mailed about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A trip of the outage guard.
    Guard(TripId),
    /// The operator discarded it, with the trip or under the name that held it: it is never mailed about.
    Discarded(Option<TripId>),
    /// A notification that is held under this name carries it; one that may have gone out is held for the operator as *ambiguous*.
    Named(String),
    /// A notification lists it of which nobody knows whether it went out, and which is neither settled nor held yet.
    Ambiguous,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum Next {
    /// A mail leaves now.
    Send {
        /// What it lists.
        list: Vec<Listed>,
        /// The guard must have been asked at this instant or later.
        judged_from: DateTime<Utc>,
    },
    /// There is something to mail about, but not yet.
    Wait {
        /// When to look again.
        until: DateTime<Utc>,
        /// What is waited for.
        why: Waiting,
    },
    /// All there is to mail about is held.
    Hold(Hold),
    /// There is nothing to mail about.
    Nothing {
        /// Why.
        why: Idle,
    },
}

/// One incident of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    /// Which.
    pub incident: IncidentId,
    /// The stages that the mail consumes; empty for a mention.
    pub stages: Vec<Stage>,
}

/// What a mail waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// Others of the same sweep or moment: `policy.group_wait`, `policy.group_wait_single`.
    Group,
    /// The incident must last: `policy.confirm_after`.
    Confirmation,
    /// A mail left not long ago: `policy.min_interval`.
    MinInterval,
    /// The hours in which mails leave: `policy.send_window`.
    SendWindow,
}

impl Waiting {
    /// As it is said in output, after "waits for".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "others of its sweep or moment (policy.group_wait)",
            Self::Confirmation => "confirmation (policy.confirm_after)",
            Self::MinInterval => "the time between two mails (policy.min_interval)",
            Self::SendWindow => "the hours in which mails leave (policy.send_window)",
        }
    }
}

/// Why there is nothing to mail about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// Nothing is broken, or nothing that the policy mails about.
    Recovered,
    /// What there was to say was said; a reminder may follow.
    MailedAlready,
    /// The user or the address is not to be mailed.
    Suppressed,
    /// The slot breaks again and again: the operator's to mend.
    Flapping,
    /// The operator discarded it.
    Discarded,
}

impl Idle {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::MailedAlready => "mailed already",
            Self::Suppressed => "suppressed",
            Self::Flapping => "flapping",
            Self::Discarded => "discarded",
        }
    }
}

/// What stands in the way of mailing about one incident.
enum Obstacle<'a> {
    Suppressed(Option<DateTime<Utc>>),
    Flapping(DateTime<Utc>),
    Held(&'a Hold),
}

impl Standing {
    /// From when on its slot counts as flapping no more, if it does now.
    #[must_use]
    pub fn flapping_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let recent: Vec<_> = self.openings.iter().filter(|opened| **opened + FLAPPING_WINDOW > now).collect();
        let spare = recent.len().checked_sub(FLAPPING_INCIDENTS)?;
        recent.get(spare).map(|opened| **opened + FLAPPING_WINDOW)
    }

    /// When it has waited long enough for others.
    fn grouped_at(&self, policy: &Policy) -> DateTime<Utc> {
        let opened = self.incident.opened_at;
        match self.origin {
            Origin::Sweep { over: true, .. } => opened,
            Origin::Sweep { over: false, .. } => opened + delta(policy.group_wait),
            Origin::Single => opened + delta(policy.group_wait_single),
        }
    }

    fn confirmed_at(&self, policy: &Policy) -> DateTime<Utc> {
        self.incident.opened_at + delta(policy.confirm_after)
    }

    /// The stages that are not mailed yet, with the instants from which on they may be.
    fn stages(&self, policy: &Policy) -> Vec<(Stage, DateTime<Utc>)> {
        let ladder = if self.incident.kind == IncidentKind::Broken { policy.reminders.as_slice() } else { &[] };
        match self.mailed {
            None => vec![(Stage::FIRST, self.grouped_at(policy).max(self.confirmed_at(policy)))],
            Some(mailed) => (1_u8..)
                .zip(ladder)
                .map(|(number, after)| (Stage(number), mailed.first_at + delta(*after)))
                .filter(|(stage, _)| *stage > mailed.stage)
                .collect(),
        }
    }
}

impl Situation {
    /// The time zone of the schedule that found the trouble; of any schedule, if a re-audit did. For users whose own is not known.
    #[must_use]
    pub fn zone(&self, schedules: &BTreeMap<String, Tz>) -> Tz {
        let found_by = self.open.iter().find_map(|standing| match &standing.origin {
            Origin::Sweep { schedule, .. } => schedule.as_ref().and_then(|name| schedules.get(name)),
            Origin::Single => None,
        });
        found_by.or_else(|| schedules.values().next()).copied().unwrap_or(Tz::UTC)
    }

    fn obstacle<'a>(&'a self, standing: &'a Standing, now: DateTime<Utc>) -> Option<Obstacle<'a>> {
        let toolkit = &standing.incident.slot.toolkit;
        let mut covering = self.suppressions.iter().filter(|one| one.covers(toolkit, now)).peekable();
        if covering.peek().is_some() {
            let ends: Option<Vec<_>> = covering.map(|one| one.until).collect();
            return Some(Obstacle::Suppressed(ends.and_then(|ends| ends.into_iter().max())));
        }
        if let Some(hold) = &standing.hold {
            return Some(Obstacle::Held(hold));
        }
        standing.flapping_until(now).map(Obstacle::Flapping)
    }

    /// What happens to this user now, with mails leaving by the clock of `zone`.
    #[must_use]
    pub fn next(&self, policy: &Policy, zone: Tz, now: DateTime<Utc>) -> Next {
        let (mut free, mut obstacles) = (Vec::new(), Vec::new());
        for standing in self.open.iter().filter(|standing| policy.lists(&standing.incident)) {
            match self.obstacle(standing, now) {
                None => free.push(standing),
                Some(obstacle) => obstacles.push(obstacle),
            }
        }
        let due = |standing: &&Standing| standing.stages(policy).first().is_some_and(|(_, at)| *at <= now);
        if !free.iter().any(due) {
            return self.idle(&free, &obstacles, policy, zone, now);
        }
        let told_later = self.last_mail.map_or(now, |last| last + delta(policy.min_interval));
        if told_later > now {
            return Next::Wait { until: opens(policy, told_later, zone), why: Waiting::MinInterval };
        }
        // What is about to be ready goes with the rest, or it would wait for the next mail.
        let fresh = free.iter().filter(|standing| standing.mailed.is_none());
        if let Some(grouped) = fresh.map(|standing| standing.grouped_at(policy)).max().filter(|at| *at > now) {
            return Next::Wait { until: opens(policy, grouped, zone), why: Waiting::Group };
        }
        let open = opens(policy, now, zone);
        if open > now {
            return Next::Wait { until: open, why: Waiting::SendWindow };
        }
        let horizon = now + delta(policy.min_interval);
        let ready = free.iter().filter(|standing| standing.mailed.is_some() || due(standing));
        let list = ready.clone().map(|standing| Listed {
            incident: standing.incident.id,
            stages: standing.stages(policy).iter().filter(|(_, at)| *at <= horizon).map(|(stage, _)| *stage).collect(),
        });
        let judged_from = ready.clone().map(|standing| standing.grouped_at(policy).min(now)).max().unwrap_or(now);
        Next::Send { list: list.collect(), judged_from }
    }

    /// Nothing is due now: what is the best that can be said of it?
    fn idle(
        &self,
        free: &[&Standing],
        obstacles: &[Obstacle<'_>],
        policy: &Policy,
        zone: Tz,
        now: DateTime<Utc>,
    ) -> Next {
        let fresh = free.iter().filter(|standing| standing.mailed.is_none());
        let first = fresh.map(|standing| (standing.grouped_at(policy), standing.confirmed_at(policy)));
        if let Some((grouped, confirmed)) = first.min_by_key(|(grouped, confirmed)| *grouped.max(confirmed)) {
            let why = if confirmed > grouped { Waiting::Confirmation } else { Waiting::Group };
            let told_later = self.last_mail.map_or(now, |last| last + delta(policy.min_interval));
            // A reminder or the end of a snooze may come before it, and this look is the only one to come.
            let ready = grouped.max(confirmed);
            let until = self.looks(policy, now).into_iter().filter_map(|(_, at)| at).fold(ready, DateTime::min);
            let why = if told_later > until { Waiting::MinInterval } else { why };
            return Next::Wait { until: opens(policy, until.max(told_later), zone), why };
        }
        let held = obstacles.iter().find_map(|obstacle| match obstacle {
            Obstacle::Held(Hold::Discarded(_)) => None,
            Obstacle::Held(hold) => Some((*hold).clone()),
            _ => None,
        });
        if let Some(hold) = held {
            return Next::Hold(hold);
        }
        let why = match obstacles.first() {
            _ if !free.is_empty() => Idle::MailedAlready,
            Some(Obstacle::Suppressed(_)) => Idle::Suppressed,
            Some(Obstacle::Flapping(_)) => Idle::Flapping,
            Some(Obstacle::Held(_)) => Idle::Discarded,
            None => Idle::Recovered,
        };
        Next::Nothing { why }
    }

    /// When each open incident is worth another look, once the look at hand has ended without one to come: its next stage, or
    /// the end of what stands in its way. What is held, or suppressed for good, has none: letting go makes the look.
    #[must_use]
    pub fn looks(&self, policy: &Policy, now: DateTime<Utc>) -> Vec<(IncidentId, Option<DateTime<Utc>>)> {
        let look = |standing: &Standing| {
            if !policy.lists(&standing.incident) {
                return None;
            }
            let stage = standing.stages(policy).first().map(|(_, at)| *at);
            match self.obstacle(standing, now) {
                Some(Obstacle::Held(_)) => None,
                Some(Obstacle::Suppressed(end)) => stage.and_then(|at| end.map(|end| end.max(at))),
                Some(Obstacle::Flapping(end)) => stage.map(|at| end.max(at)),
                None => stage,
            }
        };
        // What is due already was looked at just now: another look would see the same.
        self.open.iter().map(|standing| (standing.incident.id, look(standing).filter(|at| *at > now))).collect()
    }

    /// The incidents of a mail, each with the newest stage that the mail consumes; none for a mention.
    #[must_use]
    pub fn listed(&self, list: &[Listed]) -> Vec<(Incident, Option<Stage>)> {
        let of = |id: IncidentId| list.iter().find(|listed| listed.incident == id);
        let listed = self.open.iter().filter_map(|standing| Some((standing, of(standing.incident.id)?)));
        listed.map(|(standing, listed)| (standing.incident.clone(), listed.stages.iter().max().copied())).collect()
    }

    /// What is so once a mail that lists this has left.
    #[must_use]
    pub fn mailed(mut self, list: &[Listed], at: DateTime<Utc>) -> Self {
        for standing in &mut self.open {
            let stages = list.iter().filter(|listed| listed.incident == standing.incident.id).flat_map(|l| &l.stages);
            if let Some(stage) = stages.max() {
                let first_at = standing.mailed.map_or(at, |mailed| mailed.first_at);
                standing.mailed = Some(Mailed { stage: *stage, first_at });
            }
        }
        self.last_mail = Some(at);
        self
    }
}

fn opens(policy: &Policy, at: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    policy.send_window.map_or(at, |window| window.opens(at, zone))
}

/// Settings are bounded to ten years, which every calendar holds.
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500))
}

#[cfg(test)]
mod tests;
