//! The stages, in the order of the flow; they meet only in the queue and the store.

pub mod scheduler;
