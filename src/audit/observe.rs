//! Read → verdict → record: the one way in which an observation becomes memory, incidents and notifications.
//!
//! What is decided rests on a history that was read before; [`Auditor::record`] writes only if nobody recorded these users
//! meanwhile, and else reads the history again and decides anew, with the accounts that are in hand. An observation that is
//! older than what is recorded is dropped: the newer one has said all there is to say.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::adapters::composio::{Composio, ComposioError, Listing, Urgency};
use crate::domain::account::Status;
use crate::domain::clock::Clock;
use crate::domain::history::History;
use crate::domain::id::{CheckId, IncidentId, NotificationId, SweepId, UserId};
use crate::domain::notification::hold;
use crate::domain::observation::weigh;
use crate::domain::policy::Policy;
use crate::domain::port::{CheckOutcome, Record, Recorded, Store, StoreError, UserRecord};
use crate::domain::sweep::{Check, Tally};

/// How often a record is decided anew because somebody else recorded the same users meanwhile.
const MOST_REREADS: u32 = 8;

/// Looks at users and records what it saw. Cheap to clone.
#[derive(Clone)]
pub struct Auditor {
    composio: Composio,
    store: Arc<dyn Store>,
    policy: Arc<Policy>,
    clock: Arc<dyn Clock>,
    hold: Option<String>,
}

/// How looking at one user ended.
#[derive(Debug, Clone)]
pub enum Look {
    /// The whole list was seen.
    Seen(Listing),
    /// The user cannot be asked for.
    Refused(String),
    /// We could not look, for the last time.
    GivenUp(String),
}

/// What a record is part of, and what it may do.
#[derive(Debug, Clone, Default)]
pub struct Mode {
    /// The check that it ends, with its fencing token.
    pub fence: Option<(CheckId, Uuid)>,
    /// The sweep that it belongs to.
    pub sweep: Option<SweepId>,
    /// Opens nothing and notifies nobody.
    pub dry_run: bool,
    /// The checks that take on users that failed.
    pub retries: Vec<Check>,
    /// The notification that takes in what is opened.
    pub join: Option<NotificationId>,
    /// Users of the check that were recorded before.
    pub repeated: u64,
}

/// A record could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The lease was lost: somebody else does the work.
    #[error("the lease was lost before the record was written")]
    Fenced,
    /// Others keep recording the same users.
    #[error("the users were recorded by others {MOST_REREADS} times in a row")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Auditor {
    /// An auditor over these; with `hold_all`, the notifications it makes wait under the name *go-live*.
    pub fn new(
        composio: Composio,
        store: Arc<dyn Store>,
        policy: Policy,
        clock: Arc<dyn Clock>,
        hold_all: bool,
    ) -> Self {
        let hold = hold_all.then(|| hold::GO_LIVE.to_owned());
        Self { composio, store, policy: Arc::new(policy), clock, hold }
    }

    /// Reads one user's whole list.
    ///
    /// # Errors
    /// There is a doubt whether it is whole, and theirs.
    pub async fn look(&self, user: &UserId, urgency: Urgency) -> Result<Listing, ComposioError> {
        self.composio.accounts_of(user, urgency).await
    }

    /// Asks for a user who cannot exist: `Err` says why nothing may be audited now.
    ///
    /// # Errors
    /// The text says what is wrong, for the operator.
    pub async fn canary(&self) -> Result<(), String> {
        self.composio.canary().await.map_err(|error| error.for_operator())
    }

    /// Decides upon these looks and writes all of it, or nothing. Returns the counters and the notifications that are to be
    /// handed over to the queue.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn record(
        &self,
        looks: &[(UserId, Look)],
        mode: &Mode,
    ) -> Result<(Tally, Vec<NotificationId>, Vec<UserRecord>), RecordError> {
        let users: Vec<UserId> = looks.iter().map(|(user, _)| user.clone()).collect();
        for _ in 0..MOST_REREADS {
            let histories = self.store.history(&users).await?;
            let record = self.decide(looks, &histories, mode);
            match self.store.record(&record).await? {
                Recorded::Written(notifications) => return Ok((record.tally, notifications, record.users)),
                Recorded::Fenced => return Err(RecordError::Fenced),
                Recorded::Stale(stale) => {
                    tracing::debug!(event = "record.stale", users = stale.len(), "recorded by somebody else meanwhile");
                }
            }
        }
        Err(RecordError::Contended)
    }

    fn decide(&self, looks: &[(UserId, Look)], histories: &HashMap<UserId, History>, mode: &Mode) -> Record {
        let now = self.clock.now();
        let nothing = History::default();
        let mut tally = Tally { repeated: mode.repeated, ..Tally::default() };
        let mut users = Vec::with_capacity(looks.len());
        for (user, look) in looks {
            let history = histories.get(user).unwrap_or(&nothing);
            let outcome = match look {
                Look::Seen(seen) => {
                    tally.checked += 1;
                    if history.observed_at.is_none_or(|newest| newest < seen.asked_at) {
                        users.push(self.decide_seen(user, seen, history, mode, &mut tally));
                    }
                    continue;
                }
                Look::Refused(why) => {
                    tally.refused += 1;
                    CheckOutcome::Refused(why.clone())
                }
                Look::GivenUp(why) => {
                    tally.given_up += 1;
                    CheckOutcome::GivenUp(why.clone())
                }
            };
            users.push(UserRecord { outcome, ..blank(user, history, now) });
        }
        let wait = if mode.sweep.is_some() { self.policy.group_wait } else { self.policy.group_wait_single };
        Record {
            fence: mode.fence,
            sweep: mode.sweep,
            now,
            users,
            retries: mode.retries.clone(),
            tally,
            join: mode.join,
            hold: self.hold.clone(),
            notify_at: now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1)),
        }
    }

    fn decide_seen(
        &self,
        user: &UserId,
        seen: &Listing,
        history: &History,
        mode: &Mode,
        tally: &mut Tally,
    ) -> UserRecord {
        let now = self.clock.now();
        let found = weigh(&seen.accounts, history, &self.policy, now, || IncidentId(Uuid::now_v7()));
        tally.accounts += seen.accounts.len() as u64;
        tally.shared_dropped += seen.shared_dropped;
        tally.opened += found.open.len() as u64;
        tally.closed += found.close.len() as u64;
        tally.to_notify += u64::from(!found.open.is_empty());
        for verdict in &found.verdicts {
            *tally.verdicts.entry(verdict.verdict.as_str().to_owned()).or_default() += 1;
        }
        for account in &seen.accounts {
            if let Status::Unknown(status) = &account.status {
                *tally.unknown_statuses.entry(status.clone()).or_default() += 1;
            }
        }
        let (open, findings) = if mode.dry_run { (Vec::new(), found.open) } else { (found.open, Vec::new()) };
        UserRecord {
            changed: found.changed,
            gone: found.gone,
            open,
            close: found.close,
            findings,
            ..blank(user, history, seen.asked_at)
        }
    }
}

/// A record of a user that says no more than that they were looked at.
fn blank(user: &UserId, history: &History, observed_at: DateTime<Utc>) -> UserRecord {
    UserRecord {
        user: user.clone(),
        base: history.observed_at,
        observed_at,
        outcome: CheckOutcome::Checked,
        changed: Vec::new(),
        gone: Vec::new(),
        open: Vec::new(),
        close: Vec::new(),
        notification: NotificationId(Uuid::now_v7()),
        findings: Vec::new(),
    }
}
