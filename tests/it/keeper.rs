//! What the queue loses, the keeper finds in the database.

use std::time::Duration;

use connection_auditor::domain::sweep::SweepState;
use connection_auditor::simulator::Mix;

use crate::support::world::{On, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_came_back_older_than_it_was_loses_nothing() {
    let mut world = World::mixed(On::Servers, 300, Mix::only(&["expired_permanent", "healthy_three"])).await;
    world.impatient();
    let sweeper = world.start_worker_with(&["--roles", "sweeper"]);
    let id = world.sweep_now().await;
    world
        .until("all chunks are pushed", Duration::from_secs(30), || async {
            world.store.sweep(id).await.ok()?.filter(|sweep| sweep.state == SweepState::Draining)
        })
        .await;
    world.signal(sweeper, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(world.wait_for_exit(sweeper, Duration::from_secs(20)), Some(0));
    // As after a restart from an older copy: the same groups and generation, but without what was pushed since.
    let url = world.redis.as_ref().expect("its own Redis").url();
    let mut redis = redis::Client::open(url).expect("a URL").get_connection().expect("Redis answers");
    let streams: Vec<String> = redis::cmd("KEYS").arg("*jobs:check-sweep").query(&mut redis).expect("the streams");
    assert_eq!(streams.len(), 1);
    let lost: u64 = redis::cmd("XTRIM").arg(&streams[0]).arg("MAXLEN").arg(0).query(&mut redis).expect("it is emptied");
    assert_eq!(lost, 3, "three chunks are lost");
    world.start_worker();
    let sweep = world.settled(id, Duration::from_secs(60)).await;
    assert_eq!((sweep.state, sweep.tally.checked), (SweepState::Completed, 300));
    world.assert_mailed_by_the_truth(0);
    assert!(world.logs().contains("keeper.queue_lost_entries"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_away_for_a_while_and_come_back_empty() {
    let mut world = World::new(On::Servers, 1_500).await;
    world.impatient();
    world.set("composio.max_in_flight", 16);
    world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 300).await;
    let mut redis = world.redis.take().expect("its own Redis");
    redis.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let redis = tokio::task::spawn_blocking(move || {
        redis.run();
        redis
    })
    .await
    .expect("it starts again");
    world.redis = Some(redis);
    let sweep = world.settled(id, Duration::from_secs(90)).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    world.assert_mailed_by_the_truth(0);
}
