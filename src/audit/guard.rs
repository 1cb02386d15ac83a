//! The outage guard at work: it counts what broke and what was found healthy, and holds back where too much broke at once.
//!
//! Two counts are judged. The *window* compares all that broke within it with all that was found healthy within it. In the
//! middle of a long sweep that is too mild: what the sweep has not reached yet still counts as healthy, from the day before.
//! So every sweep with incidents that nobody was told of is judged on its own too, app by app, *since the first of them was
//! opened*: what it found broken since then, against what it found healthy since then.
//!
//! A mail leaves only after a judgement that is younger than the moment at which its incidents had waited long enough for
//! others; notifications that wait for one share it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::domain::clock::Clock;
use crate::domain::guard::{Breadth, GuardRules, Leaf, Tripped, percent};
use crate::domain::id::{AuthConfigId, SweepId, Toolkit, TripId};
use crate::domain::port::{Broken, Count, Healthy, LeafCount, NewTrip, Store, StoreResult};

/// Judgements are not made more often than this.
const SPACING: Duration = Duration::from_secs(1);

/// The outage guard. Cheap to clone; the clones share their judgements.
#[derive(Clone)]
pub struct Guard {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: Arc<GuardRules>,
    judged: Arc<Mutex<Judged>>,
}

#[derive(Debug, Default)]
struct Judged {
    at: Option<DateTime<Utc>>,
    /// By the machine's clock, which no test moves.
    made: Option<tokio::time::Instant>,
}

impl Guard {
    /// A guard with these rules.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, rules: GuardRules) -> Self {
        Self { store, clock, rules: Arc::new(rules), judged: Arc::default() }
    }

    /// Its rules.
    pub fn rules(&self) -> &GuardRules {
        &self.rules
    }

    /// Returns once everything that was open at `from` has been judged, and what tripped is held.
    ///
    /// # Errors
    /// The store cannot be read or written: nothing may leave.
    pub async fn judged_since(&self, from: DateTime<Utc>) -> StoreResult<()> {
        let mut judged = self.judged.lock().await;
        if judged.at.is_some_and(|at| at >= from) {
            return Ok(());
        }
        if let Some(made) = judged.made {
            tokio::time::sleep_until(made + SPACING).await;
        }
        let now = self.clock.now();
        self.judge(now).await?;
        *judged = Judged { at: Some(now), made: Some(tokio::time::Instant::now()) };
        Ok(())
    }

    /// Judges all scopes, and holds what tripped, or falls into what has tripped before.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn judge(&self, now: DateTime<Utc>) -> StoreResult<()> {
        self.store.hold_tripped(self.window()).await?;
        let since = now - self.window();
        for tripped in self.judge_window(since).await? {
            self.trip(tripped, now).await?;
        }
        for sweep in self.store.sweeps_with_unmailed(since).await? {
            for tripped in self.judge_cohort(sweep, since).await? {
                self.trip(tripped, now).await?;
            }
        }
        Ok(())
    }

    async fn judge_window(&self, since: DateTime<Utc>) -> StoreResult<Vec<Tripped>> {
        let broken = self.store.broken(&self.count(since, since, None)).await?;
        let held = self.held_beside(&broken).await?;
        if !self.may_trip(&broken, &held) {
            return Ok(Vec::new());
        }
        let healthy = Healthy { since, sweep: None, toolkit: None, enough: self.enough(&broken, &held) };
        let healthy = self.store.healthy(&healthy).await?;
        Ok(self.rules.judge(&leaves(&broken, &held, &healthy), Breadth::Every))
    }

    /// What trips of single auth configs hold of the apps in which this is broken too.
    async fn held_beside(&self, broken: &[Broken]) -> StoreResult<Vec<LeafCount>> {
        if broken.iter().all(|broken| broken.broke == 0) {
            return Ok(Vec::new());
        }
        let mut held = self.store.held_by_auth_config().await?;
        held.retain(|held| broken.iter().any(|broken| broken.broke > 0 && broken.toolkit == held.0));
        Ok(held)
    }

    async fn judge_cohort(&self, sweep: SweepId, since: DateTime<Utc>) -> StoreResult<Vec<Tripped>> {
        let mut apps: BTreeMap<Toolkit, Vec<Broken>> = BTreeMap::new();
        for broken in self.store.broken(&self.count(since, since, Some(sweep))).await? {
            apps.entry(broken.toolkit.clone()).or_default().push(broken);
        }
        let mut tripped = Vec::new();
        for (toolkit, broken) in apps {
            let Some(first) = broken.iter().filter_map(|broken| broken.unmailed_since).min() else { continue };
            let held = self.held_beside(&broken).await?;
            if !self.may_trip(&broken, &held) {
                continue;
            }
            let cohort = self.store.broken(&self.count(first, since, Some(sweep))).await?;
            let cohort: Vec<Broken> = cohort.into_iter().filter(|broken| broken.toolkit == toolkit).collect();
            let enough = self.enough(&cohort, &held);
            let healthy = Healthy { since: first, sweep: Some(sweep), toolkit: Some(&toolkit), enough };
            let healthy = self.store.healthy(&healthy).await?;
            tripped.extend(self.rules.judge(&leaves(&cohort, &held, &healthy), Breadth::UpToToolkits));
        }
        Ok(tripped)
    }

    async fn trip(&self, tripped: Tripped, now: DateTime<Utc>) -> StoreResult<()> {
        let trip = NewTrip { id: TripId(Uuid::now_v7()), tripped, window: self.window() };
        if self.store.trip(&trip, now).await? {
            let Tripped { scope, broken, healthy } = &trip.tripped;
            tracing::error!(event = "guard.tripped", trip = %trip.id, %scope, broken, healthy,
                share = percent(trip.tripped.share()), "its notifications are held until it passes or is released");
        }
        Ok(())
    }

    fn window(&self) -> TimeDelta {
        TimeDelta::from_std(self.rules.window).unwrap_or(TimeDelta::days(1))
    }

    fn count(&self, opened_since: DateTime<Utc>, counted_since: DateTime<Utc>, sweep: Option<SweepId>) -> Count {
        Count { opened_since, counted_since, window: self.window(), sweep }
    }

    /// Whether anything at all could trip; if not, nothing healthy needs counting.
    fn may_trip(&self, broken: &[Broken], held: &[LeafCount]) -> bool {
        let broke: u64 = broken.iter().map(|broken| broken.broke).sum();
        let backlog: u64 = broken.iter().map(|broken| broken.backlog).sum();
        broke.max(backlog) >= self.rules.min_incidents || !held.is_empty()
    }

    fn enough(&self, broken: &[Broken], held: &[LeafCount]) -> u64 {
        let free: u64 = broken.iter().map(|broken| broken.broke + broken.backlog).sum();
        self.rules.enough_healthy(free + held.iter().map(|held| held.2).sum::<u64>())
    }
}

fn leaves(broken: &[Broken], held: &[LeafCount], healthy: &[LeafCount]) -> Vec<Leaf> {
    let mut leaves: BTreeMap<(String, String), Leaf> = BTreeMap::new();
    let mut leaf = |toolkit: &Toolkit, auth_config: &AuthConfigId, count: &dyn Fn(&mut Leaf)| {
        let (toolkit, auth_config) = (toolkit.to_string(), auth_config.to_string());
        let fresh = || Leaf { toolkit: toolkit.clone(), auth_config: auth_config.clone(), ..Leaf::default() };
        count(leaves.entry((toolkit.clone(), auth_config.clone())).or_insert_with(fresh));
    };
    for Broken { toolkit, auth_config, broke, backlog, .. } in broken {
        leaf(toolkit, auth_config, &|leaf| {
            leaf.broke += broke;
            leaf.backlog += backlog;
        });
    }
    for (toolkit, auth_config, count) in held {
        leaf(toolkit, auth_config, &|leaf| leaf.held += count);
    }
    for (toolkit, auth_config, count) in healthy {
        leaf(toolkit, auth_config, &|leaf| leaf.healthy += count);
    }
    leaves.into_values().collect()
}
