//! The queue, and a stage that works jobs off it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::job::Lane;

/// The queue could not do what it was asked. It is transport only: callers try again, and the Keeper pushes what is missing.
#[derive(Debug, thiserror::Error)]
#[error("{action}: the queue is unavailable")]
pub struct QueueError {
    /// What was attempted.
    pub action: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The result of a call to the queue.
pub type QueueResult<T> = Result<T, QueueError>;

/// One delivery of one job to one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The lane it came on.
    pub lane: Lane,
    /// The queue's own id of the entry.
    pub id: String,
    /// What it carries: [`Job::payload`](crate::domain::job::Job::payload).
    pub payload: String,
    /// How often it was delivered, this time included. Giving back does not count.
    pub deliveries: u32,
}

/// How much a lane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Depth {
    /// The lane.
    pub lane: Lane,
    /// Waiting for a worker.
    pub waiting: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// With a worker, under a lease.
    pub in_flight: u64,
}

/// A queue of job ids with leases. At least once: an entry is delivered until it is acknowledged.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Makes what is missing (streams, groups, tables) and returns the queue's generation: a text that is the same until the
    /// queue is wiped.
    async fn generation(&self) -> QueueResult<String>;
    /// Pushes jobs, in order. A job whose instant lies ahead is delivered from then on.
    async fn push(&self, lane: Lane, jobs: &[(String, Option<DateTime<Utc>>)]) -> QueueResult<()>;
    /// Takes up to `max` waiting entries for `consumer`, waiting up to `wait` for the first. They are leased from now on.
    async fn fetch(&self, lane: Lane, consumer: &str, max: usize, wait: Duration) -> QueueResult<Vec<Entry>>;
    /// Ends entries; nothing of them is left.
    async fn ack(&self, entries: &[Entry]) -> QueueResult<()>;
    /// Renews the leases of entries that `consumer` works on.
    async fn renew(&self, consumer: &str, entries: &[Entry]) -> QueueResult<()>;
    /// Takes over up to `max` entries whose lease has lapsed.
    async fn reclaim(&self, lane: Lane, consumer: &str, max: usize) -> QueueResult<Vec<Entry>>;
    /// Gives entries back untouched: another worker can have them at once.
    async fn give_back(&self, entries: &[Entry]) -> QueueResult<()>;
    /// Ends an entry and delivers its payload anew from `until` on, in one step.
    async fn delay(&self, entry: &Entry, until: DateTime<Utc>) -> QueueResult<()>;
    /// Moves delayed jobs whose time has come to their lanes, in bounded steps; returns how many.
    async fn promote(&self) -> QueueResult<u64>;
    /// How much each lane holds.
    async fn depths(&self) -> QueueResult<Vec<Depth>>;
}

/// What a stage says of a job it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// Nothing is left to do: acknowledge.
    Done,
    /// Deliver it again after this time.
    Later(Duration),
}

/// A stage of the pipeline that works jobs off. It answers for its own errors: every job is done, or comes again.
#[async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Works one entry off.
    async fn handle(&self, entry: Entry) -> Handled;
}
