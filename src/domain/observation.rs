//! One complete look at one user, weighed against what is known: what to remember, what to open, what to close.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::account::{Account, Status};
use super::history::{History, KnownAccount};
use super::id::{AccountId, IncidentId};
use super::incident::{Incident, IncidentKind, Resolution};
use super::policy::Policy;
use super::slot::Slot;
use super::verdict::{SlotVerdict, Verdict, assess};

/// What follows from a look at one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What is said of each slot.
    pub verdicts: Vec<SlotVerdict>,
    /// Accounts that are new or changed.
    pub changed: Vec<KnownAccount>,
    /// Accounts that are no longer listed.
    pub gone: Vec<AccountId>,
    /// Incidents to open.
    pub open: Vec<Incident>,
    /// Incidents to close.
    pub close: Vec<(IncidentId, Resolution)>,
}

/// Weighs a complete list of a user's accounts. `fresh_id` makes ids for incidents that open.
pub fn weigh(
    accounts: &[Account],
    history: &History,
    policy: &Policy,
    now: DateTime<Utc>,
    mut fresh_id: impl FnMut() -> IncidentId,
) -> Observation {
    let verdicts = assess(accounts, history);
    let mut open = Vec::new();
    let mut close = Vec::new();
    let mut covered = BTreeSet::new();

    for incident in history.open_incidents() {
        let about = verdicts
            .iter()
            .find(|v| v.slot == incident.slot)
            .or_else(|| verdicts.iter().find(|v| v.deciding.id == incident.account));
        match about.map_or(Some(Resolution::Removed), |about| end_of(incident, about, accounts)) {
            Some(resolution) => close.push((incident.id, resolution)),
            None => covered.extend(about.map(|about| &about.slot)),
        }
    }
    for about in verdicts.iter().filter(|about| !covered.contains(&about.slot)) {
        let Some(kind) = trouble(about.verdict) else { continue };
        let nudged = kind == IncidentKind::Unfinished
            && history.incidents.iter().any(|past| past.kind == kind && past.slot == about.slot);
        let since = about.deciding.changed_at();
        if nudged || !policy.mails_about(&about.slot, kind) || was_too_old(&about.deciding, history, policy, now) {
            continue;
        }
        open.push(Incident {
            id: fresh_id(),
            slot: about.slot.clone(),
            kind,
            account: about.deciding.id.clone(),
            status: about.deciding.status.as_str().to_owned(),
            reason: about.deciding.reason.clone(),
            broke_at: since.min(now),
            counts_from: if was_healthy(&about.slot, history) { now } else { since.min(now) },
            opened_at: now,
            resolved: None,
        });
    }
    Observation { changed: changes(accounts, history, now), gone: vanished(accounts, history), verdicts, open, close }
}

/// Whether the trouble was too old already when a check first saw it. What was dropped then stays dropped, also when the API
/// moves `updated_at` later.
fn was_too_old(deciding: &Account, history: &History, policy: &Policy, now: DateTime<Utc>) -> bool {
    match history.account(&deciding.id).filter(|known| is_same(&known.account, deciding)) {
        Some(known) => policy.is_too_old(known.account.changed_at(), known.changed_at),
        None => policy.is_too_old(deciding.changed_at(), now),
    }
}

/// Whether the last check of the slot found it healthy. Of a slot that was never seen before, or was broken already when it was
/// last seen, only the API knows since when it is broken.
fn was_healthy(slot: &Slot, history: &History) -> bool {
    history.accounts.iter().any(|known| known.account.slot == *slot && known.gone_at.is_none() && known.account.works())
}

/// Whether nothing that matters has changed. `updated_at` alone is no change: Composio moves it with every token refresh, and a
/// sweep over a healthy population would write every row.
fn is_same(known: &Account, seen: &Account) -> bool {
    Account { updated_at: seen.updated_at, ..known.clone() } == *seen
}

/// Which incident a verdict calls for.
fn trouble(verdict: Verdict) -> Option<IncidentKind> {
    match verdict {
        Verdict::Broken => Some(IncidentKind::Broken),
        Verdict::AttemptFailed => Some(IncidentKind::AttemptFailed),
        Verdict::Unfinished => Some(IncidentKind::Unfinished),
        Verdict::Healthy | Verdict::Superseded | Verdict::OperatorFault | Verdict::ByChoice | Verdict::Unknown => None,
    }
}

/// How a verdict ends an open incident of its slot; `None` if it goes on.
fn end_of(incident: &Incident, about: &SlotVerdict, accounts: &[Account]) -> Option<Resolution> {
    match about.verdict {
        Verdict::Healthy | Verdict::Superseded => Some(Resolution::Reconnected),
        Verdict::ByChoice => Some(Resolution::Disconnected),
        Verdict::OperatorFault => Some(Resolution::OperatorFault),
        Verdict::Unknown => None,
        // Somebody is connecting. If what broke is still listed it is still broken; if it was removed, so is the trouble.
        Verdict::Unfinished => (incident.kind != IncidentKind::Unfinished
            && !accounts.iter().any(|account| account.id == incident.account))
        .then_some(Resolution::Removed),
        // Trouble only grows: a broken slot does not become a mere failed attempt by another attempt.
        Verdict::AttemptFailed => (incident.kind == IncidentKind::Unfinished).then_some(Resolution::Replaced),
        Verdict::Broken => (incident.kind != IncidentKind::Broken).then_some(Resolution::Replaced),
    }
}

/// Accounts as they are to be remembered, where that differs from what is.
fn changes(accounts: &[Account], history: &History, now: DateTime<Utc>) -> Vec<KnownAccount> {
    accounts
        .iter()
        .filter_map(|account| {
            let known = history.account(&account.id);
            let mut active_with = known.map(|known| known.active_with.clone()).unwrap_or_default();
            if account.status == Status::Active {
                active_with.extend(
                    accounts
                        .iter()
                        .filter(|other| other.status == Status::Active && other.id != account.id)
                        .filter(|other| other.toolkit() == account.toolkit())
                        .map(|other| other.id.clone()),
                );
            }
            let ever_active = account.proves_it_worked() || known.is_some_and(|known| known.ever_active);
            let same_row = known.is_some_and(|known| is_same(&known.account, account));
            let same = same_row
                && known.is_some_and(|known| {
                    known.ever_active == ever_active && known.active_with == active_with && known.gone_at.is_none()
                });
            (!same).then(|| KnownAccount {
                account: account.clone(),
                ever_active,
                active_with,
                first_seen_at: known.map_or(now, |known| known.first_seen_at),
                changed_at: known.filter(|_| same_row).map_or(now, |known| known.changed_at),
                gone_at: None,
            })
        })
        .collect()
}

/// Accounts that were listed before and are not in this complete list.
fn vanished(accounts: &[Account], history: &History) -> Vec<AccountId> {
    history
        .accounts
        .iter()
        .filter(|known| known.gone_at.is_none() && !accounts.iter().any(|account| account.id == known.account.id))
        .map(|known| known.account.id.clone())
        .collect()
}

#[cfg(test)]
mod tests;
