//! The gate before an action, for several apps with one read. Whatever keeps us from looking is an *unknown* with its reason: it is
//! never an error that a caller could take for a no, and never a yes or a no by itself.

use super::look::Known;
use super::{Entity, EntityError, usual};
use crate::adapters::composio::ComposioError;
use crate::domain::connection::{AppNames, name_of};
use crate::domain::freshness::Freshness;
use crate::domain::gate::{AppGate, Decision, Facts, Gate, Unseen, decide};
use crate::domain::id::Toolkit;
use crate::domain::port::StoreResult;

impl Entity {
    /// Whether an action may use these apps on behalf of the user.
    ///
    /// # Errors
    /// [`EntityError::NothingAsked`]: no app was named. Everything else is an answer.
    pub async fn gate(&self, toolkits: &[Toolkit], freshness: Freshness) -> Result<Gate, EntityError> {
        if toolkits.is_empty() {
            return Err(EntityError::NothingAsked);
        }
        let toolkits: Vec<Toolkit> = toolkits.iter().map(usual).collect();
        let known = match self.known(freshness).await {
            Ok(known) => known,
            Err(error) => return Ok(unknown(&toolkits, unseen(&error), &error.to_string())),
        };
        Ok(self.judge(&toolkits, known).await)
    }

    /// Judges these apps by what is known.
    pub(super) async fn judge(&self, toolkits: &[Toolkit], known: Known) -> Gate {
        let standing = known.standing;
        let names = match self.names_for(toolkits, &standing.names).await {
            Ok(names) => names,
            Err(error) => return unknown(toolkits, Unseen::StoreUnavailable, &error.to_string()),
        };
        let as_of = standing.history.observed_at;
        let verdicts = standing.history.verdicts();
        let page = &self.parts().reconnect_page;
        let facts = Facts { user: &self.user, verdicts: &verdicts, names: &names, page };
        let cannot_tell = known.stale.then(|| match (&known.why_not, as_of) {
            (Some(why), _) => (unseen(why), why.to_string()),
            (None, None) => (Unseen::NeverSeen, "nobody has looked at this user yet".to_owned()),
            (None, Some(_)) => (Unseen::Doubted, "it may have changed since somebody looked".to_owned()),
        });
        let app = |toolkit: &Toolkit| AppGate {
            app: toolkit.clone(),
            name: name_of(&names, toolkit),
            decision: match &cannot_tell {
                Some((why, detail)) => Decision::Unknown { why: *why, detail: detail.clone() },
                None => decide(facts, toolkit),
            },
            as_of,
            stale: known.stale,
        };
        Gate { apps: toolkits.iter().map(app).collect(), as_of, stale: known.stale }
    }

    /// What these apps are called, those among them that the user does not have too.
    async fn names_for(&self, toolkits: &[Toolkit], known: &AppNames) -> StoreResult<AppNames> {
        let others: Vec<Toolkit> = toolkits.iter().filter(|toolkit| !known.contains_key(*toolkit)).cloned().collect();
        let mut names = known.clone();
        if !others.is_empty() {
            names.extend(self.parts().store.toolkits(&others).await?);
        }
        Ok(names)
    }
}

/// The same unknown for all apps.
pub(super) fn unknown(toolkits: &[Toolkit], why: Unseen, detail: &str) -> Gate {
    let app = |toolkit: &Toolkit| AppGate {
        app: toolkit.clone(),
        name: name_of(&AppNames::new(), toolkit),
        decision: Decision::Unknown { why, detail: detail.to_owned() },
        as_of: None,
        stale: true,
    };
    Gate { apps: toolkits.iter().map(app).collect(), as_of: None, stale: true }
}

/// Which unknown an error is.
pub(super) fn unseen(error: &EntityError) -> Unseen {
    match error {
        EntityError::Composio(error) => match error {
            ComposioError::RateLimited { .. } => Unseen::RateLimited,
            ComposioError::Unauthorized { .. } => Unseen::KeyRefused,
            ComposioError::Foreign { .. } | ComposioError::FiltersIgnored { .. } => Unseen::Foreign,
            ComposioError::Rejected { .. } | ComposioError::Unfilterable | ComposioError::Malformed { .. } => {
                Unseen::Refused
            }
            ComposioError::Unavailable { .. } | ComposioError::Incomplete { .. } | ComposioError::Ambiguous { .. } => {
                Unseen::Unavailable
            }
        },
        EntityError::NeverSeen => Unseen::NeverSeen,
        // What else there is, is the store's.
        _ => Unseen::StoreUnavailable,
    }
}
