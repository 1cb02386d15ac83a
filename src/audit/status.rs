//! How things are, at a glance: what the command `status` and the API tell.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::alert::Alert;
use crate::domain::guard::Trip;
use crate::domain::port::{DeadJob, Depth, NotificationCount, OpenIncidents, Pause, Store, StoreResult};
use crate::domain::sweep::Sweep;

/// How many dead jobs are read, at most.
const DEAD: u32 = 100;
/// How many trips of the guard are read, at most.
const TRIPS: u32 = 100;
/// So far suppressions are counted.
const SUPPRESSIONS: u32 = 100_000;

/// How things are.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// The newest sweeps, newest first.
    pub sweeps: Vec<Sweep>,
    /// How much each lane of the queue holds; null where the queue cannot be asked.
    pub queue: Option<Vec<Depth>>,
    /// Open incidents by app and kind.
    pub open_incidents: Vec<OpenIncidents>,
    /// Notifications by state and detail.
    pub notifications: Vec<NotificationCount>,
    /// Jobs that were given up, at most 100.
    pub dead_jobs: Vec<DeadJob>,
    /// The kill switch; null while mails leave.
    pub paused: Option<Pause>,
    /// What the outage guard holds back.
    pub guard: Vec<Trip>,
    /// How many suppressions are in force.
    pub suppressions: usize,
    /// The alerts that fire.
    pub alerts: Vec<Alert>,
}

impl Status {
    /// Reads how things are, with so many sweeps; `queue` was asked by the caller, who knows whether it is there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(
        store: &dyn Store,
        queue: Option<Vec<Depth>>,
        sweeps: u32,
        now: DateTime<Utc>,
    ) -> StoreResult<Self> {
        Ok(Self {
            sweeps: store.sweeps(sweeps).await?,
            queue,
            open_incidents: store.open_incidents().await?,
            notifications: store.notification_counts(None).await?,
            dead_jobs: store.dead_jobs(DEAD).await?,
            paused: store.paused().await?,
            guard: store.trips(true, TRIPS).await?,
            suppressions: store.suppressions(SUPPRESSIONS, now).await?.len(),
            alerts: store.alerts_open().await?.into_iter().filter(|alert| alert.ended_at.is_none()).collect(),
        })
    }
}
