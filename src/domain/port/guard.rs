//! What the outage guard counts, and the trips that hold incidents.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::store::StoreResult;
use crate::domain::guard::{Trip, Tripped};
use crate::domain::id::{AccountId, AuthConfigId, NotificationId, SweepId, Toolkit, TripId, UserId};

/// What the outage guard counts, and the trips that hold incidents.
///
/// An incident is *free* until a trip holds it; then *held*, and at the end *released* or *discarded*. Only free ones count. One is
/// *backlog* if it was opened more than the window after it began to count ([`counts_from`](crate::domain::incident::Incident)).
/// Attempts that were never finished count nowhere, but are held with the rest of their scope.
#[async_trait]
pub trait GuardStore: Send + Sync + 'static {
    /// Broken and refused slots by app and auth config: open, free, and within the count.
    async fn broken(&self, count: &Count) -> StoreResult<Vec<Broken>>;
    /// Healthy slots by app and auth config: an account that works, of a user whose accounts were read in full since then. Each is
    /// counted up to `enough`.
    async fn healthy(&self, healthy: &Healthy<'_>) -> StoreResult<Vec<LeafCount>>;
    /// Open incidents that *tripped* trips of one auth config hold, unfinished ones left out.
    async fn held_by_auth_config(&self) -> StoreResult<Vec<LeafCount>>;
    /// Sweeps of which incidents that were opened since then are open, free and not mailed about yet.
    async fn sweeps_with_unmailed(&self, since: DateTime<Utc>) -> StoreResult<Vec<SweepId>>;
    /// Holds every free open incident in the scope of a trip in state *tripped*: backlog is in that of its own trip, if there is one,
    /// and else in that of its auth config, app, or all, as what broke at once is. Returns how many.
    async fn hold_tripped(&self, window: chrono::TimeDelta) -> StoreResult<u64>;
    /// Notes a trip and holds what is in its scope, in one transaction. A *releasing* trip of the same scope is *stopped*, and what it
    /// still holds moves here. A trip of a whole app does the same with the trips of its auth configs; the oldest *tripped* one of these
    /// is not stopped but becomes the new one, so that its history goes on. `false` if the scope, or a
    /// wider one, has a *tripped* one already: that holds all of it.
    async fn trip(&self, trip: &NewTrip, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Trips, newest first: those that hold something (*tripped*, *releasing*), or all.
    async fn trips(&self, active: bool, limit: u32) -> StoreResult<Vec<Trip>>;
    /// One trip, with what it holds by reason and the first few of its users.
    async fn trip_detail(&self, id: TripId, sample: u32) -> StoreResult<Option<TripDetail>>;
    /// Releases what a trip holds: of all users (it is *released*), or, with a ramp, of the first few, in the order of their ids (it is
    /// *releasing*, with the rest due at the ramp's instant; *released* at once if no rest is left). Every user concerned gets a pending notification due `now`, or the one that
    /// is pending, or held as `guard`, becomes it. A trip that holds nothing any more is *released*. `None` if no trip of this id is *tripped* or *releasing*.
    async fn release_trip(&self, release: &Release<'_>, now: DateTime<Utc>) -> StoreResult<Option<Released>>;
    /// What a trip holds is never mailed about: its incidents are *discarded*, notifications held as `guard` of users who have nothing else held
    /// are skipped as *discarded*. Returns how many incidents; `None` as [`Self::release_trip`].
    async fn discard_trip(&self, id: TripId, by: &str, now: DateTime<Utc>) -> StoreResult<Option<u64>>;
}

/// How many there are of an app, through an auth config.
pub type LeafCount = (Toolkit, AuthConfigId, u64);

/// Which incidents are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What was opened before this counts nowhere.
    pub opened_since: DateTime<Utc>,
    /// What is not backlog counts if it counts from this instant or later.
    pub counted_since: DateTime<Utc>,
    /// How much later than it counts from an incident must be opened to be backlog.
    pub window: chrono::TimeDelta,
    /// Only incidents that this sweep opened.
    pub sweep: Option<SweepId>,
}

/// Broken slots of one app through one auth config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The app.
    pub toolkit: Toolkit,
    /// The auth config.
    pub auth_config: AuthConfigId,
    /// Those that broke within the count.
    pub broke: u64,
    /// Those that were broken long before.
    pub backlog: u64,
    /// When the oldest of both that nobody was told of was opened.
    pub unmailed_since: Option<DateTime<Utc>>,
}

/// Which healthy slots are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthy<'a> {
    /// Of users whose accounts were read at this instant or later.
    pub since: DateTime<Utc>,
    /// Of users that this sweep read.
    pub sweep: Option<SweepId>,
    /// Of this app; none: of every app.
    pub toolkit: Option<&'a Toolkit>,
    /// Where counting one app and auth config may stop.
    pub enough: u64,
}

/// A trip to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrip {
    /// Its row.
    pub id: TripId,
    /// What was counted.
    pub tripped: Tripped,
    /// See [`Count::window`].
    pub window: chrono::TimeDelta,
}

/// A trip, and what is known of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripDetail {
    /// The trip.
    #[serde(flatten)]
    pub trip: Trip,
    /// Status, reason and number of what it ever held, most frequent first; at most ten.
    pub reasons: Vec<(String, Option<String>, u64)>,
    /// Some of the users and accounts that it still holds (or, of one that has ended, held), in the order of users.
    pub sample: Vec<(UserId, AccountId)>,
}

/// How a trip is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release<'a> {
    /// Which.
    pub id: TripId,
    /// Who says so.
    pub by: &'a str,
    /// So many users first, and when the rest follow; none: everybody.
    pub ramp: Option<(u32, DateTime<Utc>)>,
}

/// What a release let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The notifications that are due from now on; they are not in the queue yet.
    pub notifications: Vec<NotificationId>,
    /// How many users the trip still holds.
    pub users_left: u64,
}
