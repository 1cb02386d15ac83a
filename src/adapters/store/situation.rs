//! Everything that decides on a user's next mail, from rows: one mapping for both engines.

use sqlx::FromRow;
use sqlx::types::Json;

use super::error::corrupt;
use super::row::{At, Id, IncidentRow, named};
use crate::domain::id::{SuppressionId, Toolkit, TripId, UserId};
use crate::domain::notification::hold;
use crate::domain::plan::{Hold, Mailed, Origin, Standing};
use crate::domain::port::StoreResult;
use crate::domain::stage::Stage;
use crate::domain::suppression::{AddressHash, Suppression, Whom};
use crate::domain::sweep::SweepState;

/// An open incident, and what was done about it.
#[derive(Debug, FromRow)]
pub(super) struct StandingRow {
    #[sqlx(flatten)]
    incident: IncidentRow,
    sweep_id: Option<Id>,
    sweep_schedule: Option<String>,
    sweep_state: Option<String>,
    trip_id: Option<Id>,
    guard: Option<String>,
    mailed_stage: Option<i64>,
    mailed_first_at: Option<At>,
    named_hold: Option<String>,
    is_ambiguous: bool,
    openings: Option<Json<Vec<At>>>,
}

impl StandingRow {
    pub(super) fn into_standing(self, action: &'static str) -> StoreResult<Standing> {
        let mailed = match (self.mailed_stage, self.mailed_first_at) {
            (Some(stage), Some(first_at)) => {
                let number = u8::try_from(stage).map_err(|_| corrupt(action, format!("{stage} is no stage")))?;
                Some(Mailed { stage: Stage(number), first_at: first_at.0 })
            }
            _ => None,
        };
        let sweep_state: Option<SweepState> =
            self.sweep_state.as_deref().map(|state| named(action, state)).transpose()?;
        let origin = match self.sweep_id {
            None => Origin::Single,
            Some(_) => {
                Origin::Sweep { over: sweep_state.is_none_or(SweepState::is_final), schedule: self.sweep_schedule }
            }
        };
        let guarded = match (self.guard.as_deref(), self.trip_id) {
            (Some("held"), Some(trip)) => Some(Hold::Guard(TripId(trip.0))),
            (Some("discarded"), Some(trip)) => Some(Hold::Discarded(TripId(trip.0))),
            _ => None,
        };
        let named =
            self.named_hold.map(|name| if name == hold::AMBIGUOUS { Hold::Ambiguous } else { Hold::Named(name) });
        let ambiguous = self.is_ambiguous.then_some(Hold::Ambiguous);
        let mut openings: Vec<_> =
            self.openings.map(|openings| openings.0).unwrap_or_default().into_iter().map(|at| at.0).collect();
        openings.sort_unstable();
        Ok(Standing {
            incident: self.incident.into_incident(action)?,
            origin,
            mailed,
            hold: guarded.or(named).or(ambiguous),
            openings,
        })
    }
}

/// A row of `auditor_suppressions`.
#[derive(Debug, FromRow)]
pub(super) struct InForceRow {
    id: Id,
    user_id: Option<String>,
    address_hash: Option<String>,
    kind: String,
    toolkit: String,
    until: Option<At>,
    source: String,
    detail: Option<String>,
    created_at: At,
}

impl InForceRow {
    pub(super) fn into_suppression(self, action: &'static str) -> StoreResult<Suppression> {
        let whom = match (self.user_id, self.address_hash) {
            (Some(user), _) => Whom::User(UserId::new(user)),
            (None, Some(hash)) => Whom::Address(AddressHash::stored(hash)),
            (None, None) => return Err(corrupt(action, "a suppression concerns nobody")),
        };
        Ok(Suppression {
            id: SuppressionId(self.id.0),
            whom,
            kind: named(action, &self.kind)?,
            toolkit: Some(self.toolkit).filter(|toolkit| !toolkit.is_empty()).map(Toolkit::new),
            until: self.until.map(|at| at.0),
            source: self.source,
            detail: self.detail,
            created_at: self.created_at.0,
        })
    }
}
