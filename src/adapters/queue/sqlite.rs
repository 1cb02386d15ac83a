//! The embedded queue: one SQLite file, for the demo and for a worker without a server.
//!
//! The same guarantees as on Redis, in a file of its own with tables of its own (made when it is opened; the application's
//! migrations do not know them): `queue_jobs` holds what waits (no owner) or is in flight (an owner, and a lease until an
//! instant), `queue_delayed` what waits for its time, `queue_generation` one row that tells a wiped file from the old one.
//! One connection writes, as SQLite has one writer anyway; others read, so that an idle fetch does not take the write lock.
//! All instants are Unix time in ms by SQLite's own clock. A push wakes the fetches of this process at once; pushes of other
//! processes are found by looking again. `queue.key_prefix` does not matter here: a file belongs to one installation.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::ConnectError;
use crate::domain::job::Lane;
use crate::domain::port::{Depth, Entry, JobStore, QueueError, QueueResult};

/// How often an idle fetch looks for what other processes pushed.
const POLL: Duration = Duration::from_millis(200);
/// The most entries or jobs that one statement takes.
const BATCH: usize = 1000;
/// The most promotion steps of one call.
const PROMOTION_STEPS: usize = 100;

const TABLES: &str = "
-- queue_tables
create table if not exists queue_generation (only_row integer primary key check (only_row = 1), generation text not null) strict;
create table if not exists queue_jobs (
    id integer primary key autoincrement,
    lane text not null,
    payload text not null,
    owner text,
    lease_until integer,
    deliveries integer not null default 0,
    check ((owner is null) = (lease_until is null))
) strict;
create index if not exists queue_jobs_waiting on queue_jobs (lane, id) where owner is null;
create index if not exists queue_jobs_leased on queue_jobs (lane, lease_until) where owner is not null;
create table if not exists queue_delayed (
    lane text not null,
    payload text not null,
    due_at integer not null,
    primary key (lane, payload)
) strict, without rowid;
create index if not exists queue_delayed_due on queue_delayed (due_at);
";

/// SQLite's clock, in ms.
macro_rules! now {
    () => {
        "cast(unixepoch('now', 'subsec') * 1000 as integer)"
    };
}

const GENERATION: &str = "-- queue_generation
insert into queue_generation (only_row, generation) values (1, ?1)
on conflict (only_row) do update set generation = generation returning generation";

const PUSH: &str = concat!(
    "-- queue_push
insert into queue_jobs (lane, payload)
select ?1, value ->> 0 from json_each(?2) where value ->> 1 <= ",
    now!(),
    " order by key"
);

const PUSH_DELAYED: &str = concat!(
    "-- queue_push_delayed
insert into queue_delayed (lane, payload, due_at)
select ?1, value ->> 0, value ->> 1 from json_each(?2) where value ->> 1 > ",
    now!(),
    "
on conflict (lane, payload) do update set due_at = min(due_at, excluded.due_at)"
);

const ANY_WAITING: &str = "-- queue_any_waiting
select exists (select 1 from queue_jobs where lane = ?1 and owner is null)";

const FETCH: &str = concat!(
    "-- queue_fetch
update queue_jobs set owner = ?1, lease_until = ?2 + ",
    now!(),
    ", deliveries = deliveries + 1
where id in (select id from queue_jobs where lane = ?3 and owner is null order by id limit ?4)
returning id, payload, deliveries"
);

const RECLAIM: &str = concat!(
    "-- queue_reclaim
update queue_jobs set owner = ?1, lease_until = ?2 + ",
    now!(),
    ", deliveries = deliveries + 1
where id in (
    select id from queue_jobs where lane = ?3 and owner is not null and lease_until <= ",
    now!(),
    " order by lease_until limit ?4
)
returning id, payload, deliveries"
);

const ACK: &str = "-- queue_ack
delete from queue_jobs where id in (select value from json_each(?1))";

const RENEW: &str = concat!(
    "-- queue_renew
update queue_jobs set lease_until = ?1 + ",
    now!(),
    " where owner = ?2 and id in (select value from json_each(?3))"
);

const GIVE_BACK_PUT: &str = "-- queue_give_back_put
insert into queue_jobs (lane, payload, deliveries)
select held.lane, held.payload, held.deliveries - 1
from json_each(?1) as given
join queue_jobs as held on held.id = given.value ->> 0 and held.deliveries = given.value ->> 1
where held.owner is not null order by held.id";

const GIVE_BACK_END: &str = "-- queue_give_back_end
delete from queue_jobs
where owner is not null and (id, deliveries) in (select value ->> 0, value ->> 1 from json_each(?1))";

const DELAY: &str = "-- queue_delay
insert into queue_delayed (lane, payload, due_at) values (?1, ?2, ?3)
on conflict (lane, payload) do update set due_at = min(due_at, excluded.due_at)";

const ANY_DUE: &str = concat!(
    "-- queue_any_due
select exists (select 1 from queue_delayed where due_at <= ",
    now!(),
    ")"
);

const PROMOTE_TAKE: &str = concat!(
    "-- queue_promote_take
delete from queue_delayed where (lane, payload) in (
    select lane, payload from queue_delayed where due_at <= ",
    now!(),
    " order by due_at limit ?1
)
returning lane, payload, due_at"
);

const PROMOTE_PUT: &str = "-- queue_promote_put
insert into queue_jobs (lane, payload)
select value ->> 0, value ->> 1 from json_each(?1) order by value ->> 2, key";

const DEPTHS: &str = "-- queue_depths
select lane, count(*) filter (where owner is null), 0, count(*) filter (where owner is not null)
from queue_jobs group by lane
union all
select lane, 0, count(*), 0 from queue_delayed group by lane";

/// The queue without a server.
pub struct SqliteQueue {
    writer: SqlitePool,
    readers: SqlitePool,
    lease: Duration,
    /// Rung when something new can be fetched.
    pushed: HashMap<Lane, Notify>,
}

impl SqliteQueue {
    /// Opens the file, and makes it and its tables where they are missing.
    ///
    /// # Errors
    /// The file cannot be opened or written.
    pub async fn connect(url: &str, lease: Duration) -> Result<Self, ConnectError> {
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        if path.is_empty() || path.starts_with(":memory:") || path.contains("mode=memory") {
            return Err(ConnectError::InMemory);
        }
        let unusable = |source: sqlx::Error| ConnectError::File { path: path.to_owned(), source: Box::new(source) };
        let options = SqliteConnectOptions::from_str(url)
            .map_err(unusable)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool =
            |connections| SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None);
        let writer = pool(1).connect_with(options.clone()).await.map_err(unusable)?;
        sqlx::raw_sql(TABLES).execute(&writer).await.map_err(unusable)?;
        let readers = pool(2).connect_with(options.read_only(true)).await.map_err(unusable)?;
        let pushed = Lane::ALL.into_iter().map(|lane| (lane, Notify::new())).collect();
        let this = Self { writer, readers, lease, pushed };
        sqlx::query(GENERATION).bind(fresh()).execute(&this.writer).await.map_err(unusable)?;
        Ok(this)
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX)
    }

    fn ring(&self, lane: Lane) {
        if let Some(pushed) = self.pushed.get(&lane) {
            pushed.notify_waiters();
        }
    }

    /// Runs one of the two statements that lease entries.
    async fn take(&self, sql: &'static str, lane: Lane, consumer: &str, max: usize) -> sqlx::Result<Vec<Entry>> {
        let mut rows: Vec<(i64, String, u32)> = sqlx::query_as(sql)
            .bind(consumer)
            .bind(self.lease_ms())
            .bind(lane.as_str())
            .bind(i64::try_from(max.clamp(1, BATCH)).unwrap_or(1))
            .fetch_all(&self.writer)
            .await?;
        rows.sort_unstable_by_key(|(id, _, _)| *id);
        Ok(rows
            .into_iter()
            .map(|(id, payload, deliveries)| Entry { lane, id: id.to_string(), payload, deliveries })
            .collect())
    }
}

#[async_trait]
impl JobStore for SqliteQueue {
    async fn generation(&self) -> QueueResult<String> {
        let action = "read the queue's generation";
        sqlx::query_scalar(GENERATION).bind(fresh()).fetch_one(&self.writer).await.map_err(failed(action))
    }

    async fn push(&self, lane: Lane, jobs: &[(String, Option<DateTime<Utc>>)]) -> QueueResult<()> {
        let failed = failed("push jobs");
        for jobs in jobs.chunks(BATCH) {
            let jobs: Vec<(&str, i64)> = jobs
                .iter()
                .map(|(payload, due)| (payload.as_str(), due.map_or(0, |due| due.timestamp_millis())))
                .collect();
            let jobs = json(&jobs);
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
            // The delayed ones first: what falls due between the two statements is then pushed twice at worst, never lost.
            for statement in [PUSH_DELAYED, PUSH] {
                sqlx::query(statement)
                    .bind(lane.as_str())
                    .bind(&jobs)
                    .execute(&mut *transaction)
                    .await
                    .map_err(&failed)?;
            }
            transaction.commit().await.map_err(&failed)?;
            self.ring(lane);
        }
        Ok(())
    }

    async fn fetch(&self, lane: Lane, consumer: &str, max: usize, wait: Duration) -> QueueResult<Vec<Entry>> {
        let failed = failed("fetch jobs");
        let deadline = Instant::now() + wait;
        loop {
            let ring = async {
                match self.pushed.get(&lane) {
                    Some(pushed) => pushed.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(ring);
            // Listening starts before looking, so that no push falls between the two.
            let early = futures::poll!(&mut ring).is_ready();
            let waiting: bool =
                sqlx::query_scalar(ANY_WAITING).bind(lane.as_str()).fetch_one(&self.readers).await.map_err(&failed)?;
            if waiting {
                let entries = self.take(FETCH, lane, consumer, max).await.map_err(&failed)?;
                if !entries.is_empty() {
                    return Ok(entries);
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Vec::new());
            }
            if !early {
                let _ = tokio::time::timeout_at(deadline.min(now + POLL), ring).await;
            }
        }
    }

    async fn ack(&self, entries: &[Entry]) -> QueueResult<()> {
        for entries in entries.chunks(BATCH) {
            let ids = ids(entries);
            sqlx::query(ACK).bind(ids).execute(&self.writer).await.map_err(failed("acknowledge jobs"))?;
        }
        Ok(())
    }

    async fn renew(&self, consumer: &str, entries: &[Entry]) -> QueueResult<()> {
        for entries in entries.chunks(BATCH) {
            let query = sqlx::query(RENEW).bind(self.lease_ms()).bind(consumer).bind(ids(entries));
            query.execute(&self.writer).await.map_err(failed("renew leases"))?;
        }
        Ok(())
    }

    async fn reclaim(&self, lane: Lane, consumer: &str, max: usize) -> QueueResult<Vec<Entry>> {
        self.take(RECLAIM, lane, consumer, max).await.map_err(failed("reclaim jobs"))
    }

    async fn give_back(&self, entries: &[Entry]) -> QueueResult<()> {
        let failed = failed("give jobs back");
        for step in entries.chunks(BATCH) {
            let given: Vec<(i64, u32)> =
                step.iter().filter_map(|entry| Some((entry.id.parse().ok()?, entry.deliveries))).collect();
            let given = json(&given);
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
            // A new row, so that giving back twice finds nothing the second time.
            for statement in [GIVE_BACK_PUT, GIVE_BACK_END] {
                sqlx::query(statement).bind(&given).execute(&mut *transaction).await.map_err(&failed)?;
            }
            transaction.commit().await.map_err(&failed)?;
        }
        for lane in Lane::ALL.into_iter().filter(|lane| entries.iter().any(|entry| entry.lane == *lane)) {
            self.ring(lane);
        }
        Ok(())
    }

    async fn delay(&self, entry: &Entry, until: DateTime<Utc>) -> QueueResult<()> {
        let failed = failed("delay a job");
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
        let ids = ids(std::slice::from_ref(entry));
        sqlx::query(ACK).bind(ids).execute(&mut *transaction).await.map_err(&failed)?;
        let query = sqlx::query(DELAY).bind(entry.lane.as_str()).bind(&entry.payload).bind(until.timestamp_millis());
        query.execute(&mut *transaction).await.map_err(&failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn promote(&self) -> QueueResult<u64> {
        let failed = failed("promote delayed jobs");
        let mut moved = 0;
        for _ in 0..PROMOTION_STEPS {
            if !sqlx::query_scalar::<_, bool>(ANY_DUE).fetch_one(&self.readers).await.map_err(&failed)? {
                break;
            }
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
            let due: Vec<(String, String, i64)> = sqlx::query_as(PROMOTE_TAKE)
                .bind(i64::try_from(BATCH).unwrap_or(1))
                .fetch_all(&mut *transaction)
                .await
                .map_err(&failed)?;
            sqlx::query(PROMOTE_PUT).bind(json(&due)).execute(&mut *transaction).await.map_err(&failed)?;
            transaction.commit().await.map_err(&failed)?;
            moved += due.len() as u64;
            for lane in Lane::ALL.into_iter().filter(|lane| due.iter().any(|(name, _, _)| name == lane.as_str())) {
                self.ring(lane);
            }
            if due.len() < BATCH {
                break;
            }
        }
        Ok(moved)
    }

    async fn depths(&self) -> QueueResult<Vec<Depth>> {
        let rows: Vec<(String, i64, i64, i64)> =
            sqlx::query_as(DEPTHS).fetch_all(&self.readers).await.map_err(failed("measure the queue"))?;
        let sum = |lane: Lane, column: fn(&(String, i64, i64, i64)) -> i64| {
            rows.iter().filter(|row| row.0 == lane.as_str()).map(|row| column(row).unsigned_abs()).sum()
        };
        Ok(Lane::ALL
            .into_iter()
            .map(|lane| Depth {
                lane,
                waiting: sum(lane, |row| row.1),
                delayed: sum(lane, |row| row.2),
                in_flight: sum(lane, |row| row.3),
            })
            .collect())
    }
}

fn failed(action: &'static str) -> impl Fn(sqlx::Error) -> QueueError {
    move |source| QueueError { action, source: Box::new(source) }
}

fn fresh() -> String {
    Uuid::new_v4().simple().to_string()
}

fn json<T: serde::Serialize>(rows: &T) -> String {
    serde_json::to_string(rows).expect("texts and numbers have a JSON form")
}

fn ids(entries: &[Entry]) -> String {
    let ids: Vec<i64> = entries.iter().filter_map(|entry| entry.id.parse().ok()).collect();
    json(&ids)
}
