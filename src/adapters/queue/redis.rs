//! The queue on Redis Streams (Redis 6.2 or newer, or Valkey): one stream with one consumer group a lane.
//!
//! A consumer's pending entries *are* its leases: reading an entry starts the lease, renewing resets its idle time, and an
//! entry that has been idle for a whole lease can be taken over, which counts as one more delivery. What takes several
//! commands is one Lua script (`lua/*.lua`), so that a crash leaves nothing half done.
//!
//! Keys, all of them; `P` is `queue.key_prefix`, and its braces put them into one hash slot:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `{P}:jobs:LANE` | stream | the jobs of a lane that wait or are in flight; group `workers`; field `p` is the payload, and `d`, where present, how often it was delivered before it was given back |
//! | `{P}:delayed:LANE` | sorted set | payloads by the instant (Unix time in ms) from which on they are delivered |
//! | `{P}:generation` | string | a text that is replaced when a stream or group had to be made, so that a wiped queue shows |
//!
//! Nothing expires, and nothing of a finished job is left. A payload that is delayed twice is delayed once, until the earlier
//! instant. What is due is decided by the Redis server's clock, the one clock that all workers share.
//!
//! Supported: one Redis or Valkey, or whatever speaks for one behind one address (a managed primary endpoint, a proxy), with
//! password, user name and TLS (`rediss://`, public certificate authorities) by URL. Not supported: asking Sentinel for the
//! primary, and Redis Cluster (the keys would fit, the client does not follow redirections). A user of its own needs the keys
//! `{P}:*` and `+@stream +@sortedset +@scripting +@transaction +get +set +time`; with `+info` the start can check the server.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    Script, ScriptInvocation, Value,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::ConnectError;
use crate::domain::job::Lane;
use crate::domain::port::{Depth, Entry, JobStore, QueueError, QueueResult};

/// The one group of each stream.
const GROUP: &str = "workers";
/// The longest single blocking read; a longer wait is made of several, so that a dead connection shows.
const MAX_BLOCK: Duration = Duration::from_secs(2);
/// How long an answer may take, on top of what the command itself waits.
const ANSWER: Duration = Duration::from_secs(5);
/// The most entries that one command or script takes.
const BATCH: usize = 500;
/// The most promotion steps of one call, for each lane.
const PROMOTION_STEPS: usize = 200;

macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
}
script!(ENSURE, "lua/ensure.lua");
script!(PUSH, "lua/push.lua");
script!(RENEW, "lua/renew.lua");
script!(RECLAIM, "lua/reclaim.lua");
script!(GIVE_BACK, "lua/give_back.lua");
script!(DELAY, "lua/delay.lua");
script!(PROMOTE, "lua/promote.lua");
script!(DEPTH, "lua/depth.lua");

/// The queue in production.
pub struct RedisStreams {
    client: Client,
    /// For everything that answers at once.
    shared: ConnectionManager,
    /// For reads that block: each takes one for itself and puts it back when it has its answer.
    blocking: Mutex<Vec<MultiplexedConnection>>,
    prefix: String,
    lease: Duration,
}

impl RedisStreams {
    /// Connects, and refuses a server that would lose work silently.
    ///
    /// # Errors
    /// It cannot be reached, refuses us, is too old, or evicts keys when its memory is full.
    pub async fn connect(url: &str, prefix: &str, lease: Duration) -> Result<Self, ConnectError> {
        let info = url.into_connection_info().map_err(|source| ConnectError::Url { source: Box::new(source) })?;
        let server = info.addr().to_string();
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(ANSWER);
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
        let unreachable =
            |source: RedisError| ConnectError::Unreachable { server: server.clone(), source: Box::new(source) };
        let client = Client::open(info).map_err(unreachable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500));
        let mut shared = ConnectionManager::new_with_config(client.clone(), config).await.map_err(unreachable)?;
        match redis::cmd("INFO").query_async::<String>(&mut shared).await {
            Ok(info) => check_server(&server, &info)?,
            Err(error) if error.code() == Some("NOPERM") => {
                tracing::warn!(%server, "INFO is not permitted: make sure that maxmemory-policy is noeviction");
            }
            Err(error) => return Err(unreachable(error)),
        }
        // Nothing is made yet: who only looks leaves no trace. `generation` and the first fetch make what is missing.
        Ok(Self { client, shared, blocking: Mutex::default(), prefix: prefix.to_owned(), lease })
    }

    fn stream(&self, lane: Lane) -> String {
        format!("{{{}}}:jobs:{}", self.prefix, lane.as_str())
    }

    fn delayed(&self, lane: Lane) -> String {
        format!("{{{}}}:delayed:{}", self.prefix, lane.as_str())
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        script.invoke_async(&mut self.shared.clone()).await
    }

    /// As [`Self::run`]; where the group is gone (a wiped queue), it is made and the script runs once more.
    async fn run_in_group<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self.run(script).await {
            Err(error) if is_missing_group(&error) => {
                self.ensure().await?;
                self.run(script).await
            }
            answer => answer,
        }
    }

    /// Makes what is missing; returns the generation.
    async fn ensure(&self) -> RedisResult<String> {
        let mut script = ENSURE.key(format!("{{{}}}:generation", self.prefix));
        for lane in Lane::ALL {
            script.key(self.stream(lane));
        }
        script.arg(GROUP).arg(Uuid::new_v4().simple().to_string());
        self.run(&script).await
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let parked = self.blocking.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = parked {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(MAX_BLOCK + ANSWER));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// One read, on a connection that nobody else uses; it is dropped when the read fails or is abandoned.
    async fn read(&self, command: &Cmd) -> RedisResult<Value> {
        let mut connection = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        if answer.as_ref().err().is_none_or(is_missing_group) {
            self.blocking.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        answer
    }
}

#[async_trait]
impl JobStore for RedisStreams {
    async fn generation(&self) -> QueueResult<String> {
        self.ensure().await.map_err(failed("read the queue's generation"))
    }

    async fn push(&self, lane: Lane, jobs: &[(String, Option<DateTime<Utc>>)]) -> QueueResult<()> {
        for jobs in jobs.chunks(BATCH) {
            let mut script = PUSH.key(self.stream(lane));
            script.key(self.delayed(lane));
            for (payload, due) in jobs {
                script.arg(payload).arg(due.map_or(0, |due| due.timestamp_millis()));
            }
            self.run::<()>(&script).await.map_err(failed("push jobs"))?;
        }
        Ok(())
    }

    async fn fetch(&self, lane: Lane, consumer: &str, max: usize, wait: Duration) -> QueueResult<Vec<Entry>> {
        let deadline = Instant::now() + wait;
        loop {
            let block = deadline.saturating_duration_since(Instant::now()).min(MAX_BLOCK);
            let mut command = redis::cmd("XREADGROUP");
            command.arg("GROUP").arg(GROUP).arg(consumer).arg("COUNT").arg(max.clamp(1, BATCH));
            if !block.is_zero() {
                // Zero would mean for ever.
                command.arg("BLOCK").arg(block.as_millis().max(1));
            }
            command.arg("STREAMS").arg(self.stream(lane)).arg(">");
            match self.read(&command).await {
                Ok(answer) => {
                    let entries = entries_read(lane, &answer);
                    if !entries.is_empty() || Instant::now() >= deadline {
                        return Ok(entries);
                    }
                }
                Err(error) if is_missing_group(&error) => {
                    self.ensure().await.map_err(failed("make the queue anew"))?;
                }
                Err(error) => return Err(failed("fetch jobs")(error)),
            }
        }
    }

    async fn ack(&self, entries: &[Entry]) -> QueueResult<()> {
        for (lane, entries) in by_lane(entries) {
            let stream = self.stream(lane);
            let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            pipeline.cmd("XACK").arg(&stream).arg(GROUP).arg(&ids).ignore();
            pipeline.cmd("XDEL").arg(&stream).arg(&ids).ignore();
            pipeline.query_async::<()>(&mut self.shared.clone()).await.map_err(failed("acknowledge jobs"))?;
        }
        Ok(())
    }

    async fn renew(&self, consumer: &str, entries: &[Entry]) -> QueueResult<()> {
        for (lane, entries) in by_lane(entries) {
            let mut script = RENEW.key(self.stream(lane));
            script.arg(GROUP).arg(consumer);
            for entry in entries {
                script.arg(&entry.id);
            }
            self.run_in_group::<()>(&script).await.map_err(failed("renew leases"))?;
        }
        Ok(())
    }

    async fn reclaim(&self, lane: Lane, consumer: &str, max: usize) -> QueueResult<Vec<Entry>> {
        let lease = self.lease.as_millis();
        let mut script = RECLAIM.key(self.stream(lane));
        script.arg(GROUP).arg(consumer).arg(lease).arg(max.clamp(1, BATCH)).arg(lease * 10);
        let found: Vec<Value> = self.run_in_group(&script).await.map_err(failed("reclaim jobs"))?;
        Ok(found
            .as_chunks::<3>()
            .0
            .iter()
            .map(|[id, payload, deliveries]| Entry {
                lane,
                id: text(id),
                payload: text(payload),
                deliveries: text(deliveries).parse().unwrap_or(u32::MAX),
            })
            .collect())
    }

    async fn give_back(&self, entries: &[Entry]) -> QueueResult<()> {
        for (lane, entries) in by_lane(entries) {
            let mut script = GIVE_BACK.key(self.stream(lane));
            script.arg(GROUP);
            for entry in entries {
                script.arg(&entry.id).arg(entry.deliveries);
            }
            self.run_in_group::<()>(&script).await.map_err(failed("give jobs back"))?;
        }
        Ok(())
    }

    async fn delay(&self, entry: &Entry, until: DateTime<Utc>) -> QueueResult<()> {
        let mut script = DELAY.key(self.stream(entry.lane));
        script.key(self.delayed(entry.lane));
        script.arg(GROUP).arg(&entry.id).arg(&entry.payload).arg(until.timestamp_millis());
        self.run(&script).await.map_err(failed("delay a job"))
    }

    async fn promote(&self) -> QueueResult<u64> {
        let mut moved = 0;
        for lane in Lane::ALL {
            let mut script = PROMOTE.key(self.stream(lane));
            script.key(self.delayed(lane)).arg(BATCH);
            for _ in 0..PROMOTION_STEPS {
                let step: u64 = self.run(&script).await.map_err(failed("promote delayed jobs"))?;
                moved += step;
                if step < BATCH as u64 {
                    break;
                }
            }
        }
        Ok(moved)
    }

    async fn depths(&self) -> QueueResult<Vec<Depth>> {
        let mut depths = Vec::with_capacity(Lane::ALL.len());
        for lane in Lane::ALL {
            let mut script = DEPTH.key(self.stream(lane));
            script.key(self.delayed(lane)).arg(GROUP);
            let [entries, delayed, in_flight]: [u64; 3] =
                self.run(&script).await.map_err(failed("measure the queue"))?;
            depths.push(Depth { lane, waiting: entries.saturating_sub(in_flight), delayed, in_flight });
        }
        Ok(depths)
    }
}

fn failed(action: &'static str) -> impl Fn(RedisError) -> QueueError {
    move |source| QueueError { action, source: Box::new(source) }
}

/// The stream or its group is gone, or went while we were reading. Inside a script's error the code is part of the text.
fn is_missing_group(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
        || error.detail().is_some_and(|detail| detail.contains("NOGROUP"))
}

/// The entries of each lane, in steps that one command can take.
fn by_lane(entries: &[Entry]) -> impl Iterator<Item = (Lane, Vec<&Entry>)> {
    Lane::ALL.into_iter().flat_map(|lane| {
        let of_lane: Vec<&Entry> = entries.iter().filter(|entry| entry.lane == lane).collect();
        of_lane.chunks(BATCH).map(|step| (lane, step.to_vec())).collect::<Vec<_>>()
    })
}

/// Whatever stands there, as text: what is not ours must reach the handler too, or it would block the lane for ever.
fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

fn items(value: &Value) -> &[Value] {
    if let Value::Array(items) = value { items } else { &[] }
}

/// Reads `[[stream, [[id, [field, value, …]], …]]]`.
fn entries_read(lane: Lane, answer: &Value) -> Vec<Entry> {
    let entry = |value: &Value| {
        let [id, fields] = items(value) else { return None };
        let field = |name: &str| {
            items(fields).as_chunks::<2>().0.iter().find(|[key, _]| text(key) == name).map(|[_, value]| text(value))
        };
        let carried: u32 = field("d").and_then(|carried| carried.parse().ok()).unwrap_or(0);
        let payload = field("p").unwrap_or_default();
        Some(Entry { lane, id: text(id), payload, deliveries: carried.saturating_add(1) })
    };
    items(answer).iter().filter_map(|stream| items(stream).get(1)).flat_map(items).filter_map(entry).collect()
}

/// Refuses a server that is too old, or that throws keys away when its memory is full.
fn check_server(server: &str, info: &str) -> Result<(), ConnectError> {
    let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    if let Some(version) = field("redis_version") {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next(), numbers.next()) < (Some(6), Some(2)) {
            return Err(ConnectError::TooOld { server: server.to_owned(), version: version.to_owned() });
        }
    }
    let limited = field("maxmemory").is_some_and(|limit| limit != "0");
    match field("maxmemory_policy") {
        Some(policy) if limited && policy != "noeviction" => {
            Err(ConnectError::Evicting { server: server.to_owned(), policy: policy.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_would_lose_work_is_refused_and_others_are_not() {
        let info = |version: &str, limit: &str, policy: &str| {
            format!("# Server\r\nredis_version:{version}\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert!(check_server("s", &info("7.0.15", "0", "allkeys-lru")).is_ok(), "no limit, nothing is evicted");
        assert!(check_server("s", &info("7.0.15", "100", "noeviction")).is_ok());
        let refused = check_server("s", &info("7.0.15", "100", "volatile-ttl"));
        assert!(matches!(refused, Err(ConnectError::Evicting { policy, .. }) if policy == "volatile-ttl"));
        assert!(matches!(check_server("s", &info("6.0.9", "0", "noeviction")), Err(ConnectError::TooOld { .. })));
        assert!(check_server("s", &info("10.0.0", "0", "noeviction")).is_ok());
    }
}
