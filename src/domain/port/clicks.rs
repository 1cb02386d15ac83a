//! What readers do with mails, and what came of it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::store::StoreResult;
use crate::domain::id::{IncidentId, NotificationId, Toolkit, UserId};
use crate::domain::incident::Incident;
use crate::domain::stage::Stage;
use crate::domain::token::Subject;

/// What readers do with mails.
#[async_trait]
pub trait ClickStore: Send + Sync + 'static {
    /// To whom a mail went, and about what; none if nothing is kept of it.
    async fn mailed(&self, mail: NotificationId) -> StoreResult<Option<Mailed>>;
    /// An incident, and whose it is; none if nothing is kept of it.
    async fn incident(&self, id: IncidentId) -> StoreResult<Option<(UserId, Incident)>>;
    /// Somebody asked for a new connection, from this mail. Nothing is noted of what is no longer kept.
    async fn note_click(&self, subject: Subject, now: DateTime<Utc>) -> StoreResult<()>;
    /// What came of the mails that left since then, by app, stage and template.
    async fn reconnects(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> StoreResult<Vec<Reconnects>>;
}

/// A mail, from its reader's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailed {
    /// To whom it went.
    pub user: UserId,
    /// The apps that it named, in their order.
    pub toolkits: Vec<Toolkit>,
    /// What it was written with.
    pub template: Option<String>,
}

/// One mail that made its reader ask for a new connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Click {
    /// What was to be connected.
    pub incident: IncidentId,
    /// The mail.
    pub mail: NotificationId,
    /// When it was asked for first.
    pub at: DateTime<Utc>,
    /// How often it was asked for.
    pub clicks: u64,
}

/// Within how many days after a mail a reconnection is counted.
pub const WITHIN_DAYS: [i64; 3] = [1, 3, 7];

/// What came of mails about one app, of one stage, written with one template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnects {
    /// The app.
    pub toolkit: Toolkit,
    /// The first mail, or the n-th reminder.
    pub stage: Stage,
    /// The language and a print of the templates; none of mails that left before that was noted.
    pub template: Option<String>,
    /// How many broken connections were mailed about.
    pub mailed: u64,
    /// For how many a new connection was asked from that mail.
    pub clicked: u64,
    /// How many work again, for each of [`WITHIN_DAYS`].
    pub within: [Within; 3],
}

/// What worked again within some days after its mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Within {
    /// So many days.
    pub days: i64,
    /// How many were mailed about that long ago: of the others it cannot be told yet.
    pub of: u64,
    /// How many of those worked again in time.
    pub reconnected: u64,
}
