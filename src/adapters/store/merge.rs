//! Who survives when a notification comes back and its user has another one waiting.
//!
//! A user has at most one pending notification, and one a hold. A claimed one is out of that count, so that a new one may
//! have been made beside it; when the claimed one is put back, the two become one. The one that was tried survives: its
//! Message-ID may be with the receiver already.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::FromRow;

use super::row::{At, Id};
use super::write::Engine;

/// Why a notification was skipped whose incidents went into another one of the same user.
pub(super) const MERGED: &str = "merged";

/// A notification that is put back, or that waits where one is put back to.
#[derive(Debug, FromRow)]
pub(super) struct Waiting {
    pub(super) id: Id,
    pub(super) user_id: String,
    pub(super) due_at: At,
}

/// Where notifications are put back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The hold; none makes them pending.
    pub(super) hold: Option<&'a str>,
    /// When they are due, whatever they were before; none keeps the earliest.
    pub(super) due_at: Option<DateTime<Utc>>,
    /// Since when they wait to be pushed; none: at once.
    pub(super) waiting_since: Option<DateTime<Utc>>,
}

/// What becomes of the notifications of some users.
#[derive(Debug, Default)]
pub(super) struct Merge {
    /// They wait from now on.
    pub(super) survivors: Vec<(Id, DateTime<Utc>)>,
    /// From, into.
    pub(super) merged: Vec<(Id, Id)>,
}

impl Merge {
    /// Plans for rows in the order of users, and within a user in the order of who survives.
    pub(super) fn plan(rows: &[Waiting], place: Place<'_>) -> Self {
        let mut plan = Self::default();
        let mut user: Option<&str> = None;
        for row in rows {
            let due_at = place.due_at.unwrap_or(row.due_at.0);
            match plan.survivors.last_mut() {
                Some((survivor, due)) if user == Some(row.user_id.as_str()) => {
                    *due = due_at.min(*due);
                    plan.merged.push((row.id, *survivor));
                }
                _ => plan.survivors.push((row.id, due_at)),
            }
            user = Some(&row.user_id);
        }
        plan
    }

    /// One row a notification that was merged.
    pub(super) fn merged_json(&self) -> Value {
        self.merged.iter().map(|(from, into)| json!({"id": from, "into_id": into})).collect()
    }

    /// One row a notification that waits.
    pub(super) fn survivors_json<E: Engine>(&self) -> Value {
        self.survivors.iter().map(|(id, due_at)| json!({"id": id, "due_at": E::time(*due_at)})).collect()
    }
}
