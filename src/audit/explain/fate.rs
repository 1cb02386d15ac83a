//! What became of each open incident: the plan's own rules, in the plan's order, with what the ledger says beside them.

use chrono::{DateTime, Utc};

use super::{Facts, Presence, Reach, words};
use crate::domain::guard::{Trip, TripState, percent};
use crate::domain::id::TripId;
use crate::domain::incident::IncidentKind;
use crate::domain::notification::{NoAddress, Notification, NotificationState, hold};
use crate::domain::plan::{FLAPPING_INCIDENTS, FLAPPING_WINDOW, Hold, Standing};
use crate::domain::policy::Policy;
use crate::domain::slot::Slot;
use crate::domain::stage::Stage;
use crate::domain::suppression::Suppression;

/// How the ledger calls what `notify.only_to` left out.
const NOT_ADMITTED: &str = "not in notify.only_to";

/// An open incident and what became of it.
pub(super) struct Fate<'a> {
    pub(super) standing: &'a Standing,
    pub(super) lot: Lot<'a>,
}

/// What became of an open incident. The order is that in which they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lot<'a> {
    /// Nobody knows whether the mail went out; it is held under this name, or not settled yet.
    Ambiguous { held: bool },
    /// The mail failed for good.
    Failed(&'a Notification),
    /// The user cannot be reached.
    Unreachable(String),
    /// `notify.only_to` leaves the user out.
    NotAdmitted,
    /// The outage guard holds it.
    Guard(TripId),
    /// A notification that is held under this name carries it.
    Held(&'a str),
    /// It will be mailed.
    Waiting,
    /// It was mailed about.
    Mailed,
    /// It breaks again and again.
    Flapping(DateTime<Utc>),
    /// Somebody does not want to hear of it, or cannot.
    Suppressed(&'a Suppression),
    /// The operator discarded it.
    Discarded(Option<TripId>),
    /// The policy does not mail about it.
    Filtered,
}

impl Facts {
    /// What became of each open incident.
    pub(super) fn fates(&self) -> Vec<Fate<'_>> {
        self.situation.open.iter().map(|standing| Fate { standing, lot: self.lot(standing) }).collect()
    }

    fn lot<'a>(&'a self, standing: &'a Standing) -> Lot<'a> {
        let incident = &standing.incident;
        if !self.rules.policy.lists(incident) {
            return Lot::Filtered;
        }
        let covering = self.situation.suppressions.iter().filter(|one| one.covers(&incident.slot.toolkit, self.now));
        // The one that lasts longest is the one that counts.
        if let Some(longest) = covering.max_by_key(|one| (one.until.is_none(), one.until)) {
            return Lot::Suppressed(longest);
        }
        match &standing.hold {
            Some(Hold::Guard(trip)) => return Lot::Guard(*trip),
            Some(Hold::Discarded(trip)) => return Lot::Discarded(*trip),
            Some(Hold::Named(name)) if name == hold::AMBIGUOUS => return Lot::Ambiguous { held: true },
            Some(Hold::Named(name)) => return Lot::Held(name),
            Some(Hold::Ambiguous) => return Lot::Ambiguous { held: false },
            None => {}
        }
        if let Some(until) = standing.flapping_until(self.now) {
            return Lot::Flapping(until);
        }
        match (self.newest_about(standing), &self.presence) {
            (Some(newest), _) if newest.state == NotificationState::Failed => Lot::Failed(newest),
            (Some(newest), _) if newest.state == NotificationState::Unreachable => {
                Lot::Unreachable(newest.error.clone().unwrap_or_else(|| NoAddress::Missing.to_string()))
            }
            (Some(newest), _)
                if newest.state == NotificationState::Skipped && newest.error.as_deref() == Some(NOT_ADMITTED) =>
            {
                Lot::NotAdmitted
            }
            _ if standing.mailed.is_some() => Lot::Mailed,
            (_, Presence::Known { reach: Reach::NotAdmitted, .. }) => Lot::NotAdmitted,
            (_, Presence::Known { reach: Reach::None(why), .. }) => Lot::Unreachable(why.to_string()),
            _ => Lot::Waiting,
        }
    }

    /// The newest notification that carries an incident.
    fn newest_about(&self, standing: &Standing) -> Option<&Notification> {
        let carries = |one: &&Notification| one.incidents.contains(&standing.incident.id);
        self.trail.notifications.iter().filter(carries).max_by_key(|one| (one.created_at, one.id))
    }

    /// The notification on which somebody works, or will: at most one a user.
    pub(super) fn active(&self) -> Option<&Notification> {
        let is_active = |one: &&Notification| {
            matches!(one.state, NotificationState::Pending | NotificationState::Claimed | NotificationState::Sending)
        };
        self.trail.notifications.iter().filter(is_active).min_by_key(|one| one.due_at)
    }

    /// When each stage of an incident was mailed, in order.
    pub(super) fn mails_about(&self, standing: &Standing) -> Vec<(Stage, DateTime<Utc>)> {
        let sent = |id| self.trail.notifications.iter().find(|one| one.id == id).and_then(|one| one.sent_at);
        let listed = self.trail.listed.iter().filter(|(_, incident, _)| *incident == standing.incident.id);
        let mut mails: Vec<_> = listed.filter_map(|(id, _, stage)| Some((*stage, sent(*id)?))).collect();
        mails.sort_unstable();
        mails.dedup_by_key(|(stage, _)| *stage);
        match standing.mailed {
            Some(mailed) if mails.is_empty() => vec![(Stage::FIRST, mailed.first_at)],
            _ => mails,
        }
    }

    /// A trip that held one of the user's incidents.
    pub(super) fn trip(&self, id: TripId) -> Option<&Trip> {
        self.trail.guarded.iter().map(|(_, _, trip)| trip).find(|trip| trip.id == id)
    }

    /// Why no mail leaves about an incident; none if one did, or will.
    pub(super) fn why_not(&self, fate: &Fate<'_>) -> Option<String> {
        Some(match &fate.lot {
            Lot::Waiting | Lot::Mailed => return None,
            Lot::Ambiguous { held: true } => {
                "nobody knows whether its mail went out, and it is held for you to decide".to_owned()
            }
            Lot::Ambiguous { held: false } => {
                "its mail was being handed to the mail server, and it is not known yet whether it went out".to_owned()
            }
            Lot::Failed(failed) => match &failed.error {
                Some(why) => format!("the mail failed for good: {why}"),
                None => "the mail failed for good".to_owned(),
            },
            Lot::Unreachable(why) => match self.presence {
                Presence::Known { reach: Reach::Address, .. } => {
                    format!("the user could not be reached when the mail was due ({why}); there is an address now")
                }
                _ => format!("the user cannot be reached: {why}"),
            },
            Lot::NotAdmitted => "notify.only_to does not admit the user's address".to_owned(),
            Lot::Guard(trip) => self.trip(*trip).map_or_else(|| "the outage guard holds it".to_owned(), guarded),
            Lot::Held(name) => format!("it is held under the name {name}"),
            Lot::Flapping(_) => format!(
                "it broke {FLAPPING_INCIDENTS} times or more within {} days, so it is yours to mend, not the user's",
                FLAPPING_WINDOW.num_days()
            ),
            Lot::Suppressed(suppression) => words::because(suppression),
            Lot::Discarded(trip) => match trip.and_then(|trip| self.trip(trip)).and_then(|trip| trip.ended.as_ref()) {
                Some((at, by)) => format!("it was discarded on {} ({by})", words::on(*at)),
                None => "what held it was discarded".to_owned(),
            },
            Lot::Filtered => {
                let incident = &fate.standing.incident;
                filtered(&self.rules.policy, &incident.slot, incident.kind).to_owned()
            }
        })
    }
}

/// What the guard said.
fn guarded(trip: &Trip) -> String {
    let tripped = &trip.tripped;
    let how = if trip.state == TripState::Releasing { "; it is being released, a few users first" } else { "" };
    format!(
        "the outage guard holds it since {}, because {} of {} connections ({}) of {} broke at once{how}",
        words::on(trip.tripped_at),
        tripped.broken,
        tripped.broken + tripped.healthy,
        percent(tripped.share()),
        tripped.scope,
    )
}

/// Which setting leaves trouble of this kind in this slot out.
pub(super) fn filtered(policy: &Policy, slot: &Slot, kind: IncidentKind) -> &'static str {
    if !policy.toolkits.admits(slot.toolkit.as_str()) {
        return "policy.toolkits leaves this app out";
    }
    if !policy.auth_configs.admits(slot.auth_config.as_str()) {
        return "policy.auth_configs leaves this auth config out";
    }
    match kind {
        IncidentKind::AttemptFailed => "policy.attempt_failed is \"ignore\"",
        IncidentKind::Unfinished => "policy.unfinished is \"ignore\"",
        IncidentKind::Broken => "the policy leaves it out",
    }
}
