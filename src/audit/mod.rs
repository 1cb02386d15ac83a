<<<<<<< HEAD
//! Use cases that several need: looking at a user and recording what was seen, asking for that, judging whether too much
//! broke at once, telling how things are and why somebody was mailed, naming apps, handing jobs over, and everything that an
//! app does for one user.
=======
//! Use cases that several stages need: looking at a user and recording what was seen, judging whether too much broke at
//! once, connecting again what broke, telling why somebody was mailed, naming apps, handing jobs over, and everything that an app
//! does for one user.
>>>>>>> public

pub mod entity;
pub mod explain;
mod guard;
mod job;
mod names;
mod observe;
mod outbox;
<<<<<<< HEAD
mod reaudit;
mod status;
=======
mod reconnect;
>>>>>>> public

pub use guard::Guard;
pub use job::Desk;
pub use names::Names;
pub use observe::{Auditor, Look, Mode, RecordError};
pub use outbox::Outbox;
<<<<<<< HEAD
pub use reaudit::{Asked, Reaudits};
pub use status::Status;
=======
pub use reconnect::{Begin, Outcome, Reconnect, ReconnectError, Stand};
>>>>>>> public
