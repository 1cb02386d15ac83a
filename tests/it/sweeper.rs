//! Paging: a source that is slow, an API that hangs, a user that the store refuses.

use std::time::Duration;

use connection_auditor::domain::sweep::SweepState;
use connection_auditor::simulator::{FaultKind, Faults, Mix};
use sqlx::Connection;

use crate::support::world::{On, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_takes_longer_than_the_lease_is_waited_for() {
    let mut world = World::mixed(On::Servers, 30, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    sqlx::query("CREATE VIEW slow AS SELECT p.* FROM people AS p, (SELECT pg_sleep(5)) AS wait")
        .execute(&mut world.app().await)
        .await
        .expect("a view");
    world.set("users.table", "slow");
    world.set("sweep.lease", "2s");
    world.set("keeper.interval", "300ms");
    world.set("database.acquire_timeout", "1s");
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!((sweep.state, sweep.tally.checked), (SweepState::Completed, 30));
    assert!(!world.logs().contains("sweep.lease_lost"), "one sweeper held it all the time");
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_hangs_longer_than_the_lease_pauses_the_sweep_and_in_the_end_fails_it() {
    let mut world = World::mixed(On::Embedded, 5, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    world.set("sweep.lease", "2s");
    world.set("keeper.interval", "300ms");
    world.set("database.acquire_timeout", "1s");
    world.set("sweep.give_up_after", "8s");
    world.simulator.set_faults(Faults::outage(FaultKind::Silent));
    world.start_worker();
    let id = world.sweep_now().await;
    let paused = world
        .until("the sweep pauses", Duration::from_secs(30), || async {
            world.store.sweep(id).await.ok()?.filter(|sweep| sweep.state == SweepState::Paused)
        })
        .await;
    assert!(paused.note.as_deref().is_some_and(|note| note.contains("no answer in time")), "{:?}", paused.note);
    let failed = world.settled(id, Duration::from_secs(60)).await;
    assert_eq!(failed.state, SweepState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_whom_the_database_refuses_does_not_hold_up_the_others() {
    let mut world = World::mixed(On::Servers, 40, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    let refused = world.simulator.users().nth(7).expect("forty users").id;
    let mut database = sqlx::PgConnection::connect(world.setting("database.url")).await.expect("our own database");
    // What no cleaning can foresee: a rule of the database itself that this one user breaks.
    let rule = format!("ALTER TABLE auditor_user_checks ADD CHECK (user_id <> '{refused}')");
    sqlx::query(sqlx::AssertSqlSafe(rule)).execute(&mut database).await.expect("a rule");
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!(
        (sweep.state, sweep.tally.checked, sweep.tally.given_up),
        (SweepState::Completed, 39, 1),
        "{}",
        world.logs()
    );
    let mailed = world.mails(0);
    assert_eq!(mailed.len(), 39);
    assert!(mailed.iter().all(|mail| mail.to != refused));
    let dead = world.store.dead_jobs(10).await.expect("they are listed");
    assert_eq!(dead.len(), 1, "and the operator sees it: {dead:?}");
}
