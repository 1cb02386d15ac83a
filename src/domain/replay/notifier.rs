//! A notification is taken, its user looked at, and what follows is done: the steps of the pipeline's notifier.

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::State;
use super::{Due, Fate, Mail, Prepared, Unsure, Word, World, delta};
use crate::domain::id::{NotificationId, SuppressionId, UserId};
use crate::domain::incident::Resolution;
use crate::domain::plan::{Hold, Listed, Next};
use crate::domain::retry;
use crate::domain::suppression::{Suppression, SuppressionKind, Whom};

/// How long a worker that has died keeps what it took.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(15);
/// How long a mail waits while the kill switch is thrown, before it is looked at again.
const PAUSED_WAIT: TimeDelta = TimeDelta::minutes(5);

/// How long before a user is looked at again of whom something changed since it was decided.
const REFUSED_WAIT: TimeDelta = TimeDelta::seconds(30);

/// How a try ended.
enum End {
    Sent(Vec<Listed>),
    Over,
    Held,
    Doubtful,
    Again { due_at: DateTime<Utc>, counted: bool, unsure: bool },
}

impl World {
    /// Takes a notification that is due, or that whoever took it has lost.
    pub(super) fn take(&mut self, id: NotificationId) {
        let now = self.now;
        let Some(one) = self.notifications.get_mut(&id) else { return };
        match one.state {
            State::Pending if one.due_at <= now => {}
            State::Claimed if one.lease_until <= now => {}
            State::Sending if one.lease_until <= now => {
                one.ambiguous += 1;
                one.unclear = true;
            }
            _ => return,
        }
        one.state = State::Claimed;
        one.token += 1;
        one.lease_until = now + LEASE;
        let (token, lapses) = (one.token, one.lease_until);
        self.at(lapses, Due::Notification(id));
        self.look(id, token);
    }

    /// Looks at the user, and does what follows.
    fn look(&mut self, id: NotificationId, token: u64) {
        let Some(one) = self.notifications.get(&id) else { return };
        let (user, now) = (one.user.clone(), self.now);
        if one.unclear && self.rules.unsure == Unsure::Hold {
            return self.settle(id, token, Word::Held, End::Doubtful);
        }
        if self.people.get(&user).is_some_and(|person| person.deleted) {
            self.close_all_of(&user);
            return self.settle(id, token, Word::Deleted, End::Over);
        }
        self.check(&user, None, Some(id));
        match self.decide(&user, id) {
            Next::Send { list, .. } => {
                let fate = self.fates.pop_front();
                let prepared = Prepared { id, token, looked_at: now, list, fate };
                match fate {
                    Some(Fate::DiesBefore) => {}
                    Some(Fate::Dawdles(time)) => self.at(now + delta(time), Due::Begin(prepared)),
                    _ => self.begin(prepared),
                }
            }
            Next::Wait { until, why } => {
                let again = End::Again { due_at: until, counted: false, unsure: false };
                self.settle(id, token, Word::Waits(why), again);
            }
            Next::Hold(Hold::Guard(_)) => self.settle(id, token, Word::Held, End::Held),
            Next::Hold(_) => self.settle(id, token, Word::Held, End::Over),
            Next::Nothing { why } => self.settle(id, token, Word::Nothing(why), End::Over),
        }
    }

    /// What happens next to a user; the guard is asked first where it must be.
    fn decide(&mut self, user: &UserId, id: NotificationId) -> Next {
        let zone = self.people.get(user).and_then(|person| person.zone).unwrap_or(self.rules.zone);
        let next = self.situation(user, id).next(&self.rules.policy, zone, self.now);
        let Next::Send { judged_from, .. } = next else { return next };
        let asked = self.judged_at.is_some_and(|at| at >= judged_from);
        if asked && !(self.opened_since_judged && self.judged_at == Some(self.now)) {
            return next;
        }
        self.judge();
        self.situation(user, id).next(&self.rules.policy, zone, self.now)
    }

    /// The last word on whether a mail may leave; and it leaves.
    pub(super) fn begin(&mut self, prepared: Prepared) {
        let Prepared { id, token, looked_at, list, fate } = prepared;
        let now = self.now;
        let Some(one) = self.notifications.get(&id).filter(|one| one.token == token && one.state == State::Claimed)
        else {
            return;
        };
        let user = one.user.clone();
        if self.paused {
            let again = End::Again { due_at: now + PAUSED_WAIT, counted: false, unsure: false };
            return self.settle(id, token, Word::PutOff, again);
        }
        if let Some(room) = self.room_from() {
            let again = End::Again { due_at: room, counted: false, unsure: false };
            return self.settle(id, token, Word::PutOff, again);
        }
        if !self.may_begin(&user, id, &list) {
            // Something changed since it was decided; whoever looks again sees it.
            let again = End::Again { due_at: now + REFUSED_WAIT, counted: false, unsure: false };
            return self.settle(id, token, Word::PutOff, again);
        }
        for listed in &list {
            if let Some(row) = self.incidents.get_mut(&listed.incident) {
                row.stages.extend(listed.stages.iter().map(|stage| (*stage, id)));
            }
        }
        if let Some(one) = self.notifications.get_mut(&id) {
            one.state = State::Sending;
            one.unclear = false;
            one.sending_at = Some(now);
            one.lease_until = now + LEASE;
            one.listed = list.iter().map(|listed| listed.incident).collect();
        }
        self.at(now + LEASE, Due::Notification(id));
        let left = match fate {
            Some(Fate::DiesAfter { left } | Fate::Silent { left }) => left,
            Some(Fate::Away | Fate::Busy | Fate::Refused) => false,
            Some(Fate::Dawdles(_) | Fate::DiesBefore) | None => true,
        };
        if left {
            self.mails.push(Mail { at: now, looked_at, user: user.clone(), id, list: list.clone() });
        }
        let wait = delta(self.rules.retry.base);
        match fate {
            Some(Fate::DiesAfter { .. }) => {}
            Some(Fate::Away) => {
                let again = End::Again { due_at: now + wait, counted: false, unsure: false };
                self.settle(id, token, Word::PutOff, again);
            }
            Some(Fate::Busy) => self.again_or_over(id, token, false),
            Some(Fate::Silent { .. }) if self.rules.unsure == Unsure::Hold => {
                if let Some(one) = self.notifications.get_mut(&id) {
                    one.ambiguous += 1;
                }
                self.settle(id, token, Word::Held, End::Doubtful);
            }
            Some(Fate::Silent { .. }) => self.again_or_over(id, token, true),
            Some(Fate::Refused) => {
                let bounce = self.bounce(&user);
                self.person(&user).suppressions.push(bounce);
                self.settle(id, token, Word::Failed, End::Over);
            }
            Some(Fate::Dawdles(_) | Fate::DiesBefore) | None => self.settle(id, token, Word::Mailed, End::Sent(list)),
        }
    }

    /// Whether what was decided still stands.
    fn may_begin(&self, user: &UserId, id: NotificationId, list: &[Listed]) -> bool {
        let situation = self.situation(user, id);
        let quiet_since = self.now - delta(self.rules.policy.min_interval);
        let unsettled = self.notifications_of(user).any(|(other, one)| {
            other != id && one.is_unsettled() && !matches!(one.state, State::Held | State::Doubtful)
        });
        !unsettled
            && situation.last_mail.is_none_or(|last| last <= quiet_since)
            && list.iter().all(|listed| {
                situation.open.iter().any(|standing| {
                    let incident = &standing.incident;
                    let newest = standing.mailed.map(|mailed| mailed.stage);
                    incident.id == listed.incident
                        && standing.hold.is_none()
                        && listed.stages.iter().all(|stage| newest.is_none_or(|newest| newest < *stage))
                        && !situation.suppressions.iter().any(|one| one.covers(&incident.slot.toolkit, self.now))
                })
            })
    }

    /// When there is room for another mail, if there is none now.
    fn room_from(&self) -> Option<DateTime<Utc>> {
        let most = usize::try_from(self.rules.guard.max_mails_per_hour?).ok()?;
        let times = self.within_the_hour();
        let spare = times.len().checked_sub(most)?;
        times.get(spare).map(|at| *at + TimeDelta::hours(1))
    }

    fn again_or_over(&mut self, id: NotificationId, token: u64, unsure: bool) {
        let attempts = self.notifications.get(&id).map_or(0, |one| one.attempts);
        match self.rules.retry.after(attempts + 1, 0.0, None) {
            retry::Next::Again(wait) => {
                let again = End::Again { due_at: self.now + delta(wait), counted: true, unsure };
                self.settle(id, token, Word::PutOff, again);
            }
            retry::Next::GiveUp => self.settle(id, token, Word::Failed, End::Over),
        }
    }

    /// Ends a try, and notes when each incident is worth another look.
    fn settle(&mut self, id: NotificationId, token: u64, word: Word, end: End) {
        let now = self.now;
        let Some(one) = self.notifications.get_mut(&id).filter(|one| one.token == token) else { return };
        let user = one.user.clone();
        match &end {
            End::Sent(_) => {
                one.state = State::Sent;
                one.sent_at = one.sending_at;
            }
            End::Over => one.state = State::Over,
            End::Held => one.state = State::Held,
            End::Doubtful => one.state = State::Doubtful,
            End::Again { due_at, counted, unsure } => {
                one.state = State::Pending;
                one.due_at = *due_at;
                one.attempts += u32::from(*counted);
                one.ambiguous += u32::from(*unsure);
            }
        }
        let looks = match end {
            End::Again { due_at, .. } => {
                self.at(due_at, Due::Notification(id));
                None
            }
            End::Sent(list) => Some(self.situation(&user, id).mailed(&list, now)),
            End::Over | End::Held | End::Doubtful => Some(self.situation(&user, id)),
        };
        if let Some(situation) = looks {
            let looks = situation.looks(&self.rules.policy, now);
            self.note_looks(&user, looks);
        }
        self.person(&user).last = Some(word);
    }

    fn close_all_of(&mut self, user: &UserId) {
        let now = self.now;
        let person = self.person(user);
        for incident in person.history.incidents.iter_mut().filter(|incident| incident.resolved.is_none()) {
            incident.resolved = Some((now, Resolution::UserDeleted));
        }
        for id in person.incidents.clone() {
            if self.open.contains(&id) {
                self.end(id, Resolution::UserDeleted);
            }
        }
    }

    /// The address was refused for good.
    fn bounce(&mut self, user: &UserId) -> Suppression {
        Suppression {
            id: SuppressionId(self.fresh()),
            whom: Whom::User(user.clone()),
            kind: SuppressionKind::Bounce,
            toolkit: None,
            until: None,
            source: "smtp".to_owned(),
            detail: None,
            created_at: self.now,
        }
    }
}
