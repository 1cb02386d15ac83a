//! The ground floor: the types and rules of the product. No I/O, no clock and no randomness of its own; time and chance
//! are handed in, so that every decision can be table-tested.

pub mod account;
pub mod alert;
pub mod cause;
pub mod clock;
pub mod connection;
pub mod digest;
pub mod duration;
pub mod fault;
pub mod freshness;
pub mod gate;
pub mod guard;
pub mod history;
pub mod id;
pub mod incident;
pub mod job;
pub mod lease;
pub mod link;
pub mod mail_links;
pub mod network;
pub mod notice;
pub mod notification;
pub mod observation;
pub mod plan;
pub mod policy;
pub mod port;
pub mod replay;
pub mod retry;
#[cfg(test)]
pub(crate) mod sample;
pub mod slot;
pub mod stage;
pub mod suppression;
pub mod sweep;
pub mod tick;
pub mod token;
pub mod tool;
pub mod verdict;
pub mod window;
