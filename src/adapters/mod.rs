//! The way to the outside, one module a neighbour; they do not know each other.

pub mod composio;
pub mod hooks;
pub mod mailer;
pub mod queue;
pub mod store;
pub mod users;
