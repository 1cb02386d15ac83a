//! What a row that could not be claimed says to the one who tried.

use chrono::{DateTime, TimeDelta, Utc};

use super::row::StandRow;
use crate::domain::lease::Claim;

/// How long a check of a paused sweep waits before it is looked at again.
const PAUSED_WAIT: TimeDelta = TimeDelta::seconds(5);

/// How long to wait for a row that became free between the claim and this look at it.
const RACED_WAIT: TimeDelta = TimeDelta::seconds(1);

/// Reads why a claim at `now` was refused. A held notification waits for the operator, who has it pushed again: for the
/// entry at hand nothing is left to do.
pub(super) fn claim_of<T>(stand: Option<&StandRow>, now: DateTime<Utc>) -> Claim<T> {
    let Some(stand) = stand else { return Claim::Missing };
    let sweep = stand.sweep_state.as_deref();
    match stand.state.as_str() {
        "queued" | "claimed" | "pending" | "sending" => {}
        _ => return Claim::Over,
    }
    if matches!(sweep, Some("completed" | "failed" | "skipped")) {
        return Claim::Over;
    }
    match stand.lease_until.filter(|_| matches!(stand.state.as_str(), "claimed" | "sending")) {
        Some(until) if until.0 > now => return Claim::Held(until.0),
        _ => {}
    }
    if sweep == Some("paused") {
        return Claim::NotDue(now + PAUSED_WAIT);
    }
    Claim::NotDue(if stand.due_at.0 > now { stand.due_at.0 } else { now + RACED_WAIT })
}
