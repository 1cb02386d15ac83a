//! The outage guard, end to end: one app of many users expires at once, and nobody is mailed about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::guard::{Scope, Trip, TripState};
use connection_auditor::domain::id::UserId;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::sweep::SweepState;
use connection_auditor::simulator::{Favourite, Mix, PopulationSpec};
use sqlx::Connection;

use crate::support::world::{OPERATOR, On, World};

const APP: &str = "slack";
const MANY: u64 = 20_000;
const MINUTES: Duration = Duration::from_secs(60);
/// Each of these tests keeps both cores of a small machine busy for minutes: one at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A town of users of which most have the app: it holds two fifths of all accounts. Some few have it through another auth
/// config than the others, fewer in half a sweep than the guard needs to see to hold them by themselves.
async fn town(users: u64) -> World {
    let mix = Mix::only(&["healthy_one", "healthy_three", "healthy_five", "expired_permanent"]);
    let mix = mix.with("healthy_one", 12).with("healthy_three", 10).with("healthy_five", 1);
    let favourite = Some(Favourite { app: APP, percent_of_users: 84 });
    let population = PopulationSpec { seed: 7, users, mix, anchor: SystemClock.now(), favourite };
    let mut world = World::of(On::Servers, population).await;
    world.set("alerts.email", OPERATOR);
    world.set("alerts.group_wait", "2s");
    world.set("alerts.repeat_interval", "30d");
    world.set("guard.ramp_wait", "6s");
    world.set("keeper.interval", "500ms");
    world
}

/// The share of all accounts that the app holds.
async fn share(world: &World) -> f64 {
    let mut database = sqlx::PgConnection::connect(world.setting("database.url")).await.expect("the database answers");
    sqlx::query_scalar("SELECT (count(*) FILTER (WHERE toolkit = $1))::float8 / count(*) FROM auditor_accounts")
        .bind(APP)
        .fetch_one(&mut database)
        .await
        .expect("they are counted")
}

/// The apps that users are to be mailed about, but for the one that is away.
fn expected(world: &World, users: &[UserId]) -> BTreeMap<UserId, Vec<String>> {
    let wanted: BTreeSet<&UserId> = users.iter().collect();
    let apps = |due: BTreeSet<connection_auditor::simulator::Due>| -> Vec<String> {
        due.into_iter().map(|due| due.toolkit.to_string()).filter(|app| app != APP).collect()
    };
    let due = world.simulator.truth().mailed.into_iter().filter(|(user, _)| wanted.contains(user));
    due.map(|(user, due)| (user, apps(due))).filter(|(_, apps)| !apps.is_empty()).collect()
}

/// Breaks one connection each of some users all over the town.
fn break_here_and_there(world: &World, count: usize) -> Vec<UserId> {
    let users: Vec<UserId> = world.simulator.users().map(|user| user.id).collect();
    let apart = users.len() / count;
    users.chunks(apart).filter_map(|near| near.iter().find(|user| world.simulator.break_user(user)).cloned()).collect()
}

/// How many of the mails since the first `skip` are about the app.
fn about_the_app(world: &World, skip: usize) -> usize {
    world.mails(skip).iter().filter(|mail| mail.links.iter().any(|(app, _)| app == APP)).count()
}

async fn active(world: &World) -> Vec<Trip> {
    world.store.trips(true, 100).await.expect("they are listed")
}

/// Asserts that only the app is held, under however many scopes of it.
fn assert_only_the_app(trips: &[Trip]) {
    assert!(!trips.is_empty(), "it tripped");
    for trip in trips {
        assert_eq!(trip.tripped.scope.toolkit().map(ToString::to_string).as_deref(), Some(APP), "{:?}", trip.tripped);
    }
}

/// What the operator was told of mails that are held back.
fn held_back(world: &World) -> Vec<String> {
    world.told().into_iter().filter(|subject| subject.contains("held back")).collect()
}

/// Waits until the operator was told so often, and a little longer, so that one message too many would show.
async fn told(world: &World, times: usize) -> Vec<String> {
    world.until("the operator is told", MINUTES, || async { (held_back(world).len() >= times).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = held_back(world);
    assert_eq!(told.len(), times, "{told:?}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_expires_for_all_in_mid_sweep_is_mailed_about_to_nobody_and_the_operator_is_told_once() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut world = town(MANY).await;
    // Longer than a chunk takes, as ten minutes are.
    world.set("policy.group_wait", "10s");
    world.set("composio.max_in_flight", 24);
    world.start_worker();
    world.start_worker();
    let began = Instant::now();
    world.settled(world.sweep_now().await, 10 * MINUTES).await;
    let before = world.assert_mailed_by_the_truth(0);
    let share = share(&world).await;
    assert!(share >= 0.4, "{APP} holds {share:.3} of the accounts");
    assert_eq!(active(&world).await, [], "an ordinary town trips nothing");

    // The next day: some connections of others break, and in mid-sweep the app goes away.
    world.age(TimeDelta::hours(25)).await;
    let broken = break_here_and_there(&world, 60);
    let sweep = world.sweep_now().await;
    world.checked(sweep, MANY / 2).await;
    assert!(world.simulator.expire_app(APP, SystemClock.now()));
    let ended = world.settled(sweep, 10 * MINUTES).await;
    assert_eq!(ended.state, SweepState::Completed);
    assert_only_the_app(&active(&world).await);
    // Those of the first half whose app broke by itself were mailed before it went away; of the others nobody is.
    let early: Vec<_> =
        world.mails(before).into_iter().filter(|mail| mail.links.iter().any(|(app, _)| app == APP)).collect();
    let due = world.simulator.truth().mailed;
    for mail in &early {
        let by_itself = due.get(&mail.to).is_some_and(|due| due.iter().any(|due| due.toolkit.as_str() == APP));
        assert!(by_itself, "{:?} was mailed about {APP}, one of {}", mail.to, early.len());
    }
    let others = expected(&world, &broken);
    let got: BTreeSet<UserId> = world.mails(before).into_iter().map(|mail| mail.to).collect();
    let missing: Vec<_> = others.keys().filter(|user| !got.contains(*user)).collect();
    assert_eq!(missing, Vec::<&UserId>::new(), "everybody is told of the other apps");
    told(&world, 1).await;

    // A week later, in a sweep that sees all of it: what has left the window has not recovered.
    let skip = world.smtp.count();
    world.age(TimeDelta::days(7)).await;
    let broken = break_here_and_there(&world, 50);
    world.settled(world.sweep_now().await, 10 * MINUTES).await;
    assert_only_the_app(&active(&world).await);
    assert_eq!(about_the_app(&world, skip), 0);
    let held: u64 = active(&world).await.iter().map(|trip| trip.users).sum();
    assert!(held > MANY / 2, "{held} users are held back");
    let got: BTreeSet<UserId> = world.mails(skip).into_iter().map(|mail| mail.to).collect();
    let missing: Vec<_> = expected(&world, &broken).into_keys().filter(|user| !got.contains(user)).collect();
    assert_eq!(missing, Vec::<UserId>::new(), "everybody is told of the other apps");
    assert_eq!(told(&world, 1).await.len(), 1);

    // The app comes back: the guard lets go by itself, and nothing is ever sent about what was held.
    let skip = world.smtp.count();
    assert!(world.simulator.revive_app(APP));
    world.settled(world.sweep_now().await, 10 * MINUTES).await;
    world.until("the trips are over", 10 * MINUTES, || async { active(&world).await.is_empty().then_some(()) }).await;
    world.until_settled_within(10 * MINUTES).await;
    let due = world.simulator.truth().mailed;
    for mail in world.mails(skip) {
        let is_due = |app: &str| due.get(&mail.to).is_some_and(|due| due.iter().any(|due| due.toolkit.as_str() == app));
        let really = mail.links.iter().all(|(app, _)| is_due(app));
        assert!(really, "{:?} was mailed about {:?}", mail.to, mail.links);
    }
    println!(
        "{MANY} users, {APP} {:.0} % of the accounts: {held} users held back, 0 mails about it, 1 alert, {} others mailed; {:.0} s",
        share * 100.0,
        others.len(),
        began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_first_day_too_and_a_release_mails_each_who_is_still_broken_once_the_first_few_first() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut world = town(MANY).await;
    world.simulator.expire_app(APP, SystemClock.now() - TimeDelta::days(3));
    world.start_worker();
    world.start_worker();
    world.settled(world.sweep_now().await, 10 * MINUTES).await;
    let trips = active(&world).await;
    assert_only_the_app(&trips);
    assert!(
        trips.iter().all(|trip| matches!(trip.tripped.scope, Scope::Backlog { .. })),
        "broken for three days: {trips:?}"
    );
    let everybody: Vec<UserId> = world.simulator.users().map(|user| user.id).collect();
    let mailed: BTreeSet<UserId> = world.mails(0).into_iter().map(|mail| mail.to).collect();
    assert_eq!(about_the_app(&world, 0), 0);
    let missing: Vec<_> = expected(&world, &everybody).into_keys().filter(|user| !mailed.contains(user)).collect();
    assert_eq!(missing, Vec::<UserId>::new(), "everybody is told of the other apps");
    told(&world, 1).await;
    let held = world.reasons(NotificationState::Held).await;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["guard"]);

    // It stays away, and the operator decides that the users are to be told.
    world.age(TimeDelta::hours(25)).await;
    let trip = &trips[0];
    let (users, before) = (usize::try_from(trip.users).expect("a number"), world.smtp.count());
    let released = world.command(&["guard", "release", &trip.id.to_string()]);
    assert_eq!(released.status.code(), Some(0), "{released:?}");
    world.smtp.wait_for(before + 20, MINUTES).await;
    let ramp = active(&world).await;
    assert_eq!(ramp.iter().map(|trip| trip.state).collect::<Vec<_>>(), [TripState::Releasing]);
    assert_eq!(world.smtp.count(), before + 20, "the first few first");
    world.until("the rest follows", 10 * MINUTES, || async { active(&world).await.is_empty().then_some(()) }).await;
    world.until_settled_within(10 * MINUTES).await;
    let mails = world.mails(before);
    let mailed: BTreeSet<&UserId> = mails.iter().map(|mail| &mail.to).collect();
    let unreachable = world.reasons(NotificationState::Unreachable).await.values().sum::<u64>();
    assert_eq!(mailed.len(), mails.len(), "one mail each");
    assert!(mails.iter().all(|mail| mail.links.iter().any(|(app, _)| app == APP)), "about the app");
    assert!(
        mailed.len() <= users && mailed.len() + usize::try_from(unreachable).expect("a number") >= users,
        "{} of {users}",
        mailed.len()
    );
    println!("released: {} mailed of {users} held, {unreachable} unreachable", mailed.len());
}
