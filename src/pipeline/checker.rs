//! The checker works off checks: it looks at each user of a chunk, and records all of them in one transaction.
//!
//! A user that could not be looked at is never a verdict: those that fail leave in a retry of their own, the others are
//! done. Only if not one user of a chunk could be seen, or the key is refused, or somebody else's rows come back, is the
//! canary asked whether the API as a whole is at fault; then the sweep pauses, and no attempt is used up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use uuid::Uuid;

use crate::adapters::composio::{ComposioError, Urgency};
use crate::audit::{Auditor, Desk, Look, Mode, Outbox, RecordError};
use crate::domain::clock::Clock;
use crate::domain::id::{CheckId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::lease::{Claim, Lease};
use crate::domain::port::{ClaimedCheck, Entry, Handled, JobHandler, Store, StoreError, StoreResult};
use crate::domain::retry::{Next, Retry};
use crate::domain::sweep::Check;

/// How long a check of a paused sweep waits before it is looked at again.
const PAUSED: TimeDelta = TimeDelta::seconds(5);
/// After so many failures and not one success, the rest of a chunk is left alone until the canary was asked.
const IN_VAIN: usize = 10;

/// Works checks off.
pub struct Checker {
    /// Looks and records.
    pub auditor: Auditor,
    /// Where checks are claimed.
    pub store: Arc<dyn Store>,
    /// Hands retries and notifications over.
    pub outbox: Outbox,
    /// Opens entries and holds leases.
    pub desk: Desk,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How users that could not be looked at are tried again.
    pub retry: Retry,
}

/// The looks of one chunk.
struct Looks {
    done: Vec<(UserId, Look)>,
    failed: Vec<(UserId, ComposioError)>,
    repeated: u64,
}

#[async_trait]
impl JobHandler for Checker {
    async fn handle(&self, entry: Entry) -> Handled {
        match self.work(&entry).await {
            Ok(handled) | Err(handled) => handled,
        }
    }
}

impl Checker {
    async fn work(&self, entry: &Entry) -> Result<Handled, Handled> {
        let Job::Check(lane, id) = self.desk.open(entry).await? else { return Ok(Handled::Done) };
        let lease = self.desk.lease();
        let claimed = match self.desk.answer(self.store.claim_check(id, lease, self.clock.now()).await)? {
            Claim::Won(claimed) => claimed,
            Claim::Held(until) | Claim::NotDue(until) => return Ok(self.desk.until(until)),
            Claim::Over | Claim::Missing => return Ok(Handled::Done),
        };
        let renew = |lease: Lease| self.store.renew_check(id, lease);
        match self.desk.while_leased(lease, renew, self.check(lane, &claimed, lease.token)).await {
            Some(Ok(handled)) => Ok(handled),
            Some(Err(error)) if error.is_permanent() => self.isolate(entry, &claimed.check, lease.token, &error).await,
            Some(Err(error)) => self.desk.answer(Err(error)),
            None => {
                tracing::warn!(event = "check.lease_lost", check = %id, "another worker does it");
                Ok(Handled::Done)
            }
        }
    }

    async fn check(&self, lane: Lane, claimed: &ClaimedCheck, token: Uuid) -> StoreResult<Handled> {
        let check = &claimed.check;
        let mut looks = self.look_at_all(lane, check).await?;
        if let Some(why) = self.fault_of_the_api(&looks).await {
            return self.stand_back(check, token, &why).await;
        }
        let retry = self.sort_out_failed(check, &mut looks);
        let mode = Mode {
            fence: Some((check.id, token)),
            sweep: check.sweep,
            dry_run: claimed.dry_run,
            retries: retry.clone().into_iter().collect(),
            join: None,
            repeated: looks.repeated,
        };
        let notifications = match self.auditor.record(&looks.done, &mode).await {
            Ok((tally, notifications, _)) => {
                tracing::debug!(event = "check.done", check = %check.id, checked = tally.checked, opened = tally.opened,
                    closed = tally.closed, retried = retry.as_ref().map_or(0, |retry| retry.users.len()));
                notifications
            }
            Err(RecordError::Fenced) => return Ok(Handled::Done),
            Err(RecordError::Store(error)) if error.is_permanent() => return Err(error),
            Err(error) => {
                tracing::warn!(event = "check.not_recorded", check = %check.id, %error, "it will be done again");
                let due = self.clock.now() + TimeDelta::seconds(2);
                self.store.release_check(check.id, token, due).await?;
                return Ok(self.desk.until(due));
            }
        };
        let mut jobs: Vec<_> = notifications.into_iter().map(|id| (Job::Notify(id), None)).collect();
        jobs.extend(retry.map(|retry| (Job::Check(lane, retry.id), Some(retry.due_at))));
        self.outbox.hand_over(&jobs).await;
        Ok(Handled::Done)
    }

    /// The store refuses something about this check for good. Its users go on one by one, so that only the one it is about is left
    /// behind, dead, for the operator to see.
    async fn isolate(&self, entry: &Entry, check: &Check, token: Uuid, why: &StoreError) -> Result<Handled, Handled> {
        let [_, _, ..] = check.users[..] else {
            tracing::error!(event = "check.refused_by_store", check = %check.id, error = %why);
            return self.desk.bury(entry, check.id.0, why.to_string()).await;
        };
        tracing::warn!(event = "check.isolated", check = %check.id, error = %why, "its users are checked one by one");
        let now = self.clock.now();
        let alone = |user: &UserId| Check {
            id: CheckId(Uuid::now_v7()),
            users: vec![user.clone()],
            due_at: now,
            ..check.clone()
        };
        let singles: Vec<Check> = check.users.iter().map(alone).collect();
        let jobs: Vec<_> = singles.iter().map(|single| (Job::Check(entry.lane, single.id), None)).collect();
        let mode = Mode { fence: Some((check.id, token)), sweep: check.sweep, retries: singles, ..Mode::default() };
        match self.auditor.record(&[], &mode).await {
            Err(RecordError::Store(error)) => return self.desk.answer(Err(error)),
            Err(RecordError::Fenced | RecordError::Contended) => return Ok(Handled::Done),
            Ok(_) => {}
        }
        self.outbox.hand_over(&jobs).await;
        Ok(Handled::Done)
    }

    async fn look_at_all(&self, lane: Lane, check: &Check) -> StoreResult<Looks> {
        let urgency = if lane == Lane::CheckNow { Urgency::Now } else { Urgency::Sweep };
        let mut looks = Looks { done: Vec::new(), failed: Vec::new(), repeated: 0 };
        let mut users = check.users.clone();
        users.sort();
        users.dedup();
        looks.repeated += (check.users.len() - users.len()) as u64;
        if check.sweep.is_some() {
            let histories = self.store.history(&users).await?;
            let before = users.len();
            users.retain(|user| histories.get(user).is_none_or(|history| history.sweep != check.sweep));
            looks.repeated += (before - users.len()) as u64;
        }
        // All at once: what bounds them is the number of requests that the client lets through.
        let width = users.len().max(1);
        let mut left: BTreeSet<UserId> = users.iter().cloned().collect();
        let mut answers = stream::iter(users)
            .map(|user| async move {
                let answer = self.auditor.look(&user, urgency).await;
                (user, answer)
            })
            .buffer_unordered(width);
        while let Some((user, answer)) = answers.next().await {
            left.remove(&user);
            match answer {
                Ok(seen) => looks.done.push((user, Look::Seen(seen))),
                Err(error) => looks.failed.push((user, error)),
            }
            if looks.done.is_empty() && looks.failed.len() >= IN_VAIN {
                let unheard = ComposioError::Unavailable { what: "others failed before".to_owned(), retry_after: None };
                looks.failed.extend(left.into_iter().map(|user| (user, unheard.clone())));
                break;
            }
        }
        drop(answers);
        Ok(looks)
    }

    /// Whether it is not about these users, but about the API as a whole: then nothing of this chunk counts.
    async fn fault_of_the_api(&self, looks: &Looks) -> Option<String> {
        let all_in_vain = looks.done.is_empty() && looks.failed.iter().any(|(_, error)| error.is_transient());
        let suspicious = looks.failed.iter().any(|(_, error)| {
            matches!(
                error,
                ComposioError::Unauthorized { .. }
                    | ComposioError::Foreign { .. }
                    | ComposioError::FiltersIgnored { .. }
            )
        });
        if !all_in_vain && !suspicious {
            return None;
        }
        self.auditor.canary().await.err()
    }

    /// Puts the check back untouched, and pauses its sweep until the canary passes.
    async fn stand_back(&self, check: &Check, token: Uuid, why: &str) -> StoreResult<Handled> {
        let now = self.clock.now();
        if let Some(sweep) = check.sweep {
            self.store.pause_sweep(sweep, why, now).await?;
            tracing::error!(event = "sweep.paused", %sweep, why, "no verdict is drawn until the canary passes");
        } else {
            tracing::warn!(event = "check.postponed", check = %check.id, why);
        }
        self.store.release_check(check.id, token, now + PAUSED).await?;
        Ok(self.desk.until(now + PAUSED))
    }

    /// Decides for every user that could not be looked at: again later, or no more. Returns the retry.
    fn sort_out_failed(&self, check: &Check, looks: &mut Looks) -> Option<Check> {
        let mut again = Vec::new();
        let mut longest = Duration::ZERO;
        for (user, error) in looks.failed.drain(..) {
            match &error {
                ComposioError::Foreign { account } => {
                    tracing::error!(
                        event = "check.foreign_row",
                        ?user,
                        account,
                        "a row of another user came back; nothing of it is used"
                    );
                }
                error => tracing::debug!(event = "check.user_failed", ?user, %error),
            }
            let worth_it = !matches!(error, ComposioError::Unfilterable | ComposioError::Rejected { .. });
            match self.retry.after(check.attempt + 1, rand::random(), error.retry_after()) {
                Next::Again(wait) if worth_it => {
                    longest = longest.max(wait);
                    again.push(user);
                }
                _ if error == ComposioError::Unfilterable => {
                    tracing::warn!(event = "check.user_refused", ?user, %error);
                    looks.done.push((user, Look::Refused(error.to_string())));
                }
                _ => looks.done.push((user, Look::GivenUp(error.to_string()))),
            }
        }
        (!again.is_empty()).then(|| Check {
            id: CheckId(Uuid::now_v7()),
            sweep: check.sweep,
            seq: check.seq,
            users: again,
            attempt: check.attempt + 1,
            due_at: self.clock.now() + TimeDelta::from_std(longest).unwrap_or(TimeDelta::minutes(1)),
        })
    }
}
