//! A whole installation in memory, for *what if* and for proofs: events go in, in the order of time, and mails come out.
//!
//! Nothing here decides. What is said of an account, who is mailed when, and when the guard trips is asked of the rules that the
//! pipeline asks ([`weigh`](super::observation::weigh), [`Situation::next`](super::plan::Situation::next),
//! [`GuardRules::judge`](super::guard::GuardRules::judge)); this is the ledger around them, which follows what the store's
//! traits say, and a clock that jumps to whatever is due next. Workers that die or dawdle, and mail servers that fail, are
//! events like any other.

mod guard;
mod ledger;
mod notifier;
mod recorded;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

pub use self::guard::{Held, Holding};
use self::ledger::{Entry, Person, Row};
pub use self::recorded::Playback;
use super::account::Account;
use super::guard::{GuardRules, Scope, TripState};
use super::id::{IncidentId, NotificationId, SweepId, TripId, UserId};
use super::incident::{Incident, Resolution};
use super::plan::{Idle, Listed, Waiting};
use super::policy::Policy;
use super::retry::Retry;
use super::suppression::Suppression;

/// By which rules a world is played.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who is mailed, and when.
    pub policy: Policy,
    /// When the guard trips.
    pub guard: GuardRules,
    /// The clock of users whose own zone is not known.
    pub zone: Tz,
    /// How a mail that could not be sent is tried again.
    pub retry: Retry,
    /// What happens to a mail of which nobody knows whether it went out.
    pub unsure: Unsure,
}

/// What happens to a mail of which nobody knows whether it went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsure {
    /// It is sent again under the same name.
    Again,
    /// It waits for the operator.
    Hold,
}

/// Something that happens to an installation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A user's accounts are these from now on; nobody has noticed yet.
    Changed(UserId, Vec<Account>),
    /// A user lives by this clock.
    Lives(UserId, Tz),
    /// A check reads all of a user's accounts, as part of a sweep or on its own.
    Checked(UserId, Option<SweepId>),
    /// A check of a sweep found a user as they were known already.
    Unchanged(UserId, SweepId),
    /// A sweep is over.
    SweepEnded(SweepId),
    /// A user is no longer among the app's own.
    Deleted(UserId),
    /// A user is not to be mailed.
    Suppressed(UserId, Suppression),
    /// All that kept a user from being mailed is lifted.
    Lifted(UserId),
    /// The kill switch is thrown.
    Paused,
    /// It is put back.
    Resumed,
    /// This becomes of the next mail.
    Fate(Fate),
    /// The operator lets go what the guard holds, a few users first.
    Released,
    /// The operator drops what the guard holds.
    Discarded,
}

/// What becomes of a try to mail somebody, unless all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The worker looks, and is slow to act upon it.
    Dawdles(Duration),
    /// The worker dies before it has begun to send.
    DiesBefore,
    /// The worker dies after it has begun to send; whether the mail has left is not known to anybody else.
    DiesAfter {
        /// Whether it has.
        left: bool,
    },
    /// The mail server cannot be reached.
    Away,
    /// The mail server says: later.
    Busy,
    /// The mail server says: never.
    Refused,
    /// The mail server does not answer; whether the mail has left is not known to anybody else.
    Silent {
        /// Whether it has.
        left: bool,
    },
}

/// A mail that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// When it left.
    pub at: DateTime<Utc>,
    /// When its user was looked at for it.
    pub looked_at: DateTime<Utc>,
    /// To whom.
    pub user: UserId,
    /// Its row in the ledger; copies of one mail have the same.
    pub id: NotificationId,
    /// What it lists.
    pub list: Vec<Listed>,
}

/// What became of one incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fortune {
    /// Whose.
    pub user: UserId,
    /// The incident, as it ended.
    pub incident: Incident,
    /// The sweep that opened it; none for a re-audit or a second look.
    pub sweep: Option<SweepId>,
    /// Under which scope the guard held it, if it ever did.
    pub held: Option<(Scope, Holding)>,
    /// What the newest look at its user came to.
    pub last: Option<Word>,
}

/// What a look at a user came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// A mail left.
    Mailed,
    /// It is too early for one.
    Waits(Waiting),
    /// What there is to mail about is held.
    Held,
    /// There is nothing to mail about.
    Nothing(Idle),
    /// The user is no longer among the app's own.
    Deleted,
    /// The mail server would not have it.
    Failed,
    /// The kill switch is thrown, the ceiling is reached, or the mail server is away.
    PutOff,
}

/// A time that the guard tripped.
#[derive(Debug, Clone, PartialEq)]
pub struct TripRow {
    /// Its row.
    pub id: TripId,
    /// Of what.
    pub scope: Scope,
    /// When.
    pub at: DateTime<Utc>,
    /// Where it stands.
    pub state: TripState,
    ramp_at: Option<DateTime<Utc>>,
}

/// What is done at an instant.
#[derive(Debug, Clone)]
enum Due {
    /// A notification is taken, or taken again.
    Notification(NotificationId),
    /// A user is worth a look.
    Look(UserId),
    /// A worker that dawdled acts.
    Begin(Prepared),
    /// The rest of a release follows.
    Ramp(TripId),
}

/// A mail that is ready to leave.
#[derive(Debug, Clone)]
struct Prepared {
    id: NotificationId,
    token: u64,
    looked_at: DateTime<Utc>,
    list: Vec<Listed>,
    fate: Option<Fate>,
}

/// An installation in memory.
#[derive(Debug)]
pub struct World {
    rules: Rules,
    now: DateTime<Utc>,
    agenda: BTreeMap<(DateTime<Utc>, u64), Due>,
    people: BTreeMap<UserId, Person>,
    incidents: BTreeMap<IncidentId, Row>,
    open: BTreeSet<IncidentId>,
    notifications: BTreeMap<NotificationId, Entry>,
    trips: Vec<TripRow>,
    ended_sweeps: BTreeSet<SweepId>,
    fates: VecDeque<Fate>,
    paused: bool,
    judged_at: Option<DateTime<Utc>>,
    opened_since_judged: bool,
    closed_since_checked: bool,
    mails: Vec<Mail>,
    made: u64,
}

impl World {
    /// An empty installation.
    #[must_use]
    pub fn new(rules: Rules, now: DateTime<Utc>) -> Self {
        Self {
            rules,
            now,
            agenda: BTreeMap::new(),
            people: BTreeMap::new(),
            incidents: BTreeMap::new(),
            open: BTreeSet::new(),
            notifications: BTreeMap::new(),
            trips: Vec::new(),
            ended_sweeps: BTreeSet::new(),
            fates: VecDeque::new(),
            paused: false,
            judged_at: None,
            opened_since_judged: false,
            closed_since_checked: false,
            mails: Vec::new(),
            made: 0,
        }
    }

    /// Lets an event happen, after all that was due before it. Time does not go back: what is late happens now.
    pub fn play(&mut self, at: DateTime<Utc>, event: Event) {
        self.run_until(at);
        match event {
            Event::Changed(user, accounts) => self.person(&user).truth = accounts,
            Event::Lives(user, zone) => self.person(&user).zone = Some(zone),
            Event::Checked(user, sweep) => self.check(&user, sweep, None),
            Event::Unchanged(user, sweep) => self.seen_again(&user, sweep),
            Event::SweepEnded(sweep) => self.end_sweep(sweep),
            Event::Deleted(user) => self.person(&user).deleted = true,
            Event::Suppressed(user, suppression) => self.person(&user).suppressions.push(suppression),
            Event::Lifted(user) => self.lift(&user),
            Event::Paused => self.paused = true,
            Event::Resumed => self.resume(),
            Event::Fate(fate) => self.fates.push_back(fate),
            Event::Released => self.release_all(),
            Event::Discarded => self.discard_all(),
        }
        self.end_trips_that_passed();
        self.run_until(at);
    }

    /// Lets everything happen that is due until then, each at its instant.
    pub fn run_until(&mut self, until: DateTime<Utc>) {
        while let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 <= until) {
            let ((at, _), due) = next.remove_entry();
            self.now = self.now.max(at);
            match due {
                Due::Notification(id) => self.take(id),
                Due::Look(user) => self.wake(&user),
                Due::Begin(prepared) => self.begin(prepared),
                Due::Ramp(trip) => self.ramp(trip),
            }
            self.end_trips_that_passed();
        }
        self.now = self.now.max(until);
    }

    /// The mails that left, in the order of time.
    #[must_use]
    pub fn mails(&self) -> &[Mail] {
        &self.mails
    }

    /// The times that the guard tripped, in the order of time.
    #[must_use]
    pub fn trips(&self) -> &[TripRow] {
        &self.trips
    }

    /// An incident, by its id.
    #[must_use]
    pub fn incident(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id).map(|row| &row.incident)
    }

    /// What keeps a user from being mailed, past reasons too.
    #[must_use]
    pub fn suppressions(&self, user: &UserId) -> &[Suppression] {
        self.people.get(user).map(|person| person.suppressions.as_slice()).unwrap_or_default()
    }

    /// Whether a notification ended without anybody knowing that its mail left.
    #[must_use]
    pub fn was_given_up(&self, id: NotificationId) -> bool {
        self.notifications.get(&id).is_some_and(|one| one.state == ledger::State::Over)
    }

    /// What became of each incident, in the order in which they opened.
    pub fn fortunes(&self) -> impl Iterator<Item = Fortune> + '_ {
        self.incidents.values().map(|row| Fortune {
            user: row.user.clone(),
            incident: row.incident.clone(),
            sweep: row.sweep,
            held: row.held.and_then(|held| {
                let trip = self.trips.iter().find(|one| one.id == held.trip)?;
                Some((trip.scope.clone(), held))
            }),
            last: self.people.get(&row.user).and_then(|person| person.last.clone()),
        })
    }

    fn at(&mut self, at: DateTime<Utc>, due: Due) {
        self.made += 1;
        self.agenda.insert((at, self.made), due);
    }

    fn fresh(&mut self) -> Uuid {
        self.made += 1;
        Uuid::from_u128(u128::from(self.made))
    }

    fn person(&mut self, user: &UserId) -> &mut Person {
        self.people.entry(user.clone()).or_default()
    }

    fn end(&mut self, id: IncidentId, resolution: Resolution) {
        let now = self.now;
        if let Some(row) = self.incidents.get_mut(&id) {
            row.incident.resolved = Some((now, resolution));
            self.open.remove(&id);
            self.closed_since_checked |= row.held.is_some();
        }
    }
}

/// Settings are bounded to ten years, which every calendar holds.
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500))
}

#[cfg(test)]
mod tests;
