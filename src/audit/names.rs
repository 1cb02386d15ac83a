//! How people write the names of apps: "Google Calendar", not `googlecalendar`. Asked for once a week, kept in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;

use crate::adapters::composio::Composio;
use crate::domain::clock::Clock;
use crate::domain::connection::name_of_slug;
use crate::domain::id::Toolkit;
use crate::domain::port::{Store, StoreResult, ToolkitName};

/// How long a name is believed.
const FRESH_FOR: TimeDelta = TimeDelta::days(7);

/// Names of apps. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    composio: Composio,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Names {
    /// Names from this API, remembered in this store.
    pub fn new(composio: Composio, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { composio, store, clock }
    }

    /// The names of these apps; an app that cannot be asked for keeps its old name, or is called as the API calls it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(&self, slugs: BTreeSet<Toolkit>) -> StoreResult<BTreeMap<Toolkit, String>> {
        let slugs: Vec<Toolkit> = slugs.into_iter().collect();
        let mut known = self.store.toolkits(&slugs).await?;
        let mut names = BTreeMap::new();
        for slug in slugs {
            let old = known.remove(&slug);
            let name = match old {
                Some(old) if self.clock.now() - old.read_at < FRESH_FOR => old.name,
                old => self.ask(&slug, old).await?,
            };
            names.insert(slug, name);
        }
        Ok(names)
    }

    /// The names as far as they are stored, for who must not ask anybody; an app without one is called as the API calls it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stored(store: &dyn Store, slugs: BTreeSet<Toolkit>) -> StoreResult<BTreeMap<Toolkit, String>> {
        let slugs: Vec<Toolkit> = slugs.into_iter().collect();
        let mut known = store.toolkits(&slugs).await?;
        let named = slugs.into_iter().map(|slug| {
            let name = known.remove(&slug).map_or_else(|| name_of_slug(&slug), |known| known.name);
            (slug, name)
        });
        Ok(named.collect())
    }

    async fn ask(&self, slug: &Toolkit, old: Option<ToolkitName>) -> StoreResult<String> {
        match self.composio.toolkit(slug).await {
            Ok(fresh) if !fresh.name.trim().is_empty() => {
                self.store.remember_toolkit(slug, &fresh).await?;
                Ok(fresh.name)
            }
            Ok(_) => Ok(old.map_or_else(|| name_of_slug(slug), |old| old.name)),
            Err(error) => {
                tracing::info!(event = "toolkit.name_unknown", toolkit = ?slug, %error);
                Ok(old.map_or_else(|| name_of_slug(slug), |old| old.name))
            }
        }
    }
}
