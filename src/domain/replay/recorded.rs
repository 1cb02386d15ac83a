//! What was recorded, played again: observations become events, in the order in which they were made.
//!
//! Only changes are recorded, so whoever was not seen to change during a sweep counts as found by it as they were known. Users
//! are paged in the order of their ids; how far a sweep had come at an instant follows from that.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Event, World};
use crate::domain::account::Account;
use crate::domain::id::{AccountId, SweepId, UserId};
use crate::domain::port::Observed;
use crate::domain::suppression::{Suppression, Whom};
use crate::domain::sweep::{Sweep, SweepMode};

/// In so many steps a sweep moves through the users.
const SLICES: u32 = 20;

/// A world into which recorded observations are played.
#[derive(Debug)]
pub struct Playback {
    world: World,
    lists: BTreeMap<UserId, BTreeMap<AccountId, Account>>,
    /// Seen to change by a dry run, which opens nothing.
    unweighed: BTreeSet<UserId>,
    sweeps: Vec<Swept>,
    /// What is to happen besides observations, the latest first.
    agenda: Vec<(DateTime<Utc>, Mark)>,
}

/// A sweep, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Swept {
    id: SweepId,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    mode: SweepMode,
}

#[derive(Debug, Clone)]
enum Mark {
    Suppressed(UserId, Suppression),
    /// The users of this slice are found as they were known.
    Slice(SweepId, u32),
    SweepEnded(SweepId),
}

impl Playback {
    /// A playback into this world, up to `until`, with the sweeps and suppressions that are known. Those of addresses are left out:
    /// whose they are is not stored.
    #[must_use]
    pub fn new(world: World, sweeps: &[Sweep], suppressions: &[Suppression], until: DateTime<Utc>) -> Self {
        let mut agenda = Vec::new();
        let mut kept = Vec::new();
        for sweep in sweeps {
            let Some(started_at) = sweep.started_at else { continue };
            let finished_at = sweep.finished_at.unwrap_or(until).max(started_at);
            kept.push(Swept { id: sweep.id, started_at, finished_at, mode: sweep.mode });
            if sweep.mode == SweepMode::DryRun {
                continue;
            }
            let length = finished_at - started_at;
            agenda.extend((0..SLICES).map(|slice| (part(started_at, length, slice + 1), Mark::Slice(sweep.id, slice))));
            if sweep.finished_at.is_some() {
                agenda.push((finished_at, Mark::SweepEnded(sweep.id)));
            }
        }
        agenda.extend(suppressions.iter().filter_map(|one| match &one.whom {
            Whom::User(user) => Some((one.created_at, Mark::Suppressed(user.clone(), one.clone()))),
            Whom::Address(_) => None,
        }));
        agenda.sort_by_key(|(at, _)| *at);
        agenda.reverse();
        Self { world, lists: BTreeMap::new(), unweighed: BTreeSet::new(), sweeps: kept, agenda }
    }

    /// One look at one user, as it was recorded: all rows are of the same user and instant. Looks come in the order of time.
    pub fn look(&mut self, rows: &[Observed]) {
        let Some(Observed { user, at, .. }) = rows.first() else { return };
        self.run_until(*at);
        let list = self.lists.entry(user.clone()).or_default();
        for row in rows {
            match &row.seen {
                Some(account) => list.insert(row.account.clone(), account.clone()),
                None => list.remove(&row.account),
            };
        }
        let accounts = list.values().cloned().collect();
        let within = |sweep: &&Swept| sweep.started_at <= *at && *at <= sweep.finished_at;
        let sweep = self.sweeps.iter().filter(within).max_by_key(|sweep| sweep.started_at);
        self.world.play(*at, Event::Changed(user.clone(), accounts));
        match sweep {
            Some(sweep) if sweep.mode == SweepMode::DryRun => {
                self.unweighed.insert(user.clone());
            }
            _ => self.world.play(*at, Event::Checked(user.clone(), sweep.map(|sweep| sweep.id))),
        }
    }

    /// Lets everything happen that happened until then.
    pub fn run_until(&mut self, until: DateTime<Utc>) {
        while let Some((at, mark)) = self.agenda.pop_if(|(at, _)| *at <= until) {
            match mark {
                Mark::Suppressed(user, suppression) => self.world.play(at, Event::Suppressed(user, suppression)),
                Mark::SweepEnded(sweep) => self.world.play(at, Event::SweepEnded(sweep)),
                Mark::Slice(sweep, slice) => self.found_again(at, sweep, slice),
            }
        }
        self.world.run_until(until);
    }

    fn found_again(&mut self, at: DateTime<Utc>, sweep: SweepId, slice: u32) {
        let users = self.lists.len();
        let place = |slice: u32| users * slice as usize / SLICES as usize;
        let found: Vec<UserId> =
            self.lists.keys().skip(place(slice)).take(place(slice + 1) - place(slice)).cloned().collect();
        for user in found {
            let event = if self.unweighed.remove(&user) {
                Event::Checked(user, Some(sweep))
            } else {
                Event::Unchanged(user, sweep)
            };
            self.world.play(at, event);
        }
    }

    /// How many users were ever observed.
    #[must_use]
    pub fn users(&self) -> usize {
        self.lists.len()
    }

    /// What came of it.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }
}

fn part(start: DateTime<Utc>, length: TimeDelta, slice: u32) -> DateTime<Utc> {
    start + length * i32::try_from(slice).unwrap_or(i32::MAX) / i32::try_from(SLICES).unwrap_or(i32::MAX)
}
