//! What a worker holds: every entry whose lease it has to renew, from the fetch to the acknowledgement.
//!
//! Holding an entry takes a slot; there are as many slots as jobs may run at once, plus the prefetch. A slot is taken before
//! entries are asked for and is free again when the handler is done, so that a worker never holds more than it can work off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::port::Entry;

/// The entries of one worker.
#[derive(Debug)]
pub(super) struct Hold {
    slots: Arc<Semaphore>,
    held: Mutex<HashMap<String, (Entry, Option<OwnedSemaphorePermit>)>>,
}

impl Hold {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(slots)), held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, (Entry, Option<OwnedSemaphorePermit>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a free slot and takes it, with up to `most - 1` others that are free.
    pub(super) async fn slots(&self, most: usize) -> OwnedSemaphorePermit {
        let mut slots = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let others = self.slots.available_permits().min(most.saturating_sub(1));
        if let Ok(others) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(others).unwrap_or(0)) {
            slots.merge(others);
        }
        slots
    }

    /// Takes entries in, each with a slot of `slots`; returns those that were not held yet. One that is held already came
    /// back because its renewal was late: its lease is ours anew, and the handler that works on it goes on.
    pub(super) fn take_in(&self, entries: Vec<Entry>, slots: &mut OwnedSemaphorePermit) -> Vec<Entry> {
        let mut held = self.held();
        entries
            .into_iter()
            .filter(|entry| {
                let new = !held.contains_key(&entry.id);
                if new {
                    held.insert(entry.id.clone(), (entry.clone(), slots.split(1)));
                }
                new
            })
            .collect()
    }

    /// The handler is done: the slot is free. The entry is held until it is settled.
    pub(super) fn free_slot(&self, entry: &Entry) {
        if let Some((_, slot)) = self.held().get_mut(&entry.id) {
            slot.take();
        }
    }

    /// The entries are no longer ours.
    pub(super) fn release<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) {
        let mut held = self.held();
        for entry in entries {
            held.remove(&entry.id);
        }
    }

    /// Everything whose lease is to be renewed.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.held().values().map(|(entry, _)| entry.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Lane;

    fn entry(id: &str) -> Entry {
        Entry { lane: Lane::Notify, id: id.into(), payload: String::new(), deliveries: 1 }
    }

    #[tokio::test]
    async fn a_slot_is_free_again_when_the_handler_is_done_and_the_lease_ends_with_the_release() {
        let hold = Hold::new(2);
        let mut slots = hold.slots(10).await;
        assert_eq!(slots.num_permits(), 2, "no more than there are");
        assert_eq!(hold.take_in(vec![entry("1"), entry("1")], &mut slots).len(), 1, "an entry is worked on once");
        drop(slots);
        assert_eq!(hold.slots.available_permits(), 1);
        hold.free_slot(&entry("1"));
        assert_eq!(hold.slots.available_permits(), 2);
        assert_eq!(hold.entries().len(), 1, "it is still renewed until it is acknowledged");
        hold.release(&[entry("1")]);
        assert!(hold.entries().is_empty());
    }
}
