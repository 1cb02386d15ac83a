//! The keeper looks every few seconds: what is due is pushed, and so is what the queue should have and does not; sweeps that
//! have nothing left to do are ended, trips of the guard that are over are released, reminders come up, and what is old is
//! deleted. One replica at a time holds the office.
//!
//! A row is pushed again for one of three reasons, never because it has waited long: the queue is not the one it was pushed
//! into (its generation changed: it was wiped; or a crash came between row and push); the lease of whoever worked on it has
//! lapsed and no other worker took it; or its lane is empty, look after look (the queue was restored from an older copy).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::Outbox;
use crate::config;
use crate::domain::clock::Clock;
use crate::domain::guard::{GuardRules, RAMP_FIRST, TripState};
use crate::domain::job::{Job, Lane};
use crate::domain::lease::Lease;
use crate::domain::port::{Horizon, JobStore, QueueError, Release, Store, StoreError};
use crate::domain::sweep::{Sweep, SweepState};

/// Rows pushed at once.
const BATCH: u32 = 1_000;
/// How long a row that was just written is left to whoever wrote it.
const FRESH: TimeDelta = TimeDelta::seconds(5);
/// How often what is old is deleted.
const PRUNE_EVERY: TimeDelta = TimeDelta::minutes(10);

/// Who ended a trip that was over by itself.
const RECOVERED: &str = "recovered";

/// Keeps the house.
pub struct Keeper {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The transport.
    pub queue: Arc<dyn JobStore>,
    /// From one to the other.
    pub outbox: Outbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How often.
    pub settings: config::Keeper,
    /// How long things are kept.
    pub retention: config::Retention,
    /// When a trip of the outage guard is over by itself.
    pub guard: GuardRules,
    /// The hold under which notifications are made; none makes them pending.
    pub hold: Option<String>,
    /// The length of the leases that workers hold.
    pub lease: Duration,
}

/// What the keeper remembers from round to round.
struct Memory {
    pruned_at: DateTime<Utc>,
    empty_since: BTreeMap<Lane, DateTime<Utc>>,
}

/// A round could not be ended.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Keeper {
    /// Keeps the house until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let token = Uuid::new_v4();
        let mut memory = Memory { pruned_at: self.clock.now(), empty_since: BTreeMap::new() };
        let mut failing = false;
        loop {
            match self.round(token, &mut memory).await {
                Ok(()) => failing = false,
                Err(error) if failing => tracing::debug!(event = "keeper.round_failed", %error),
                Err(error) => {
                    failing = true;
                    tracing::warn!(event = "keeper.round_failed", %error, "it tries again every {:?}", self.settings.interval);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.settings.interval) => {}
            }
        }
    }

    async fn round(&self, token: Uuid, memory: &mut Memory) -> Result<(), KeeperError> {
        let now = self.clock.now();
        let office = Lease::new(token, now, self.settings.interval.saturating_mul(3));
        if !self.store.hold_office("keeper", office, now).await? {
            return Ok(());
        }
        for sweep in self.store.finish_sweeps(now).await? {
            tell(&sweep);
        }
        self.watch_trips(now).await?;
        while self.store.wake(self.hold.as_deref(), now, BATCH).await?.len() == BATCH as usize {}
        self.distrust_empty_lanes(now, memory).await?;
        self.push_again(now).await?;
        if now - memory.pruned_at > PRUNE_EVERY {
            memory.pruned_at = now;
            let horizon = self.horizon(now);
            while self.store.prune(&horizon).await? > 0 {}
        }
        Ok(())
    }

    /// Trips that are over by themselves begin to be released, and those that were released let the rest go after the ramp's wait.
    /// What is released is due now, and handed over with all that is.
    async fn watch_trips(&self, now: DateTime<Utc>) -> Result<(), KeeperError> {
        for trip in self.store.trips(true, BATCH).await? {
            let over = trip.state == TripState::Tripped && self.guard.is_over(trip.slots, trip.still_broken);
            let rest = trip.state == TripState::Releasing && trip.ramp_at.is_none_or(|at| at <= now);
            if !over && !rest {
                continue;
            }
            let ramp_at = now + TimeDelta::from_std(self.guard.ramp_wait).unwrap_or(TimeDelta::minutes(15));
            let by = trip.ended.as_ref().map_or(RECOVERED, |(_, by)| by.as_str());
            let release = Release { id: trip.id, by, ramp: over.then_some((RAMP_FIRST, ramp_at)) };
            if let Some(released) = self.store.release_trip(&release, now).await? {
                tracing::warn!(event = "guard.released", trip = %trip.id, scope = %trip.tripped.scope, by,
                    users = released.notifications.len(), left = released.users_left,
                    "each user is checked again before a mail");
            }
        }
        Ok(())
    }

    fn horizon(&self, now: DateTime<Utc>) -> Horizon {
        let before = |kept: Duration| now - TimeDelta::from_std(kept).unwrap_or(TimeDelta::days(3_650));
        Horizon {
            sweeps: before(self.retention.sweeps),
            incidents: before(self.retention.incidents),
            observations: before(self.retention.observations),
            users: before(self.retention.users),
            alerts: before(self.retention.alerts),
            links: now,
        }
    }

    /// A queue that was restored from an older copy has the generation it had, and lacks what was pushed since. It shows in a
    /// lane that holds nothing at all, look after look, while rows wait that were pushed into it before.
    async fn distrust_empty_lanes(&self, now: DateTime<Utc>, memory: &mut Memory) -> Result<(), KeeperError> {
        let generation = self.queue.generation().await?;
        for depth in self.queue.depths().await? {
            if depth.waiting + depth.delayed + depth.in_flight > 0 {
                memory.empty_since.remove(&depth.lane);
                continue;
            }
            let since = *memory.empty_since.entry(depth.lane).or_insert(now);
            if now - since < FRESH {
                continue;
            }
            let forgotten = self.store.forget_queued(depth.lane, &generation, since).await?;
            if forgotten > 0 {
                tracing::warn!(
                    event = "keeper.queue_lost_entries",
                    lane = depth.lane.as_str(),
                    forgotten,
                    "the queue came back older than it was"
                );
            }
        }
        Ok(())
    }

    async fn push_again(&self, now: DateTime<Utc>) -> Result<(), KeeperError> {
        // A lapsed lease is first a matter of the queue, which hands the entry to another worker; only what nobody took is ours.
        let lapsed = now - TimeDelta::from_std(self.lease).unwrap_or(TimeDelta::seconds(15));
        let left: Vec<(Job, Option<DateTime<Utc>>)> =
            self.store.reclaim_lapsed(lapsed, BATCH).await?.into_iter().map(|job| (job, None)).collect();
        if !left.is_empty() {
            tracing::info!(event = "keeper.lapsed", jobs = left.len(), "left behind by workers that died");
            self.outbox.hand_over(&left).await;
        }
        loop {
            // Read anew each time: if the queue is wiped right now, what was just pushed belongs to the next one.
            let generation = self.queue.generation().await?;
            let missing = self.store.unqueued(&generation, now, now - FRESH, BATCH).await?;
            if missing.is_empty() {
                return Ok(());
            }
            let jobs: Vec<_> = missing.iter().map(|(job, due)| (*job, Some(*due).filter(|due| *due > now))).collect();
            tracing::info!(event = "keeper.pushed_again", jobs = jobs.len());
            if !self.outbox.hand_over(&jobs).await {
                return Ok(());
            }
        }
    }
}

/// One line that says how a sweep ended.
fn tell(sweep: &Sweep) {
    let tally = &sweep.tally;
    if sweep.state == SweepState::Failed || tally.given_up > 0 {
        tracing::warn!(event = "sweep.ended", sweep = %sweep.id, state = sweep.state.as_str(), note = sweep.note, checked = tally.checked,
            given_up = tally.given_up, refused = tally.refused, opened = tally.opened, closed = tally.closed,
            "not every user could be checked; the others keep the state they had");
    } else {
        tracing::info!(event = "sweep.ended", sweep = %sweep.id, state = sweep.state.as_str(), checked = tally.checked,
            refused = tally.refused, opened = tally.opened, closed = tally.closed, to_notify = tally.to_notify);
    }
}
