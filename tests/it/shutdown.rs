//! The real binary under signals.

use std::time::{Duration, Instant};

use connection_auditor::domain::sweep::SweepState;
use connection_auditor::simulator::{FaultKind, Faults};
use nix::sys::signal::Signal;

use crate::support::world::{On, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_stop_finishes_what_it_has_and_another_does_the_rest() {
    let mut world = World::new(On::Servers, 3_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 24);
    let first = world.start_worker();
    world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 700).await;
    world.signal(first, Signal::SIGTERM);
    assert_eq!(world.wait_for_exit(first, Duration::from_secs(25)), Some(0));
    let sweep = world.settled(id, Duration::from_secs(120)).await;
    assert_eq!((sweep.state, sweep.tally.given_up, sweep.tally.repeated), (SweepState::Completed, 0, 0));
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_where_it_was_when_the_only_worker_is_restarted() {
    let mut world = World::new(On::Embedded, 2_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 12);
    let first = world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 400).await;
    world.signal(first, Signal::SIGINT);
    assert_eq!(world.wait_for_exit(first, Duration::from_secs(25)), Some(0));
    let done = world.store.sweep(id).await.expect("it is read").expect("it is there").tally.users_done();
    assert!(done < 1_900, "it was stopped on its way: {done}");
    let before: u64 = world.simulator.counters().requests;
    world.start_worker();
    world.settled(id, Duration::from_secs(120)).await;
    world.assert_mailed_by_the_truth(0);
    let asked = world.simulator.counters();
    assert!(asked.requests > before);
    let most = asked.lists_by_user.values().max().copied().unwrap_or_default();
    assert!(most <= 8, "no user is asked for again and again: {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once_and_the_work_is_picked_up() {
    let mut world = World::new(On::Servers, 3_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 24);
    world.set("composio.timeout", "60s");
    world.set("queue.lease", "3s");
    world.set("database.acquire_timeout", "2s");
    let first = world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 100).await;
    world.simulator.set_faults(Faults::outage(FaultKind::Silent));
    world
        .until("requests hang", Duration::from_secs(20), || async {
            (world.simulator.counters().faults > 12).then_some(())
        })
        .await;
    world.signal(first, Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    world.signal(first, Signal::SIGTERM);
    let code = world.wait_for_exit(first, Duration::from_secs(5));
    assert!(asked.elapsed() < Duration::from_secs(3), "it left at once, with {code:?}");
    world.simulator.set_faults(Faults::default());
    world.start_worker();
    let sweep = world.settled(id, Duration::from_secs(60)).await;
    assert_eq!(sweep.state, SweepState::Completed);
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_with_the_embedded_queue_loses_nothing() {
    let mut world = World::new(On::Embedded, 1_000).await;
    world.impatient();
    world.set("queue.lease", "3s");
    world.set("database.acquire_timeout", "2s");
    let first = world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 300).await;
    world.kill_worker(first);
    world.start_worker();
    let sweep = world.settled(id, Duration::from_secs(90)).await;
    assert_eq!(sweep.state, SweepState::Completed);
    world.assert_mailed_by_the_truth(0);
}
