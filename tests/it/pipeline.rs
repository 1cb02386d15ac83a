//! A tick becomes a mail, on real servers and on none: real worker processes, PostgreSQL, Redis, SMTP over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::sweep::SweepState;
use connection_auditor::simulator::{FaultKind, Faults, PLANTED};
use nix::sys::signal::Signal;

use crate::support::world::{On, World};

/// How many users the large runs have.
const MANY: u64 = 20_000;

const MINUTES: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_mails_everyone_who_should_be_mailed_once_and_nobody_else() {
    let mut world = World::new(On::Servers, MANY).await;
    world.tick_in(4);
    world.start_worker();
    world.start_worker();
    let sweep = world.ticked().await;
    let began = Instant::now();
    let sweep = world.settled(sweep, 5 * MINUTES).await;
    let mailed = world.assert_mailed_by_the_truth(0);
    let truth = world.simulator.truth();
    assert_eq!(sweep.state, SweepState::Completed);
    assert_eq!(sweep.tally.checked + sweep.tally.refused, world.simulator.users().count() as u64);
    assert_eq!(sweep.tally.given_up, 0);
    assert_eq!(sweep.tally.refused, truth.unaskable.len() as u64);
    let unreachable =
        world.store.notifications(NotificationState::Unreachable, u32::MAX).await.expect("they are listed");
    assert_eq!(unreachable.into_iter().map(|n| n.user).collect::<BTreeSet<_>>(), truth.unreachable);
    let asked = world.simulator.counters();
    assert_eq!((asked.refresh_calls, asked.links_minted), (0, 0));
    println!(
        "20,000 users, two workers: {} checked, {mailed} mailed of {mailed} due, {} unreachable, {} requests, {:.1} s from tick to last mail",
        sweep.tally.checked,
        truth.unreachable.len(),
        asked.requests,
        began.elapsed().as_secs_f64()
    );
    four_weeks_later(&mut world, mailed).await;
}

/// The same installation goes on: nothing new is not news; what heals closes; what breaks is mailed.
async fn four_weeks_later(world: &mut World, mailed: usize) {
    let second = world.sweep_now().await;
    let second = world.settled(second, 5 * MINUTES).await;
    assert_eq!((second.tally.opened, second.tally.closed), (0, 0));
    assert_eq!(world.smtp.count(), mailed, "an unchanged population gets no mail");

    let before: BTreeSet<_> = world.simulator.truth().mailed.into_keys().collect();
    let healed = world.simulator.heal(500);
    let broken = world.simulator.break_some(500);
    assert_eq!((healed.len(), broken.len()), (500, 500));
    let third = world.sweep_now().await;
    let third = world.settled(third, 5 * MINUTES).await;
    assert_eq!((third.tally.opened, third.tally.closed), (500, 500));
    let newly: BTreeSet<_> = broken.iter().cloned().collect();
    let expected: BTreeMap<_, _> = world
        .simulator
        .truth()
        .mailed
        .into_iter()
        .filter(|(user, _)| newly.contains(user))
        .map(|(user, due)| (user, due.into_iter().map(|due| due.toolkit.to_string()).collect()))
        .collect();
    assert_eq!(expected.len(), 500);
    assert!(newly.is_disjoint(&before), "they were healthy before");
    world.assert_mailed(mailed, &expected);
    println!("second sweep: 0 mails; third, after 500 healed and 500 broke: 500 incidents closed, 500 users mailed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_with_no_server_at_all() {
    let mut world = World::new(On::Embedded, 2_000).await;
    world.tick_in(3);
    world.start_worker();
    let sweep = world.ticked().await;
    let began = Instant::now();
    let sweep = world.settled(sweep, 3 * MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    let mailed = world.assert_mailed_by_the_truth(0);
    println!("SQLite, 2,000 users: {mailed} mailed of {mailed} due, {:.1} s", began.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_sweep_is_made_up_for() {
    let mut world = World::new(On::Servers, MANY).await;
    world.tick_in(4);
    let first = world.start_worker();
    world.start_worker();
    let sweep = world.ticked().await;
    world.checked(sweep, MANY / 3).await;
    world.kill_worker(first);
    let killed = Instant::now();
    let sweep = world.settled(sweep, 2 * MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    let mailed = mailed_once_but_for_the_last_inch(&world).await;
    println!("kill -9 at a third: settled after {:.1} s, {mailed} mailed", killed.elapsed().as_secs_f64());
}

/// As the truth has it; a mail whose worker was killed between DATA and 250 may have come twice, and is counted as ambiguous.
async fn mailed_once_but_for_the_last_inch(world: &World) -> usize {
    let sent = world.store.notifications(NotificationState::Sent, u32::MAX).await.expect("they are listed");
    let ambiguous = sent.iter().filter(|notification| notification.ambiguous > 0).count();
    let mails = world.mails(0);
    let ids: BTreeSet<&str> = mails.iter().map(|mail| mail.message_id.as_str()).collect();
    assert!(mails.len() - ids.len() <= ambiguous, "{} copies, {ambiguous} ambiguous", mails.len() - ids.len());
    let got: BTreeSet<_> = mails.iter().map(|mail| mail.to.clone()).collect();
    assert_eq!(got, world.simulator.truth().mailed.into_keys().collect::<BTreeSet<_>>());
    assert_eq!(ids.len(), got.len(), "one notification each");
    println!("copies: {}, ambiguous: {ambiguous}", mails.len() - ids.len());
    got.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_wiped_in_mid_sweep_loses_nothing() {
    let mut world = World::new(On::Servers, MANY).await;
    world.tick_in(4);
    world.start_worker();
    world.start_worker();
    let sweep = world.ticked().await;
    world.checked(sweep, MANY / 3).await;
    let url = world.redis.as_ref().expect("its own Redis").url();
    let mut redis = ::redis::Client::open(url).expect("a URL").get_connection().expect("Redis answers");
    ::redis::cmd("FLUSHALL").exec(&mut redis).expect("it is wiped");
    let wiped = Instant::now();
    let sweep = world.settled(sweep, 2 * MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    let mailed = world.assert_mailed_by_the_truth(0);
    println!("FLUSHALL at a third: settled after {:.1} s, {mailed} mailed", wiped.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenth_of_all_answers_may_fail() {
    let mut world = World::new(On::Servers, MANY).await;
    world.impatient();
    let kinds = [
        FaultKind::InternalError,
        FaultKind::TooManyRequests,
        FaultKind::HtmlBadGateway,
        FaultKind::TruncatedJson,
        FaultKind::ResetBeforeHeaders,
        FaultKind::Slow,
    ];
    world.simulator.set_faults(Faults { slow_ms: 5_000, ..Faults::some(0.1, &kinds) });
    world.tick_in(4);
    world.start_worker();
    world.start_worker();
    let sweep = world.ticked().await;
    let began = Instant::now();
    let sweep = world.settled(sweep, 8 * MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    let mailed = world.assert_mailed_by_the_truth(0);
    let asked = world.simulator.counters();
    assert!(asked.faults > 1_000, "faults did happen: {}", asked.faults);
    println!(
        "10 % faults: {} of {} requests failed, {mailed} mailed of {mailed} due, {:.1} s",
        asked.faults,
        asked.requests,
        began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_full_outage_no_verdict_changes_nobody_is_mailed_and_the_sweep_says_so() {
    let mut world = World::new(On::Servers, 1_000).await;
    world.impatient();
    world.start_worker();
    let first = world.sweep_now().await;
    world.settled(first, MINUTES).await;
    let mailed = world.assert_mailed_by_the_truth(0);
    let incidents = world.store.open_incidents().await.expect("they are counted");

    world.simulator.break_some(20);
    world.simulator.set_faults(Faults::outage(FaultKind::Unavailable));
    let during = world.sweep_now().await;
    let sweep = world
        .until("the sweep pauses", MINUTES, || async {
            world.store.sweep(during).await.ok()?.filter(|sweep| sweep.state == SweepState::Paused)
        })
        .await;
    assert!(sweep.note.as_deref().is_some_and(|note| note.contains("503")), "{:?}", sweep.note);
    assert_eq!(world.smtp.count(), mailed);
    assert_eq!(world.store.open_incidents().await.expect("they are counted"), incidents);

    world.simulator.set_faults(Faults::default());
    let sweep = world.settled(during, MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.opened), (SweepState::Completed, 20));
    assert_eq!(world.smtp.count(), mailed + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_mid_sweep_pauses_it_and_it_goes_on_where_it_was() {
    let mut world = World::new(On::Servers, 6_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 16);
    world.set("users.page_size", 1_000);
    world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 1_500).await;
    world.simulator.set_faults(Faults::outage(FaultKind::ResetBeforeHeaders));
    let paused = world
        .until("the sweep pauses", MINUTES, || async {
            world.store.sweep(id).await.ok()?.filter(|sweep| sweep.state == SweepState::Paused)
        })
        .await;
    assert!(paused.note.is_some());
    world.simulator.set_faults(Faults::default());
    let sweep = world.settled(id, 2 * MINUTES).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_does_not_end_fails_the_sweep_and_says_so() {
    let mut world = World::new(On::Embedded, 200).await;
    world.impatient();
    world.set("sweep.give_up_after", "2s");
    world.simulator.set_faults(Faults::outage(FaultKind::HtmlBadGateway));
    world.start_worker();
    let id = world.sweep_now().await;
    let sweep = world.settled(id, MINUTES).await;
    assert_eq!(sweep.state, SweepState::Failed);
    assert!(
        sweep.note.as_deref().is_some_and(|note| note.contains("given up") && note.contains("502")),
        "{:?}",
        sweep.note
    );
    assert_eq!(world.smtp.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_key_or_address_is_logged_at_any_level() {
    for on in [On::Embedded, On::Servers] {
        let mut world = World::new(on, 300).await;
        world.impatient();
        world.set("log.filter", "trace");
        world.simulator.set_faults(Faults { slow_ms: 100, ..Faults::some(0.05, &FaultKind::ALL) });
        let worker = world.start_worker();
        let id = world.sweep_now().await;
        world.settled(id, 3 * MINUTES).await;
        world.signal(worker, Signal::SIGTERM);
        assert_eq!(world.wait_for_exit(worker, MINUTES), Some(0));
        let logs = world.logs();
        let (lines, debug) = (logs.lines().count(), logs.matches(" DEBUG ").count());
        assert!(lines > 60 && debug > 20, "it did log: {lines} lines, {debug} of them for debugging");
        let addresses = world.simulator.users().filter_map(|user| user.email).filter(|email| email.contains('@'));
        let secrets = [PLANTED.to_owned(), world.simulator.api_key().to_owned()];
        for secret in addresses.chain(secrets) {
            assert!(
                !logs.contains(&secret),
                "{secret:?} is in the log, as in: {:?}",
                logs.lines().find(|l| l.contains(&secret))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_replicas_one_fires_each_tick() {
    let mut world = World::new(On::Servers, 10).await;
    world.set("schedules.test.cron", "* * * * * *");
    for _ in 0..3 {
        world.start_worker_with(&["--roles", "scheduler"]);
    }
    world
        .until("eight ticks", MINUTES, || async { (world.store.sweeps(100).await.ok()?.len() >= 8).then_some(()) })
        .await;
    for worker in 0..3 {
        world.signal(worker, Signal::SIGTERM);
        assert_eq!(world.wait_for_exit(worker, MINUTES), Some(0));
    }
    let sweeps = world.store.sweeps(100).await.expect("they are listed");
    let ticks: BTreeSet<_> = sweeps.iter().map(|sweep| sweep.tick).collect();
    assert_eq!(ticks.len(), sweeps.len(), "each tick has one sweep");
    let (first, last) = (ticks.first().expect("eight"), ticks.last().expect("eight"));
    assert_eq!(usize::try_from((*last - *first).num_seconds() + 1), Ok(ticks.len()), "and no second is left out");
    let won = world.logs().matches("tick won").count();
    assert_eq!(won, sweeps.len(), "one replica won each");
    println!("three processes: {} ticks, {won} won", ticks.len());
}
