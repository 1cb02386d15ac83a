//! Workers over both stores: nothing is lost, whatever happens to them or to the queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connection_auditor::adapters::queue::{Stop, WorkerError, WorkerSpec, work};
use connection_auditor::domain::port::{Entry, Handled, JobHandler, JobStore};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{A_WHILE, LANE, LEASE, NOT_AT_ALL, Queue, depth, jobs, on_both_stores};
use crate::support::redis::Redis;

/// A stage that does what the test says and remembers what it was handed.
struct FakeStage {
    /// How often each payload was begun, with the count the last delivery carried.
    begun: Mutex<HashMap<String, (usize, u32)>>,
    done: Mutex<HashMap<String, usize>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    takes: Duration,
    /// A handler waits for a permit before it is done.
    gate: Semaphore,
    says: fn(&Entry) -> Handled,
}

impl FakeStage {
    fn that_takes(takes: Duration) -> Self {
        Self {
            begun: Mutex::default(),
            done: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            takes,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            says: |_| Handled::Done,
        }
    }

    fn behind_a_gate() -> Self {
        Self { gate: Semaphore::new(0), ..Self::that_takes(NOT_AT_ALL) }
    }

    fn that_says(says: fn(&Entry) -> Handled) -> Self {
        Self { says, ..Self::that_takes(NOT_AT_ALL) }
    }

    fn done(&self) -> usize {
        self.done.lock().expect("no poison").len()
    }

    fn done_more_than_once(&self) -> usize {
        self.done.lock().expect("no poison").values().filter(|times| **times > 1).count()
    }

    fn begun(&self, payload: &str) -> (usize, u32) {
        self.begun.lock().expect("no poison").get(payload).copied().unwrap_or_default()
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

/// Counts a handler that runs, also if it is dropped or panics.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl JobHandler for FakeStage {
    async fn handle(&self, entry: Entry) -> Handled {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let _running = Running(&self.running);
        self.most_running.fetch_max(now, Ordering::SeqCst);
        {
            let mut begun = self.begun.lock().expect("no poison");
            let times = begun.entry(entry.payload.clone()).or_default();
            *times = (times.0 + 1, entry.deliveries);
        }
        tokio::time::sleep(self.takes).await;
        self.gate.acquire().await.expect("never closed").forget();
        let says = (self.says)(&entry);
        if says == Handled::Done {
            *self.done.lock().expect("no poison").entry(entry.payload).or_default() += 1;
        }
        says
    }
}

/// Workers that run, as separate processes would: each with a connection of its own.
struct Crew {
    workers: JoinSet<Result<(), WorkerError>>,
}

impl Crew {
    fn new() -> Self {
        Self { workers: JoinSet::new() }
    }

    async fn hire(
        &mut self,
        queue: &Queue,
        concurrency: usize,
        stage: &Arc<FakeStage>,
    ) -> (Stop, tokio::task::AbortHandle) {
        let stop = Stop::default();
        let spec = WorkerSpec {
            name: "test".into(),
            lane: LANE,
            concurrency,
            prefetch: concurrency,
            lease: queue.settings.lease,
        };
        let handler: Arc<dyn JobHandler> = Arc::<FakeStage>::clone(stage);
        let worker = self.workers.spawn(work(spec, queue.open().await, handler, stop.clone()));
        (stop, worker)
    }

    /// All end well, within the limit.
    async fn end(mut self, limit: Duration) {
        let started = Instant::now();
        while let Some(ended) =
            tokio::time::timeout(limit, self.workers.join_next()).await.expect("the workers end in time")
        {
            match ended {
                Ok(result) => result.expect("a worker ends well"),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
        assert!(started.elapsed() < limit + limit, "{:?}", started.elapsed());
    }
}

async fn until(what: &str, limit: Duration, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_empty(store: &dyn JobStore) {
    until("the queue is empty", A_WHILE, async || depth(store, LANE).await == (0, 0, 0)).await;
}

on_both_stores! {
    two_workers_do_two_thousand_jobs_once_each_within_their_concurrency,
    a_killed_workers_jobs_are_done_by_another_soon_after_the_lease,
    a_soft_stop_finishes_what_runs_and_gives_the_rest_to_another_at_once,
    a_hard_stop_drops_what_runs_and_loses_nothing,
    a_handler_that_panics_harms_nobody_and_its_job_counts_up,
    a_live_slow_job_is_not_robbed,
    a_job_that_is_put_off_comes_again_later_as_new,
}

async fn two_workers_do_two_thousand_jobs_once_each_within_their_concurrency(queue: Queue) {
    let store = queue.open().await;
    let stages = [0, 1].map(|_| Arc::new(FakeStage::that_takes(Duration::from_millis(2))));
    let mut crew = Crew::new();
    let mut stops = Vec::new();
    for stage in &stages {
        stops.push(crew.hire(&queue, 8, stage).await.0);
    }
    store.push(LANE, &jobs(0..2000)).await.expect("push");
    until("all are done", A_WHILE, async || stages.iter().map(|stage| stage.done()).sum::<usize>() == 2000).await;
    until_empty(&*store).await;
    for stage in &stages {
        assert_eq!(stage.done_more_than_once(), 0);
        assert!(stage.done() > 100, "both worked");
        assert!((2..=8).contains(&stage.most_running.load(Ordering::SeqCst)), "{:?}", stage.most_running);
    }
    assert!(stages[0].done.lock().expect("no poison").keys().all(|job| stages[1].begun(job).0 == 0));
    for stop in &stops {
        stop.soft.cancel();
    }
    crew.end(A_WHILE).await;
}

async fn a_killed_workers_jobs_are_done_by_another_soon_after_the_lease(queue: Queue) {
    let store = queue.open().await;
    let (doomed, heir) = (Arc::new(FakeStage::behind_a_gate()), Arc::new(FakeStage::that_takes(NOT_AT_ALL)));
    let mut crew = Crew::new();
    let (_, victim) = crew.hire(&queue, 10, &doomed).await;
    store.push(LANE, &jobs(0..30)).await.expect("push");
    until("it works on ten", A_WHILE, async || doomed.running() == 10).await;
    let (stop, _) = crew.hire(&queue, 10, &heir).await;
    until("the rest is done", A_WHILE, async || heir.done() == 10).await;
    victim.abort();
    let killed = Instant::now();
    until("nothing of it goes on", A_WHILE, async || doomed.running() == 0).await;
    until("its jobs are done", 3 * LEASE, async || heir.done() == 30).await;
    assert!(killed.elapsed() > LEASE / 3, "it was not given back: {:?}", killed.elapsed());
    until_empty(&*store).await;
    assert_eq!(heir.done_more_than_once(), 0);
    let redone = (0..30).filter(|job| heir.begun(&job.to_string()).1 == 2).count();
    assert_eq!(redone, 20, "ten that ran and ten that were fetched ahead are delivered a second time");
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

async fn a_soft_stop_finishes_what_runs_and_gives_the_rest_to_another_at_once(queue: Queue) {
    let store = queue.open().await;
    let (leaver, heir) = (Arc::new(FakeStage::behind_a_gate()), Arc::new(FakeStage::that_takes(NOT_AT_ALL)));
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 64, &leaver).await;
    store.push(LANE, &jobs(0..128)).await.expect("push");
    until("64 run, 64 are fetched ahead", A_WHILE, async || {
        leaver.running() == 64 && depth(&*store, LANE).await == (0, 0, 128)
    })
    .await;
    let (heirs_stop, _) = crew.hire(&queue, 64, &heir).await;
    stop.soft.cancel();
    let stopped = Instant::now();
    until("what had not begun is done by the other", LEASE * 3 / 4, async || heir.done() == 64).await;
    // Those that run are still held, beyond a lease, and nobody takes them.
    tokio::time::sleep((LEASE + LEASE / 2).saturating_sub(stopped.elapsed())).await;
    assert_eq!((leaver.running(), heir.done()), (64, 64));
    leaver.gate.add_permits(64);
    until("what ran is done", A_WHILE, async || leaver.done() == 64).await;
    until_empty(&*store).await;
    assert_eq!((leaver.done_more_than_once(), heir.done_more_than_once(), heir.done()), (0, 0, 64));
    assert!((0..128).all(|job| heir.begun(&job.to_string()).1 <= 1), "giving back does not count");
    heirs_stop.soft.cancel();
    crew.end(A_WHILE).await;
}

async fn a_hard_stop_drops_what_runs_and_loses_nothing(queue: Queue) {
    let store = queue.open().await;
    let stage = Arc::new(FakeStage::behind_a_gate());
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 5, &stage).await;
    store.push(LANE, &jobs(0..5)).await.expect("push");
    until("five run", A_WHILE, async || stage.running() == 5).await;
    stop.soft.cancel();
    stop.hard.cancel();
    crew.end(LEASE).await;
    until("nothing runs", A_WHILE, async || stage.running() == 0).await;
    let heir = Arc::new(FakeStage::that_takes(NOT_AT_ALL));
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 5, &heir).await;
    until("another does them", A_WHILE, async || heir.done() == 5).await;
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

async fn a_handler_that_panics_harms_nobody_and_its_job_counts_up(queue: Queue) {
    let store = queue.open().await;
    let stage = Arc::new(FakeStage::that_says(|entry| {
        assert!(entry.payload != "bad" || entry.deliveries > 2, "as the test wants it");
        Handled::Done
    }));
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 2, &stage).await;
    store.push(LANE, &jobs(["bad"])).await.expect("push");
    store.push(LANE, &jobs(0..100)).await.expect("push");
    until("the others are done at once", LEASE * 3 / 4, async || stage.done() == 100).await;
    until("the bad one is done at its third delivery", 6 * LEASE, async || stage.done() == 101).await;
    assert_eq!(stage.begun("bad"), (3, 3));
    until_empty(&*store).await;
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

async fn a_live_slow_job_is_not_robbed(queue: Queue) {
    let store = queue.open().await;
    let stage = Arc::new(FakeStage::that_takes(3 * LEASE));
    let mut crew = Crew::new();
    let mut stops = Vec::new();
    for _ in 0..2 {
        stops.push(crew.hire(&queue, 2, &stage).await.0);
    }
    store.push(LANE, &jobs(0..4)).await.expect("push");
    until("all are done", A_WHILE, async || stage.done() == 4).await;
    until_empty(&*store).await;
    assert!((0..4).all(|job| stage.begun(&job.to_string()) == (1, 1)));
    for stop in &stops {
        stop.soft.cancel();
    }
    crew.end(A_WHILE).await;
}

async fn a_job_that_is_put_off_comes_again_later_as_new(queue: Queue) {
    let store = queue.open().await;
    let stage = Arc::new(FakeStage::that_says(|_| Handled::Later(Duration::from_millis(400))));
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 2, &stage).await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let started = Instant::now();
    until("it came three times", A_WHILE, async || stage.begun("x").0 == 3).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(790) && waited < Duration::from_secs(4), "{waited:?}");
    assert_eq!(stage.begun("x").1, 1, "putting off starts the count anew");
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_survives_a_redis_that_restarts_empty() {
    let mut redis = Redis::start();
    let queue = Queue::at(&redis.url());
    let store = queue.open().await;
    let before = store.generation().await.expect("generation");
    let stage = Arc::new(FakeStage::behind_a_gate());
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 4, &stage).await;
    store.push(LANE, &jobs(0..4)).await.expect("push");
    until("four run", A_WHILE, async || stage.running() == 4).await;
    redis.kill();
    stage.gate.add_permits(2);
    until("two are done while it is down", A_WHILE, async || stage.done() == 2).await;
    tokio::time::sleep(LEASE).await;
    redis.run();
    until("there is a new generation", A_WHILE, async || store.generation().await.is_ok_and(|now| now != before)).await;
    // What the Keeper does then.
    store.push(LANE, &jobs(0..6)).await.expect("push");
    stage.gate.add_permits(100);
    until("all are done", A_WHILE, async || stage.done() == 6).await;
    until_empty(&*store).await;
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_survives_a_redis_that_stalls() {
    let redis = Redis::start();
    let queue = Queue::at(&redis.url());
    let store = queue.open().await;
    let stage = Arc::new(FakeStage::that_takes(Duration::from_millis(20)));
    let mut crew = Crew::new();
    let (stop, _) = crew.hire(&queue, 4, &stage).await;
    store.push(LANE, &jobs(0..400)).await.expect("push");
    until("some are done", A_WHILE, async || stage.done() > 20).await;
    redis.freeze();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(stage.done() < 400, "it stalled in the middle");
    redis.thaw();
    until("all are done", 2 * A_WHILE, async || stage.done() == 400).await;
    until_empty(&*store).await;
    assert_eq!(stage.done_more_than_once(), 0, "nobody else took them, so none ran twice");
    stop.soft.cancel();
    crew.end(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_stop_ends_in_bounded_time_when_redis_is_down_or_silent() {
    for silent in [false, true] {
        let mut redis = Redis::start();
        let queue = Queue::at(&redis.url());
        let store = queue.open().await;
        let stage = Arc::new(FakeStage::behind_a_gate());
        let mut crew = Crew::new();
        let (stop, _) = crew.hire(&queue, 4, &stage).await;
        store.push(LANE, &jobs(0..8)).await.expect("push");
        until("four run", A_WHILE, async || stage.running() == 4).await;
        if silent {
            redis.freeze();
        } else {
            redis.kill();
        }
        stop.soft.cancel();
        stage.gate.add_permits(100);
        crew.end(Duration::from_secs(8)).await;
        assert_eq!(stage.done(), 4, "what ran was finished, nothing else begun");
    }
}
