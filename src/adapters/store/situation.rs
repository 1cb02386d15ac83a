//! Everything that decides on a user's next mail, from rows: one mapping for both engines.

use sqlx::FromRow;
use sqlx::types::Json;

use super::error::corrupt;
use super::row::{At, Id, IncidentRow, named};
use crate::domain::id::TripId;
use crate::domain::plan::{Hold, Mailed, Origin, Standing};
use crate::domain::port::StoreResult;
use crate::domain::stage::Stage;
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
    is_discarded: bool,
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
            (Some("discarded"), trip) => Some(Hold::Discarded(trip.map(|trip| TripId(trip.0)))),
            _ => self.is_discarded.then_some(Hold::Discarded(None)),
        };
        let named = self.named_hold.map(Hold::Named);
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
