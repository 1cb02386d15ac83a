//! A database that goes away and comes back, and a file that two processes share.

use connection_auditor::domain::port::StoreError;

use super::*;
use crate::support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_unavailable_and_works_again_when_it_is_back() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.expect("PostgreSQL starts");
    let settings = Database { acquire_timeout: Duration::from_secs(2), ..settings(server.database().await) };
    store::migrate(&settings).await.expect("an empty database can be migrated");
    let store = store::connect(&settings).await.expect("a migrated database opens");
    store.ping().await.expect("it answers");
    server.kill();
    let record = record_of(vec![seen("ann@example.org", None, at(1))], at(1));
    for error in [store.ping().await.expect_err("it is gone"), store.record(&record).await.expect_err("it is gone")] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("ann@example.org"), "{error:?}");
    }
    let _server = tokio::task::spawn_blocking(move || {
        server.run();
        server
    })
    .await
    .expect("PostgreSQL starts again");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.record(&record).await {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(tokio::time::Instant::now() < deadline, "it does not recover: {error:?}");
    }
    let known = store.history(&[user("ann@example.org")]).await.expect("it is back");
    assert_eq!(known[&user("ann@example.org")].observed_at, Some(at(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_take_turns_at_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(format!("sqlite:{}", folder.path().join("store.sqlite").display()));
    store::migrate(&settings).await.expect("an empty file can be migrated");
    let stores = [store::connect(&settings).await.expect("opens"), store::connect(&settings).await.expect("opens")];
    let writers = (0..100_usize).map(|n| {
        let store = &stores[n % 2];
        async move {
            let name = format!("user-{n}");
            let users = vec![UserRecord { open: vec![incident("slack")], ..seen(&name, None, at(1)) }];
            store.record(&record_of(users, at(1))).await.expect("each waits for the other")
        }
    });
    for recorded in futures::future::join_all(writers).await {
        assert_eq!(written(recorded).len(), 1);
    }
    for store in &stores {
        assert_eq!(store.open_incidents().await.expect("counted")[0].count, 100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_never_repeats_what_a_row_holds() {
    for db in [postgres().await, sqlite().await] {
        let missing = new_sweep("daily", at(0)).id;
        let check = Check { sweep: Some(missing), ..check(&["ann@example.org"]) };
        let error = db.insert_checks(&[check], at(0)).await.expect_err("there is no such sweep");
        assert!(matches!(error, StoreError::Rejected { .. }), "{error:?}");
        assert!(
            !format!("{error:?}").contains("ann@example.org") && !format!("{error:?}").contains(&missing.to_string())
        );
    }
}
