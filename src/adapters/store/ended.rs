//! Ending one sweep after the other, so that one that cannot be ended does not keep the others from it.

use crate::domain::id::SweepId;
use crate::domain::port::{StoreError, StoreResult};
use crate::domain::sweep::Sweep;

/// The sweeps that were ended so far.
#[derive(Debug, Default)]
pub(super) struct Ended {
    sweeps: Vec<Sweep>,
    failure: Option<StoreError>,
}

/// Whether the next sweep is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is.
    Go,
    /// The database is away: it is of no use.
    Stop,
}

impl Ended {
    /// Notes how the end of one sweep went. What is wrong with it alone is told, and stays for the operator.
    pub(super) fn goes_on(&mut self, id: SweepId, end: StoreResult<Option<Sweep>>) -> Next {
        match end {
            Ok(sweep) => self.sweeps.extend(sweep),
            Err(error @ StoreError::Unavailable { .. }) => {
                self.failure = Some(error);
                return Next::Stop;
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(event = "sweep.corrupt", sweep = %id, error, "this sweep cannot be ended; the others can");
            }
        }
        Next::Go
    }

    /// What was ended is told even if the database went away after it: no later call tells it again.
    pub(super) fn into_result(self) -> StoreResult<Vec<Sweep>> {
        match self.failure {
            Some(failure) if self.sweeps.is_empty() => Err(failure),
            _ => Ok(self.sweeps),
        }
    }
}
