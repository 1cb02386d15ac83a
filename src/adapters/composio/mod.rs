//! The API that is audited, reduced to what may be asked of it: the accounts of *one* user, a canary, an app's name.
//!
//! - `page` is the wire: what is read of an answer, and that credentials in it are never kept;
//! - `listing` puts pages together into one user's whole list, or refuses to;
//! - `client` speaks HTTP: timeouts, bounds, retries, requests in flight;
//! - `error` sorts what can go wrong by what the caller can do about it.
//!
//! There is no call that lists accounts without naming a user.

mod client;
mod error;
mod listing;
mod page;

pub use client::{Composio, SetupError, Urgency};
pub use error::ComposioError;
pub use listing::Listing;
