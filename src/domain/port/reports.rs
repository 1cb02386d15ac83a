//! What operators and the command line read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::checks::CheckOutcome;
use super::store::StoreResult;
use crate::domain::id::{CheckId, SweepId, Toolkit, UserId};
use crate::domain::incident::Incident;
use crate::domain::notification::{Notification, NotificationState};
use crate::domain::sweep::Sweep;

/// What operators and the command line read.
#[async_trait]
pub trait ReportStore: Send + Sync + 'static {
    /// One sweep, with the tally of its checks so far.
    async fn sweep(&self, id: SweepId) -> StoreResult<Option<Sweep>>;
    /// The newest sweeps.
    async fn sweeps(&self, limit: u32) -> StoreResult<Vec<Sweep>>;
    /// The findings of a dry run, in the order of users, after `after`.
    async fn findings(
        &self,
        sweep: SweepId,
        after: Option<&UserId>,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Incident)>>;
    /// Open incidents by app and kind.
    async fn open_incidents(&self) -> StoreResult<Vec<OpenIncidents>>;
    /// Notifications by state (and hold), all of them or those that one sweep made.
    async fn notification_counts(&self, sweep: Option<SweepId>) -> StoreResult<Vec<NotificationCount>>;
    /// The newest notifications in a state.
    async fn notifications(&self, state: NotificationState, limit: u32) -> StoreResult<Vec<Notification>>;
    /// How a user's newest check ended and when; `None` for a user that was never checked.
    async fn last_check(&self, user: &UserId) -> StoreResult<Option<LastCheck>>;
    /// Which of these checks, their retries included, are not done yet.
    async fn unfinished_checks(&self, ids: &[CheckId]) -> StoreResult<Vec<CheckId>>;
    /// A check that somebody asked for; `None` if there is none of this id, or it is kept no more.
    async fn reaudit(&self, id: CheckId) -> StoreResult<Option<Reaudit>>;
}

/// A check that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaudit {
    /// Whom it is about.
    pub users: Vec<UserId>,
    /// Nothing of it is outstanding, retries included.
    pub done: bool,
}

/// How a user's newest check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastCheck {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// When the accounts were last seen in full.
    pub observed_at: Option<DateTime<Utc>>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
}

/// Open incidents of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenIncidents {
    /// The app.
    pub toolkit: Toolkit,
    /// `broken`, `attempt_failed` or `unfinished`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// How many users they concern.
    pub users: u64,
    /// Since when the oldest is open.
    pub oldest: DateTime<Utc>,
}

/// Notifications in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationCount {
    /// The state.
    pub state: NotificationState,
    /// The hold, or why it was skipped; `None` where neither applies.
    pub detail: Option<String>,
    /// How many.
    pub count: u64,
}
