//! The sweeper carries sweeps on: it asks the canary, reads one page of user ids at a time, and stores it as chunks together
//! with the new cursor; then the chunks go to the queue. Whatever dies, the sweep's row says where to go on.
//!
//! It waits while more than `sweep.max_queued_chunks` are outstanding, so that the queue stays small however many users
//! there are. A sweep whose canary fails is paused and looked at again later; it resumes at its cursor.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::adapters::users::UsersSource;
use crate::audit::{Auditor, Desk, Outbox};
use crate::config;
use crate::domain::clock::Clock;
use crate::domain::id::{CheckId, SweepId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::lease::Lease;
use crate::domain::port::{Store, StoreError, StoreResult, SweepChange, SweepPage};
use crate::domain::sweep::{Check, Sweep, SweepState};

/// How often the sweeper looks for a sweep to carry on.
const LOOK: Duration = Duration::from_millis(500);
/// How often it looks whether outstanding chunks have become fewer.
const BACKPRESSURE: Duration = Duration::from_millis(100);
/// The longest user id that is swept, in bytes.
const LONGEST_ID: usize = 1_000;
/// How many sweeps (of different schedules) one process carries on at once.
const MOST_SWEEPS: usize = 4;

/// Carries sweeps on. Cheap to clone.
#[derive(Clone)]
pub struct Sweeper {
    /// Asks the canary.
    pub auditor: Auditor,
    /// Where sweeps are claimed.
    pub store: Arc<dyn Store>,
    /// Where user ids come from.
    pub users: Arc<UsersSource>,
    /// Hands chunks over.
    pub outbox: Outbox,
    /// Holds the leases of sweeps.
    pub desk: Desk,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How a sweep pages.
    pub settings: config::Sweep,
    /// User ids in one page.
    pub page_size: u32,
    /// User ids in one chunk.
    pub users_per_job: u32,
}

/// Why a sweep is let go of.
enum Leave {
    /// Paged to its end, or somebody else has it now.
    Done,
    /// The process stops: another sweeper may take it at once.
    Stopping,
    /// It cannot go on now.
    Pause(String),
}

impl Sweeper {
    /// Carries sweeps on until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut sweeps = JoinSet::new();
        loop {
            while sweeps.len() < MOST_SWEEPS {
                let lease = self.desk.lease();
                match self.store.claim_sweep(lease, self.clock.now()).await {
                    Ok(Some(sweep)) => {
                        let (this, stop) = (self.clone(), stop.clone());
                        sweeps.spawn(async move { this.carry(sweep, lease, &stop).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(event = "sweeper.store_unavailable", %error);
                        break;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = sweeps.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(event = "sweeper.panicked", %error, "the sweep goes on when its lease lapses");
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while sweeps.join_next().await.is_some() {}
    }

    /// Holds the lease for as long as it takes: counting users, reading a page and asking a canary that hangs may each take
    /// longer than a lease.
    async fn carry(&self, sweep: Sweep, lease: Lease, stop: &CancellationToken) {
        let id = sweep.id;
        let renew = |lease: Lease| self.store.renew_sweep(id, lease);
        match self.desk.while_leased(lease, renew, self.carry_leased(sweep, lease.token, stop)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(event = "sweep.interrupted", sweep = %id, %error, "it goes on when its lease lapses");
            }
            None => tracing::warn!(event = "sweep.lease_lost", sweep = %id, "another sweeper carries it on"),
        }
    }

    async fn carry_leased(&self, sweep: Sweep, token: Uuid, stop: &CancellationToken) -> StoreResult<()> {
        let (id, was) = (sweep.id, sweep.state);
        let since = sweep.paused_since.unwrap_or_else(|| self.clock.now());
        match self.page_to_the_end(sweep, token, stop).await {
            Ok(Leave::Done) => Ok(()),
            Ok(Leave::Stopping) => self.change(id, token, SweepState::Paging, None, self.clock.now()).await,
            Ok(Leave::Pause(why)) => self.pause(id, token, since, was, why).await,
            Err(error) if error.is_permanent() => {
                tracing::error!(event = "sweep.failed", sweep = %id, %error);
                self.change(id, token, SweepState::Failed, Some(error.to_string()), self.clock.now()).await
            }
            Err(error) => Err(error),
        }
    }

    async fn page_to_the_end(&self, mut sweep: Sweep, token: Uuid, stop: &CancellationToken) -> StoreResult<Leave> {
        if let Err(why) = self.auditor.canary().await {
            return Ok(Leave::Pause(why));
        }
        if sweep.users_expected.is_none() {
            sweep.users_expected = match self.users.count().await {
                Ok(count) => count,
                Err(error) => return Ok(Leave::Pause(format!("the users could not be counted: {error}"))),
            };
        }
        if sweep.state != SweepState::Paging || sweep.started_at.is_none() {
            tracing::info!(event = "sweep.started", sweep = %sweep.id, schedule = sweep.schedule, tick = %sweep.tick,
                users = sweep.users_expected, mode = ?sweep.mode, resumed = sweep.started_at.is_some());
        }
        let change = SweepChange {
            state: if sweep.paging_over { SweepState::Draining } else { SweepState::Paging },
            note: None,
            users_expected: sweep.users_expected,
            claimable_from: self.desk.lease().until,
        };
        if !self.store.set_sweep_state(sweep.id, token, &change, self.clock.now()).await? || sweep.paging_over {
            return Ok(Leave::Done);
        }
        loop {
            if stop.is_cancelled() {
                return Ok(Leave::Stopping);
            }
            if self.store.outstanding_checks(sweep.id).await? >= u64::from(self.settings.max_queued_chunks) {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(BACKPRESSURE) => {}
                }
                continue;
            }
            let page = match self.users.page(sweep.cursor.as_deref(), self.page_size).await {
                Ok(page) => page,
                Err(error) => return Ok(Leave::Pause(format!("the users could not be read: {error}"))),
            };
            let last = page.next.is_none();
            let chunks = self.cut(&sweep, &page.users);
            sweep.next_seq += i64::try_from(chunks.len()).unwrap_or(i64::MAX);
            sweep.cursor = page.next.clone();
            let jobs: Vec<_> = chunks.iter().map(|chunk| (Job::Check(Lane::CheckSweep, chunk.id), None)).collect();
            let page = SweepPage { chunks, cursor: page.next, last };
            if !self.store.append_page(sweep.id, token, &page, self.clock.now()).await? {
                return Ok(Leave::Done);
            }
            self.outbox.hand_over(&jobs).await;
            if last {
                tracing::info!(event = "sweep.paged", sweep = %sweep.id, chunks = sweep.next_seq);
                return Ok(Leave::Done);
            }
        }
    }

    fn cut(&self, sweep: &Sweep, users: &[UserId]) -> Vec<Check> {
        // A database cannot keep or index such an id, and no app means it.
        let (users, unfit): (Vec<UserId>, Vec<UserId>) =
            users.iter().cloned().partition(|user| !user.as_str().contains('\0') && user.as_str().len() <= LONGEST_ID);
        if !unfit.is_empty() {
            tracing::error!(event = "sweep.unfit_ids", sweep = %sweep.id, users = unfit.len(),
                "left out: their ids hold a NUL or are longer than {LONGEST_ID} bytes");
        }
        let size = usize::try_from(self.users_per_job.max(1)).unwrap_or(usize::MAX);
        (sweep.next_seq..)
            .zip(users.chunks(size))
            .map(|(seq, users)| Check {
                id: CheckId(Uuid::now_v7()),
                sweep: Some(sweep.id),
                seq,
                users: users.to_vec(),
                attempt: 0,
                due_at: self.clock.now(),
            })
            .collect()
    }

    /// Lets go of a sweep that cannot go on, for a while that grows with how long it has stood still, or for good.
    async fn pause(
        &self,
        id: SweepId,
        token: Uuid,
        since: DateTime<Utc>,
        was: SweepState,
        why: String,
    ) -> StoreResult<()> {
        let now = self.clock.now();
        let stood = (now - since).to_std().unwrap_or_default();
        if stood >= self.settings.give_up_after {
            let why =
                format!("given up after {}: {why}", humantime::format_duration(Duration::from_secs(stood.as_secs())));
            tracing::error!(event = "sweep.failed", sweep = %id, why);
            return self.change(id, token, SweepState::Failed, Some(why), now).await;
        }
        let interval = self.settings.canary_interval;
        let wait = (stood / 4).clamp(interval, interval.saturating_mul(10));
        if was != SweepState::Paused {
            tracing::error!(event = "sweep.paused", sweep = %id, why, "nothing is audited until the canary passes");
        }
        let from = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::minutes(1));
        self.change(id, token, SweepState::Paused, Some(why), from).await
    }

    async fn change(
        &self,
        id: SweepId,
        token: Uuid,
        state: SweepState,
        note: Option<String>,
        claimable_from: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let change = SweepChange { state, note, users_expected: None, claimable_from };
        self.store.set_sweep_state(id, token, &change, self.clock.now()).await.map(|_| ())
    }
}
