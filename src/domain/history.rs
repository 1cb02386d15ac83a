//! What earlier checks left behind about one user: the memory that a verdict rests on.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::id::{AccountId, SweepId};
use super::incident::Incident;
use super::verdict::{SlotVerdict, assess};

/// An account as the store keeps it: the last observation, and what was ever true of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAccount {
    /// As it was last seen.
    pub account: Account,
    /// Seen ACTIVE, or proven by its reason to have worked, at least once.
    pub ever_active: bool,
    /// Accounts of the same app that were ACTIVE in a check in which this one was: they are two accounts, not one replaced.
    pub active_with: BTreeSet<AccountId>,
    /// When a check first saw it.
    pub first_seen_at: DateTime<Utc>,
    /// When a check first saw it as it is now.
    pub changed_at: DateTime<Utc>,
    /// Since when complete lists have been without it.
    pub gone_at: Option<DateTime<Utc>>,
}

/// Everything that is stored of one user and matters for the next check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When the newest recorded observation was made. A record is refused when this has moved on since it was read.
    pub observed_at: Option<DateTime<Utc>>,
    /// The newest sweep in which the user was recorded.
    pub sweep: Option<SweepId>,
    /// Accounts, also those that are gone.
    pub accounts: Vec<KnownAccount>,
    /// Open incidents, and closed ones of the kind that happens once ever.
    pub incidents: Vec<Incident>,
}

impl History {
    /// The account of this id, if it was ever seen.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&KnownAccount> {
        self.accounts.iter().find(|known| &known.account.id == id)
    }

    /// The accounts that were listed when the user was last observed.
    #[must_use]
    pub fn listed(&self) -> Vec<Account> {
        self.accounts.iter().filter(|known| known.gone_at.is_none()).map(|known| known.account.clone()).collect()
    }

    /// What an audit says of them.
    #[must_use]
    pub fn verdicts(&self) -> Vec<SlotVerdict> {
        assess(&self.listed(), self)
    }

    /// The incidents that are open.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(|incident| incident.resolved.is_none())
    }
}
