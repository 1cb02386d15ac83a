//! The auditor's own database: the truth about sweeps, checks, incidents and notifications.
//!
//! Two engines, PostgreSQL and SQLite, pass the same contract (`tests/it/store.rs`). Their folders hold the same files, so
//! that one reads beside the other; what does not depend on the engine stands here:
//!
//! | file | what |
//! |---|---|
//! | `click` | rows of clicks and deliveries become domain types |
//! | `case` | rows of trips, suppressions, alerts and trails become domain types |
//! | `connect` | what can be wrong before the first statement |
//! | `ended` | one sweep that cannot be ended does not stop the others |
//! | `error` | which failures may pass |
//! | `row` | rows become domain types |
//! | `write` | a chunk becomes one JSON text, so that each table costs one statement |
//! | `situation` | what decides on a user's next mail, from rows |
//! | `standing` | what one user's handle rests on, from rows |
//! | `stand` | why a row could not be claimed |
//! | `merge` | a user has one pending notification at most: who survives when one comes back |
//!
//! Every name in the database begins with `auditor_`, the table of migrations too, so that it may be the app's own database.

mod case;
mod click;
mod connect;
mod ended;
mod error;
mod merge;
mod postgres;
mod row;
mod situation;
mod sqlite;
mod stand;
mod standing;
mod write;

use std::sync::Arc;

use secrecy::ExposeSecret;

pub use connect::ConnectError;

use crate::config;
use crate::domain::port::Store;
use postgres::PostgresStore;
use sqlite::SqliteStore;

/// Opens the store that `database.url` names. It must be migrated; a missing SQLite file is made.
///
/// # Errors
/// The URL cannot be used, nobody answers, or the database is not of this version; the text names the remedy.
pub async fn connect(settings: &config::Database) -> Result<Arc<dyn Store>, ConnectError> {
    let url = settings.url.expose_secret();
    Ok(match Engine::of(url)? {
        Engine::Postgres => Arc::new(PostgresStore::connect(settings, url).await?),
        Engine::Sqlite => Arc::new(SqliteStore::connect(settings, url).await?),
    })
}

/// Brings the database that `database.url` names up to this version; does nothing if it is. A missing SQLite file is made.
///
/// # Errors
/// The URL cannot be used, nobody answers, or a migration fails.
pub async fn migrate(settings: &config::Database) -> Result<(), ConnectError> {
    let url = settings.url.expose_secret();
    match Engine::of(url)? {
        Engine::Postgres => PostgresStore::migrate(settings, url).await,
        Engine::Sqlite => SqliteStore::migrate(settings, url).await,
    }
}

/// Whether `database.url` names a file of our own, which nobody else migrates.
pub fn is_embedded(settings: &config::Database) -> bool {
    matches!(Engine::of(settings.url.expose_secret()), Ok(Engine::Sqlite))
}

enum Engine {
    Postgres,
    Sqlite,
}

impl Engine {
    fn of(url: &str) -> Result<Self, ConnectError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            Some("sqlite") => Ok(Self::Sqlite),
            Some(scheme) if scheme.len() <= 20 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') => {
                Err(ConnectError::Url(format!("{scheme:?} is not supported; use postgres://… or sqlite:PATH")))
            }
            _ => Err(ConnectError::Url("it has no scheme; use postgres://… or sqlite:PATH".to_owned())),
        }
    }
}
