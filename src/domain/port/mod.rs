//! What the floors above need from the outside: a store, a queue, and a stage that works jobs off.
//!
//! The traits are small and by topic. `Store` and `JobStore` have two implementations each, which pass the same contract
//! tests (`tests/it/store.rs`, `tests/it/queue.rs`): PostgreSQL and SQLite, Redis Streams and SQLite.

mod alerts;
mod checks;
mod clicks;
mod deliveries;
mod entity;
mod guard;
mod notifications;
mod outbox;
mod queue;
mod reports;
mod store;
mod suppressions;
mod sweeps;
mod trail;

pub use alerts::{AlertStore, ClaimedMessage, MessageEnd, VitalSigns};
pub use checks::{CheckOutcome, CheckStore, ClaimedCheck, Record, Recorded, ToolkitName, UserRecord};
pub use clicks::{Click, ClickStore, Mailed, Reconnects, WITHIN_DAYS, Within};
pub use deliveries::{ACCOUNT_EXPIRED, Coverage, Delivery, DeliveryStore};
pub use entity::{EntityStore, LinkTrace, Standing};
pub use guard::{Broken, Count, GuardStore, Healthy, LeafCount, NewTrip, Release, Released, TripDetail};
pub use notifications::{Begun, NotificationStore, Sending, Settled, Settlement};
pub use outbox::{DeadJob, DeadJobStore, Horizon, OutboxStore};
pub use queue::{Depth, Entry, Handled, JobHandler, JobStore, QueueError, QueueResult};
pub use reports::{LastCheck, NotificationCount, OpenIncidents, Reaudit, ReportStore};
pub use store::{Store, StoreError, StoreResult};
pub use suppressions::{Pause, SuppressionStore};
pub use sweeps::{SweepChange, SweepPage, SweepStore};
pub use trail::{Observed, SentMail, Trail, TrailStore};
