//! The stages, in the order of the flow; they meet only in the queue and the store.

pub mod alerter;
pub mod checker;
pub mod keeper;
pub mod notifier;
pub mod scheduler;
pub mod sweeper;
