//! Why somebody was mailed, or was not: all that is known of one user, made into one story.
//!
//! [`Explainer`] gathers the [`Facts`]; the story is made of them alone, so that it can be told of any moment. What will
//! happen is not guessed: the plan that decides for the notifier is asked, for now and for the instants to come.
//!
//! | file | what |
//! |---|---|
//! | `gather` | reads the facts |
//! | `fate` | what became of each open incident |
//! | `gist` | what is so, in a sentence or two |
//! | `outlook` | what happens next, and when |
//! | `timeline` | what happened, in order |
//! | `obstacle` | what keeps mail from leaving |
//! | `words` | how instants, apps and causes are written |

mod fate;
mod gather;
mod gist;
mod obstacle;
mod outlook;
mod timeline;
mod words;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::NotifyMode;
use crate::domain::history::History;
use crate::domain::id::{AccountId, IncidentId, Toolkit, UserId};
use crate::domain::notification::NoAddress;
use crate::domain::plan::Situation;
use crate::domain::policy::Policy;
use crate::domain::port::{LastCheck, Pause, Trail};
use crate::domain::slot::Slot;
use crate::domain::sweep::Trigger;
use crate::domain::verdict::{SlotVerdict, Verdict, assess};

pub use gather::Explainer;
pub use gist::Gist;
pub use obstacle::Obstacle;
pub use outlook::Outlook;
pub use timeline::{Event, Told, What};

/// What a story is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Whose story.
    pub user: UserId,
    /// When it is told.
    pub now: DateTime<Utc>,
    /// Everything that is kept of the user.
    pub trail: Trail,
    /// Everything that decides on their next mail.
    pub situation: Situation,
    /// What the app's own database says of them.
    pub presence: Presence,
    /// Whether the kill switch is thrown.
    pub paused: Option<Pause>,
    /// The newest sweep in which the user was recorded.
    pub sweep: Option<SweepSeen>,
    /// The next tick of each schedule, the soonest first.
    pub ticks: Vec<Tick>,
    /// How apps are called, as far as it is known.
    pub names: BTreeMap<Toolkit, String>,
    /// The settings that decide.
    pub rules: Rules,
}

/// The settings that decide whether and when mail leaves.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `[policy]`
    pub policy: Policy,
    /// `notify.mode`
    pub mode: NotifyMode,
    /// Whether `notify.redirect_all_to` is set.
    pub redirected: bool,
    /// The time zones of the schedules, for users whose own is not known.
    pub zones: BTreeMap<String, Tz>,
    /// The domain of `Message-ID`s; none while `notify.from` is not set.
    pub domain: Option<String>,
}

/// What the app's own database says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The user is there.
    Known {
        /// Whether a mail can reach them.
        reach: Reach,
        /// Their own time zone.
        zone: Option<Tz>,
    },
    /// There is no user of this id.
    Gone,
    /// It could not be asked; the text says why.
    Unasked(String),
}

/// Whether a mail can reach a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// There is an address, and it may be mailed.
    Address,
    /// There is one that `notify.only_to` does not admit.
    NotAdmitted,
    /// There is none to use.
    None(NoAddress),
}

/// A sweep that recorded the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SweepSeen {
    /// Its schedule.
    pub schedule: String,
    /// Its tick.
    pub tick: DateTime<Utc>,
    /// Who asked for it.
    pub trigger: Trigger,
    /// When it ended; none while it goes on.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A tick to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tick {
    /// Whose.
    pub schedule: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The story of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Explanation {
    /// Whose.
    pub user: UserId,
    /// When it is told.
    pub now: DateTime<Utc>,
    /// What is so, in one word.
    pub gist: Gist,
    /// What is so, in a sentence or two.
    pub headline: String,
    /// What happens next, and when.
    pub outlook: Outlook,
    /// Whether the app has such a user; none if it could not be asked.
    pub known: Option<bool>,
    /// The newest check; none if the user was never checked.
    pub last_check: Option<LastCheck>,
    /// The newest sweep in which the user was recorded, as long as it is kept.
    pub last_sweep: Option<SweepSeen>,
    /// When the next sweep is due; none without a schedule.
    pub next_sweep: Option<Tick>,
    /// What is said of each connection now, by what was last seen of it.
    pub connections: Vec<Connection>,
    /// What keeps mail from leaving.
    pub obstacles: Vec<Obstacle>,
    /// What happened, oldest first.
    pub timeline: Vec<Event>,
}

/// One connection as people think of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ExplainedConnection)]
pub struct Connection {
    /// The app, as people write it.
    pub app: String,
    /// The slot.
    #[serde(flatten)]
    pub slot: Slot,
    /// What is said of it.
    pub verdict: Verdict,
    /// What that means for mail.
    pub means: String,
    /// The account that decided.
    pub account: AccountId,
    /// Its status, as the API names it.
    pub status: String,
    /// The reason that the API gave.
    pub reason: Option<String>,
    /// Since when it has been so.
    pub since: DateTime<Utc>,
    /// The open incident about it.
    pub incident: Option<IncidentId>,
}

impl Facts {
    /// Tells the story.
    #[must_use]
    pub fn story(&self) -> Explanation {
        let verdicts = self.verdicts();
        let fates = self.fates();
        let (gist, headline) = self.gist(&verdicts, &fates);
        Explanation {
            user: self.user.clone(),
            now: self.now,
            gist,
            headline,
            outlook: self.outlook(gist, &verdicts, &fates),
            known: match self.presence {
                Presence::Known { .. } => Some(true),
                Presence::Gone => Some(false),
                Presence::Unasked(_) => None,
            },
            last_check: self.trail.last_check.clone(),
            last_sweep: self.sweep.clone(),
            next_sweep: self.ticks.first().cloned(),
            connections: verdicts.iter().map(|about| self.connection(about)).collect(),
            obstacles: self.obstacles(),
            timeline: self.timeline(),
        }
    }

    /// Whether nothing at all is known of the user.
    #[must_use]
    pub fn was_never_seen(&self) -> bool {
        let Trail { last_check, accounts, observations, incidents, notifications, .. } = &self.trail;
        last_check.is_none()
            && accounts.is_empty()
            && observations.is_empty()
            && incidents.is_empty()
            && notifications.is_empty()
    }

    /// What is said of each slot, by what was last seen of it.
    fn verdicts(&self) -> Vec<SlotVerdict> {
        let history = History {
            observed_at: self.trail.last_check.as_ref().and_then(|check| check.observed_at),
            sweep: None,
            accounts: self.trail.accounts.clone(),
            incidents: self.trail.incidents.clone(),
        };
        let listed: Vec<_> = history.accounts.iter().filter(|known| known.gone_at.is_none()).collect();
        let listed: Vec<_> = listed.into_iter().map(|known| known.account.clone()).collect();
        assess(&listed, &history)
    }

    fn connection(&self, about: &SlotVerdict) -> Connection {
        let open = self.situation.open.iter().map(|standing| &standing.incident);
        let incident = open.clone().find(|incident| incident.slot == about.slot);
        let incident = incident.or_else(|| open.clone().find(|incident| incident.account == about.deciding.id));
        Connection {
            app: self.app(&about.slot.toolkit),
            slot: about.slot.clone(),
            verdict: about.verdict,
            means: words::meaning(about.verdict).to_owned(),
            account: about.deciding.id.clone(),
            status: about.deciding.status.as_str().to_owned(),
            reason: about.deciding.reason.clone(),
            since: about.deciding.changed_at(),
            incident: incident.map(|incident| incident.id),
        }
    }

    /// By whose clock mails leave: the user's own, else that of the schedule that found the trouble, else of any.
    fn zone(&self) -> Tz {
        if let Presence::Known { zone: Some(zone), .. } = self.presence {
            return zone;
        }
        self.situation.zone(&self.rules.zones)
    }
}
