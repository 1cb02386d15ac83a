//! The store on PostgreSQL: any number of processes at once.

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

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use super::connect::{ConnectError, MIGRATIONS_TABLE, check_versions};
use crate::config;

/// The store on PostgreSQL.
pub(super) struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects to a database that is migrated.
    pub(super) async fn connect(settings: &config::Database, url: &str) -> Result<Self, ConnectError> {
        let (pool, place) = pool(settings, url).await?;
        let applied = applied(&pool).await.map_err(|error| ConnectError::unreachable(&place, &error))?;
        check_versions(&migrator(), applied.as_deref(), &place)?;
        Ok(Self { pool })
    }

    /// Brings a database up to this version.
    pub(super) async fn migrate(settings: &config::Database, url: &str) -> Result<(), ConnectError> {
        let (pool, place) = pool(settings, url).await?;
        let result = migrator().run(&pool).await;
        pool.close().await;
        result.map_err(|error| ConnectError::migration(&place, &error))
    }
}

async fn pool(settings: &config::Database, url: &str) -> Result<(PgPool, String), ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| ConnectError::Url("it is not a valid postgres:// URL".to_owned()))?
        .application_name("connection-auditor");
    let place = format!(
        "PostgreSQL at {}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or(options.get_username())
    );
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .connect_with(options.clone())
        .await;
    match pool {
        Ok(pool) => Ok((pool, place)),
        Err(error) => {
            let error = reason(error, settings, &options).await;
            Err(ConnectError::unreachable(&place, &error))
        }
    }
}

/// A pool that was refused goes on trying and at last says only that its time is up; one more try says why.
async fn reason(error: sqlx::Error, settings: &config::Database, options: &PgConnectOptions) -> sqlx::Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    match tokio::time::timeout(settings.acquire_timeout, PgConnection::connect_with(options)).await {
        Ok(Err(reason)) => reason,
        Ok(Ok(_)) | Err(_) => error,
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// The versions that were applied; none if the database was never migrated.
async fn applied(pool: &PgPool) -> sqlx::Result<Option<Vec<i64>>> {
    let known: bool = sqlx::query_scalar("-- is_migrated\nSELECT to_regclass('auditor_migrations') IS NOT NULL")
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
