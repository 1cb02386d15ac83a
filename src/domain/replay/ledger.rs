//! What is remembered of users, incidents and notifications, as the store's traits say.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::guard::{Held, Holding};
use super::{Due, Word, World};
use crate::domain::account::Account;
use crate::domain::history::History;
use crate::domain::id::{IncidentId, NotificationId, SweepId, UserId};
use crate::domain::incident::{Incident, IncidentKind};
use crate::domain::observation::weigh;
use crate::domain::plan::{FLAPPING_WINDOW, Hold, Mailed, Origin, Situation, Standing};
use crate::domain::slot::Slot;
use crate::domain::stage::Stage;
use crate::domain::suppression::Suppression;

/// A user, as they are and as they are known.
#[derive(Debug, Default)]
pub(super) struct Person {
    /// Their accounts as Composio would list them.
    pub(super) truth: Vec<Account>,
    pub(super) zone: Option<Tz>,
    pub(super) deleted: bool,
    pub(super) history: History,
    pub(super) suppressions: Vec<Suppression>,
    /// Which slots opened incidents when; what was never finished is left out.
    pub(super) openings: Vec<(Slot, DateTime<Utc>)>,
    pub(super) incidents: Vec<IncidentId>,
    pub(super) notifications: Vec<NotificationId>,
    /// What the newest look came to.
    pub(super) last: Option<Word>,
}

/// An incident and what is noted with it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) user: UserId,
    pub(super) incident: Incident,
    pub(super) sweep: Option<SweepId>,
    pub(super) look_at: Option<DateTime<Utc>>,
    pub(super) held: Option<Holding>,
    /// Which notification carried which stage.
    pub(super) stages: BTreeMap<Stage, NotificationId>,
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    /// By the guard.
    Held,
    /// It may have left, and waits for the operator.
    Doubtful,
    Claimed,
    Sending,
    Sent,
    /// Skipped, or failed for good.
    Over,
}

/// A notification.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) user: UserId,
    pub(super) state: State,
    pub(super) due_at: DateTime<Utc>,
    pub(super) token: u64,
    pub(super) lease_until: DateTime<Utc>,
    pub(super) attempts: u32,
    pub(super) ambiguous: u32,
    pub(super) unclear: bool,
    /// When it was handed over, or was about to be.
    pub(super) sending_at: Option<DateTime<Utc>>,
    pub(super) sent_at: Option<DateTime<Utc>>,
    pub(super) listed: Vec<IncidentId>,
}

impl Entry {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Pending | State::Claimed | State::Sending)
    }

    /// It left, or may have.
    fn may_have_left(&self) -> bool {
        matches!(self.state, State::Sent | State::Sending) || self.ambiguous > 0
    }

    /// Nobody knows whether it left, and it is not settled.
    pub(super) fn is_unsettled(&self) -> bool {
        self.state == State::Sending || (self.ambiguous > 0 && !matches!(self.state, State::Sent | State::Over))
    }
}

impl World {
    /// A check reads all of a user's accounts; `join` is the notification for which it looks again.
    pub(super) fn check(&mut self, user: &UserId, sweep: Option<SweepId>, join: Option<NotificationId>) {
        let now = self.now;
        let mut ids: Vec<IncidentId> = Vec::new();
        let mut made = self.made;
        let policy = self.rules.policy.clone();
        let person = self.person(user);
        let found = weigh(&person.truth, &person.history, &policy, now, || {
            made += 1;
            IncidentId(uuid::Uuid::from_u128(u128::from(made)))
        });
        let history = &mut person.history;
        history.observed_at = Some(now);
        history.sweep = sweep.or(history.sweep);
        for changed in found.changed {
            history.accounts.retain(|known| known.account.id != changed.account.id);
            history.accounts.push(changed);
        }
        for known in history.accounts.iter_mut().filter(|known| found.gone.contains(&known.account.id)) {
            known.gone_at = Some(now);
        }
        for (id, resolution) in &found.close {
            for incident in history.incidents.iter_mut().filter(|incident| incident.id == *id) {
                incident.resolved = Some((now, *resolution));
            }
        }
        history.incidents.retain(|one| one.resolved.is_none() || one.kind == IncidentKind::Unfinished);
        history.incidents.extend(found.open.iter().cloned());
        for incident in &found.open {
            ids.push(incident.id);
            if incident.kind != IncidentKind::Unfinished {
                person.openings.push((incident.slot.clone(), now));
            }
        }
        person.openings.retain(|(_, at)| *at + FLAPPING_WINDOW > now);
        person.incidents.extend(&ids);
        self.made = made;
        for (id, resolution) in found.close {
            self.end(id, resolution);
        }
        for incident in found.open {
            let id = incident.id;
            self.open.insert(id);
            let row = Row { user: user.clone(), incident, sweep, look_at: None, held: None, stages: BTreeMap::new() };
            self.incidents.insert(id, row);
        }
        self.opened_since_judged |= !ids.is_empty();
        if !ids.is_empty() && join.is_none() {
            self.notify(user);
        }
    }

    /// A check of a sweep found what was known: that alone is noted.
    pub(super) fn seen_again(&mut self, user: &UserId, sweep: SweepId) {
        let now = self.now;
        if let Some(person) = self.people.get_mut(user).filter(|person| person.history.observed_at.is_some()) {
            person.history.observed_at = Some(now);
            person.history.sweep = Some(sweep);
        }
    }

    /// A user gets a pending notification that is due now, or the one that is pending becomes due.
    pub(super) fn notify(&mut self, user: &UserId) {
        let now = self.now;
        let pending = self.notifications_of(user).find(|(_, one)| one.state == State::Pending).map(|(id, _)| id);
        let id = if let Some(id) = pending {
            if let Some(one) = self.notifications.get_mut(&id).filter(|one| one.ambiguous == 0) {
                one.due_at = one.due_at.min(now);
            }
            id
        } else {
            let id = NotificationId(self.fresh());
            let one = Entry {
                user: user.clone(),
                state: State::Pending,
                due_at: now,
                token: 0,
                lease_until: now,
                attempts: 0,
                ambiguous: 0,
                unclear: false,
                sending_at: None,
                sent_at: None,
                listed: Vec::new(),
            };
            self.notifications.insert(id, one);
            self.person(user).notifications.push(id);
            id
        };
        self.at(now, Due::Notification(id));
    }

    /// A user whose look has come gets a notification, unless one is on its way.
    pub(super) fn wake(&mut self, user: &UserId) {
        let now = self.now;
        if self.notifications_of(user).any(|(_, one)| one.is_active()) {
            return;
        }
        let mut woken = false;
        for id in self.people.get(user).map(|person| person.incidents.clone()).unwrap_or_default() {
            let row = self.incidents.get_mut(&id).filter(|row| row.incident.resolved.is_none());
            if let Some(row) = row.filter(|row| row.look_at.is_some_and(|at| at <= now)) {
                row.look_at = None;
                woken = true;
            }
        }
        if woken {
            self.notify(user);
        }
    }

    /// Notes when incidents are worth another look.
    pub(super) fn note_looks(&mut self, user: &UserId, looks: Vec<(IncidentId, Option<DateTime<Utc>>)>) {
        for (id, look_at) in looks {
            if let Some(row) = self.incidents.get_mut(&id) {
                row.look_at = look_at;
            }
            if let Some(at) = look_at {
                self.at(at.max(self.now), Due::Look(user.clone()));
            }
        }
    }

    /// What kept a user from being mailed is lifted: another look.
    pub(super) fn lift(&mut self, user: &UserId) {
        let now = self.now;
        let person = self.person(user);
        person.suppressions.clear();
        for id in person.incidents.clone() {
            if let Some(row) = self.incidents.get_mut(&id).filter(|row| row.incident.resolved.is_none()) {
                row.look_at = Some(now);
            }
        }
        self.at(now, Due::Look(user.clone()));
    }

    /// Whoever waits for the rest of this sweep waits no longer.
    pub(super) fn end_sweep(&mut self, sweep: SweepId) {
        self.ended_sweeps.insert(sweep);
        let of_sweep = self.open.iter().filter_map(|id| self.incidents.get(id)).filter(|row| row.sweep == Some(sweep));
        let mut users: Vec<UserId> = of_sweep.map(|row| row.user.clone()).collect();
        users.dedup();
        for user in users {
            if self.notifications_of(&user).any(|(_, one)| one.state == State::Pending && one.ambiguous == 0) {
                self.notify(&user);
            }
        }
    }

    /// The kill switch is put back: what waits for it goes on at once.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        let waiting: Vec<UserId> = self
            .notifications
            .values()
            .filter(|one| one.state == State::Pending && one.attempts == 0 && one.ambiguous == 0)
            .map(|one| one.user.clone())
            .collect();
        for user in waiting {
            self.notify(&user);
        }
    }

    pub(super) fn notifications_of(&self, user: &UserId) -> impl Iterator<Item = (NotificationId, &Entry)> {
        let ids = self.people.get(user).map(|person| person.notifications.as_slice()).unwrap_or_default();
        ids.iter().filter_map(|id| Some((*id, self.notifications.get(id)?)))
    }

    /// Everything that decides on a user's next mail; `except` counts neither as a mail nor as a hold.
    pub(super) fn situation(&self, user: &UserId, except: NotificationId) -> Situation {
        let now = self.now;
        let Some(person) = self.people.get(user) else { return Situation::default() };
        let rows = person.incidents.iter().filter_map(|id| self.incidents.get(id));
        let others = || self.notifications_of(user).filter(|(id, _)| *id != except).map(|(_, one)| one);
        let open = rows.filter(|row| row.incident.resolved.is_none()).map(|row| {
            let sent = |id: &NotificationId| {
                self.notifications.get(id).filter(|_| *id != except).and_then(|notification| notification.sent_at)
            };
            let mailed = row.stages.iter().filter_map(|(stage, id)| Some((*stage, sent(id)?)));
            let unsettled = others().any(|one| one.is_unsettled() && one.listed.contains(&row.incident.id));
            Standing {
                incident: row.incident.clone(),
                origin: row.sweep.map_or(Origin::Single, |sweep| Origin::Sweep {
                    over: self.ended_sweeps.contains(&sweep),
                    schedule: None,
                }),
                mailed: mailed
                    .clone()
                    .map(|(stage, _)| stage)
                    .max()
                    .and_then(|stage| Some(Mailed { stage, first_at: mailed.map(|(_, at)| at).min()? })),
                hold: match row.held {
                    Some(Holding { trip, how: Held::Held, .. }) => Some(Hold::Guard(trip)),
                    Some(Holding { trip, how: Held::Discarded, .. }) => Some(Hold::Discarded(trip)),
                    Some(Holding { how: Held::Released, .. }) | None => unsettled.then_some(Hold::Ambiguous),
                },
                openings: {
                    let of_slot = person.openings.iter().filter(|(slot, _)| *slot == row.incident.slot);
                    of_slot.map(|(_, at)| *at).filter(|at| *at + FLAPPING_WINDOW > now).collect()
                },
            }
        });
        Situation {
            open: open.collect(),
            last_mail: others().filter(|one| one.may_have_left()).filter_map(|one| one.sending_at).max(),
            suppressions: person
                .suppressions
                .iter()
                .filter(|one| one.until.is_none_or(|until| until > now))
                .cloned()
                .collect(),
        }
    }

    /// How many mails left, or may have, within the hour, and when the oldest of them did.
    pub(super) fn within_the_hour(&self) -> Vec<DateTime<Utc>> {
        let since = self.now - TimeDelta::hours(1);
        let mut times: Vec<_> = self
            .notifications
            .values()
            .filter(|one| one.may_have_left())
            .filter_map(|one| one.sending_at)
            .filter(|at| *at > since)
            .collect();
        times.sort_unstable();
        times
    }
}
