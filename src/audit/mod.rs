//! Use cases that several need: looking at a user and recording what was seen, asking for that, judging whether too much
//! broke at once, connecting again what broke, telling how things are and why somebody was mailed, naming apps, handing jobs
//! over, and everything that an app does for one user.

pub mod entity;
pub mod explain;
mod guard;
mod job;
mod names;
mod observe;
mod outbox;
mod reaudit;
mod reconnect;
mod report;
mod status;

pub use guard::Guard;
pub use job::Desk;
pub use names::Names;
pub use observe::{Auditor, Look, Mode, RecordError};
pub use outbox::Outbox;
pub use reaudit::{Asked, Reaudits};
pub use reconnect::{Begin, Outcome, Reconnect, ReconnectError, Stand};
pub use report::Report;
pub use status::Status;
