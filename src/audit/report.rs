//! What came of mails and of events: the same for the command line and for metrics.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::port::{Coverage, Reconnects, Store, StoreResult};

/// What came of mails and of events since an instant.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Since when.
    pub since: DateTime<Utc>,
    /// What was reconnected after mails.
    pub reconnects: Vec<Reconnects>,
    /// What broke, and what events told of it.
    pub coverage: Vec<Coverage>,
    /// How many events there were, by type.
    pub events: Vec<(String, u64)>,
}

impl Report {
    /// Counts all of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(store: &dyn Store, since: DateTime<Utc>, now: DateTime<Utc>) -> StoreResult<Self> {
        Ok(Self {
            since,
            reconnects: store.reconnects(since, now).await?,
            coverage: store.coverage(since).await?,
            events: store.deliveries(since).await?,
        })
    }
}
