//! Histories told by hand.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::super::{Event, Fate, Held, Playback, Rules, Unsure, World};
use super::story::user;
use crate::domain::account::Account;
use crate::domain::guard::{GuardRules, Scope};
use crate::domain::id::SweepId;
use crate::domain::policy::Policy;
use crate::domain::port::Observed;
use crate::domain::retry::Retry;
use crate::domain::sample::{account, day};
use crate::domain::sweep::{Sweep, SweepMode, SweepState, Tally, Trigger};

fn rules() -> Rules {
    Rules {
        policy: Policy::default(),
        guard: GuardRules::default(),
        zone: Tz::UTC,
        retry: Retry { max_attempts: 5, base: Duration::from_secs(10), max: Duration::from_secs(600) },
        unsure: Unsure::Again,
    }
}

fn works(number: usize) -> Account {
    account(&format!("ca_{number}"), "ACTIVE")
}

fn broken(number: usize, at: DateTime<Utc>) -> Account {
    Account { expired_at: Some(at), ..account(&format!("ca_{number}"), "EXPIRED") }
}

/// A world in which these users have one connection each that works, and were seen on day 0.
fn healthy(users: usize) -> World {
    let mut world = World::new(rules(), day(0));
    for number in 0..users {
        world.play(day(0), Event::Changed(user(number), vec![works(number)]));
        world.play(day(0), Event::Checked(user(number), None));
    }
    world
}

fn days(world: &World) -> Vec<i64> {
    world.mails().iter().map(|mail| (mail.at - day(0)).num_days()).collect()
}

#[test]
fn a_broken_connection_is_mailed_about_on_the_day_and_three_and_ten_days_later_and_then_no_more() {
    let mut world = healthy(1);
    world.play(day(1), Event::Changed(user(0), vec![broken(0, day(1))]));
    world.play(day(1), Event::Checked(user(0), None));
    world.run_until(day(100));
    assert_eq!(days(&world), [1, 4, 11]);
}

#[test]
fn whoever_reconnects_unnoticed_is_not_mailed() {
    let mut world = healthy(1);
    world.play(day(1), Event::Changed(user(0), vec![broken(0, day(1))]));
    world.play(day(1), Event::Checked(user(0), None));
    world.play(day(3), Event::Changed(user(0), vec![works(0)]));
    world.run_until(day(100));
    assert_eq!(days(&world), [1], "no reminder");
}

#[test]
fn a_worker_that_dies_while_it_sends_leaves_a_copy_under_the_same_name_at_most() {
    let mut world = healthy(1);
    world.play(day(1), Event::Fate(Fate::DiesAfter { left: true }));
    world.play(day(1), Event::Changed(user(0), vec![broken(0, day(1))]));
    world.play(day(1), Event::Checked(user(0), None));
    world.run_until(day(2));
    let [first, copy] = world.mails() else { panic!("{:?}", world.mails()) };
    assert_eq!((first.id, &first.list), (copy.id, &copy.list));
}

#[test]
fn a_mass_expiry_is_held_and_forgotten_when_it_heals() {
    let mut world = healthy(100);
    let sweep = SweepId(Uuid::from_u128(1));
    for number in 0..40 {
        world.play(day(2), Event::Changed(user(number), vec![broken(number, day(2))]));
    }
    for (number, minutes) in (0..100).zip(0..) {
        let at = day(2) + TimeDelta::minutes(minutes);
        world.play(at, Event::Checked(user(number), Some(sweep)));
    }
    world.play(day(2) + TimeDelta::minutes(100), Event::SweepEnded(sweep));
    world.run_until(day(9));
    assert_eq!(world.trips().len(), 1, "{:?}", world.trips());
    let trip = world.trips()[0].clone();
    assert!(matches!(trip.scope, Scope::AuthConfig { .. }), "{trip:?}");
    // Before twenty were broken nobody could know; whoever was found later is held.
    let before = world.mails().len();
    assert!(before < 20, "{before} left before it tripped");
    for number in 0..40 {
        world.play(day(9), Event::Changed(user(number), vec![works(number)]));
    }
    for number in 0..40 {
        world.play(day(9), Event::Checked(user(number), None));
    }
    world.run_until(day(60));
    let later = world.mails().iter().filter(|mail| mail.at > trip.at).count();
    let let_go =
        world.fortunes().filter(|fortune| fortune.held.as_ref().is_some_and(|held| held.1.how == Held::Released));
    assert_eq!((later, let_go.count() > 0), (0, true), "whoever is released was mended by then");
}

#[test]
fn what_was_recorded_is_played_in_its_sweeps() {
    let sweep = |number: u128, mode, start| Sweep {
        id: SweepId(Uuid::from_u128(number)),
        schedule: "daily".to_owned(),
        tick: start,
        start_at: start,
        trigger: Trigger::Tick,
        mode,
        state: SweepState::Completed,
        note: None,
        cursor: None,
        next_seq: 0,
        paging_over: true,
        paused_since: None,
        users_expected: None,
        started_at: Some(start),
        finished_at: Some(start + TimeDelta::minutes(4)),
        tally: Tally::default(),
    };
    let sweeps =
        [sweep(1, SweepMode::Full, day(1)), sweep(2, SweepMode::DryRun, day(2)), sweep(3, SweepMode::Full, day(3))];
    let mut playback = Playback::new(World::new(rules(), day(0)), &sweeps, &[], day(30));
    let seen = |number: usize, at, seen: Account| Observed {
        user: user(number),
        at,
        account: seen.id.clone(),
        seen: Some(seen),
    };
    let minute = TimeDelta::minutes(1);
    playback.look(&[seen(0, day(1) + minute, broken(0, day(1)))]);
    playback.look(&[seen(1, day(1) + minute, works(1))]);
    playback.look(&[seen(1, day(2) + minute, broken(1, day(2)))]);
    playback.run_until(day(30));
    let world = playback.world();
    let of = |number: usize| world.mails().iter().find(|mail| mail.user == user(number)).unwrap().at;
    assert_eq!(of(0), day(1) + TimeDelta::minutes(4), "it waits for the end of its sweep");
    assert!(of(1) > day(3), "a dry run opens nothing, the sweep after it does");
    let sweep_of = |number: usize| world.fortunes().find(|fortune| fortune.user == user(number)).unwrap().sweep;
    assert_eq!((sweep_of(0), sweep_of(1)), (Some(sweeps[0].id), Some(sweeps[2].id)));
    assert_eq!(playback.users(), 2);
}
