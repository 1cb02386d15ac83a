//! Use cases that several stages need: looking at a user and recording what was seen, naming apps, and handing jobs over.

mod job;
mod names;
mod observe;
mod outbox;

pub use job::Desk;
pub use names::Names;
pub use observe::{Auditor, Look, Mode, RecordError};
pub use outbox::Outbox;
