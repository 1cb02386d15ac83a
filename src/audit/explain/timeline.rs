//! What happened, oldest first.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::words::{self, on};
use super::{Facts, words::state};
use crate::domain::account::Account;
use crate::domain::guard::{Trip, TripState, percent};
use crate::domain::id::{AccountId, IncidentId, NotificationId, TripId};
use crate::domain::incident::Incident;
use crate::domain::notification::{Notification, NotificationState};
use crate::domain::port::CheckOutcome;
use crate::domain::stage::Stage;
use crate::domain::suppression::{Suppression, SuppressionKind};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// When. Of a notification that ended without a mail only the earliest possible moment is known.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// The same in words.
    pub text: String,
}

/// A stage of an incident that a notification consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Told {
    /// Which incident.
    pub incident: IncidentId,
    /// `0` is the first mail, `n` the n-th reminder.
    pub stage: Stage,
}

/// What kind of thing happened, and to which row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// An account was seen as it had not been seen before, or was no longer listed.
    Observed {
        /// Which.
        account: AccountId,
    },
    /// A check could not read the accounts.
    NotRead,
    /// An incident was opened.
    Opened {
        /// Which.
        incident: IncidentId,
    },
    /// An incident ended.
    Closed {
        /// Which.
        incident: IncidentId,
    },
    /// The outage guard held incidents, or let go of them.
    Guard {
        /// The trip.
        trip: TripId,
    },
    /// What became of a notification.
    Notification {
        /// Which.
        notification: NotificationId,
        /// Where it stands.
        state: NotificationState,
        /// Which stages it consumed of which incidents.
        stages: Vec<Told>,
        /// How often it was tried.
        tries: u32,
        /// The `Message-ID` of its mail, if one left.
        message_id: Option<String>,
    },
    /// Somebody is not to be mailed, from here on.
    Suppressed {
        /// Why.
        kind: SuppressionKind,
    },
    /// That was over.
    SuppressionEnded {
        /// Why it was.
        kind: SuppressionKind,
    },
}

impl Facts {
    pub(super) fn timeline(&self) -> Vec<Event> {
        let mut events = self.observed();
        events.extend(self.trail.incidents.iter().flat_map(|incident| self.life(incident)));
        events.extend(self.guarded());
        events.extend(self.trail.notifications.iter().map(|notification| self.notified(notification)));
        events.extend(self.trail.suppressions.iter().flat_map(|suppression| self.suppressed(suppression)));
        if let Some(check) = &self.trail.last_check
            && let CheckOutcome::GivenUp(why) | CheckOutcome::Refused(why) = &check.outcome
        {
            let text = format!("the accounts could not be read: {why}");
            events.push(Event { at: check.at, what: What::NotRead, text });
        }
        // Those of one moment stay in the order in which one follows from the other.
        events.sort_by_key(|event| event.at);
        events
    }

    /// What changed, in words; of accounts whose changes are no longer kept, as they were last seen.
    fn observed(&self) -> Vec<Event> {
        let mut before: BTreeMap<&AccountId, Option<&Account>> = BTreeMap::new();
        let mut events = Vec::new();
        for observed in &self.trail.observations {
            let last = before.insert(&observed.account, observed.seen.as_ref());
            let known = self.trail.accounts.iter().find(|known| known.account.id == observed.account);
            let any = observed.seen.as_ref().or(last.flatten()).or(known.map(|known| &known.account));
            let name = self.account_name(any, &observed.account);
            let text = match (last, &observed.seen) {
                (_, None) => format!("{name} is no longer listed"),
                (None, Some(seen)) if known.is_some_and(|known| known.first_seen_at < observed.at) => {
                    format!("{name} is {}", as_seen(seen))
                }
                (None, Some(seen)) => format!("{name} first seen: {}", as_seen(seen)),
                (Some(None), Some(seen)) => format!("{name} is listed again: {}", as_seen(seen)),
                (Some(Some(old)), Some(seen)) if old.status == seen.status => {
                    format!("{name} is still {}", as_seen(seen))
                }
                (Some(Some(old)), Some(seen)) => format!("{name} went from {} to {}", old.status, as_seen(seen)),
            };
            events.push(Event { at: observed.at, what: What::Observed { account: observed.account.clone() }, text });
        }
        for known in self.trail.accounts.iter().filter(|known| !before.contains_key(&known.account.id)) {
            let name = self.account_name(Some(&known.account), &known.account.id);
            let what = || What::Observed { account: known.account.id.clone() };
            let first = if known.changed_at == known.first_seen_at { "first seen" } else { "seen" };
            let text = format!("{name} {first}: {}", as_seen(&known.account));
            events.push(Event { at: known.changed_at, what: what(), text });
            if let Some(gone) = known.gone_at {
                events.push(Event { at: gone, what: what(), text: format!("{name} is no longer listed") });
            }
        }
        events
    }

    fn account_name(&self, account: Option<&Account>, id: &AccountId) -> String {
        account.map_or_else(|| id.to_string(), |account| format!("{} ({id})", self.connection_name(&account.slot)))
    }

    fn life(&self, incident: &Incident) -> Vec<Event> {
        let name = self.connection_name(&incident.slot);
        let opened = format!(
            "incident opened: {name} {} since {}, {}",
            words::trouble(incident.kind),
            on(incident.broke_at),
            state(&incident.status, incident.reason.as_deref())
        );
        let mut events =
            vec![Event { at: incident.opened_at, what: What::Opened { incident: incident.id }, text: opened }];
        if let Some((at, how)) = incident.resolved {
            let text = format!("incident closed: {name}, {}", words::end(how));
            events.push(Event { at, what: What::Closed { incident: incident.id }, text });
        }
        events
    }

    fn guarded(&self) -> Vec<Event> {
        let mut told = BTreeSet::new();
        let mut events = Vec::new();
        for (_, _, trip) in &self.trail.guarded {
            if !told.insert(trip.id) {
                continue;
            }
            let of_trip = self.trail.guarded.iter().filter(|(_, _, one)| one.id == trip.id);
            let ids: BTreeSet<IncidentId> = of_trip.map(|(incident, _, _)| *incident).collect();
            let held = words::list(&self.subjects(self.trail.incidents.iter().filter(|one| ids.contains(&one.id))));
            let tripped = &trip.tripped;
            let text = format!(
                "the outage guard tripped for {} ({} of {} connections broke, {}) and held {held}",
                tripped.scope,
                tripped.broken,
                tripped.broken + tripped.healthy,
                percent(tripped.share())
            );
            events.push(Event { at: trip.tripped_at, what: What::Guard { trip: trip.id }, text });
            events.extend(self.let_go(trip, &held));
        }
        events
    }

    fn let_go(&self, trip: &Trip, held: &str) -> Option<Event> {
        let (at, by) = trip.ended.as_ref()?;
        let released = self.trail.guarded.iter().any(|(_, became, one)| one.id == trip.id && became == "released");
        let text = match trip.state {
            TripState::Discarded => format!("the trip was discarded ({by}): nobody is mailed about {held}"),
            TripState::Stopped => "another trip took over".to_owned(),
            _ if released => format!("the outage guard let go of {held} ({by})"),
            _ => format!("the trip is being released ({by})"),
        };
        Some(Event { at: *at, what: What::Guard { trip: trip.id }, text })
    }

    fn notified(&self, one: &Notification) -> Event {
        let stages: Vec<Told> = self
            .trail
            .listed
            .iter()
            .filter(|(id, _, _)| *id == one.id)
            .map(|(_, incident, stage)| Told { incident: *incident, stage: *stage })
            .collect();
        let domain = self.rules.domain.as_deref();
        let left = one.state == NotificationState::Sent || one.ambiguous > 0;
        let message_id = domain.filter(|_| left).map(|domain| format!("<{}>", one.message_id(domain)));
        let what = What::Notification {
            notification: one.id,
            state: one.state,
            tries: one.attempts,
            message_id: message_id.clone(),
            stages: stages.clone(),
        };
        Event { at: self.moment(one), what, text: self.outcome(one, &stages, message_id.as_deref()) }
    }

    /// When what is told of a notification happened, as far as it is kept.
    fn moment(&self, one: &Notification) -> DateTime<Utc> {
        match one.state {
            NotificationState::Sent => one.sent_at.unwrap_or(one.created_at),
            NotificationState::Skipped | NotificationState::Failed | NotificationState::Unreachable => {
                one.due_at.min(self.now).max(one.created_at)
            }
            _ => one.created_at,
        }
    }

    fn outcome(&self, one: &Notification, stages: &[Told], message_id: Option<&str>) -> String {
        let of = |id: IncidentId| self.trail.incidents.iter().filter(move |incident| incident.id == id);
        let mut by_stage: BTreeMap<Stage, Vec<&Incident>> = BTreeMap::new();
        for Told { incident, stage } in stages {
            by_stage.entry(*stage).or_default().extend(of(*incident));
        }
        let told = |(stage, incidents): (&Stage, &Vec<&Incident>)| {
            format!("{stage} about {}", words::list(&self.subjects(incidents.iter().copied())))
        };
        let told_of: Vec<String> = by_stage.iter().map(told).collect();
        let about = words::list(&self.subjects(one.incidents.iter().flat_map(|id| of(*id))));
        let about = if about.is_empty() { String::new() } else { format!(" about {about}") };
        let why = one.error.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let mut text = match one.state {
            NotificationState::Sent if told_of.is_empty() => format!("mail sent{about}"),
            NotificationState::Sent => format!("mail sent: {}", words::list(&told_of)),
            NotificationState::Pending => format!("notification{about} made, due {}{why}", on(one.due_at)),
            NotificationState::Claimed => format!("notification{about} made; a worker prepares it"),
            NotificationState::Sending => {
                format!("notification{about} made; it is being handed to the mail server{why}")
            }
            NotificationState::Held => {
                format!("notification{about} held under the name {}{why}", one.hold.as_deref().unwrap_or("?"))
            }
            NotificationState::Skipped => format!("no mail{about}: skipped{why}"),
            NotificationState::Failed => format!("no mail{about}: failed for good{why}"),
            NotificationState::Unreachable => format!("no mail{about}: unreachable{why}"),
        };
        if one.attempts > u32::from(one.state == NotificationState::Sent) {
            text = format!("{text}; tries: {}", one.attempts);
        }
        if one.ambiguous > 0 {
            text = format!("{text}; {} of unknown outcome", one.ambiguous);
        }
        match message_id {
            Some(id) => format!("{text}, Message-ID {id}"),
            None => text,
        }
    }

    fn suppressed(&self, one: &Suppression) -> Vec<Event> {
        let about = one.toolkit.as_ref().map(|only| format!(" about {}", self.app(only))).unwrap_or_default();
        let said = match one.kind {
            SuppressionKind::OptOut => "the user opted out of mails",
            SuppressionKind::Snooze => "the user asked for silence",
            SuppressionKind::Bounce => "a mail bounced: none goes to this address any more",
            SuppressionKind::Complaint => "a mail was marked as spam: none goes to this address any more",
        };
        let until = one.until.map(|until| format!(" until {}", on(until))).unwrap_or_default();
        let detail = one.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let text = format!("{said}{about}{until} (from: {}){detail}", one.source);
        let mut events = vec![Event { at: one.created_at, what: What::Suppressed { kind: one.kind }, text }];
        if let Some(until) = one.until.filter(|until| *until <= self.now) {
            let text = format!("mails{about} may leave again: the time is over");
            events.push(Event { at: until, what: What::SuppressionEnded { kind: one.kind }, text });
        }
        events
    }
}

/// An account's status, reason, and what is switched off.
fn as_seen(account: &Account) -> String {
    let mut text = state(account.status.as_str(), account.reason.as_deref());
    if account.is_disabled {
        text.push_str(", disabled");
    }
    if account.auth_config_disabled {
        text.push_str(", auth config disabled");
    }
    text
}
