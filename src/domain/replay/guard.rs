//! What the outage guard counts and holds, as the store's trait says.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::ledger::{Row, State};
use super::{Due, TripRow, World, delta};
use crate::domain::guard::{Breadth, Leaf, RAMP_FIRST, Scope, TripState};
use crate::domain::id::{IncidentId, SweepId, Toolkit, TripId, UserId};
use crate::domain::incident::IncidentKind;
use crate::domain::slot::Slot;

/// What a trip does, or did, with an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It keeps it.
    Held,
    /// It let it go.
    Released,
    /// It is never mailed about.
    Discarded,
}

/// That a trip holds, or held, an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The trip.
    pub trip: TripId,
    /// What it does with it.
    pub how: Held,
    /// Since when it is held.
    pub since: DateTime<Utc>,
    /// When it was let go.
    pub until: Option<DateTime<Utc>>,
}

impl Holding {
    fn is_held_by(&self, trip: TripId) -> bool {
        self.trip == trip && self.how == Held::Held
    }
}

/// Which incidents and which healthy slots are counted.
struct Count {
    opened_since: DateTime<Utc>,
    counted_since: DateTime<Utc>,
    checked_since: DateTime<Utc>,
    /// Of this sweep and app alone.
    of: Option<(SweepId, Toolkit)>,
}

impl Count {
    fn admits(&self, sweep: Option<SweepId>, toolkit: &Toolkit) -> bool {
        self.of.as_ref().is_none_or(|of| sweep == Some(of.0) && *toolkit == of.1)
    }
}

impl World {
    /// The guard is asked.
    pub(super) fn judge(&mut self) {
        self.judged_at = Some(self.now);
        self.opened_since_judged = false;
        self.hold_tripped();
        let window = delta(self.rules.guard.window);
        let since = self.now - window;
        let all = Count { opened_since: since, counted_since: since, checked_since: since, of: None };
        self.judge_count(&all, Breadth::Every);
        for ((sweep, toolkit), first) in self.cohorts(since) {
            let cohort =
                Count { opened_since: first, counted_since: since, checked_since: first, of: Some((sweep, toolkit)) };
            self.judge_count(&cohort, Breadth::UpToToolkits);
        }
    }

    fn judge_count(&mut self, count: &Count, breadth: Breadth) {
        let leaves = self.leaves(count);
        let broken: u64 = leaves.iter().map(|leaf| leaf.broke + leaf.backlog).sum();
        let held = leaves.iter().any(|leaf| leaf.held > 0);
        if broken == 0 || (broken < self.rules.guard.min_incidents.max(1) && !held) {
            return;
        }
        let leaves = self.with_healthy(leaves, count);
        for tripped in self.rules.guard.judge(&leaves, breadth) {
            self.trip(&tripped.scope);
        }
    }

    fn is_backlog(&self, row: &Row) -> bool {
        row.incident.opened_at > row.incident.counts_from + delta(self.rules.guard.window)
    }

    fn leaves(&self, count: &Count) -> Vec<Leaf> {
        let mut leaves: BTreeMap<(&str, &str), Leaf> = BTreeMap::new();
        for row in self.open.iter().filter_map(|id| self.incidents.get(id)) {
            let (incident, slot) = (&row.incident, &row.incident.slot);
            if incident.kind == IncidentKind::Unfinished {
                continue;
            }
            let of_app = count.of.as_ref().is_none_or(|of| slot.toolkit == of.1);
            if of_app && self.is_held_narrowly(row) {
                leaves.entry((slot.toolkit.as_str(), slot.auth_config.as_str())).or_insert_with(|| leaf(slot)).held +=
                    1;
            }
            let counts = row.held.is_none()
                && incident.opened_at >= count.opened_since
                && count.admits(row.sweep, &slot.toolkit);
            if !counts {
                continue;
            }
            let leaf = leaves.entry((slot.toolkit.as_str(), slot.auth_config.as_str())).or_insert_with(|| leaf(slot));
            if self.is_backlog(row) {
                leaf.backlog += 1;
            } else if incident.counts_from >= count.counted_since {
                leaf.broke += 1;
            }
        }
        leaves.into_values().collect()
    }

    /// Whether a trip of one auth config holds it.
    fn is_held_narrowly(&self, row: &Row) -> bool {
        let narrow =
            |trip: &&TripRow| trip.state == TripState::Tripped && matches!(trip.scope, Scope::AuthConfig { .. });
        self.trips.iter().filter(narrow).any(|trip| row.held.is_some_and(|held| held.is_held_by(trip.id)))
    }

    fn with_healthy(&self, leaves: Vec<Leaf>, count: &Count) -> Vec<Leaf> {
        let mut all: BTreeMap<(String, String), Leaf> =
            leaves.into_iter().map(|leaf| ((leaf.toolkit.clone(), leaf.auth_config.clone()), leaf)).collect();
        for person in self.people.values() {
            let history = &person.history;
            if history.observed_at.is_none_or(|at| at < count.checked_since) {
                continue;
            }
            let works = history.accounts.iter().filter(|known| known.gone_at.is_none() && known.account.works());
            let works = works.filter(|known| count.admits(history.sweep, known.account.toolkit()));
            let mut slots: Vec<&Slot> = works.map(|known| &known.account.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            for slot in slots {
                let name = (slot.toolkit.as_str().to_owned(), slot.auth_config.as_str().to_owned());
                all.entry(name).or_insert_with(|| leaf(slot)).healthy += 1;
            }
        }
        all.into_values().collect()
    }

    /// Sweeps and apps of which incidents are open, free and not mailed about, and when the first of these was opened.
    fn cohorts(&self, since: DateTime<Utc>) -> BTreeMap<(SweepId, Toolkit), DateTime<Utc>> {
        let mut cohorts = BTreeMap::new();
        for row in self.open.iter().filter_map(|id| self.incidents.get(id)) {
            let opened = row.incident.opened_at;
            let was_sent = |id| self.notifications.get(id).is_some_and(|one| one.sent_at.is_some());
            let waits = row.held.is_none() && opened >= since && !row.stages.values().any(was_sent);
            if let Some(sweep) = row.sweep.filter(|_| waits) {
                let first = cohorts.entry((sweep, row.incident.slot.toolkit.clone())).or_insert(opened);
                *first = opened.min(*first);
            }
        }
        cohorts
    }

    /// Notes a trip and holds what is in its scope, unless the scope has one.
    fn trip(&mut self, scope: &Scope) {
        let has_it = |trip: &TripRow| trip.scope == *scope || is_wider(&trip.scope, scope);
        if self.trips.iter().any(|trip| trip.state == TripState::Tripped && has_it(trip)) {
            return;
        }
        let id = self.widened(scope).unwrap_or_else(|| {
            let id = TripId(self.fresh());
            let scope = scope.clone();
            self.trips.push(TripRow { id, scope, at: self.now, state: TripState::Tripped, ramp_at: None });
            id
        });
        for old in &mut self.trips {
            let same = old.state == TripState::Releasing && old.scope == *scope;
            if old.id != id && (same || (old.state.holds() && is_part_of(&old.scope, scope))) {
                old.state = TripState::Stopped;
                let holdings = self.incidents.values_mut().filter_map(|row| row.held.as_mut());
                for holding in holdings.filter(|holding| holding.is_held_by(old.id)) {
                    holding.trip = id;
                }
            }
        }
        self.hold_tripped();
    }

    /// The oldest trip of an auth config of the app that trips, which goes on as that of the app.
    fn widened(&mut self, scope: &Scope) -> Option<TripId> {
        let narrow = |trip: &&mut TripRow| trip.state == TripState::Tripped && is_part_of(&trip.scope, scope);
        let oldest = self.trips.iter_mut().find(narrow)?;
        oldest.scope = scope.clone();
        Some(oldest.id)
    }

    /// Holds every free open incident in the scope of a trip that holds.
    fn hold_tripped(&mut self) {
        let since = self.now;
        let mut holding: Vec<(TripId, Scope)> = self
            .trips
            .iter()
            .filter(|trip| trip.state == TripState::Tripped)
            .map(|trip| (trip.id, trip.scope.clone()))
            .collect();
        // What was broken long before has its own first.
        holding.sort_by_key(|(_, scope)| !matches!(scope, Scope::Backlog { .. }));
        for (trip, scope) in holding {
            let free = self.open.iter().filter_map(|id| self.incidents.get(id)).filter(|row| row.held.is_none());
            let inside: Vec<IncidentId> =
                free.filter(|row| self.is_inside(row, &scope)).map(|row| row.incident.id).collect();
            for id in inside {
                if let Some(row) = self.incidents.get_mut(&id) {
                    row.held = Some(Holding { trip, how: Held::Held, since, until: None });
                }
            }
        }
    }

    fn is_inside(&self, row: &Row, scope: &Scope) -> bool {
        let slot = &row.incident.slot;
        match scope {
            Scope::AuthConfig { toolkit, auth_config } => slot.toolkit == *toolkit && slot.auth_config == *auth_config,
            Scope::Toolkit { toolkit } => slot.toolkit == *toolkit,
            Scope::All => true,
            Scope::Backlog { toolkit } => self.is_backlog(row) && slot.toolkit == *toolkit,
        }
    }

    /// Trips that are over by themselves let go.
    pub(super) fn end_trips_that_passed(&mut self) {
        if !std::mem::take(&mut self.closed_since_checked) {
            return;
        }
        let holding: Vec<(TripId, DateTime<Utc>)> = self
            .trips
            .iter()
            .filter(|trip| trip.state == TripState::Tripped)
            .map(|trip| match trip.scope {
                Scope::Backlog { .. } => (trip.id, DateTime::<Utc>::MIN_UTC),
                _ => (trip.id, trip.at - delta(self.rules.guard.window)),
            })
            .collect();
        for (trip, since) in holding {
            let ever = self.incidents.values().filter(|row| row.held.is_some_and(|held| held.trip == trip));
            let ever: Vec<&Row> = ever.filter(|row| row.incident.counts_from >= since).collect();
            let still = ever.iter().filter(|row| row.incident.resolved.is_none()).count();
            if self.rules.guard.is_over(ever.len() as u64, still as u64) {
                self.release(trip);
            }
        }
    }

    /// The operator releases all that is held.
    pub(super) fn release_all(&mut self) {
        let holding: Vec<TripId> =
            self.trips.iter().filter(|trip| trip.state == TripState::Tripped).map(|trip| trip.id).collect();
        for trip in holding {
            self.release(trip);
        }
    }

    /// The first few users are let go, the rest after the ramp's wait.
    fn release(&mut self, trip: TripId) {
        let ramp_at = self.now + delta(self.rules.guard.ramp_wait);
        let left = self.let_go(trip, Some(RAMP_FIRST));
        if let Some(row) = self.trips.iter_mut().find(|row| row.id == trip) {
            row.state = if left { TripState::Releasing } else { TripState::Released };
            row.ramp_at = left.then_some(ramp_at);
        }
        if left {
            self.at(ramp_at, Due::Ramp(trip));
        }
    }

    /// The rest of a release, unless a new trip has stopped it.
    pub(super) fn ramp(&mut self, trip: TripId) {
        let now = self.now;
        let is_due = |row: &&mut TripRow| {
            row.id == trip && row.state == TripState::Releasing && row.ramp_at.is_some_and(|at| at <= now)
        };
        let Some(row) = self.trips.iter_mut().find(is_due) else { return };
        row.state = TripState::Released;
        self.let_go(trip, None);
    }

    /// Lets go what a trip holds of the first few users, or of all; says whether it still holds something.
    fn let_go(&mut self, trip: TripId, first: Option<u32>) -> bool {
        let now = self.now;
        let held = self.incidents.values().filter(|row| row.held.is_some_and(|held| held.is_held_by(trip)));
        let mut users: Vec<UserId> =
            held.filter(|row| row.incident.resolved.is_none()).map(|row| row.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        let few = first.map_or(users.len(), |few| usize::try_from(few).unwrap_or(usize::MAX)).min(users.len());
        let rest = users.split_off(few);
        for row in self.incidents.values_mut().filter(|row| !rest.contains(&row.user)) {
            if let Some(held) = row.held.as_mut().filter(|held| held.is_held_by(trip)) {
                *held = Holding { how: Held::Released, until: Some(now), ..*held };
            }
        }
        for user in users {
            self.free_held(&user);
            self.notify(&user);
        }
        !rest.is_empty()
    }

    /// A notification that the guard held becomes the pending one, unless there is one.
    fn free_held(&mut self, user: &UserId) {
        let now = self.now;
        let has_pending = self.notifications_of(user).any(|(_, one)| one.state == State::Pending);
        let held: Vec<_> =
            self.notifications_of(user).filter(|(_, one)| one.state == State::Held).map(|(id, _)| id).collect();
        for (number, id) in held.into_iter().enumerate() {
            if let Some(one) = self.notifications.get_mut(&id) {
                one.state = if number == 0 && !has_pending { State::Pending } else { State::Over };
                one.due_at = now;
            }
        }
    }

    /// The operator drops all that is held.
    pub(super) fn discard_all(&mut self) {
        let mut dropped = Vec::new();
        for trip in &mut self.trips {
            if trip.state.holds() {
                trip.state = TripState::Discarded;
                dropped.push(trip.id);
            }
        }
        for held in self.incidents.values_mut().filter_map(|row| row.held.as_mut()) {
            if held.how == Held::Held && dropped.contains(&held.trip) {
                held.how = Held::Discarded;
            }
        }
        for one in self.notifications.values_mut().filter(|one| one.state == State::Held) {
            one.state = State::Over;
        }
    }
}

/// Whether a trip of the one holds all that a trip of the other would.
fn is_wider(wide: &Scope, narrow: &Scope) -> bool {
    match wide {
        Scope::All => *narrow != Scope::All,
        Scope::Toolkit { toolkit } => !matches!(narrow, Scope::Toolkit { .. }) && narrow.toolkit() == Some(toolkit),
        Scope::AuthConfig { .. } | Scope::Backlog { .. } => false,
    }
}

/// Whether the one is an auth config of the app that the other is.
fn is_part_of(narrow: &Scope, wide: &Scope) -> bool {
    matches!((narrow, wide), (Scope::AuthConfig { toolkit, .. }, Scope::Toolkit { toolkit: app }) if toolkit == app)
}

fn leaf(slot: &Slot) -> Leaf {
    Leaf {
        toolkit: slot.toolkit.as_str().to_owned(),
        auth_config: slot.auth_config.as_str().to_owned(),
        ..Leaf::default()
    }
}
