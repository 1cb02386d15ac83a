//! The API that is audited, reduced to what may be asked of it: the accounts of *one* user, a link for one, a tool run for one, a
//! canary, what apps there are.
//!
//! - `page` is the wire: what is read of an answer, and that credentials in it are never kept;
//! - `listing` puts pages together into one user's whole list, or refuses to;
//! - `client` speaks HTTP: timeouts, bounds, retries, requests in flight;
//! - `connect` asks for links and single accounts, `tools` for tools, and runs them;
//! - `webhook` reads events that Composio sends by itself, `subscriptions` says where to;
//! - `error` sorts what can go wrong by what the caller can do about it.
//!
//! There is no call that lists accounts without naming a user.

mod client;
mod connect;
mod error;
mod listing;
mod page;
mod subscriptions;
mod tools;
pub mod webhook;

pub use client::{Composio, SetupError, Urgency};
pub use error::{ComposioError, Refusal};
pub use listing::Listing;
pub use subscriptions::Subscription;
