//! The migrations of both engines, and what opening a database says when it is not ready.

#![expect(clippy::panic, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::Path;

use chrono::DateTime;
use connection_auditor::adapters::store::{self, ConnectError};
use connection_auditor::config::Database;
use connection_auditor::domain::id::UserId;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::plan::Mailed;
use connection_auditor::domain::stage::Stage;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use crate::support::{postgres, server};

/// Columns whose name says all; every other one has a comment.
const PLAIN: &[&str] = &[
    "id",
    "name",
    "user_id",
    "account_id",
    "sweep_id",
    "incident_id",
    "notification_id",
    "toolkit",
    "auth_config",
    "email",
    "created_at",
];

fn settings(url: &str) -> Database {
    Database { url: url.into(), acquire_timeout: std::time::Duration::from_secs(2), ..Database::default() }
}

fn sqlite_url(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("store.sqlite").display())
}

async fn open_sqlite(url: &str) -> SqliteConnection {
    let options: SqliteConnectOptions = url.parse().expect("a valid URL");
    SqliteConnection::connect_with(&options.create_if_missing(true)).await.expect("the file opens")
}

fn names(engine: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let files = std::fs::read_dir(folder).expect("the folder is there");
    files.map(|file| file.expect("readable").file_name().into_string().expect("plain text")).collect()
}

/// The error of an attempt to open a database, with its sources.
async fn refusal(url: &str) -> (ConnectError, String) {
    let Err(error) = store::connect(&settings(url)).await else { panic!("it opens") };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    (error, text)
}

#[test]
fn both_engines_have_the_same_migrations() {
    assert_eq!(names("postgres"), names("sqlite"));
    assert!(!names("postgres").is_empty());
}

#[tokio::test]
async fn migrating_twice_or_at_once_is_migrating_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in [postgres::database().await, sqlite_url(&folder)] {
        let settings = settings(&url);
        store::migrate(&settings).await.expect("an empty database can be migrated");
        store::connect(&settings).await.expect("it opens").ping().await.expect("it answers");
        let again = (0..4).map(|_| store::migrate(&settings));
        for result in futures::future::join_all(again).await {
            result.expect("there is nothing to do");
        }
    }
    let url = postgres::database().await;
    let settings = settings(&url);
    for result in futures::future::join_all((0..4).map(|_| store::migrate(&settings))).await {
        result.expect("one migrates, the others wait");
    }
}

#[tokio::test]
async fn what_the_app_keeps_in_the_same_database_is_left_alone() {
    const APP: [&str; 4] = [
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL)",
        "INSERT INTO _sqlx_migrations (version, description) VALUES (1, 'of the app')",
        "CREATE TABLE users (id BIGINT PRIMARY KEY)",
        "CREATE TABLE accounts (id BIGINT PRIMARY KEY)",
    ];
    let url = postgres::database().await;
    let mut app = PgConnection::connect(&url).await.expect("our own server lets us in");
    for statement in APP {
        sqlx::query(statement).execute(&mut app).await.expect("a table of the app");
    }
    store::migrate(&settings(&url)).await.expect("it can be migrated");
    let theirs: Vec<(i64, String)> =
        sqlx::query_as("SELECT version, description FROM _sqlx_migrations").fetch_all(&mut app).await.expect("read");
    assert_eq!(theirs, [(1, "of the app".to_owned())]);

    let folder = tempfile::tempdir().expect("a folder");
    let mut app = open_sqlite(&sqlite_url(&folder)).await;
    for statement in APP {
        sqlx::query(statement).execute(&mut app).await.expect("a table of the app");
    }
    store::migrate(&settings(&sqlite_url(&folder))).await.expect("it can be migrated");
    let theirs: Vec<(i64, String)> =
        sqlx::query_as("SELECT version, description FROM _sqlx_migrations").fetch_all(&mut app).await.expect("read");
    assert_eq!(theirs, [(1, "of the app".to_owned())]);
}

#[tokio::test]
async fn a_database_that_is_not_migrated_names_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    for url in [postgres::database().await, sqlite_url(&folder)] {
        let (error, text) = refusal(&url).await;
        assert!(matches!(error, ConnectError::NotMigrated { missing: 1.., .. }), "{text}");
        assert!(text.contains("connection-auditor migrate"), "{text}");
    }
    assert!(folder.path().join("store.sqlite").exists(), "a missing file is made");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    const NEWER: &str = "INSERT INTO auditor_migrations (version, description, success, checksum, execution_time)
        SELECT 99990101000000, 'of the future', success, checksum, 0 FROM auditor_migrations LIMIT 1";
    let folder = tempfile::tempdir().expect("a folder");
    let (postgres, sqlite) = (postgres::database().await, sqlite_url(&folder));
    for url in [&postgres, &sqlite] {
        store::migrate(&settings(url)).await.expect("an empty database can be migrated");
    }
    let mut connection = PgConnection::connect(&postgres).await.expect("our own server lets us in");
    sqlx::query(NEWER).execute(&mut connection).await.expect("a row");
    sqlx::query(NEWER).execute(&mut open_sqlite(&sqlite).await).await.expect("a row");
    for url in [&postgres, &sqlite] {
        let (error, text) = refusal(url).await;
        assert!(matches!(error, ConnectError::TooNew { version: 99_990_101_000_000, .. }), "{text}");
        let migrated = store::migrate(&settings(url)).await;
        assert!(matches!(migrated, Err(ConnectError::TooNew { .. })), "{migrated:?}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let port = server::free_port();
    let (error, text) = refusal(&format!("postgres://me:hunter2@127.0.0.1:{port}/app")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}/app")) && text.contains("refused"), "{text}");
    assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}");
    let (error, text) = refusal("sqlite:/nowhere/at/all/store.sqlite").await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    for url in ["mysql://me:hunter2@host/app", "hunter2", "sqlite::memory:", "postgres://me:hunter2@[/app"] {
        let (error, text) = refusal(url).await;
        assert!(matches!(error, ConnectError::Url(_)), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn every_table_and_every_column_that_is_not_plain_has_a_comment_in_postgresql() {
    let url = postgres::database().await;
    store::migrate(&settings(&url)).await.expect("an empty database can be migrated");
    let mut connection = PgConnection::connect(&url).await.expect("our own server lets us in");
    let columns: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text, obj_description(c.oid, 'pg_class') IS NOT NULL,
             col_description(c.oid, a.attnum) IS NOT NULL
         FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relkind = 'r' AND c.relname LIKE 'auditor\\_%' AND c.relname <> 'auditor_migrations'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the catalog can be read");
    assert!(columns.len() > 100, "{}", columns.len());
    for (table, column, table_told, column_told) in columns {
        assert!(table_told, "{table} has no comment");
        assert!(column_told || PLAIN.contains(&column.as_str()), "{table}.{column} has no comment");
    }
}

#[test]
fn every_table_and_every_column_that_is_not_plain_has_a_comment_in_sqlite() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut columns = 0;
    for name in names("sqlite") {
        let text = std::fs::read_to_string(folder.join(&name)).expect("readable");
        let mut told = false;
        for line in text.lines() {
            let word = line.split_whitespace().next().unwrap_or_default();
            let is_column = line.starts_with("    ") && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if line.starts_with("CREATE TABLE") {
                assert!(told, "{name}: {line} has no comment");
            } else if is_column && !word.is_empty() {
                columns += 1;
                assert!(told || PLAIN.contains(&word), "{name}: {word} has no comment");
            }
            told = line.trim_start().starts_with("--");
        }
    }
    assert!(columns > 100, "{columns}");
}

/// Where the first version of this program left a database.
const FIRST: i64 = 20_261_121_000_000;

async fn migrator(engine: &str) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let mut migrator = Migrator::new(folder).await.expect("they are migrations");
    migrator.dangerous_set_table_name("auditor_migrations");
    migrator
}

/// A user with two open incidents, of which one was mailed about, as the first version kept them.
fn rows_of_the_first(time: impl Fn(i64) -> String) -> Vec<String> {
    let (broke, opened, sent) = (time(100), time(200), time(300));
    let id = |n: u8| format!("0192f0c1-0000-7000-8000-0000000000{n:02}");
    let incident = |n: u8, toolkit: &str| {
        format!(
            "INSERT INTO auditor_incidents
                 (id, user_id, toolkit, auth_config, kind, account_id, status, broke_at, opened_at)
             VALUES ('{}', 'ann', '{toolkit}', 'ac_1', 'broken', 'ca_1', 'EXPIRED', {broke}, {opened})",
            id(n)
        )
    };
    vec![
        format!("INSERT INTO auditor_user_checks (user_id, checked_at, outcome) VALUES ('ann', {opened}, 'checked')"),
        incident(1, "slack"),
        incident(2, "gmail"),
        format!(
            "INSERT INTO auditor_notifications (id, user_id, state, due_at, created_at, sent_at, settled_at)
             VALUES ('{}', 'ann', 'sent', {opened}, {opened}, {sent}, {sent})",
            id(3)
        ),
        format!(
            "INSERT INTO auditor_notification_incidents (incident_id, stage, notification_id, listed)
             VALUES ('{}', 'first', '{}', TRUE), ('{}', 'first', '{}', FALSE)",
            id(1),
            id(3),
            id(2),
            id(3)
        ),
    ]
}

#[tokio::test]
async fn a_database_of_the_first_version_keeps_what_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (postgres, sqlite) = (postgres::database().await, sqlite_url(&folder));
    let mut connection = PgConnection::connect(&postgres).await.expect("our own server lets us in");
    migrator("postgres").await.run_to(FIRST, &mut connection).await.expect("it was the first");
    for row in rows_of_the_first(|seconds| format!("to_timestamp({seconds})")) {
        sqlx::query(AssertSqlSafe(row)).execute(&mut connection).await.expect("a row of the first version");
    }
    let mut connection = open_sqlite(&sqlite).await;
    migrator("sqlite").await.run_to(FIRST, &mut connection).await.expect("it was the first");
    for row in rows_of_the_first(|seconds| (seconds * 1_000_000).to_string()) {
        sqlx::query(AssertSqlSafe(row)).execute(&mut connection).await.expect("a row of the first version");
    }
    connection.close().await.expect("it closes");
    for url in [&postgres, &sqlite] {
        store::migrate(&settings(url)).await.expect("it can be brought up to this version");
        let store = store::connect(&settings(url)).await.expect("it opens");
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("in range");
        let known = store.situation(&UserId::new("ann"), None, None, at(999)).await.expect("read");
        let open: Vec<_> = known
            .open
            .iter()
            .map(|standing| (standing.incident.slot.toolkit.as_str(), standing.incident.counts_from, standing.mailed))
            .collect();
        let mailed = Mailed { stage: Stage::FIRST, first_at: at(300) };
        assert_eq!(open, [("slack", at(100), Some(mailed)), ("gmail", at(100), None)]);
        assert_eq!(known.last_mail, Some(at(300)));
        let sent = store.notifications(NotificationState::Sent, 9).await.expect("listed");
        assert_eq!(sent[0].incidents.len(), 2);
    }
}
