//! Connecting again what a mail told of: what the button of a mail, and the way back from connecting, come down to.
//!
//! ```text
//!  stand     what is so, as far as it is stored            a page; changes nothing
//!  begin     look live ─► works already? nothing to do     somebody pressed the button
//!                     └─► one link an incident, minted once and given out again while it lives
//!  returned  a doubt, and a check ahead of all sweeps      somebody came back; they may say what they like
//!  outcome   what that check found
//! ```
//!
//! A link is minted on the press of a button and never before, as it dies within minutes and scanners open every mail
//! (`composio-api.md` §0 traps 4 and 5).

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};
use uuid::Uuid;

use super::reaudit::recheck;
use super::{Auditor, Look, Mode, Outbox};
use crate::adapters::composio::{Composio, ComposioError, Listing, Refusal, Urgency};
use crate::adapters::users::UsersSource;
use crate::domain::account::Status;
use crate::domain::clock::Clock;
use crate::domain::id::{AccountId, LinkId, UserId};
use crate::domain::incident::{Incident, Resolution};
use crate::domain::job::Job;
use crate::domain::lease::Lease;
use crate::domain::link::{InVain, Link, LinkKey, LinkRequest, Reserved, Wish};
use crate::domain::mail_links::Links;
use crate::domain::port::{Store, StoreError, StoreResult};
use crate::domain::token::Subject;
use crate::domain::verdict::{Verdict, assess};

/// How long somebody may hold the right to mint a link.
const MINTING: Duration = Duration::from_secs(30);
/// How long somebody waits for a link that another minted meanwhile, and how often they look.
const PATIENCE: Duration = Duration::from_secs(5);
/// See [`PATIENCE`].
const LOOK: Duration = Duration::from_millis(200);

/// Connects again. Cheap to clone.
#[derive(Clone)]
pub struct Reconnect {
    /// Looks, and mints links.
    pub composio: Composio,
    /// Records what was seen on the way.
    pub auditor: Auditor,
    /// Incidents, clicks and links.
    pub store: Arc<dyn Store>,
    /// Whether the user is still there.
    pub users: Arc<UsersSource>,
    /// Hands checks over.
    pub outbox: Outbox,
    /// Where somebody comes back to.
    pub links: Links,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How things stand with what a mail told of, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It is still broken, or broken again.
    Open(Incident),
    /// It works again.
    Works(Incident),
    /// It is over in another way: removed, switched off, or the user is gone.
    Over(Incident),
    /// Nothing is kept of it any more.
    Unknown,
}

/// What pressing the button came to.
#[derive(Debug)]
pub enum Begin {
    /// There it can be connected. Whoever has this can do so: never show it to anybody else.
    Go(SecretString),
    /// Nothing is to be done.
    Not(Stand),
    /// The auth config is switched off: for the operator to mend.
    Off(Incident),
}

/// What came of connecting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The check is not over yet.
    Looking(Incident),
    /// It works. `another`: with another account at the app than before, as far as its name tells.
    Connected {
        /// What was broken.
        incident: Incident,
        /// Whether the account is another one.
        another: bool,
    },
    /// It does not.
    Broken(Incident),
    /// It is over in another way.
    Over(Incident),
    /// Nothing is kept of it any more.
    Unknown,
}

/// Somebody whom it needs is away; the same may succeed in a minute.
#[derive(Debug, thiserror::Error)]
pub enum ReconnectError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The users' own database.
    #[error("whether the user is still there could not be told: {0}")]
    Users(String),
    /// Composio.
    #[error(transparent)]
    Composio(#[from] ComposioError),
    /// Somebody else mints, and does not come to an end; or too many tries were lost.
    #[error("the link is being made elsewhere, or could not be made too often")]
    Busy,
    /// What was given leads nowhere that a person should go.
    #[error("the link that was made is no https address")]
    Nowhere,
}

impl Reconnect {
    /// How things stand; reads the store and changes nothing.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stand(&self, subject: Subject) -> StoreResult<Stand> {
        Ok(self.find(subject).await?.map_or(Stand::Unknown, |(_, stand)| stand))
    }

    /// Somebody asks for a new connection.
    ///
    /// # Errors
    /// Nothing could be done now; nothing was decided either.
    pub async fn begin(&self, subject: Subject) -> Result<Begin, ReconnectError> {
        let Some((user, stand)) = self.find(subject).await? else { return Ok(Begin::Not(Stand::Unknown)) };
        let Stand::Open(incident) = stand else { return Ok(Begin::Not(stand)) };
        self.store.note_click(subject, self.clock.now()).await?;
        let known = self.users.find(&user).await.map_err(|error| ReconnectError::Users(error.to_string()))?;
        if known.is_none() {
            return Ok(Begin::Not(Stand::Over(incident)));
        }
        // Before the look, which then knows the account that came into being with it.
        let key = key(&incident);
        let minted = self.store.link(&user, &key).await?.and_then(|kept| kept.account);
        let seen = self.auditor.look(&user, Urgency::Now).await?;
        let history = self.store.history(std::slice::from_ref(&user)).await?.remove(&user).unwrap_or_default();
        let verdicts = assess(&seen.accounts, &history);
        let verdict = verdicts.iter().find(|about| about.slot == incident.slot).map(|about| about.verdict);
        self.record(&user, &seen).await;
        match verdict {
            Some(Verdict::Healthy | Verdict::Superseded) => Ok(Begin::Not(Stand::Works(incident))),
            Some(Verdict::OperatorFault) => Ok(Begin::Off(incident)),
            Some(Verdict::ByChoice) | None => Ok(Begin::Not(Stand::Over(incident))),
            Some(Verdict::Unfinished | Verdict::AttemptFailed | Verdict::Broken | Verdict::Unknown) => {
                let used_up = minted.filter(|account| is_used_up(account, &seen));
                self.link(self.wish(user, &incident, key, used_up), subject, &incident).await.map(Begin::Go)
            }
        }
    }

    /// Somebody came back from connecting. What they bring is not believed: it makes what is known doubtful, and starts a check
    /// of that user ahead of all sweeps, unless one waits already.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn returned(&self, subject: Subject) -> StoreResult<()> {
        let Some((user, _)) = self.store.incident(subject.incident).await? else { return Ok(()) };
        recheck(self.store.as_ref(), &self.outbox, &user, self.clock.now()).await?;
        Ok(())
    }

    /// What came of it, as far as the check has come.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn outcome(&self, subject: Subject) -> StoreResult<Outcome> {
        let Some((user, stand)) = self.find(subject).await? else { return Ok(Outcome::Unknown) };
        Ok(match stand {
            Stand::Unknown => Outcome::Unknown,
            Stand::Over(incident) => Outcome::Over(incident),
            Stand::Works(incident) => {
                let another = self.is_another(&user, &incident).await;
                Outcome::Connected { incident, another }
            }
            Stand::Open(incident) if self.store.standing(&user).await?.seen().is_doubted() => {
                Outcome::Looking(incident)
            }
            Stand::Open(incident) => Outcome::Broken(incident),
        })
    }

    /// The button of a page that tells that it did not work: the same as that of the mail.
    #[must_use]
    pub fn retry(&self, subject: Subject) -> Url {
        self.links.retry(subject, self.clock.now())
    }

    /// The incident as it stands. One that is over while its slot is broken anew stands for the one that is open.
    async fn find(&self, subject: Subject) -> StoreResult<Option<(UserId, Stand)>> {
        let Some((user, incident)) = self.store.incident(subject.incident).await? else { return Ok(None) };
        let Some((_, resolution)) = incident.resolved else { return Ok(Some((user, Stand::Open(incident)))) };
        let mut histories = self.store.history(std::slice::from_ref(&user)).await?;
        let open = histories.remove(&user).unwrap_or_default();
        let again = open.open_incidents().find(|open| open.slot == incident.slot).cloned();
        let stand = match (again, resolution) {
            (Some(again), _) => Stand::Open(again),
            (None, Resolution::Reconnected) => Stand::Works(incident),
            (None, _) => Stand::Over(incident),
        };
        Ok(Some((user, stand)))
    }

    /// What was seen on the way is worth keeping, so that what has healed is over at once. If it cannot be kept, the next check
    /// sees it too.
    async fn record(&self, user: &UserId, seen: &Listing) {
        match self.auditor.record(&[(user.clone(), Look::Seen(seen.clone()))], &Mode::default()).await {
            Ok((_, notifications, _)) => {
                let jobs: Vec<_> = notifications.into_iter().map(|id| (Job::Notify(id), None)).collect();
                self.outbox.hand_over(&jobs).await;
            }
            Err(error) => tracing::warn!(event = "reconnect.not_recorded", ?user, %error),
        }
    }

    fn wish(&self, user: UserId, incident: &Incident, key: LinkKey, used_up: Option<AccountId>) -> Wish {
        let slot = &incident.slot;
        Wish {
            id: LinkId(Uuid::now_v7()),
            user,
            content: LinkKey::derived(&slot.toolkit, Some(&slot.auth_config), None, slot.alias.as_deref()),
            key,
            toolkit: slot.toolkit.clone(),
            auth_config: slot.auth_config.clone(),
            alias: slot.alias.clone(),
            used_up,
            lease: Lease::new(Uuid::new_v4(), self.clock.now(), MINTING),
        }
    }

    /// The link of an incident: the one that lives, or a new one.
    async fn link(&self, wish: Wish, subject: Subject, incident: &Incident) -> Result<SecretString, ReconnectError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let now = self.clock.now();
            match self.store.reserve_link(&wish, now).await? {
                Reserved::Won(id) => return self.mint(&wish, id, Subject { incident: incident.id, ..subject }).await,
                Reserved::Made(kept) => {
                    return Ok(Self::leading(kept.good(now).ok_or(ReconnectError::Busy)?)?.url);
                }
                Reserved::Busy(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Reserved::Busy(_) | Reserved::Lost(_) | Reserved::Other => return Err(ReconnectError::Busy),
            }
        }
    }

    async fn mint(&self, wish: &Wish, id: LinkId, subject: Subject) -> Result<SecretString, ReconnectError> {
        let back = self.links.outcome(subject, self.clock.now());
        let made = match self.ask(wish, &back, wish.alias.clone()).await {
            // The old account still has that name. Without it the new one takes its place all the same.
            Err(ReconnectError::Composio(error))
                if error.refusal() == Some(Refusal::Conflict) && wish.alias.is_some() =>
            {
                self.ask(wish, &back, None).await
            }
            made => made,
        };
        match made {
            Ok(link) => {
                self.store.keep_link(id, wish.lease.token, &link, self.clock.now()).await?;
                tracing::info!(event = "reconnect.link_minted", incident = %subject.incident, account = %link.account);
                Ok(link.url)
            }
            Err(error) => {
                let refused = matches!(&error, ReconnectError::Composio(error) if error.refusal().is_some());
                let how = if refused { InVain::Refused } else { InVain::Unclear };
                self.store.give_up_link(id, wish.lease.token, how, self.clock.now()).await?;
                Err(error)
            }
        }
    }

    async fn ask(&self, wish: &Wish, back: &Url, alias: Option<String>) -> Result<Link, ReconnectError> {
        let request = LinkRequest {
            auth_config: wish.auth_config.clone(),
            user: wish.user.clone(),
            callback_url: Some(back.clone()),
            alias,
        };
        let link = Self::leading(self.composio.create_link(&request).await?)?;
        // A link that was made for somebody else would put this person's account into another's hands.
        self.composio.account(&wish.user, &link.account).await?;
        Ok(link)
    }

    /// A person is sent there: nothing but https will do, unless all of it runs on this machine.
    fn leading(link: Link) -> Result<Link, ReconnectError> {
        let near = |url: &Url| match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match Url::parse(link.url.expose_secret()) {
            Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && near(&url)) => Ok(link),
            _ => Err(ReconnectError::Nowhere),
        }
    }

    /// Whether what works now is another account at the app than what was broken, by the names that the app gave both. Where
    /// one is missing nobody can tell.
    async fn is_another(&self, user: &UserId, incident: &Incident) -> bool {
        let Ok(seen) = self.auditor.look(user, Urgency::Now).await else { return false };
        let working = seen.accounts.iter().filter(|one| one.works() && one.toolkit() == &incident.slot.toolkit);
        let newest = working.filter(|one| one.id != incident.account).max_by_key(|one| one.created_at);
        let both =
            newest.and_then(|newest| Some((seen.identities.get(&incident.account)?, seen.identities.get(&newest.id)?)));
        both.is_some_and(|(before, now)| before != now)
    }
}

/// One link at a time for one incident.
fn key(incident: &Incident) -> LinkKey {
    LinkKey::chosen(&format!("incident {}", incident.id))
}

/// Whether the attempt that a link was made for has come to an end: then the link leads nowhere any more.
fn is_used_up(account: &AccountId, seen: &Listing) -> bool {
    let attempt = seen.accounts.iter().find(|one| one.id == *account);
    !attempt.is_some_and(|one| matches!(one.status, Status::Initializing | Status::Initiated))
}
