//! What is known of the user: from the store if that is fresh enough, else by looking, ahead of sweeps, and recording what was seen.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::{Entity, EntityError};
use crate::adapters::composio::{ComposioError, Urgency};
use crate::audit::observe::{Look, Mode};
use crate::domain::freshness::Freshness;
use crate::domain::id::Toolkit;
use crate::domain::job::Job;
use crate::domain::port::Standing;

/// Somebody waits for the answer: an *unknown* in time is worth more to them than a certain one after all retries.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// What is known, and how far it can be relied on.
pub(super) struct Known {
    pub(super) standing: Standing,
    /// Older than was asked for, or doubted.
    pub(super) stale: bool,
    /// Why nobody could look.
    pub(super) why_not: Option<EntityError>,
}

impl Entity {
    /// What is known, as fresh as was asked for; if it cannot be, what there is.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn known(&self, freshness: Freshness) -> Result<Known, EntityError> {
        let parts = self.parts();
        let standing = parts.store.standing(&self.user).await?;
        if standing.seen().is_fresh(freshness, parts.clock.now()) {
            return Ok(Known { standing, stale: false, why_not: None });
        }
        if freshness == Freshness::Stored {
            return Ok(Known { standing, stale: true, why_not: None });
        }
        match self.look().await {
            Ok(standing) => Ok(Known { standing, stale: false, why_not: None }),
            Err(error @ EntityError::Store(_)) => Err(error),
            Err(why) => {
                tracing::warn!(event = "entity.not_seen", user = ?self.user, error = %why);
                Ok(Known { standing, stale: true, why_not: Some(why) })
            }
        }
    }

    /// Reads the whole list, records it as an audit does, and returns what is known then: what counts is what is stored, which may
    /// be newer still.
    async fn look(&self) -> Result<Standing, EntityError> {
        let parts = self.parts();
        let Ok(seen) = timeout(LONGEST_LOOK, parts.auditor.look(&self.user, Urgency::Now)).await else {
            let what = format!("no answer within {} s", LONGEST_LOOK.as_secs());
            return Err(ComposioError::Unavailable { what, retry_after: None }.into());
        };
        let seen = seen?;
        let looks = [(self.user.clone(), Look::Seen(seen))];
        let (_, notifications, _) = parts.auditor.record(&looks, &Mode::default()).await?;
        let jobs: Vec<_> = notifications.into_iter().map(|id| (Job::Notify(id), None)).collect();
        parts.outbox.hand_over(&jobs).await;
        let standing = parts.store.standing(&self.user).await?;
        let nameless: BTreeSet<Toolkit> = standing
            .history
            .accounts
            .iter()
            .map(|known| known.account.toolkit())
            .filter(|toolkit| !standing.names.contains_key(*toolkit))
            .cloned()
            .collect();
        if nameless.is_empty() {
            return Ok(standing);
        }
        self.shared.names.of(nameless).await?;
        Ok(parts.store.standing(&self.user).await?)
    }
}
