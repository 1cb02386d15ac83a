//! The alerter tells the operator what is wrong, once, and when it is over.
//!
//! ```text
//!  store ─► conditions ─► alerts that fire ─► due? ─► one message a channel, stored ─► delivered, at least once
//! ```
//!
//! One replica at a time holds the office and judges; what it finds is stored, so that another can go on. A message is stored
//! together with the note that its alerts were told of, so two replicas, or a crash, tell once; and any replica delivers it.
//!
//! | file | what |
//! |---|---|
//! | `conditions` | what is so, and worth telling: pure |
//! | `deliver` | messages on their way: a channel each, tried again until taken |

pub mod conditions;
mod deliver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use deliver::{Channels, Postman, Undelivered};

use crate::domain::alert::{Alert, Message, Telling, kind};
use crate::domain::clock::Clock;
use crate::domain::guard::GuardRules;
use crate::domain::id::{AlertId, Toolkit};
use crate::domain::lease::Lease;
use crate::domain::port::{Store, StoreError, StoreResult, TripDetail, VitalSigns};
use conditions::{AppNames, Expected, Patience, STUCK_FOR, Suspicion};

/// How much of the near past notifications are judged by.
const RECENT: TimeDelta = TimeDelta::hours(1);
/// A sweep that failed is worth telling of for as long as another is not due yet, and a day at least.
const FAILED_SWEEP: TimeDelta = TimeDelta::days(1);
/// Trips that are told of at once.
const TRIPS: u32 = 1_000;
/// So many of them, the newest, with reasons and a sample.
const DETAILED: usize = 50;
/// Users that each shows.
const SAMPLE: u32 = 5;

/// What each look at the store judges.
const OF_TRIPS: [&str; 1] = [kind::GUARD];
const OF_PAUSE: [&str; 1] = [kind::PAUSED];
const OF_VITAL_SIGNS: [&str; 8] = [
    kind::API_KEY,
    kind::FILTERS,
    kind::SWEEP,
    kind::LATE,
    kind::NOTIFICATIONS,
    kind::FLAPPING,
    kind::OPERATOR_FAULT,
    kind::DEAD_JOBS,
];

/// Tells the operator.
pub struct Alerter {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The ways to the operator.
    pub channels: Channels,
    /// How alerts are told.
    pub telling: Telling,
    /// What is expected of sweeps.
    pub expected: Expected,
    /// When the guard trips, as messages say it.
    pub guard: GuardRules,
    /// How often it looks.
    pub interval: Duration,
}

impl Alerter {
    /// Looks and tells until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let postman = Postman::new(&self);
        tokio::join!(self.judge_on(&stop), postman.deliver_on(&stop));
        self.channels.close().await;
    }

    async fn judge_on(&self, stop: &CancellationToken) {
        let token = Uuid::new_v4();
        let mut patience = Patience::default();
        let mut failing = false;
        loop {
            match self.round(token, &mut patience).await {
                Ok(()) => failing = false,
                Err(error) if failing => tracing::debug!(event = "alerter.round_failed", %error),
                Err(error) => {
                    failing = true;
                    tracing::warn!(event = "alerter.round_failed", %error, "nothing new is told until the store answers");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// One look, under the token by which this replica is known. Whoever does not hold the office forgets since when it held
    /// suspicions: it does not see them end.
    ///
    /// # Errors
    /// The store did not answer all of it; what it did answer was told.
    pub async fn round(&self, token: Uuid, patience: &mut Patience) -> StoreResult<()> {
        let now = self.clock.now();
        let office = Lease::new(token, now, self.interval.saturating_mul(3));
        if !self.store.hold_office("alerter", office, now).await? {
            *patience = Patience::default();
            return Ok(());
        }
        let (judged, suspicions, failed) = self.look(now).await;
        let open = self.store.alerts_open().await?;
        let conditions = patience.ripe(&judged, suspicions, &open, now);
        self.store.set_conditions(&judged, &conditions, now).await?;
        for message in self.telling.due(&self.store.alerts_open().await?, now) {
            self.tell(message, now).await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// What can be seen now, and of which kinds that is all. What cannot be looked at is not judged: its alerts stay as they are.
    async fn look(&self, now: DateTime<Utc>) -> (Vec<&'static str>, Vec<Suspicion>, Option<StoreError>) {
        let (mut judged, mut suspicions, mut failed) = (Vec::new(), Vec::new(), None);
        let mut take = |kinds: &[&'static str], seen: StoreResult<Vec<Suspicion>>| match seen {
            Ok(seen) => {
                judged.extend_from_slice(kinds);
                suspicions.extend(seen);
            }
            Err(error) => failed = Some(error),
        };
        take(&OF_TRIPS, self.look_at_trips().await);
        take(&OF_PAUSE, self.store.paused().await.map(|pause| conditions::of_pause(pause.as_ref(), now)));
        take(&OF_VITAL_SIGNS, self.look_at_vital_signs(now).await);
        (judged, suspicions, failed)
    }

    async fn look_at_trips(&self) -> StoreResult<Vec<Suspicion>> {
        let mut details: Vec<TripDetail> = Vec::new();
        for trip in self.store.trips(true, TRIPS).await? {
            if details.len() < DETAILED {
                details.extend(self.store.trip_detail(trip.id, SAMPLE).await?);
            } else {
                details.push(TripDetail { trip, reasons: Vec::new(), sample: Vec::new() });
            }
        }
        let apps = details.iter().filter_map(|detail| detail.trip.tripped.scope.toolkit().cloned()).collect();
        Ok(conditions::of_trips(&details, &self.guard, &self.names(apps).await?))
    }

    async fn look_at_vital_signs(&self, now: DateTime<Utc>) -> StoreResult<Vec<Suspicion>> {
        let hour = self.store.vital_signs(now - RECENT, now).await?;
        let failed_since = TimeDelta::from_std(self.expected.within).unwrap_or(FAILED_SWEEP).max(FAILED_SWEEP);
        let sweeps = VitalSigns {
            troubled_sweeps: self.store.vital_signs(now - failed_since, now).await?.troubled_sweeps,
            ..hour.clone()
        };
        let sent_lately = if hour.stuck.is_empty() {
            hour.sent
        } else {
            let lately = TimeDelta::from_std(STUCK_FOR).unwrap_or(RECENT);
            self.store.vital_signs(now - lately, now).await?.sent
        };
        let apps = hour.flapping.iter().map(|(app, ..)| app).chain(hour.operator_faults.iter().map(|(app, ..)| app));
        let names = self.names(apps.map(|app| Toolkit::from(app.as_str())).collect()).await?;
        let mut seen = conditions::of_sweeps(&sweeps, &self.expected, now);
        seen.extend(conditions::of_mails(&hour, sent_lately));
        seen.extend(conditions::of_slots(&hour, &names));
        seen.extend(conditions::of_dead_jobs(&hour));
        Ok(seen)
    }

    /// Only names that are known already: an alert waits for nobody.
    async fn names(&self, apps: BTreeSet<Toolkit>) -> StoreResult<AppNames> {
        if apps.is_empty() {
            return Ok(BTreeMap::new());
        }
        let apps: Vec<Toolkit> = apps.into_iter().collect();
        Ok(self.store.toolkits(&apps).await?.into_iter().map(|(app, known)| (app, known.name)).collect())
    }

    /// Stores the message for every channel, and says it in the log. Another replica may be faster; then nothing is said here.
    async fn tell(&self, message: Message, now: DateTime<Utc>) -> StoreResult<()> {
        let alerts = || message.firing.iter().chain(&message.ended);
        let ids: Vec<AlertId> = alerts().map(|alert| alert.id).collect();
        let last_told = alerts().filter_map(|alert| alert.told_at).max().unwrap_or(DateTime::UNIX_EPOCH);
        let messages: Vec<_> =
            self.channels.configured().into_iter().map(|channel| (Uuid::now_v7(), channel, message.clone())).collect();
        if self.store.tell(&ids, &messages, last_told, now).await? {
            message.firing.iter().for_each(log_firing);
            message.ended.iter().for_each(log_ended);
        }
        Ok(())
    }
}

fn log_firing(alert: &Alert) {
    let (kind, summary) = (&alert.condition.kind, &alert.condition.summary);
    if alert.told_at.is_none() {
        tracing::error!(event = "alert.raised", alert = %alert.id, kind, summary, since = %alert.since, detail = alert.condition.detail);
    } else {
        tracing::error!(event = "alert.repeated", alert = %alert.id, kind, summary, since = %alert.since);
    }
}

fn log_ended(alert: &Alert) {
    let (kind, summary) = (&alert.condition.kind, &alert.condition.summary);
    tracing::info!(event = "alert.ended", alert = %alert.id, kind, summary, since = %alert.since);
}
