//! The queue: the contract of a job store, on Redis and on SQLite, and the workers over it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use connection_auditor::adapters::queue::connect;
use connection_auditor::config;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::job::Lane;
use connection_auditor::domain::port::{Depth, Entry, JobStore};

use crate::support::redis;

mod redis_only;
mod workers;

const LANE: Lane = Lane::CheckSweep;
const LEASE: Duration = Duration::from_secs(1);
const NOT_AT_ALL: Duration = Duration::ZERO;
const A_WHILE: Duration = Duration::from_secs(10);

/// One queue of its own, to which any number of processes could connect.
struct Queue {
    settings: config::Queue,
    file: Option<tempfile::TempDir>,
}

impl Queue {
    async fn on_redis() -> Self {
        Self::at(&redis::url().await)
    }

    fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("queue.sqlite").display());
        Self { file: Some(folder), ..Self::at(&url) }
    }

    fn at(url: &str) -> Self {
        let settings =
            config::Queue { url: url.into(), key_prefix: redis::prefix(), lease: LEASE, ..config::Queue::default() };
        Self { settings, file: None }
    }

    async fn open(&self) -> Arc<dyn JobStore> {
        connect(&self.settings).await.expect("the queue can be opened")
    }

    fn url(&self) -> &str {
        secrecy::ExposeSecret::expose_secret(&self.settings.url)
    }

    async fn redis(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("our own server answers")
    }

    /// Every key of this queue with the number of things in it, or every table with its rows, except the generation.
    async fn contents(&self) -> Vec<(String, u64)> {
        let mut contents = Vec::new();
        if self.file.is_some() {
            let pool = sqlx::SqlitePool::connect(self.url()).await.expect("the file is there");
            for table in ["queue_jobs", "queue_delayed"] {
                let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("select count(*) from {table}")));
                contents.push((table.to_owned(), count.fetch_one(&pool).await.expect("a count").unsigned_abs()));
            }
            return contents;
        }
        let mut redis = self.redis().await;
        let pattern = format!("{{{}}}:*", self.settings.key_prefix);
        let keys: Vec<String> = ::redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.expect("keys");
        for key in keys.into_iter().filter(|key| !key.ends_with(":generation")) {
            let command = if key.contains(":delayed:") { "ZCARD" } else { "XLEN" };
            let mut count: u64 = ::redis::cmd(command).arg(&key).query_async(&mut redis).await.expect("a count");
            if command == "XLEN" {
                let pending: Vec<::redis::Value> =
                    ::redis::cmd("XPENDING").arg(&key).arg("workers").query_async(&mut redis).await.expect("pending");
                let [::redis::Value::Int(pending), ..] = pending.as_slice() else {
                    unreachable!("a summary: {pending:?}")
                };
                count += pending.unsigned_abs();
            }
            contents.push((key, count));
        }
        contents
    }

    /// Loses everything, as a FLUSHALL or a deleted file does.
    async fn wipe(&self) {
        if self.file.is_some() {
            let pool = sqlx::SqlitePool::connect(self.url()).await.expect("the file is there");
            sqlx::raw_sql("delete from queue_jobs; delete from queue_delayed; delete from queue_generation")
                .execute(&pool)
                .await
                .expect("deleted");
            return;
        }
        let mut redis = self.redis().await;
        let pattern = format!("{{{}}}:*", self.settings.key_prefix);
        let keys: Vec<String> = ::redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.expect("keys");
        ::redis::cmd("DEL").arg(keys).query_async::<()>(&mut redis).await.expect("deleted");
    }
}

fn jobs(payloads: impl IntoIterator<Item = impl ToString>) -> Vec<(String, Option<DateTime<Utc>>)> {
    payloads.into_iter().map(|payload| (payload.to_string(), None)).collect()
}

fn in_time(wait: Duration) -> DateTime<Utc> {
    SystemClock.now() + TimeDelta::from_std(wait).expect("a short time")
}

fn payloads(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.payload.as_str()).collect()
}

async fn depth(store: &dyn JobStore, lane: Lane) -> (u64, u64, u64) {
    let depths = store.depths().await.expect("depths");
    assert_eq!(depths.iter().map(|depth| depth.lane).collect::<Vec<_>>(), Lane::ALL, "every lane is told");
    let Depth { waiting, delayed, in_flight, .. } =
        depths.into_iter().find(|depth| depth.lane == lane).expect("every lane is told");
    (waiting, delayed, in_flight)
}

/// Asks until something is there, up to a limit.
async fn reclaim_one(store: &dyn JobStore, consumer: &str, limit: Duration) -> Option<Entry> {
    let deadline = Instant::now() + limit;
    loop {
        let mut entries = store.reclaim(LANE, consumer, 10).await.expect("reclaim");
        if let Some(entry) = entries.pop() {
            return Some(entry);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn fetch_one(store: &dyn JobStore, consumer: &str) -> Entry {
    let entries = store.fetch(LANE, consumer, 1, A_WHILE).await.expect("fetch");
    entries.into_iter().next().expect("a job waits")
}

/// One contract, two stores.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod on_redis { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::queue::Queue::on_redis().await).await; }
        )* }
        mod on_sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::queue::Queue::on_sqlite()).await; }
        )* }
    };
}
use on_both_stores;

on_both_stores! {
    what_is_acknowledged_leaves_nothing_behind,
    jobs_come_in_the_order_they_were_pushed_and_lanes_do_not_mix,
    a_push_wakes_an_idle_fetch_at_once,
    two_workers_never_fetch_the_same_entry,
    a_delayed_job_comes_when_its_time_has_come_and_not_before,
    the_same_payload_delayed_twice_is_delivered_once_at_the_earlier_time,
    a_lapsed_lease_gives_the_entry_to_another_with_one_delivery_more,
    a_renewed_lease_is_not_taken_over,
    a_robbed_worker_cannot_renew_its_way_back,
    what_is_given_back_reaches_a_waiting_worker_at_once_and_does_not_count,
    a_robbed_worker_cannot_give_back_what_another_holds,
    delaying_an_entry_ends_it_and_delivers_it_anew,
    depths_tell_what_waits_what_is_delayed_and_what_is_in_flight,
    the_generation_stays_until_the_queue_is_wiped,
    twenty_thousand_waiting_and_nine_thousand_delayed_jobs_are_drained,
    what_is_not_ours_is_delivered_as_it_is,
}

async fn what_is_acknowledged_leaves_nothing_behind(queue: Queue) {
    let store = queue.open().await;
    store.generation().await.expect("what is missing is made");
    for lane in Lane::ALL {
        store.push(lane, &jobs(0..50)).await.expect("push");
    }
    store.push(LANE, &[("later".into(), Some(in_time(Duration::from_millis(50))))]).await.expect("push");
    assert!(queue.contents().await.iter().map(|(_, count)| count).sum::<u64>() >= 151, "the count counts");
    let mut done = 0;
    while done < 151 {
        store.promote().await.expect("promote");
        for lane in Lane::ALL {
            let entries = store.fetch(lane, "a", 30, NOT_AT_ALL).await.expect("fetch");
            store.ack(&entries).await.expect("ack");
            store.ack(&entries).await.expect("a second acknowledgement changes nothing");
            done += entries.len();
        }
    }
    assert_eq!(done, 151);
    let left = queue.contents().await;
    assert!(left.iter().all(|(_, count)| *count == 0), "{left:?}");
    assert!(left.len() <= 6, "no keys but the documented ones: {left:?}");
}

async fn jobs_come_in_the_order_they_were_pushed_and_lanes_do_not_mix(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(0..1200)).await.expect("push");
    store.push(Lane::Notify, &jobs(["other"])).await.expect("push");
    let mut seen = Vec::new();
    while seen.len() < 1200 {
        seen.extend(store.fetch(LANE, "a", 100, A_WHILE).await.expect("fetch"));
    }
    assert_eq!(payloads(&seen), (0..1200).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(seen.iter().all(|entry| entry.lane == LANE && entry.deliveries == 1));
    let other = store.fetch(Lane::Notify, "a", 100, NOT_AT_ALL).await.expect("fetch");
    assert_eq!(payloads(&other), ["other"]);
}

async fn a_push_wakes_an_idle_fetch_at_once(queue: Queue) {
    let store = queue.open().await;
    let mut latencies = Vec::new();
    for _ in 0..5 {
        let push = async {
            tokio::time::sleep(Duration::from_millis(90)).await;
            store.push(LANE, &jobs(["x"])).await.expect("push");
            Instant::now()
        };
        let (entry, pushed) = tokio::join!(fetch_one(&*store, "a"), push);
        latencies.push(pushed.elapsed());
        assert_eq!(entry.payload, "x");
    }
    // The best of several, as the machine may be busy.
    assert!(latencies.iter().min() < Some(&Duration::from_millis(50)), "{latencies:?}");
    let idle = Instant::now();
    assert!(store.fetch(LANE, "a", 1, Duration::from_millis(400)).await.expect("fetch").is_empty());
    let waited = idle.elapsed();
    assert!(waited >= Duration::from_millis(390) && waited < A_WHILE, "{waited:?}");
}

async fn two_workers_never_fetch_the_same_entry(queue: Queue) {
    let (one, two) = (queue.open().await, queue.open().await);
    one.push(LANE, &jobs(0..2000)).await.expect("push");
    let drain = |store: Arc<dyn JobStore>, consumer: &'static str| async move {
        let mut seen = Vec::new();
        loop {
            let entries = store.fetch(LANE, consumer, 7, NOT_AT_ALL).await.expect("fetch");
            if entries.is_empty() {
                return seen;
            }
            seen.extend(entries.into_iter().map(|entry| entry.payload));
        }
    };
    let (mut seen, more) = tokio::join!(drain(one, "a"), drain(two, "b"));
    assert!(!seen.is_empty() && !more.is_empty(), "both got some");
    seen.extend(more);
    assert_eq!(seen.len(), 2000);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2000);
}

async fn a_delayed_job_comes_when_its_time_has_come_and_not_before(queue: Queue) {
    let store = queue.open().await;
    let due = Duration::from_millis(700);
    let started = Instant::now();
    let past = SystemClock.now() - TimeDelta::hours(1);
    let pushed = [("past".to_owned(), Some(past)), ("later".into(), Some(in_time(due))), ("now".into(), None)];
    store.push(LANE, &pushed).await.expect("push");
    let first = store.fetch(LANE, "a", 10, NOT_AT_ALL).await.expect("fetch");
    assert_eq!(payloads(&first), ["past", "now"]);
    assert_eq!(store.promote().await.expect("promote"), 0, "not before its time");
    let entry = loop {
        store.promote().await.expect("promote");
        let mut entries = store.fetch(LANE, "a", 10, Duration::from_millis(20)).await.expect("fetch");
        if let Some(entry) = entries.pop() {
            break entry;
        }
        assert!(started.elapsed() < A_WHILE);
    };
    assert_eq!((entry.payload.as_str(), entry.deliveries), ("later", 1));
    assert!(started.elapsed() + Duration::from_millis(10) >= due, "{:?}", started.elapsed());
}

async fn the_same_payload_delayed_twice_is_delivered_once_at_the_earlier_time(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &[("x".into(), Some(in_time(Duration::from_millis(100))))]).await.expect("push");
    store.push(LANE, &[("x".into(), Some(in_time(Duration::from_secs(3600))))]).await.expect("push");
    assert_eq!(depth(&*store, LANE).await, (0, 1, 0));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(store.promote().await.expect("promote"), 1);
    assert_eq!(depth(&*store, LANE).await, (1, 0, 0));
}

async fn a_lapsed_lease_gives_the_entry_to_another_with_one_delivery_more(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let fetched = Instant::now();
    let mut last = fetch_one(&*store, "dead").await;
    assert_eq!(last.deliveries, 1);
    for deliveries in 2..=3 {
        let entry = reclaim_one(&*store, "b", A_WHILE).await.expect("it comes again");
        assert_eq!((entry.payload.as_str(), entry.deliveries), ("x", deliveries));
        last = entry;
    }
    let waited = fetched.elapsed();
    assert!(waited + Duration::from_millis(20) >= 2 * LEASE, "never within the lease: {waited:?}");
    assert!(waited < 4 * LEASE, "soon after it: {waited:?}");
    store.ack(&[last]).await.expect("ack");
    assert_eq!(depth(&*store, LANE).await, (0, 0, 0));
}

async fn a_renewed_lease_is_not_taken_over(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "a").await;
    let started = Instant::now();
    while started.elapsed() < 2 * LEASE {
        store.renew("a", std::slice::from_ref(&entry)).await.expect("renew");
        assert_eq!(store.reclaim(LANE, "b", 10).await.expect("reclaim"), [], "after {:?}", started.elapsed());
        tokio::time::sleep(LEASE / 5).await;
    }
    let late = reclaim_one(&*store, "b", A_WHILE).await.expect("it is there once nobody renews");
    assert_eq!(late.deliveries, 2, "renewing does not count");
}

async fn a_robbed_worker_cannot_renew_its_way_back(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "slept").await;
    let taken = reclaim_one(&*store, "b", A_WHILE).await.expect("its lease lapses");
    assert_eq!(taken.deliveries, 2);
    // b says nothing any more; whatever the robbed worker renews must not keep the entry from c.
    let started = Instant::now();
    let third = loop {
        store.renew("slept", std::slice::from_ref(&entry)).await.expect("renew");
        if let Some(third) = store.reclaim(LANE, "c", 10).await.expect("reclaim").pop() {
            break third;
        }
        assert!(started.elapsed() < 3 * LEASE, "the robbed worker keeps it");
        tokio::time::sleep(LEASE / 20).await;
    };
    assert_eq!(third.deliveries, 3);
}

async fn what_is_given_back_reaches_a_waiting_worker_at_once_and_does_not_count(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "a").await;
    let other = Arc::clone(&store);
    let give_back = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        store.give_back(std::slice::from_ref(&entry)).await.expect("give back");
        Instant::now()
    };
    let (again, given) = tokio::join!(fetch_one(&*other, "b"), give_back);
    assert!(given.elapsed() < LEASE / 2, "{:?}", given.elapsed());
    assert_eq!((again.payload.as_str(), again.deliveries), ("x", 1));
    store.give_back(std::slice::from_ref(&entry)).await.expect("give back");
    assert_eq!(depth(&*store, LANE).await, (0, 0, 1), "giving back twice gives nothing twice");
    // The count survives giving back, so that poison is still found.
    let twice = reclaim_one(&*store, "c", A_WHILE).await.expect("b is dead");
    assert_eq!(twice.deliveries, 2);
    store.give_back(&[twice]).await.expect("give back");
    assert_eq!(fetch_one(&*store, "d").await.deliveries, 2);
    let third = reclaim_one(&*store, "e", A_WHILE).await.expect("d is dead");
    assert_eq!(third.deliveries, 3);
}

async fn a_robbed_worker_cannot_give_back_what_another_holds(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "slept").await;
    reclaim_one(&*store, "b", A_WHILE).await.expect("its lease lapses");
    store.give_back(&[entry]).await.expect("give back");
    assert_eq!(depth(&*store, LANE).await, (0, 0, 1));
    assert_eq!(store.fetch(LANE, "c", 1, NOT_AT_ALL).await.expect("fetch"), []);
}

async fn delaying_an_entry_ends_it_and_delivers_it_anew(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "a").await;
    let until = in_time(Duration::from_millis(100));
    store.delay(&entry, until).await.expect("delay");
    store.delay(&entry, until).await.expect("repeating it changes nothing");
    assert_eq!(depth(&*store, LANE).await, (0, 1, 0));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(store.promote().await.expect("promote"), 1);
    let again = fetch_one(&*store, "b").await;
    assert_eq!((again.payload.as_str(), again.deliveries), ("x", 1));
    assert_ne!(again.id, entry.id);
    store.ack(&[again]).await.expect("ack");
    assert_eq!(depth(&*store, LANE).await, (0, 0, 0));
}

async fn depths_tell_what_waits_what_is_delayed_and_what_is_in_flight(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(0..5)).await.expect("push");
    store.push(LANE, &[("later".into(), Some(in_time(A_WHILE)))]).await.expect("push");
    store.push(Lane::CheckNow, &jobs(["x"])).await.expect("push");
    let entries = store.fetch(LANE, "a", 2, A_WHILE).await.expect("fetch");
    assert_eq!(entries.len(), 2);
    assert_eq!(depth(&*store, LANE).await, (3, 1, 2));
    assert_eq!(depth(&*store, Lane::CheckNow).await, (1, 0, 0));
    assert_eq!(depth(&*store, Lane::Notify).await, (0, 0, 0));
}

async fn the_generation_stays_until_the_queue_is_wiped(queue: Queue) {
    let store = queue.open().await;
    let generation = store.generation().await.expect("generation");
    store.push(LANE, &jobs(["x"])).await.expect("push");
    assert_eq!(store.generation().await.expect("generation"), generation);
    assert_eq!(queue.open().await.generation().await.expect("generation"), generation, "another process sees it too");
    queue.wipe().await;
    let after = store.generation().await.expect("generation");
    assert_ne!(after, generation);
    assert_eq!(store.generation().await.expect("generation"), after);
    store.push(LANE, &jobs(["y"])).await.expect("push");
    assert_eq!(fetch_one(&*store, "a").await.payload, "y", "the wiped queue works");
}

async fn twenty_thousand_waiting_and_nine_thousand_delayed_jobs_are_drained(queue: Queue) {
    let store = queue.open().await;
    store.push(LANE, &jobs(0..20_000)).await.expect("push");
    let due = in_time(Duration::from_millis(1));
    let delayed: Vec<_> =
        (20_000..29_000).map(|number| (number.to_string(), Some(due + TimeDelta::seconds(5)))).collect();
    store.push(LANE, &delayed).await.expect("push");
    let (started, mut promoted, mut seen) = (Instant::now(), 0, Vec::new());
    while seen.len() < 29_000 {
        promoted += store.promote().await.expect("promote");
        let entries = store.fetch(LANE, "a", 500, Duration::from_millis(50)).await.expect("fetch");
        store.ack(&entries).await.expect("ack");
        seen.extend(entries.into_iter().map(|entry| entry.payload));
        assert!(started.elapsed() < Duration::from_secs(60), "{} drained", seen.len());
    }
    assert_eq!(promoted, 9000);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 29_000);
    assert_eq!(depth(&*store, LANE).await, (0, 0, 0));
}

async fn what_is_not_ours_is_delivered_as_it_is(queue: Queue) {
    let store = queue.open().await;
    let strange = [String::new(), "{}".into(), "[1,\"2\"]\n'; drop".into(), "💥\t".into(), "x".repeat(100_000)];
    store.push(LANE, &jobs(&strange)).await.expect("push");
    let soon = SystemClock.now() + TimeDelta::milliseconds(20);
    store.push(LANE, &[("\"later\\".into(), Some(soon))]).await.expect("push");
    let entries = store.fetch(LANE, "a", 10, A_WHILE).await.expect("fetch");
    assert_eq!(payloads(&entries), strange);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.promote().await.expect("promote"), 1);
    assert_eq!(fetch_one(&*store, "a").await.payload, "\"later\\");
}
