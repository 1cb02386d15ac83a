//! What one check says of each slot of a user (`policy.md` §2): pure, and the same for every order of the rows.
//!
//! Rows are first judged within their slot ([`judge`]), then across the slots of one app ([`assess`]): people reconnect from
//! the app's own page without the alias, and operators change auth configs, so a working account elsewhere usually means
//! that nothing is broken, unless the two are known to be two accounts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::account::{Account, Status, reason};
use super::history::History;
use super::id::AccountId;
use super::slot::Slot;

/// What a check says of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Some account of the slot works.
    Healthy,
    /// Broken on its own, but a working account of the same app took its place.
    Superseded,
    /// Nobody ever finished connecting.
    Unfinished,
    /// The auth config is switched off: for the operator to mend.
    OperatorFault,
    /// Switched off or revoked on purpose.
    ByChoice,
    /// An attempt to connect was refused; nothing that worked was lost.
    AttemptFailed,
    /// It worked, or must be assumed to have worked, and does no more.
    Broken,
    /// A status that this version does not know: the previous state stands.
    Unknown,
}

impl Verdict {
    /// The name used in the store, in metrics and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Superseded => "superseded",
            Self::Unfinished => "unfinished",
            Self::OperatorFault => "operator_fault",
            Self::ByChoice => "by_choice",
            Self::AttemptFailed => "attempt_failed",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

/// A slot, what is said of it, and the row that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotVerdict {
    /// The slot.
    pub slot: Slot,
    /// What is said of it.
    pub verdict: Verdict,
    /// The row that decided.
    pub deciding: Account,
}

/// Judges the rows of one slot. `seen_active` says whether anything on the slot ever proved that it worked.
///
/// `None` if there are no rows: then nothing can be said.
pub fn judge<'a>(rows: &[&'a Account], seen_active: bool) -> Option<(Verdict, &'a Account)> {
    let newest = |rows: &mut dyn Iterator<Item = &'a Account>| {
        rows.max_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)))
    };
    if let Some(working) = newest(&mut rows.iter().copied().filter(|row| row.works())) {
        return Some((Verdict::Healthy, working));
    }
    let Some(row) = newest(&mut rows.iter().copied().filter(|row| !row.is_attempt())) else {
        return newest(&mut rows.iter().copied()).map(|attempt| (Verdict::Unfinished, attempt));
    };
    Some((judge_row(row, seen_active), row))
}

/// Judges the row that decides: not a working one, not an attempt.
fn judge_row(row: &Account, seen_active: bool) -> Verdict {
    let because = row.reason.as_deref();
    if row.auth_config_disabled {
        return Verdict::OperatorFault;
    }
    match row.status {
        Status::Revoked => Verdict::ByChoice,
        _ if because == Some(reason::AUTH_CONFIG_DISABLED) => Verdict::OperatorFault,
        Status::Inactive => Verdict::ByChoice,
        _ if row.is_disabled || because == Some(reason::STATUS_UPDATED_BY_USER) => Verdict::ByChoice,
        Status::Failed if !seen_active => Verdict::AttemptFailed,
        Status::Failed | Status::Expired => Verdict::Broken,
        // What is no unknown status here is a working row or an attempt: `judge` hands in neither.
        Status::Unknown(_) | Status::Active | Status::Initializing | Status::Initiated => Verdict::Unknown,
    }
}

/// Judges all slots of one user, in the order of the slots. `accounts` must be the user's whole list.
pub fn assess(accounts: &[Account], history: &History) -> Vec<SlotVerdict> {
    let mut slots: BTreeMap<&Slot, Vec<&Account>> = BTreeMap::new();
    for account in accounts {
        slots.entry(&account.slot).or_default().push(account);
    }
    let mut verdicts: Vec<SlotVerdict> = slots
        .iter()
        .filter_map(|(slot, rows)| {
            let (verdict, deciding) = judge(rows, seen_active(slot, rows, history))?;
            Some(SlotVerdict { slot: (*slot).clone(), verdict, deciding: deciding.clone() })
        })
        .collect();
    let healthy: Vec<Slot> =
        verdicts.iter().filter(|v| v.verdict == Verdict::Healthy).map(|v| v.slot.clone()).collect();
    for verdict in &mut verdicts {
        let troubled = matches!(verdict.verdict, Verdict::Broken | Verdict::AttemptFailed | Verdict::Unfinished);
        if troubled && healthy.iter().any(|healthy| supersedes(healthy, &verdict.slot, &slots, history)) {
            verdict.verdict = Verdict::Superseded;
        }
    }
    verdicts
}

/// Whether anything on the slot proves that it once worked: a row of now, or what was stored of it.
fn seen_active(slot: &Slot, rows: &[&Account], history: &History) -> bool {
    rows.iter().any(|row| row.proves_it_worked())
        || history.accounts.iter().any(|known| {
            known.ever_active && (known.account.slot == *slot || rows.iter().any(|row| row.id == known.account.id))
        })
}

/// Whether the working slot stands for the troubled one: the same app, and not known to be another account.
fn supersedes(healthy: &Slot, troubled: &Slot, slots: &BTreeMap<&Slot, Vec<&Account>>, history: &History) -> bool {
    if healthy.toolkit != troubled.toolkit {
        return false;
    }
    let differently_named = healthy.alias.is_some() && troubled.alias.is_some() && healthy.alias != troubled.alias;
    !differently_named && !worked_together(healthy, troubled, slots, history)
}

/// Whether accounts of both slots were once ACTIVE in the same check: then they are two (work and personal), not one replaced.
fn worked_together(one: &Slot, other: &Slot, slots: &BTreeMap<&Slot, Vec<&Account>>, history: &History) -> bool {
    let accounts_of = |slot: &Slot| -> BTreeSet<&AccountId> {
        let now = slots.get(slot).into_iter().flatten().map(|account| &account.id);
        let before = history.accounts.iter().filter(|known| known.account.slot == *slot).map(|known| &known.account.id);
        now.chain(before).collect()
    };
    let (ones, others) = (accounts_of(one), accounts_of(other));
    history.accounts.iter().any(|known| {
        let with = |ids: &BTreeSet<&AccountId>| known.active_with.iter().any(|id| ids.contains(id));
        (ones.contains(&known.account.id) && with(&others)) || (others.contains(&known.account.id) && with(&ones))
    })
}

#[cfg(test)]
mod tests;
