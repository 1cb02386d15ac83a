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
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Schedule;
use crate::domain::clock::Clock;
use crate::domain::id::SweepId;
use crate::domain::port::{StoreError, StoreResult, SweepStore};
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
    schedules: Vec<Planned>,
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
            Ok(ticks) => Ok(Planned { name, schedule, ticks }),
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
        let runs = self.schedules.iter().map(|planned| {
            let run = Run { planned, store: &*self.store, clock: &*self.clock, bell: &bell };
            let stop = stop.clone();
            async move {
                let ended = stop.run_until_cancelled(run.run()).await.unwrap_or(Ok(()));
                // One that fails takes the others with it: half a scheduler must not look like a whole one.
                if ended.is_err() {
                    stop.cancel();
                }
                ended
            }
        });
        let ended = join_all(runs).await.into_iter().collect();
        stop.cancelled().await;
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

    /// The tick to be made up at the start, if there is one: see the head of this file.
    fn missed(&self, newest_row: Option<DateTime<Utc>>, known_since: DateTime<Utc>, now: DateTime<Utc>) -> Due {
        match self.ticks.newest(now) {
            Some(tick) if tick < known_since || newest_row.is_some_and(|row| row >= tick) => Due::Nothing,
            Some(tick) if now - tick > self.catch_up() => Due::TooOld(tick),
            Some(tick) => Due::MakeUp(tick),
            None => Due::Nothing,
        }
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
struct Run<'r> {
    planned: &'r Planned,
    store: &'r dyn SweepStore,
    clock: &'r dyn Clock,
    bell: &'r JobScheduler,
}

impl Run<'_> {
    async fn run(self) -> Result<(), SchedulerError> {
        let mut handled = self.begin().await;
        loop {
            let Some(next) = self.planned.ticks.next(handled) else {
                tracing::warn!(schedule = self.planned.name, "the calendar holds no further tick");
                return Ok(());
            };
            self.wait_until(next).await?;
            handled = match self.planned.due(next, self.clock.now()) {
                // The clock was set back after the bell rang.
                Due::Nothing => continue,
                Due::OnTime(tick) => self.insert(tick, Trigger::Tick).await,
                Due::MakeUp(tick) => self.insert(tick, Trigger::CatchUp).await,
                Due::TooOld(tick) => {
                    self.say_too_old(tick);
                    tick
                }
            };
        }
    }

    /// Makes up what was missed, and returns the instant after which ticks are still to be handled.
    async fn begin(&self) -> DateTime<Utc> {
        let Planned { name, schedule, ticks, .. } = self.planned;
        let began = self.clock.now();
        let zone = schedule.time_zone.name();
        // First seen is when this process began, however long the store takes to answer.
        let known_since = self
            .until_it_answers("reading since when a schedule is known", async || {
                self.store.schedule_known_since(name, &schedule.cron, zone, began).await
            })
            .await;
        let newest_row = self
            .until_it_answers("reading a schedule's newest tick", async || self.store.newest_tick(name).await)
            .await;
        let now = self.clock.now();
        let next = ticks.next(now).map(|next| next.with_timezone(&schedule.time_zone).to_rfc3339());
        tracing::info!(schedule = name, cron = schedule.cron, time_zone = zone, next, "schedule is on");
        match self.planned.missed(newest_row, known_since, now) {
            Due::MakeUp(tick) | Due::OnTime(tick) => {
                self.insert(tick, Trigger::CatchUp).await;
            }
            Due::TooOld(tick) => self.say_too_old(tick),
            Due::Nothing => {}
        }
        now
    }

    fn say_too_old(&self, tick: DateTime<Utc>) {
        let Planned { name, schedule, .. } = self.planned;
        tracing::warn!(schedule = name, %tick, catch_up = ?schedule.catch_up, "tick was missed and is too old to be made up");
    }

    /// Inserts the sweep of a tick, trying again while the store does not answer and the tick is worth it. Returns the tick.
    async fn insert(&self, tick: DateTime<Utc>, trigger: Trigger) -> DateTime<Utc> {
        let name = &self.planned.name;
        let sweep = self.planned.sweep(tick, trigger);
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.store.insert_sweep(&sweep, self.clock.now()).await {
                Ok(true) => {
                    tracing::info!(schedule = name, %tick, ?trigger, sweep = %sweep.id, "tick won: the sweep is recorded")
                }
                Ok(false) => tracing::info!(schedule = name, %tick, ?trigger, "tick was won by another replica"),
                Err(error) => {
                    let worth_until = self.worth_until(tick);
                    say_unavailable(name, &error, backoff);
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    if self.clock.now() < worth_until {
                        continue;
                    }
                    tracing::error!(schedule = name, %tick, "tick is given up: the store did not answer in time");
                }
            }
            return tick;
        }
    }

    /// Until when a tick is tried: the next one takes its place, and one that is too old is not made up.
    fn worth_until(&self, tick: DateTime<Utc>) -> DateTime<Utc> {
        let aged = tick.checked_add_signed(self.planned.catch_up().max(OUTAGE)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        // Ticks that follow within the time that is on time all have their turn.
        match self.planned.ticks.next(tick.max(self.clock.now() - LATE)) {
            Some(next) => aged.min(next.max(tick + LATE)),
            None => aged,
        }
    }

    async fn until_it_answers<T>(&self, action: &str, ask: impl AsyncFn() -> StoreResult<T>) -> T {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    tracing::debug!(schedule = self.planned.name, action, "the store did not answer");
                    say_unavailable(&self.planned.name, &error, backoff);
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
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
                wait => self.ring_after(wait - BELL_GRAIN).await?,
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

fn say_unavailable(schedule: &str, error: &StoreError, again: Duration) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(schedule, %error, source, ?again, "the store did not answer, trying again");
}
