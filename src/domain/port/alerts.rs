//! What the operator is told of, and the messages that tell.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::StoreResult;
use crate::domain::alert::{Alert, Channel, Condition, Message};
use crate::domain::id::AlertId;
use crate::domain::lease::Lease;

/// What the operator is told of, and the messages that tell.
#[async_trait]
pub trait AlertStore: Send + Sync + 'static {
    /// Alerts that fire, and those that have ended but whose end was not told yet; oldest first.
    async fn alerts_open(&self) -> StoreResult<Vec<Alert>>;
    /// The newest alerts, ended ones too.
    async fn alerts(&self, limit: u32) -> StoreResult<Vec<Alert>>;
    /// Makes the conditions that hold now the alerts that fire: new ones are raised with fresh ids, those that go on take the new words, those of
    /// the kinds in `judged` that hold no more end at `now`. One transaction.
    async fn set_conditions(&self, judged: &[&str], conditions: &[Condition], now: DateTime<Utc>) -> StoreResult<()>;
    /// Notes that these alerts were told of (again, or at their end) at `now`, and keeps one message a channel to be delivered, in one
    /// transaction. `false`, and nothing is kept, if one of them was told of since `unless_told_after`: another replica was faster.
    async fn tell(
        &self,
        alerts: &[AlertId],
        messages: &[(Uuid, Channel, Message)],
        unless_told_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool>;
    /// Claims the oldest message that is due and not delivered; one with a lapsed lease is taken again.
    async fn claim_message(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<ClaimedMessage>>;
    /// Ends a try: delivered, to be tried again at an instant, or given up. `false` if fenced.
    async fn settle_message(&self, id: Uuid, token: Uuid, end: &MessageEnd, now: DateTime<Utc>) -> StoreResult<bool>;
    /// What the conditions are made of, besides what other ports tell: one cheap read.
    async fn vital_signs(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> StoreResult<VitalSigns>;
}

/// A message that is being delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedMessage {
    /// Its row; the receiver knows a copy by it.
    pub id: Uuid,
    /// By which way.
    pub channel: Channel,
    /// What it says.
    pub message: Message,
    /// How often it was tried before.
    pub attempts: u32,
}

/// How a try to deliver a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageEnd {
    /// The receiver took it.
    Delivered,
    /// Not before this instant again, and why.
    Again(DateTime<Utc>, String),
    /// No more, and why.
    GivenUp(String),
}

/// What tells that something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VitalSigns {
    /// When the newest full sweep was completed, by any schedule; none if none ever was.
    pub completed_at: Option<DateTime<Utc>>,
    /// When the auditor was first used: the oldest schedule's first sight; none if none was seen.
    pub known_since: Option<DateTime<Utc>>,
    /// Sweeps that are paused, or failed since then and are the newest of their schedule: schedule, state, note.
    pub troubled_sweeps: Vec<(String, String, Option<String>)>,
    /// Notifications that failed for good since then, by error, most frequent first; at most ten.
    pub failed: Vec<(String, u64)>,
    /// Notifications that are pending and whose last try could not be sent, by error; at most ten.
    pub stuck: Vec<(String, u64)>,
    /// Notifications that were sent since then.
    pub sent: u64,
    /// Slots that opened [`FLAPPING_INCIDENTS`](crate::domain::plan::FLAPPING_INCIDENTS) incidents or more within
    /// [`FLAPPING_WINDOW`](crate::domain::plan::FLAPPING_WINDOW) before now: app, auth config, reason of the newest, how many slots, how many users.
    pub flapping: Vec<(String, String, Option<String>, u64, u64)>,
    /// Slots whose auth config is disabled, by app and auth config, with the number of users.
    pub operator_faults: Vec<(String, String, u64)>,
    /// Dead jobs.
    pub dead_jobs: u64,
}
