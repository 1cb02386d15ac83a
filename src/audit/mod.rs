//! Use cases that several stages need: looking at a user and recording what was seen, judging whether too much broke at
//! once, connecting again what broke, telling why somebody was mailed, naming apps, handing jobs over, and everything that an app
//! does for one user.

pub mod entity;
pub mod explain;
mod guard;
mod job;
mod names;
mod observe;
mod outbox;
mod reconnect;

pub use guard::Guard;
pub use job::Desk;
pub use names::Names;
pub use observe::{Auditor, Look, Mode, RecordError};
pub use outbox::Outbox;
pub use reconnect::{Begin, Outcome, Reconnect, ReconnectError, Stand};
