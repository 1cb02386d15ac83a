//! How a try ends, and what the ledger is told.

use super::{Notifier, PAUSED_WAIT};
use crate::adapters::mailer::SendError;
use crate::config::OnAmbiguous;
use crate::domain::incident::Resolution;
use crate::domain::notification::{Notification, hold};
use crate::domain::port::{Settlement, UserRecord};
use crate::domain::retry::Next;

impl Notifier {
    pub(super) fn after_sending(&self, notification: &Notification, sent: Result<(), SendError>) -> Settlement {
        match sent {
            Ok(()) => Settlement::Sent,
            Err(SendError::Permanent(why) | SendError::Bounced(why)) => Settlement::Failed(why),
            Err(SendError::Unavailable(why)) => self.wait(why),
            Err(SendError::Transient(why)) => self.again_or_failed(notification, &why, false),
            Err(SendError::Ambiguous(why)) if self.rules.on_ambiguous == OnAmbiguous::Hold => ambiguous_hold(&why),
            Err(SendError::Ambiguous(why)) => self.again_or_failed(notification, &why, true),
        }
    }

    pub(super) fn again_or_failed(&self, notification: &Notification, why: &str, ambiguous: bool) -> Settlement {
        match self.rules.retry.after(notification.attempts + 1, rand::random(), None) {
            Next::Again(wait) => {
                Settlement::Again { due_at: self.after(wait), error: why.to_owned(), counted: true, ambiguous }
            }
            Next::GiveUp => Settlement::Failed(format!("{why} (given up after {} tries)", notification.attempts + 1)),
        }
    }

    /// Something that every mail needs is away: that is nobody's attempt.
    pub(super) fn wait(&self, why: String) -> Settlement {
        Settlement::Again { due_at: self.after(self.rules.retry.base), error: why, counted: false, ambiguous: false }
    }

    /// The kill switch is thrown.
    pub(super) fn paused(&self) -> Settlement {
        let error = hold::PAUSED.to_owned();
        Settlement::Again { due_at: self.after(PAUSED_WAIT), error, counted: false, ambiguous: false }
    }
}

pub(super) fn ambiguous_hold(why: &str) -> Settlement {
    Settlement::Held { hold: hold::AMBIGUOUS.to_owned(), error: format!("it may have gone out: {why}") }
}

/// Why nothing is left to say: `recovered` unless all that ended just now ended otherwise.
pub(super) fn recovered_how(records: &[UserRecord]) -> &'static str {
    let mut ends = records.iter().flat_map(|record| &record.close).map(|(_, resolution)| *resolution);
    match ends.next() {
        None | Some(Resolution::Reconnected) => "recovered",
        Some(_) if ends.any(|end| end == Resolution::Reconnected) => "recovered",
        Some(other) => other.as_str(),
    }
}

pub(super) fn outcome_name(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Sent => "sent",
        Settlement::Skipped(_) => "skipped",
        Settlement::Unreachable(_) => "unreachable",
        Settlement::Failed(_) => "failed",
        Settlement::Again { .. } => "again",
        Settlement::Held { .. } => "held",
    }
}

pub(super) fn detail(settlement: &Settlement) -> Option<&str> {
    match settlement {
        Settlement::Sent => None,
        Settlement::Skipped(why) | Settlement::Unreachable(why) | Settlement::Failed(why) => Some(why),
        Settlement::Again { error, .. } | Settlement::Held { error, .. } => Some(error),
    }
}
