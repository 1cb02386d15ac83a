//! What travels through the queue: a lane and an id, never data that grows old.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::id::{CheckId, NotificationId};

/// A stream of the queue. Each is worked off on its own, so that a re-audit never stands behind a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Re-audits that somebody asked for.
    CheckNow,
    /// The chunks of sweeps.
    CheckSweep,
    /// Notifications that are due.
    Notify,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 3] = [Self::CheckNow, Self::CheckSweep, Self::Notify];

    /// The name used in keys, metrics and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheckNow => "check-now",
            Self::CheckSweep => "check-sweep",
            Self::Notify => "notify",
        }
    }
}

impl FromStr for Lane {
    type Err = UnknownLane;

    fn from_str(text: &str) -> Result<Self, UnknownLane> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text).ok_or_else(|| UnknownLane(text.to_owned()))
    }
}

/// A lane that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown lane {0:?}; the lanes are check-now, check-sweep and notify")]
pub struct UnknownLane(String);

/// One unit of work, named by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// Check the users of this row.
    Check(Lane, CheckId),
    /// Send this notification.
    Notify(NotificationId),
}

impl Job {
    /// The lane that the job travels on.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            Self::Check(lane, _) => lane,
            Self::Notify(_) => Lane::Notify,
        }
    }

    /// The id of the job's row.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Check(_, id) => id.0,
            Self::Notify(id) => id.0,
        }
    }

    /// The text that the queue carries.
    #[must_use]
    pub fn payload(self) -> String {
        self.id().simple().to_string()
    }

    /// Reads a payload back.
    ///
    /// # Errors
    /// The payload is not one of ours: it can never be done, so it is dead at once.
    pub fn parse(lane: Lane, payload: &str) -> Result<Self, UndecodableJob> {
        let id: Uuid = payload.parse().map_err(|_| UndecodableJob { lane, bytes: payload.len() })?;
        Ok(match lane {
            Lane::Notify => Self::Notify(NotificationId(id)),
            Lane::CheckNow | Lane::CheckSweep => Self::Check(lane, CheckId(id)),
        })
    }
}

/// A queue entry that no version of this program wrote.
#[derive(Debug, thiserror::Error)]
#[error("an entry of {bytes} bytes on the lane {lane:?} is not a job of ours")]
pub struct UndecodableJob {
    /// Where it was found.
    pub lane: Lane,
    /// How long its payload is (the payload itself is not shown: it may hold anything).
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_queue_and_garbage_does_not() {
        let job = Job::Check(Lane::CheckNow, CheckId(Uuid::from_u128(7)));
        assert_eq!(Job::parse(job.lane(), &job.payload()).expect("our own payload"), job);
        assert!(Job::parse(Lane::Notify, "{}").is_err());
    }
}
