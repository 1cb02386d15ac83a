//! What can go wrong with the store, and all of it as one.

use super::{
    AlertStore, CheckStore, ClickStore, DeadJobStore, DeliveryStore, EntityStore, GuardStore, NotificationStore,
    OutboxStore, ReportStore, SuppressionStore, SweepStore, TrailStore,
};

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is overloaded; the same call may succeed later.
    #[error("{action}: the database is unavailable")]
    Unavailable {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The statement itself failed; trying again will not help.
    #[error("{action}: the database refused the statement")]
    Rejected {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds what this version cannot read.
    #[error("{action}: {what}")]
    Corrupt {
        /// What was attempted.
        action: &'static str,
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// Whether trying the same again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Corrupt { .. })
    }
}

/// The result of a call to the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Everything that is stored; the database is the truth.
pub trait Store:
    SweepStore
    + CheckStore
    + NotificationStore
    + OutboxStore
    + DeadJobStore
    + ReportStore
    + GuardStore
    + SuppressionStore
    + AlertStore
    + TrailStore
    + ClickStore
    + DeliveryStore
    + EntityStore
{
}
impl<T> Store for T where
    T: SweepStore
        + CheckStore
        + NotificationStore
        + OutboxStore
        + DeadJobStore
        + ReportStore
        + GuardStore
        + SuppressionStore
        + AlertStore
        + TrailStore
        + ClickStore
        + DeliveryStore
        + EntityStore
{
}
