//! Races that PostgreSQL allows and SQLite does not, held open by a lock of the test's own.

use connection_auditor::domain::job::Job;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres, Transaction};

use super::*;

/// A database whose URL is known.
async fn database() -> (String, Db) {
    let url = postgres::database().await;
    let db = open(url.clone(), tempfile::tempdir().expect("a folder")).await;
    (url, db)
}

/// Holds the lock of a user, as a record does.
async fn lock<'a>(connection: &'a mut PgConnection, name: &str) -> Transaction<'a, Postgres> {
    let mut transaction = connection.begin().await.expect("a transaction");
    sqlx::query("SELECT user_id FROM auditor_user_checks WHERE user_id = $1 FOR NO KEY UPDATE")
        .bind(name)
        .execute(&mut *transaction)
        .await
        .expect("the lock");
    transaction
}

/// Waits until somebody waits for a lock in this database.
async fn blocked(url: &str) {
    let mut connection = PgConnection::connect(url).await.expect("our own server lets us in");
    for _ in 0..1000 {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut connection)
        .await
        .expect("it answers");
        if waiting > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for the lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_while_it_is_taken_back_stays_settled() {
    let (url, db) = database().await;
    let (_, made) = break_slot(&db, "ann", "slack", None, at(0)).await;
    let (_, held) = claim_notification(&db, made[0], at(0)).await;
    let mut connection = PgConnection::connect(&url).await.expect("our own server lets us in");
    let transaction = lock(&mut connection, "ann").await;
    let settle = async {
        blocked(&url).await;
        let skipped = Settlement::Skipped("recovered".into());
        assert!(settle(&db, made[0], held.token, &skipped, at(20)).await);
        transaction.commit().await.expect("the lock is given up");
    };
    let (back, ()) = tokio::join!(db.reclaim_lapsed(at(16), 10), settle);
    assert_eq!(back.expect("looked"), Vec::<Job>::new());
    assert_eq!(db.claim_notification(made[0], lease(at(60)), at(60)).await.expect("answered"), Claim::Over);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_while_it_is_released_stays_discarded() {
    let (url, db) = database().await;
    let users = vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(0)) }];
    let record = Record { hold: Some("go-live".into()), ..record_of(users, at(0)) };
    written(db.record(&record).await.expect("answered"));
    let mut connection = PgConnection::connect(&url).await.expect("our own server lets us in");
    let transaction = lock(&mut connection, "ann").await;
    let discard = async {
        blocked(&url).await;
        assert_eq!(db.discard_held("go-live", None, at(1)).await.expect("it waits for nobody"), 1);
        transaction.commit().await.expect("the lock is given up");
    };
    let (released, ()) = tokio::join!(db.release_held("go-live", None, at(1)), discard);
    assert_eq!(released.expect("answered"), 0);
    assert!(db.unqueued("g", at(99), at(99), 9).await.expect("read").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_is_not_revived_into_a_sweep_that_ends_at_this_moment() {
    let (url, db) = database().await;
    let (_, checks, _) = draining_sweep(&db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let dead = connection_auditor::domain::port::DeadJob {
        id: checks[0].0,
        lane: connection_auditor::domain::job::Lane::CheckSweep,
        reason: "poison".into(),
        deliveries: 6,
        died_at: at(1),
    };
    db.bury(&dead).await.expect("buried");
    let mut connection = PgConnection::connect(&url).await.expect("our own server lets us in");
    let mut transaction = connection.begin().await.expect("a transaction");
    sqlx::query("UPDATE auditor_sweeps SET state = 'completed', finished_at = now()")
        .execute(&mut *transaction)
        .await
        .expect("the lock");
    let end = async {
        blocked(&url).await;
        transaction.commit().await.expect("the sweep ends");
    };
    let (revived, ()) = tokio::join!(db.retry_dead(checks[0].0, at(2)), end);
    assert!(revived.expect("answered"));
    assert_eq!(claim_check(&db, checks[0], at(2)).await.0.check.sweep, None);
}
