//! What the simulator was asked, so that tests can say what a worker did and what it never did.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::id::UserId;

/// Everything counted since the start, or since it was last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// API requests, whatever came of them.
    pub requests: u64,
    /// The same by endpoint, `GET /connected_accounts`.
    pub by_endpoint: BTreeMap<String, u64>,
    /// The same by status. Those whose connection was cut before there was one count under 0, those whose client went away
    /// are left out.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests to the endpoint that must never be called while auditing.
    pub refresh_calls: u64,
    /// Links minted.
    pub links_minted: u64,
    /// The most requests that were in flight at once.
    pub max_in_flight: u64,
    /// Requests that were answered with a fault.
    pub faults: u64,
    /// How many lists named each user in `user_ids`.
    pub lists_by_user: BTreeMap<UserId, u64>,
    /// How often a tool ran with each account.
    pub executed_by_account: BTreeMap<String, u64>,
    /// The longest request target seen, in bytes.
    pub longest_target: usize,
}

impl Counters {
    /// How many different users were asked for.
    pub fn users_asked(&self) -> usize {
        self.lists_by_user.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<(Counters, u64)>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, (Counters, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> Counters {
        self.lock().0.clone()
    }

    pub(super) fn reset(&self) {
        self.lock().0 = Counters::default();
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.lock().0);
    }

    pub(super) fn was_asked_for(&self, user: &UserId) -> bool {
        self.lock().0.lists_by_user.contains_key(user)
    }

    /// Counts a request in; it counts itself out when it is dropped, whatever became of it.
    pub(super) fn begin(self: &std::sync::Arc<Self>, endpoint: String, target: usize) -> InFlight {
        let mut tally = self.lock();
        tally.1 += 1;
        let in_flight = tally.1;
        let counters = &mut tally.0;
        counters.requests += 1;
        counters.max_in_flight = counters.max_in_flight.max(in_flight);
        counters.longest_target = counters.longest_target.max(target);
        *counters.by_endpoint.entry(endpoint).or_default() += 1;
        InFlight(std::sync::Arc::clone(self))
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight(std::sync::Arc<Tally>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().1 -= 1;
    }
}
