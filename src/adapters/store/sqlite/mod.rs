//! The store on SQLite: one file, no server, one process (several take turns at writing).
//!
//! One connection writes and several read, beside it and without waiting for it (write-ahead log). A transaction takes the
//! right to write with its first statement, so that it never has to give up half-way.

mod alerts;
mod checks;
mod clicks;
mod dead;
mod deliveries;
mod entity;
mod erase;
mod guard;
mod merge;
mod notifications;
mod outbox;
mod prune;
mod record;
mod release;
mod reports;
mod sending;
mod situation;
mod suppressions;
mod sweeps;
mod trail;
mod vital;
mod wake;

use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::connect::{ConnectError, MIGRATIONS_TABLE, check_versions};
use crate::config;

/// Reading connections, at most.
const MAX_READERS: u32 = 8;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The store on SQLite.
pub(super) struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens a file that is migrated.
    pub(super) async fn connect(settings: &config::Database, url: &str) -> Result<Self, ConnectError> {
        let (options, place) = options(url)?;
        let unreachable = |error: sqlx::Error| ConnectError::unreachable(&place, &error);
        let writer = pool(settings, 1, options.clone()).await.map_err(unreachable)?;
        let applied = applied(&writer).await.map_err(unreachable)?;
        check_versions(&migrator(), applied.as_deref(), &place)?;
        let readers = settings.max_connections.clamp(1, MAX_READERS);
        let readers = pool(settings, readers, options.pragma("query_only", "ON")).await.map_err(unreachable)?;
        Ok(Self { writer, readers })
    }

    /// Brings a file up to this version.
    pub(super) async fn migrate(settings: &config::Database, url: &str) -> Result<(), ConnectError> {
        let (options, place) = options(url)?;
        let writer = pool(settings, 1, options).await.map_err(|error| ConnectError::unreachable(&place, &error))?;
        let result = migrator().run(&writer).await;
        writer.close().await;
        result.map_err(|error| ConnectError::migration(&place, &error))
    }
}

fn options(url: &str) -> Result<(SqliteConnectOptions, String), ConnectError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(ConnectError::Url("a SQLite database in memory cannot be shared; use sqlite:PATH".to_owned()));
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| ConnectError::Url("it is not a valid sqlite:PATH".to_owned()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let place = format!("the SQLite file {}", options.get_filename().display());
    Ok((options, place))
}

async fn pool(
    settings: &config::Database,
    connections: u32,
    options: SqliteConnectOptions,
) -> sqlx::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(settings.acquire_timeout)
        .connect_with(options)
        .await
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// The versions that were applied; none if the file was never migrated.
async fn applied(pool: &SqlitePool) -> sqlx::Result<Option<Vec<i64>>> {
    let known: bool = sqlx::query_scalar(
        "-- is_migrated
         SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'auditor_migrations')",
    )
    .fetch_one(pool)
    .await?;
    if !known {
        return Ok(None);
    }
    sqlx::query_scalar("-- applied\nSELECT version FROM auditor_migrations WHERE success ORDER BY version")
        .fetch_all(pool)
        .await
        .map(Some)
}
