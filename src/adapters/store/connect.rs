//! What can be wrong with a database before the first statement, told so that the remedy is clear.

use sqlx::migrate::{MigrateError, Migrator};

use super::error::Cause;

/// Where sqlx remembers our migrations. Not its default name: the app may have migrations of its own in the same database.
pub(super) const MIGRATIONS_TABLE: &str = "auditor_migrations";

/// The store could not be opened. No variant holds the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("database.url: {0}")]
    Url(String),
    /// Nobody answers, or we are not let in.
    #[error("cannot connect to {place}")]
    Unreachable {
        /// Which engine, where.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tables are missing, or older than this version.
    #[error("{place} is not migrated ({missing} missing); run `connection-auditor migrate`")]
    NotMigrated {
        /// Which engine, where.
        place: String,
        /// How many migrations are missing.
        missing: usize,
    },
    /// A newer version of this program has migrated the database.
    #[error("{place} was migrated by a newer version of connection-auditor (migration {version}); use that version")]
    TooNew {
        /// Which engine, where.
        place: String,
        /// The migration that this version does not know.
        version: i64,
    },
    /// The migrations could not be run.
    #[error("cannot migrate {place}")]
    Migration {
        /// Which engine, where.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ConnectError {
    pub(super) fn unreachable(place: &str, error: &sqlx::Error) -> Self {
        Self::Unreachable { place: place.to_owned(), source: Box::new(Cause::from(error)) }
    }

    pub(super) fn migration(place: &str, error: &MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::TooNew { place: place.to_owned(), version: *version },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::Migration { place: place.to_owned(), source: Box::new(Cause::from(error)) }
            }
            other => Self::Migration { place: place.to_owned(), source: other.to_string().into() },
        }
    }
}

/// Compares what was applied with what this version brings.
pub(super) fn check_versions(migrator: &Migrator, applied: Option<&[i64]>, place: &str) -> Result<(), ConnectError> {
    let applied = applied.unwrap_or_default();
    if let Some(version) = applied.iter().find(|version| !migrator.version_exists(**version)) {
        return Err(ConnectError::TooNew { place: place.to_owned(), version: *version });
    }
    match migrator.iter().filter(|migration| !applied.contains(&migration.version)).count() {
        0 => Ok(()),
        missing => Err(ConnectError::NotMigrated { place: place.to_owned(), missing }),
    }
}
