//! The scheduler: each tick of each schedule becomes a sweep, once, whichever replica is first.
//!
//! croner says *when* (`domain/tick.rs`), tokio-cron-scheduler rings: one one-shot job for the next tick, set again after each.
//! The bell only wakes: it may ring early (it counts whole seconds) or late, so what is due is decided by the clock, and a tick's
//! identity is its scheduled time. Any number of replicas may ring; the unique row (schedule, tick) lets one win.
//!
//! # Late, missed, skipped
//!
//! A tick that is handled within [`LATE`] of its time is on time. If more time has passed (the process was stopped, the
//! machine slept, the database was away), the ticks in between are *missed*: the newest of them is made up, once, if it lies
//! within `catch_up`, and the others are dropped. At the start the newest tick before it is treated alike, unless it has a row
//! already, or lies before the schedule was first seen with this cron text and time zone.
//!
//! While the store does not answer, a tick is tried again until the next tick takes its place, or it is older than `catch_up`
//! (and older than [`OUTAGE`]: an outage of a minute costs no tick, even if nothing is to be caught up).

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Schedule;
use crate::domain::clock::Clock;
use crate::domain::id::SweepId;
use crate::domain::port::{StoreError, SweepStore};
use crate::domain::sweep::{NewSweep, SweepMode, Trigger};
use crate::domain::tick::{CronError, Ticks};

/// A tick that is handled within this time of its own is on time.
pub const LATE: TimeDelta = TimeDelta::seconds(10);

/// A tick that the store could not take is kept this long at least.
pub const OUTAGE: TimeDelta = TimeDelta::minutes(5);

/// The longest time for which the bell is set: a clock that is set anew is noticed within it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The bell counts whole seconds; the rest is slept.
const BELL_GRAIN: Duration = Duration::from_secs(1);

/// The waits between two tries while the store does not answer.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// The scheduler cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// A schedule's cron text is not one.
    #[error("schedules.{name}.cron")]
    Cron {
        /// The schedule.
        name: String,
        /// What is wrong with its text.
        #[source]
        source: CronError,
    },
    /// The bell does not ring.
    #[error("setting the bell for the next tick")]
    Bell(#[from] JobSchedulerError),
}

/// The stage that turns ticks into sweeps.
pub struct Scheduler {
    schedules: Vec<Arc<Planned>>,
    store: Arc<dyn SweepStore>,
    clock: Arc<dyn Clock>,
}

/// A schedule and its ticks.
struct Planned {
    name: String,
    schedule: Schedule,
    ticks: Ticks,
}

impl Scheduler {
    /// A scheduler of these schedules, by name.
    ///
    /// # Errors
    /// [`SchedulerError::Cron`] if a cron text is not one; a configuration that was read holds none such.
    pub fn new(
        schedules: BTreeMap<String, Schedule>,
        store: Arc<dyn SweepStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SchedulerError> {
        let plan = |(name, schedule): (String, Schedule)| match Ticks::parse(&schedule.cron, schedule.time_zone) {
            Ok(ticks) => Ok(Arc::new(Planned { name, schedule, ticks })),
            Err(source) => Err(SchedulerError::Cron { name, source }),
        };
        Ok(Self { schedules: schedules.into_iter().map(plan).collect::<Result<_, _>>()?, store, clock })
    }

    /// Rings until `stop`; a tick that is being written when it comes is finished or left to another replica.
    ///
    /// # Errors
    /// [`SchedulerError::Bell`] if the bell fails; a store that does not answer is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SchedulerError> {
        let mut bell = JobScheduler::new().await?;
        bell.start().await?;
        let halt = stop.child_token();
        let runs = self.schedules.into_iter().map(|planned| {
            let run =
                Run { planned, store: Arc::clone(&self.store), clock: Arc::clone(&self.clock), bell: bell.clone() };
            run.until(halt.clone()).boxed()
        });
        let ended: Result<(), _> = join_all(runs).await.into_iter().collect();
        if ended.is_ok() {
            // Without any schedule there is nothing to do but to be there.
            stop.cancelled().await;
        }
        bell.shutdown().await?;
        ended
    }
}

/// What is to be done about ticks that have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// None has passed yet.
    Nothing,
    /// This one is on time.
    OnTime(DateTime<Utc>),
    /// This one was missed, the newest of those that were, and is made up.
    MakeUp(DateTime<Utc>),
    /// This one was missed, and is too old.
    TooOld(DateTime<Utc>),
}

/// What is known when the ringing begins.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When this process began to look.
    began: DateTime<Utc>,
    /// Since when the schedule is known with this cron text and time zone.
    known_since: DateTime<Utc>,
    /// The newest tick that has a row.
    newest_row: Option<DateTime<Utc>>,
}

impl Planned {
    /// Judges the ticks from `next` on, of which none was handled yet.
    fn due(&self, next: DateTime<Utc>, now: DateTime<Utc>) -> Due {
        if now < next {
            return Due::Nothing;
        }
        if now - next <= LATE {
            return Due::OnTime(next);
        }
        match self.ticks.newest(now).map_or(next, |newest| newest.max(next)) {
            newest if now - newest <= LATE => Due::OnTime(newest),
            newest if now - newest <= self.catch_up() => Due::MakeUp(newest),
            newest => Due::TooOld(newest),
        }
    }

    /// Judges the newest tick before the ringing begins: see the head of this file.
    fn missed(&self, seen: Seen, now: DateTime<Utc>) -> Due {
        let Some(tick) = self.ticks.newest(now) else { return Due::Nothing };
        let age = now - tick;
        if tick < seen.known_since || seen.newest_row.is_some_and(|row| row >= tick) {
            Due::Nothing
        } else if tick >= seen.began && age <= self.patience() {
            // It came while the store did not answer.
            Due::OnTime(tick)
        } else if age <= self.catch_up() {
            Due::MakeUp(tick)
        } else {
            Due::TooOld(tick)
        }
    }

    /// How old a tick may grow that the store cannot take.
    fn patience(&self) -> TimeDelta {
        self.catch_up().max(OUTAGE)
    }

    /// Until when a tick is tried: the next one takes its place, and one that is too old is not made up.
    fn worth_until(&self, tick: DateTime<Utc>) -> DateTime<Utc> {
        let aged = tick.checked_add_signed(self.patience()).unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.ticks.next(tick).map_or(aged, |next| aged.min(next.max(tick + LATE)))
    }

    fn catch_up(&self) -> TimeDelta {
        TimeDelta::from_std(self.schedule.catch_up).unwrap_or(TimeDelta::MAX)
    }

    /// When the sweep of a tick begins: the same on every replica and at every try, different from schedule to schedule.
    fn start_of(&self, tick: DateTime<Utc>) -> DateTime<Utc> {
        let share = share_of(&self.name, tick);
        TimeDelta::from_std(self.schedule.jitter.mul_f64(share)).map_or(tick, |jitter| tick + jitter)
    }

    fn sweep(&self, tick: DateTime<Utc>, trigger: Trigger) -> NewSweep {
        NewSweep {
            id: SweepId(Uuid::now_v7()),
            schedule: self.name.clone(),
            tick,
            start_at: self.start_of(tick),
            trigger,
            mode: SweepMode::Full,
            overlap: self.schedule.overlap,
        }
    }
}

/// A number from 0 to 1 that looks random and is always the same for the same schedule and tick (FNV-1a, then mixed).
fn share_of(schedule: &str, tick: DateTime<Utc>) -> f64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = schedule.bytes().chain(tick.timestamp().to_be_bytes());
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// One schedule, ringing.
struct Run {
    planned: Arc<Planned>,
    store: Arc<dyn SweepStore>,
    clock: Arc<dyn Clock>,
    bell: JobScheduler,
}

impl Run {
    /// Rings until `halt`. One that fails takes the others with it: half a scheduler must not look like a whole one.
    async fn until(self, halt: CancellationToken) -> Result<(), SchedulerError> {
        let ended = halt.run_until_cancelled(self.run()).await.unwrap_or(Ok(()));
        if ended.is_err() {
            halt.cancel();
        }
        ended
    }

    async fn run(&self) -> Result<(), SchedulerError> {
        let mut handled = self.begin().await;
        loop {
            let Some(next) = self.planned.ticks.next(handled) else {
                tracing::warn!(schedule = self.planned.name, "the calendar holds no further tick");
                return Ok(());
            };
            self.wait_until(next).await?;
            // None is due if the clock was set back after the bell rang.
            let Some(tick) = self.handle(self.planned.due(next, self.clock.now())).await else { continue };
            if tick > next {
                tracing::warn!(schedule = self.planned.name, from = %next, until = %tick, "earlier ticks were missed");
            }
            handled = tick;
        }
    }

    /// Does what is due, and returns the tick that is over with it.
    async fn handle(&self, due: Due) -> Option<DateTime<Utc>> {
        match due {
            Due::Nothing => None,
            Due::OnTime(tick) => {
                self.insert(tick, Trigger::Tick).await;
                Some(tick)
            }
            Due::MakeUp(tick) => {
                self.insert(tick, Trigger::CatchUp).await;
                Some(tick)
            }
            Due::TooOld(tick) => {
                let Planned { name, schedule, .. } = &*self.planned;
                tracing::warn!(schedule = name, %tick, catch_up = ?schedule.catch_up, "tick was missed and is skipped: too old");
                Some(tick)
            }
        }
    }

    /// Makes up what was missed, and returns the instant after which ticks are still to be handled.
    async fn begin(&self) -> DateTime<Utc> {
        let Planned { name, schedule, ticks } = &*self.planned;
        let began = self.clock.now();
        let zone = schedule.time_zone.name();
        // First seen is when this process began, however long the store takes to answer.
        let mut backoff = Backoff::new(name);
        let known_since = loop {
            match self.store.schedule_known_since(name, &schedule.cron, zone, began).await {
                Ok(since) => break since,
                Err(error) => backoff.wait(&error).await,
            }
        };
        let newest_row = loop {
            match self.store.newest_tick(name).await {
                Ok(newest) => break newest,
                Err(error) => backoff.wait(&error).await,
            }
        };
        let now = self.clock.now();
        let next = ticks.next(now).map(|next| next.with_timezone(&schedule.time_zone).to_rfc3339());
        tracing::info!(schedule = name, cron = schedule.cron, time_zone = zone, next, "schedule is on");
        self.handle(self.planned.missed(Seen { began, known_since, newest_row }, now)).await;
        now
    }

    /// Inserts the sweep of a tick, trying again while the store does not answer and the tick is worth it.
    async fn insert(&self, tick: DateTime<Utc>, trigger: Trigger) {
        let name = &self.planned.name;
        let sweep = self.planned.sweep(tick, trigger);
        let mut backoff = Backoff::new(name);
        loop {
            match self.store.insert_sweep(&sweep, self.clock.now()).await {
                Ok(true) => {
                    tracing::info!(schedule = name, %tick, ?trigger, sweep = %sweep.id, "tick won: its sweep is recorded");
                }
                Ok(false) => tracing::info!(schedule = name, %tick, ?trigger, "tick was won by another replica"),
                Err(error) => {
                    backoff.wait(&error).await;
                    if self.clock.now() < self.planned.worth_until(tick) {
                        continue;
                    }
                    tracing::error!(schedule = name, %tick, "tick is given up: the store did not answer in time");
                }
            }
            return;
        }
    }

    /// Returns when the clock has reached `instant`: never before, whenever the bell rings.
    async fn wait_until(&self, instant: DateTime<Utc>) -> Result<(), SchedulerError> {
        loop {
            let Ok(left) = (instant - self.clock.now()).to_std() else { return Ok(()) };
            if left.is_zero() {
                return Ok(());
            }
            match left.min(LONGEST_WAIT) {
                wait if wait <= BELL_GRAIN => tokio::time::sleep(wait).await,
                wait => self.ring_after(wait.saturating_sub(BELL_GRAIN)).await?,
            }
        }
    }

    /// Sets the bell once, and waits for it.
    async fn ring_after(&self, wait: Duration) -> Result<(), SchedulerError> {
        let rung = Arc::new(Notify::new());
        let rope = Arc::clone(&rung);
        let job = Job::new_one_shot_async(wait, move |_, _| {
            let rope = Arc::clone(&rope);
            Box::pin(async move { rope.notify_one() })
        })?;
        let id = self.bell.add(job).await?;
        let hang = wait + LONGEST_WAIT;
        if tokio::time::timeout(hang, rung.notified()).await.is_err() {
            tracing::warn!(schedule = self.planned.name, ?hang, "the bell did not ring; looking at the clock instead");
            self.bell.remove(&id).await?;
        }
        Ok(())
    }
}

/// The waits while the store does not answer.
struct Backoff<'n> {
    schedule: &'n str,
    next: Duration,
}

impl<'n> Backoff<'n> {
    fn new(schedule: &'n str) -> Self {
        Self { schedule, next: FIRST_BACKOFF }
    }

    async fn wait(&mut self, error: &StoreError) {
        let reason = error.source().map(ToString::to_string);
        tracing::warn!(schedule = self.schedule, %error, reason, again_in = ?self.next, "the store did not answer");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_BACKOFF);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-21T{text}Z").parse().expect("a valid instant")
    }

    fn planned(cron: &str, catch_up: u64, jitter: u64) -> Planned {
        let schedule = Schedule {
            cron: cron.to_owned(),
            catch_up: Duration::from_secs(catch_up),
            jitter: Duration::from_secs(jitter),
            ..Schedule::default()
        };
        let ticks = Ticks::parse(cron, schedule.time_zone).expect("a valid cron text");
        Planned { name: "daily".to_owned(), schedule, ticks }
    }

    #[rstest]
    #[case("08:59:59.999", Due::Nothing)]
    #[case("09:00:00", Due::OnTime(at("09:00:00")))]
    #[case("09:00:10", Due::OnTime(at("09:00:00")))]
    #[case("09:20:00", Due::MakeUp(at("09:00:00")))]
    #[case("10:00:01", Due::OnTime(at("10:00:00")))]
    #[case("12:20:00", Due::MakeUp(at("12:00:00")))]
    #[case("12:40:00", Due::TooOld(at("12:00:00")))]
    fn a_tick_is_on_time_or_made_up_or_too_old(#[case] now: &str, #[case] expected: Due) {
        assert_eq!(planned("0 * * * *", 1_800, 0).due(at("09:00:00"), at(now)), expected);
    }

    #[test]
    fn every_tick_of_a_quick_schedule_has_its_turn_if_it_is_a_little_late() {
        let quick = planned("* * * * * *", 0, 0);
        assert_eq!(quick.due(at("09:00:00"), at("09:00:03")), Due::OnTime(at("09:00:00")));
        assert_eq!(quick.worth_until(at("09:00:00")), at("09:00:10"));
    }

    #[test]
    fn a_tick_is_tried_until_the_next_one_or_until_it_is_too_old() {
        assert_eq!(planned("*/2 * * * *", 3_600, 0).worth_until(at("09:00:00")), at("09:02:00"));
        assert_eq!(planned("0 9 * * *", 3_600, 0).worth_until(at("09:00:00")), at("10:00:00"));
        assert_eq!(planned("0 9 * * *", 0, 0).worth_until(at("09:00:00")), at("09:05:00"));
    }

    #[test]
    fn a_tick_that_came_while_the_store_was_away_at_the_start_is_no_missed_one() {
        let seen = Seen { began: at("08:59:30"), known_since: at("08:59:30"), newest_row: None };
        assert_eq!(planned("0 9 * * *", 0, 0).missed(seen, at("09:00:30")), Due::OnTime(at("09:00:00")));
        let earlier = Seen { known_since: at("07:00:00"), began: at("09:00:05"), ..seen };
        assert_eq!(planned("0 9 * * *", 0, 0).missed(earlier, at("09:00:30")), Due::TooOld(at("09:00:00")));
    }

    #[test]
    fn jitter_is_the_same_everywhere_and_spreads() {
        let spread = planned("* * * * *", 0, 600);
        let shares: Vec<f64> = (0..1_000).map(|i| share_of("daily", at("09:00:00") + TimeDelta::minutes(i))).collect();
        let low = shares.iter().filter(|share| **share < 0.5).count();
        assert!((400..=600).contains(&low), "{low} of 1000 lie in the lower half");
        assert_eq!(spread.start_of(at("09:00:00")), planned("* * * * *", 0, 600).start_of(at("09:00:00")));
        let other = Planned { name: "hourly".to_owned(), ..planned("* * * * *", 0, 600) };
        assert_ne!(spread.start_of(at("09:00:00")), other.start_of(at("09:00:00")));
        assert_eq!(planned("* * * * *", 0, 0).start_of(at("09:00:00")), at("09:00:00"));
    }

    proptest! {
        #[test]
        fn no_sweep_begins_before_its_tick_nor_later_than_the_jitter(second in 0_i64..10_000_000, jitter in 0_u64..86_400) {
            let tick = at("00:00:00") + TimeDelta::seconds(second);
            let start = planned("* * * * *", 0, jitter).start_of(tick);
            prop_assert!(start >= tick);
            prop_assert!(start - tick <= TimeDelta::seconds(i64::try_from(jitter).expect("small")));
        }
    }
}
