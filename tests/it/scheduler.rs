//! The scheduler against a store in memory: what is made up at the start, what rings when, and that replicas share ticks.
//!
//! That replicas of the real process share the ticks of a real database is shown in `pipeline.rs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use connection_auditor::config::Schedule;
use connection_auditor::domain::clock::{Clock, ManualClock, SystemClock};
use connection_auditor::domain::id::SweepId;
use connection_auditor::domain::lease::Lease;
use connection_auditor::domain::port::{StoreError, StoreResult, SweepChange, SweepPage, SweepStore};
use connection_auditor::domain::sweep::{NewSweep, Overlap, Sweep, SweepMode, Trigger};
use connection_auditor::pipeline::scheduler::{Scheduler, SchedulerError};
use rstest::rstest;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(30);

/// A store in memory that knows schedules and takes sweeps, and no more.
#[derive(Default)]
struct FakeSweeps(Mutex<State>);

#[derive(Default)]
struct State {
    known: HashMap<String, (String, String, DateTime<Utc>)>,
    sweeps: Vec<(NewSweep, DateTime<Utc>)>,
    /// Attempts to insert, lost ones too.
    attempts: usize,
    /// How many calls will fail before the store answers again.
    failures: usize,
}

impl FakeSweeps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with it")
    }

    fn answer(&self) -> StoreResult<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(StoreError::Unavailable { action: "asking the fake", source: "it is away".into() });
        }
        Ok(state)
    }

    /// The sweeps of a schedule, in the order in which they were inserted, with the time.
    fn of(&self, schedule: &str) -> Vec<(NewSweep, DateTime<Utc>)> {
        self.state().sweeps.iter().filter(|(sweep, _)| sweep.schedule == schedule).cloned().collect()
    }

    fn ticks_of(&self, schedule: &str) -> Vec<(DateTime<Utc>, Trigger)> {
        self.of(schedule).into_iter().map(|(sweep, _)| (sweep.tick, sweep.trigger)).collect()
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        let begin = Instant::now();
        while !reached(&self.state()) {
            assert!(begin.elapsed() < LIMIT, "it did not come within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[async_trait]
impl SweepStore for FakeSweeps {
    async fn schedule_known_since(
        &self,
        name: &str,
        cron: &str,
        time_zone: &str,
        now: DateTime<Utc>,
    ) -> StoreResult<DateTime<Utc>> {
        let mut state = self.answer()?;
        let known = state.known.entry(name.into()).or_insert_with(|| (cron.into(), time_zone.into(), now));
        if (known.0.as_str(), known.1.as_str()) != (cron, time_zone) {
            *known = (cron.into(), time_zone.into(), now);
        }
        Ok(known.2)
    }

    async fn newest_tick(&self, schedule: &str) -> StoreResult<Option<DateTime<Utc>>> {
        let state = self.answer()?;
        Ok(state.sweeps.iter().filter(|(sweep, _)| sweep.schedule == schedule).map(|(sweep, _)| sweep.tick).max())
    }

    async fn insert_sweep(&self, sweep: &NewSweep, now: DateTime<Utc>) -> StoreResult<bool> {
        let mut state = self.answer()?;
        state.attempts += 1;
        let taken = state.sweeps.iter().any(|(one, _)| (&one.schedule, one.tick) == (&sweep.schedule, sweep.tick));
        if !taken {
            state.sweeps.push((sweep.clone(), now));
        }
        Ok(!taken)
    }

    async fn claim_sweep(&self, _: Lease, _: DateTime<Utc>) -> StoreResult<Option<Sweep>> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn renew_sweep(&self, _: SweepId, _: Lease) -> StoreResult<bool> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn set_sweep_state(&self, _: SweepId, _: Uuid, _: &SweepChange, _: DateTime<Utc>) -> StoreResult<bool> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn append_page(&self, _: SweepId, _: Uuid, _: &SweepPage, _: DateTime<Utc>) -> StoreResult<bool> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn outstanding_checks(&self, _: SweepId) -> StoreResult<u64> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn pause_sweep(&self, _: SweepId, _: &str, _: DateTime<Utc>) -> StoreResult<()> {
        unreachable!("the scheduler carries no sweep on")
    }

    async fn finish_sweeps(&self, _: DateTime<Utc>) -> StoreResult<Vec<Sweep>> {
        unreachable!("the scheduler carries no sweep on")
    }
}

/// A clock that began at some instant and goes on as time does.
struct FakeClock {
    began: DateTime<Utc>,
    since: Instant,
}

impl FakeClock {
    fn at(began: DateTime<Utc>) -> Arc<Self> {
        Arc::new(Self { began, since: Instant::now() })
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        self.began + TimeDelta::from_std(self.since.elapsed()).expect("tests are short")
    }
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-11-{text}Z").parse().expect("a valid instant")
}

fn schedule(cron: &str) -> Schedule {
    Schedule { cron: cron.to_owned(), ..Schedule::default() }
}

fn schedules(of: &[(&str, Schedule)]) -> BTreeMap<String, Schedule> {
    of.iter().map(|(name, schedule)| ((*name).to_owned(), schedule.clone())).collect()
}

/// A scheduler at work; dropped, it stops.
struct Ringing {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), SchedulerError>>,
}

impl Ringing {
    #[expect(clippy::disallowed_methods, reason = "the test stops and awaits it")]
    fn begin(planned: BTreeMap<String, Schedule>, store: &Arc<FakeSweeps>, clock: Arc<dyn Clock>) -> Self {
        let stop = CancellationToken::new();
        let store: Arc<dyn SweepStore> = Arc::<FakeSweeps>::clone(store);
        let scheduler = Scheduler::new(planned, store, clock).expect("valid schedules");
        Self { task: tokio::spawn(scheduler.run(stop.clone())), stop }
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.task).await.expect("it stops when it is asked to");
        ended.expect("it does not panic").expect("the bell rings");
    }
}

/// Runs until the beginning is over, which a second schedule shows: it rings every second.
async fn after_the_beginning(
    daily: Schedule,
    store: &Arc<FakeSweeps>,
    now: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, Trigger)> {
    let both = schedules(&[("daily", daily), ("second", schedule("* * * * * *"))]);
    let before = store.of("second").len();
    let ringing = Ringing::begin(both, store, FakeClock::at(now));
    store.until(|state| state.sweeps.iter().filter(|(sweep, _)| sweep.schedule == "second").count() > before).await;
    ringing.end().await;
    store.ticks_of("daily")
}

/// A store that has known the daily schedule since the 1st, with this cron text.
fn knowing(cron: &str) -> Arc<FakeSweeps> {
    let store = FakeSweeps::default();
    store.state().known.insert("daily".into(), (cron.into(), "UTC".into(), at("01T00:00:00")));
    Arc::new(store)
}

fn a_sweep(tick: DateTime<Utc>) -> NewSweep {
    NewSweep {
        id: SweepId(Uuid::now_v7()),
        schedule: "daily".into(),
        tick,
        start_at: tick,
        trigger: Trigger::Tick,
        mode: SweepMode::Full,
        overlap: Overlap::Skip,
    }
}

#[rstest]
#[case::within("21T09:59:00", "0 9 * * *", &[at("21T09:00:00")])]
#[case::beyond("21T10:01:00", "0 9 * * *", &[])]
#[case::several_were_missed("21T09:59:00", "*/10 * * * *", &[at("21T09:50:00")])]
#[tokio::test]
async fn of_what_was_missed_the_newest_is_made_up_if_it_is_not_too_old(
    #[case] now: &str,
    #[case] cron: &str,
    #[case] expected: &[DateTime<Utc>],
) {
    let made_up = after_the_beginning(schedule(cron), &knowing(cron), at(now)).await;
    assert_eq!(made_up, expected.iter().map(|tick| (*tick, Trigger::CatchUp)).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_from_before_the_schedule_was_first_seen_is_made_up() {
    let store = Arc::new(FakeSweeps::default());
    assert_eq!(after_the_beginning(schedule("0 9 * * *"), &store, at("21T09:30:00")).await, []);
    // But from then on it is known, and what is missed later is made up.
    let later = after_the_beginning(schedule("0 9 * * *"), &store, at("22T09:30:00")).await;
    assert_eq!(later, [(at("22T09:00:00"), Trigger::CatchUp)]);
}

#[tokio::test]
async fn a_changed_cron_text_or_time_zone_is_a_schedule_that_was_not_seen_before() {
    assert_eq!(after_the_beginning(schedule("0 9 * * *"), &knowing("0 8 * * *"), at("21T09:30:00")).await, []);
    let berlin = Schedule { time_zone: chrono_tz::Europe::Berlin, ..schedule("0 10 * * *") };
    assert_eq!(after_the_beginning(berlin, &knowing("0 10 * * *"), at("21T09:30:00")).await, []);
}

#[tokio::test]
async fn a_tick_that_has_a_row_is_not_made_up() {
    let store = knowing("0 9 * * *");
    store.state().sweeps.push((a_sweep(at("21T09:00:00")), at("21T09:00:00")));
    let ticks = after_the_beginning(schedule("0 9 * * *"), &store, at("21T09:30:00")).await;
    assert_eq!(ticks, [(at("21T09:00:00"), Trigger::Tick)]);
    assert_eq!(store.of("daily").len() + store.of("second").len(), store.state().attempts + 1, "it was not even tried");
}

#[tokio::test]
async fn nothing_is_made_up_where_nothing_is_to_be_caught_up() {
    let never = Schedule { catch_up: Duration::ZERO, ..schedule("0 9 * * *") };
    assert_eq!(after_the_beginning(never, &knowing("0 9 * * *"), at("21T09:00:30")).await, []);
}

#[tokio::test]
async fn every_second_rings_with_its_own_time_and_does_not_drift() {
    let store = Arc::new(FakeSweeps::default());
    let ringing = Ringing::begin(schedules(&[("second", schedule("* * * * * *"))]), &store, Arc::new(SystemClock));
    store.until(|state| state.sweeps.len() >= 5).await;
    ringing.end().await;
    let sweeps = store.of("second");
    for (sweep, inserted_at) in &sweeps {
        let late = *inserted_at - sweep.tick;
        assert_eq!((sweep.tick.nanosecond(), sweep.trigger), (0, Trigger::Tick));
        assert!(late >= TimeDelta::zero(), "inserted {late} before its time");
        assert!(late < TimeDelta::seconds(3), "inserted {late} after its time");
    }
    for pair in sweeps.windows(2) {
        assert_eq!(pair[1].0.tick - pair[0].0.tick, TimeDelta::seconds(1), "none is left out");
    }
}

#[tokio::test]
async fn the_bell_rings_for_ticks_that_lie_further_apart() {
    let store = Arc::new(FakeSweeps::default());
    let ringing = Ringing::begin(schedules(&[("seconds", schedule("*/2 * * * * *"))]), &store, Arc::new(SystemClock));
    store.until(|state| state.sweeps.len() >= 3).await;
    ringing.end().await;
    for (sweep, inserted_at) in store.of("seconds") {
        assert_eq!(sweep.tick.second() % 2, 0);
        let late = inserted_at - sweep.tick;
        assert!(late >= TimeDelta::zero() && late < TimeDelta::seconds(2), "{late} after its time");
    }
}

#[tokio::test]
async fn three_schedulers_over_one_store_take_each_tick_once() {
    let store = Arc::new(FakeSweeps::default());
    let every_second = || schedules(&[("second", schedule("* * * * * *"))]);
    let replicas: Vec<Ringing> =
        (0..3).map(|_| Ringing::begin(every_second(), &store, Arc::new(SystemClock))).collect();
    store.until(|state| state.sweeps.len() >= 4).await;
    let last = store.of("second").last().expect("there are four").0.tick;
    // All three have had their turn when the tick after it is there.
    store.until(|state| state.sweeps.iter().any(|(sweep, _)| sweep.tick > last + TimeDelta::seconds(1))).await;
    for replica in replicas {
        replica.end().await;
    }
    let ticks: Vec<DateTime<Utc>> = store.ticks_of("second").into_iter().map(|(tick, _)| tick).collect();
    for pair in ticks.windows(2) {
        assert_eq!(pair[1] - pair[0], TimeDelta::seconds(1), "each once, none left out");
    }
    let attempts = store.state().attempts;
    assert!(attempts >= 3 * (ticks.len() - 2), "all three rang: {attempts} attempts for {} ticks", ticks.len());
}

#[tokio::test]
async fn no_tick_is_taken_before_its_time_even_if_the_bell_rings_early() {
    let store = Arc::new(FakeSweeps::default());
    // A clock that stands still while the bell rings by real time.
    let clock = Arc::new(ManualClock::at(at("21T08:59:59.800")));
    let ringing =
        Ringing::begin(schedules(&[("daily", schedule("0 9 * * *"))]), &store, Arc::<ManualClock>::clone(&clock));
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(store.ticks_of("daily"), []);
    clock.advance(TimeDelta::milliseconds(200));
    store.until(|state| !state.sweeps.is_empty()).await;
    ringing.end().await;
    assert_eq!(store.ticks_of("daily"), [(at("21T09:00:00"), Trigger::Tick)]);
}

#[tokio::test]
async fn a_tick_is_not_lost_while_the_store_does_not_answer() {
    let store = Arc::new(FakeSweeps::default());
    store.state().failures = 4;
    let unforgiving = Schedule { catch_up: Duration::ZERO, ..schedule("0 9 * * *") };
    let ringing = Ringing::begin(schedules(&[("daily", unforgiving)]), &store, FakeClock::at(at("21T08:59:59.500")));
    store.until(|state| !state.sweeps.is_empty()).await;
    ringing.end().await;
    assert_eq!(store.ticks_of("daily"), [(at("21T09:00:00"), Trigger::Tick)], "it came while the store was away");

    let store = Arc::new(FakeSweeps::default());
    let ringing =
        Ringing::begin(schedules(&[("daily", schedule("0 9 * * *"))]), &store, FakeClock::at(at("21T08:59:59.500")));
    store.until(|state| !state.known.is_empty()).await;
    store.state().failures = 3;
    store.until(|state| !state.sweeps.is_empty()).await;
    ringing.end().await;
    assert_eq!(store.ticks_of("daily"), [(at("21T09:00:00"), Trigger::Tick)]);
    assert_eq!(store.state().failures, 0);
}

#[tokio::test]
async fn schedules_ring_by_themselves_with_their_own_settings() {
    let store = Arc::new(FakeSweeps::default());
    let quick = Schedule { overlap: Overlap::Queue, jitter: Duration::from_millis(900), ..schedule("* * * * * *") };
    let both = schedules(&[("quick", quick), ("daily", schedule("0 9 * * *"))]);
    let ringing = Ringing::begin(both, &store, FakeClock::at(at("21T08:59:58.500")));
    store
        .until(|state| {
            let of = |name: &str| state.sweeps.iter().filter(|(sweep, _)| sweep.schedule == name).count();
            of("daily") == 1 && of("quick") >= 3
        })
        .await;
    ringing.end().await;
    let (daily, _) = store.of("daily").remove(0);
    assert_eq!((daily.tick, daily.start_at, daily.overlap), (at("21T09:00:00"), at("21T09:00:00"), Overlap::Skip));
    let quick = store.of("quick");
    assert!(quick.iter().all(|(sweep, _)| sweep.overlap == Overlap::Queue && sweep.mode == SweepMode::Full));
    assert!(quick.iter().all(|(sweep, _)| sweep.start_at >= sweep.tick));
    assert!(quick.iter().any(|(sweep, _)| sweep.start_at > sweep.tick), "jitter moves the start, not the tick");
}

#[tokio::test]
async fn without_schedules_it_is_there_until_it_is_stopped() {
    let store = Arc::new(FakeSweeps::default());
    let ringing = Ringing::begin(BTreeMap::new(), &store, Arc::new(SystemClock));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!ringing.task.is_finished());
    ringing.end().await;
}

#[test]
fn a_schedule_that_never_ticks_is_refused_by_name() {
    let never = schedules(&[("leap", schedule("0 0 30 2 *"))]);
    let error = Scheduler::new(never, Arc::new(FakeSweeps::default()), Arc::new(SystemClock)).err().expect("refused");
    assert_eq!(error.to_string(), "schedules.leap.cron");
    let source = std::error::Error::source(&error).expect("its reason").to_string();
    assert_eq!(source, "\"0 0 30 2 *\" never ticks: no calendar holds such a time");
}
