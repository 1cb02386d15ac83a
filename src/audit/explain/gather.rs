//! Reads the facts of a story.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Facts, Presence, Reach, Rules, SweepSeen, Tick};
use crate::adapters::users::UsersSource;
use crate::config::Config;
use crate::domain::id::{Toolkit, UserId};
use crate::domain::notification::{EmailAddress, Recipient};
use crate::domain::port::{Store, StoreResult};
use crate::domain::suppression::AddressHash;
use crate::domain::tick::Ticks;

/// So many of each kind are read, the newest.
const LIMIT: u32 = 500;
/// How long the app's database may take to say whether it has the user; the rest of the story does not depend on it.
const ASKING: Duration = Duration::from_secs(10);

/// Gathers what is known of a user.
pub struct Explainer {
    store: Arc<dyn Store>,
    /// Why the users could not be connected to is part of the story, not the end of it.
    users: Result<Arc<UsersSource>, String>,
    rules: Rules,
    only_to: Vec<String>,
    schedules: BTreeMap<String, (String, Tz)>,
}

impl Explainer {
    /// An explainer with these settings; `users` may have failed to connect, with this reason.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, users: Result<Arc<UsersSource>, String>, config: &Config) -> Self {
        let notify = &config.notify;
        let rules = Rules {
            policy: config.policy.clone(),
            mode: notify.mode,
            redirected: notify.redirect_all_to.is_some(),
            zones: config.schedules.iter().map(|(name, one)| (name.clone(), one.time_zone)).collect(),
            domain: notify.from.as_deref().and_then(domain_of),
        };
        let schedules = config.schedules.iter();
        let schedules = schedules.map(|(name, one)| (name.clone(), (one.cron.clone(), one.time_zone))).collect();
        Self { store, users, rules, only_to: notify.only_to.clone(), schedules }
    }

    /// Everything that is known of a user.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn gather(&self, user: &UserId, now: DateTime<Utc>) -> StoreResult<Facts> {
        let recipient = self.find(user).await;
        let address = match &recipient {
            Ok(Some(Recipient { email: Ok(address), .. })) => Some(AddressHash::of(address)),
            _ => None,
        };
        let trail = self.store.trail(user, LIMIT).await?;
        let situation = self.store.situation(user, address.as_ref(), None, now).await?;
        let apps: BTreeSet<&Toolkit> = trail
            .accounts
            .iter()
            .map(|known| known.account.toolkit())
            .chain(trail.observations.iter().filter_map(|observed| Some(observed.seen.as_ref()?.toolkit())))
            .chain(trail.incidents.iter().map(|incident| &incident.slot.toolkit))
            .collect();
        let apps: Vec<Toolkit> = apps.into_iter().cloned().collect();
        let names = self.store.toolkits(&apps).await?;
        Ok(Facts {
            presence: self.presence(recipient),
            paused: self.store.paused().await?,
            sweep: self.newest_sweep(user).await?,
            ticks: self.ticks(now),
            names: names.into_iter().map(|(slug, name)| (slug, name.name)).collect(),
            rules: self.rules.clone(),
            user: user.clone(),
            now,
            trail,
            situation,
        })
    }

    async fn find(&self, user: &UserId) -> Result<Option<Recipient>, String> {
        let users = self.users.as_ref().map_err(Clone::clone)?;
        match tokio::time::timeout(ASKING, users.find(user)).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} seconds", ASKING.as_secs())),
        }
    }

    fn presence(&self, recipient: Result<Option<Recipient>, String>) -> Presence {
        match recipient {
            Ok(Some(found)) => {
                let reach = match &found.email {
                    Ok(address) if address.is_admitted_by(&self.only_to) => Reach::Address,
                    Ok(_) => Reach::NotAdmitted,
                    Err(why) => Reach::None(*why),
                };
                Presence::Known { reach, zone: found.time_zone }
            }
            Ok(None) => Presence::Gone,
            Err(why) => Presence::Unasked(why),
        }
    }

    async fn newest_sweep(&self, user: &UserId) -> StoreResult<Option<SweepSeen>> {
        let history = self.store.history(std::slice::from_ref(user)).await?;
        let Some(id) = history.get(user).and_then(|history| history.sweep) else { return Ok(None) };
        let seen = self.store.sweep(id).await?;
        Ok(seen.map(|sweep| SweepSeen {
            schedule: sweep.schedule,
            tick: sweep.tick,
            trigger: sweep.trigger,
            finished_at: sweep.finished_at,
        }))
    }

    fn ticks(&self, now: DateTime<Utc>) -> Vec<Tick> {
        let next = |(schedule, (cron, zone)): (&String, &(String, Tz))| {
            let at = Ticks::parse(cron, *zone).ok()?.next(now)?;
            Some(Tick { schedule: schedule.clone(), at })
        };
        let mut ticks: Vec<Tick> = self.schedules.iter().filter_map(next).collect();
        ticks.sort_by_key(|tick| tick.at);
        ticks
    }
}

/// What follows the `@` in `Name <address>`, or in an address.
fn domain_of(mailbox: &str) -> Option<String> {
    let address = mailbox.rsplit_once('<').map_or(mailbox, |(_, address)| address.trim_end().trim_end_matches('>'));
    address.parse::<EmailAddress>().ok().map(|address| address.domain().to_owned())
}
