//! Random histories: short enough to be read when one of them breaks a law.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::{Event, Fate, Rules, Unsure};
use crate::domain::account::{Account, reason};
use crate::domain::guard::GuardRules;
use crate::domain::id::{SuppressionId, SweepId, Toolkit, UserId};
use crate::domain::policy::{Policy, Unfinished};
use crate::domain::retry::Retry;
use crate::domain::sample::{account, day};
use crate::domain::suppression::{Suppression, SuppressionKind, Whom};

pub(super) const SLOTS: [(&str, &str); 3] = [("slack", "ac_1"), ("gmail", "ac_2"), ("slack", "ac_3")];
const ZONES: [Tz; 4] = [Tz::UTC, Tz::Europe__Berlin, Tz::America__Los_Angeles, Tz::Australia__Lord_Howe];
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// A history: settings, and what happens after which wait.
#[derive(Clone)]
pub(super) struct Story {
    pub(super) policy: Policy,
    pub(super) guard: GuardRules,
    pub(super) unsure: Unsure,
    pub(super) users: usize,
    pub(super) steps: Vec<(Wait, Step)>,
}

/// How long before a step nothing happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    Seconds(u8),
    Minutes(u8),
    Hours(u8),
}

/// What happens. Users and slots are numbers; what there is none of does not happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Break(usize, usize),
    Refuse(usize, usize),
    Begin(usize, usize),
    Reconnect(usize, usize),
    /// It breaks, and works again; both are seen.
    Hiccup(usize, usize),
    Remove(usize, usize),
    /// Every connection of an app breaks.
    Outage(usize),
    /// And all work again.
    Recover(usize),
    /// Users are checked one after the other, so many minutes apart.
    Sweep(u8),
    Audit(usize),
    OptOut(usize, Option<usize>),
    Snooze(usize, u8),
    Lift(usize),
    Pause,
    Resume,
    Fate(Fate),
    Release,
    Discard,
    Delete(usize),
}

/// One line a step, so that a story that breaks a law can be read.
impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { reminders, min_interval, group_wait, group_wait_single, confirm_after, .. } = &self.policy;
        writeln!(f, "{} users, unsure: {:?}", self.users, self.unsure)?;
        writeln!(f, "reminders {reminders:?}, min_interval {min_interval:?}, group_wait {group_wait:?}, single")?;
        writeln!(f, "{group_wait_single:?}, confirm_after {confirm_after:?}, {:?}", self.policy.unfinished)?;
        writeln!(f, "window {:?}, {:?}", self.policy.send_window.map(|window| window.to_string()), self.guard)?;
        self.steps.iter().try_for_each(|(wait, step)| writeln!(f, "  after {wait:?}: {step:?}"))
    }
}

impl Step {
    fn is_smooth(self) -> bool {
        !matches!(self, Self::Fate(_) | Self::Pause | Self::Release | Self::Discard | Self::Delete(_))
    }
}

pub(super) fn user(number: usize) -> UserId {
    UserId::new(format!("u{number}"))
}

impl Story {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            policy: self.policy.clone(),
            guard: self.guard.clone(),
            zone: Tz::UTC,
            retry: Retry { max_attempts: 30, base: Duration::from_secs(10), max: Duration::from_secs(10 * MINUTE) },
            unsure: self.unsure,
        }
    }

    pub(super) fn zone(number: usize) -> Tz {
        ZONES[number % ZONES.len()]
    }

    /// Nobody dies or fails, nothing is held back by hand.
    pub(super) fn is_smooth(&self) -> bool {
        self.guard == GuardRules::default() && self.steps.iter().all(|(_, step)| step.is_smooth())
    }

    /// The events, in the order of time.
    pub(super) fn events(&self) -> Vec<(DateTime<Utc>, Event)> {
        let mut told = Told { slots: vec![[Slot::default(); 3]; self.users], events: Vec::new(), sweeps: 0 };
        let mut now = day(0);
        for number in 0..self.users {
            told.events.push((now, Event::Lives(user(number), Self::zone(number))));
            told.set(now, number, 0, |slot| slot.holds = Content::Works);
            told.set(now, number, 1, |slot| slot.holds = Content::Works);
        }
        told.sweep(now, self.users, 0);
        for (wait, step) in &self.steps {
            now += match wait {
                Wait::Seconds(n) => TimeDelta::seconds((*n).into()),
                Wait::Minutes(n) => TimeDelta::minutes((*n).into()),
                Wait::Hours(n) => TimeDelta::hours((*n).into()),
            };
            told.tell(now, *step, self.users);
        }
        // A sweep takes its time, in which the story goes on.
        told.events.sort_by_key(|(at, _)| *at);
        told.events
    }
}

/// The newest account of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Content {
    #[default]
    Nothing,
    Works,
    Broken,
    Refused,
    Begun,
}

/// What is in a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    accounts: u8,
    holds: Content,
    since: DateTime<Utc>,
}

struct Told {
    slots: Vec<[Slot; 3]>,
    events: Vec<(DateTime<Utc>, Event)>,
    sweeps: u128,
}

impl Told {
    fn tell(&mut self, now: DateTime<Utc>, step: Step, users: usize) {
        let fresh = |slot: &mut Slot| *slot = Slot { accounts: slot.accounts + 1, ..Slot::default() };
        let exists = |number: usize| number < users;
        match step {
            Step::Break(u, s) => self.set(now, u, s, |slot| slot.holds = Content::Broken),
            Step::Refuse(u, s) => self.set(now, u, s, |slot| {
                fresh(slot);
                slot.holds = Content::Refused;
            }),
            Step::Begin(u, s) => self.set(now, u, s, |slot| {
                fresh(slot);
                slot.holds = Content::Begun;
            }),
            Step::Reconnect(u, s) => self.set(now, u, s, |slot| {
                fresh(slot);
                slot.holds = Content::Works;
            }),
            Step::Hiccup(u, s) if exists(u) => {
                for works in [false, true] {
                    self.set(now, u, s, |slot| slot.holds = if works { Content::Works } else { Content::Broken });
                    self.events.push((now, Event::Checked(user(u), None)));
                }
            }
            Step::Remove(u, s) => self.set(now, u, s, |slot| slot.holds = Content::Nothing),
            Step::Outage(s) => (0..users).for_each(|u| self.set(now, u, s, |slot| slot.holds = Content::Broken)),
            Step::Recover(s) => (0..users).for_each(|u| self.set(now, u, s, |slot| slot.holds = Content::Works)),
            Step::Sweep(apart) => self.sweep(now, users, apart),
            Step::Audit(u) if exists(u) => self.events.push((now, Event::Checked(user(u), None))),
            Step::OptOut(u, s) if exists(u) => self.suppress(now, u, s.map(|s| SLOTS[s].0.into()), None),
            Step::Snooze(u, days) if exists(u) => {
                self.suppress(now, u, None, Some(now + TimeDelta::days(days.into())));
            }
            Step::Lift(u) if exists(u) => self.events.push((now, Event::Lifted(user(u)))),
            Step::Delete(u) if exists(u) => self.events.push((now, Event::Deleted(user(u)))),
            Step::Pause => self.events.push((now, Event::Paused)),
            Step::Resume => self.events.push((now, Event::Resumed)),
            Step::Fate(fate) => self.events.push((now, Event::Fate(fate))),
            Step::Release => self.events.push((now, Event::Released)),
            Step::Discard => self.events.push((now, Event::Discarded)),
            Step::Hiccup(..)
            | Step::Audit(_)
            | Step::OptOut(..)
            | Step::Snooze(..)
            | Step::Lift(_)
            | Step::Delete(_) => {}
        }
    }

    fn set(&mut self, now: DateTime<Utc>, number: usize, slot: usize, change: impl FnOnce(&mut Slot)) {
        let Some(slots) = self.slots.get_mut(number) else { return };
        change(&mut slots[slot]);
        slots[slot].since = now;
        let accounts = slots.iter().enumerate().flat_map(|(s, slot)| rows(number, s, *slot)).collect();
        self.events.push((now, Event::Changed(user(number), accounts)));
    }

    fn sweep(&mut self, now: DateTime<Utc>, users: usize, apart: u8) {
        self.sweeps += 1;
        let sweep = SweepId(Uuid::from_u128(self.sweeps));
        let mut at = now;
        for number in 0..users {
            self.events.push((at, Event::Checked(user(number), Some(sweep))));
            at += TimeDelta::minutes(apart.into());
        }
        self.events.push((at, Event::SweepEnded(sweep)));
    }

    fn suppress(&mut self, now: DateTime<Utc>, u: usize, toolkit: Option<Toolkit>, until: Option<DateTime<Utc>>) {
        let kind = if until.is_some() { SuppressionKind::Snooze } else { SuppressionKind::OptOut };
        let suppression = Suppression {
            id: SuppressionId(Uuid::nil()),
            whom: Whom::User(user(u)),
            kind,
            toolkit,
            until,
            source: "unsubscribe".to_owned(),
            detail: None,
            created_at: now,
        };
        self.events.push((now, Event::Suppressed(user(u), suppression)));
    }
}

/// The rows that Composio lists of a slot: what was replaced stays behind.
fn rows(number: usize, s: usize, slot: Slot) -> Vec<Account> {
    if slot.holds == Content::Nothing {
        return Vec::new();
    }
    let (toolkit, auth_config) = SLOTS[s];
    let row = |n: u8, status: &str| {
        let mut row = account(&format!("ca_{number}_{s}_{n}"), status).on(toolkit, auth_config, None).made(n.into());
        if status == "EXPIRED" {
            row = row.because(reason::PERMANENT_AUTH_ERROR);
            row.expired_at = Some(slot.since);
        }
        row
    };
    let newest = match slot.holds {
        Content::Works => "ACTIVE",
        Content::Begun => "INITIATED",
        Content::Refused => "FAILED",
        Content::Broken | Content::Nothing => "EXPIRED",
    };
    let old = slot.accounts.checked_sub(1).map(|n| {
        let mut old = row(n, "EXPIRED");
        old.expired_at = Some(day(0));
        old
    });
    old.into_iter().chain([row(slot.accounts, newest)]).collect()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn policy() -> impl Strategy<Value = Policy> {
    let ladder = prop_oneof![
        4 => Just(vec![3 * DAY, 10 * DAY]),
        1 => Just(vec![]),
        1 => Just(vec![DAY]),
        1 => Just(vec![30 * HOUR, 40 * HOUR, 7 * DAY]),
    ];
    let interval = prop_oneof![4 => Just(DAY), 1 => Just(0), 1 => Just(6 * HOUR), 1 => Just(3 * DAY)];
    let waits = prop_oneof![Just((600, 30)), Just((0, 0)), Just((2 * HOUR, 600))];
    let confirm = prop_oneof![3 => Just(0), 1 => Just(HOUR), 1 => Just(2 * DAY)];
    let window = prop_oneof![3 => Just(None), 1 => Just(Some("09:00-18:00")), 1 => Just(Some("22:00-06:00"))];
    (ladder, interval, waits, confirm, window, any::<bool>()).prop_map(
        |(ladder, interval, (group, single), confirm, window, nudge)| Policy {
            reminders: ladder.into_iter().map(secs).collect(),
            min_interval: secs(interval),
            group_wait: secs(group),
            group_wait_single: secs(single),
            confirm_after: secs(confirm),
            send_window: window.map(|text| text.parse().unwrap()),
            unfinished: if nudge { Unfinished::Nudge } else { Unfinished::Ignore },
            ..Policy::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let (u, s) = (0_usize..3, 0_usize..3);
    let fate = prop_oneof![
        (1_u64..40).prop_map(|n| Fate::Dawdles(secs(n))),
        Just(Fate::DiesBefore),
        any::<bool>().prop_map(|left| Fate::DiesAfter { left }),
        Just(Fate::Away),
        Just(Fate::Busy),
        Just(Fate::Refused),
        any::<bool>().prop_map(|left| Fate::Silent { left }),
    ];
    prop_oneof![
        6 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Break(u, s)),
        3 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Reconnect(u, s)),
        2 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Hiccup(u, s)),
        1 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Refuse(u, s)),
        1 => u.clone().prop_map(|u| Step::Refuse(u, 2)),
        1 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Begin(u, s)),
        1 => (u.clone(), s.clone()).prop_map(|(u, s)| Step::Remove(u, s)),
        1 => s.clone().prop_map(Step::Outage),
        1 => s.clone().prop_map(Step::Recover),
        8 => (0_u8..40).prop_map(Step::Sweep),
        4 => u.clone().prop_map(Step::Audit),
        1 => (u.clone(), proptest::option::of(s)).prop_map(|(u, s)| Step::OptOut(u, s)),
        1 => (u.clone(), 1_u8..6).prop_map(|(u, days)| Step::Snooze(u, days)),
        1 => u.clone().prop_map(Step::Lift),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        3 => fate.prop_map(Step::Fate),
        1 => Just(Step::Release),
        1 => Just(Step::Discard),
        1 => u.prop_map(Step::Delete),
    ]
}

/// A third of the stories goes without trouble on our side, so that lateness has no excuse.
pub(super) fn story() -> impl Strategy<Value = Story> {
    let wait = prop_oneof![
        1 => (0_u8..60).prop_map(Wait::Seconds),
        2 => (0_u8..60).prop_map(Wait::Minutes),
        3 => (1_u8..60).prop_map(Wait::Hours),
    ];
    let guard = prop_oneof![
        2 => Just(GuardRules::default()),
        1 => Just(GuardRules { min_incidents: 2, max_share: 0.4, ..GuardRules::default() }),
        1 => Just(GuardRules { max_mails_per_hour: Some(1), ..GuardRules::default() }),
    ];
    let unsure = prop_oneof![3 => Just(Unsure::Again), 1 => Just(Unsure::Hold)];
    let steps = vec((wait, step()), 1..28);
    (policy(), guard, unsure, 1_usize..4, steps, 0_u8..3).prop_map(|(policy, guard, unsure, users, steps, smooth)| {
        let mut story = Story { policy, guard, unsure, users, steps };
        if smooth == 0 {
            story.guard = GuardRules::default();
            story.steps.retain(|(_, step)| step.is_smooth());
        }
        story
    })
}
