//! What sqlx says, told in the store's own words: which failures may pass, and never a value or an address in the text.

use std::fmt;

use sqlx::error::DatabaseError;

use crate::domain::port::StoreError;

/// The message of a database error. The detail that PostgreSQL adds (the values of the row) is left out: a user id may be
/// an email address.
#[derive(Debug)]
pub(super) struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl From<&sqlx::Error> for Cause {
    fn from(error: &sqlx::Error) -> Self {
        Self(match error {
            sqlx::Error::Database(database) => match database.code() {
                Some(code) => format!("{} (code {code})", database.message()),
                None => database.message().to_owned(),
            },
            sqlx::Error::Configuration(_) => "the settings of the connection are not valid".to_owned(),
            other => other.to_string(),
        })
    }
}

/// Turns what sqlx says about `action` into a [`StoreError`].
pub(super) fn failed(action: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let source = Box::new(Cause::from(&error));
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Corrupt { action, what: source.0 }
            }
            _ if may_pass(&error) => StoreError::Unavailable { action, source },
            _ => StoreError::Rejected { action, source },
        }
    }
}

/// A row holds what this version cannot read.
pub(super) fn corrupt(action: &'static str, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { action, what: what.into() }
}

/// Whether the same call may succeed later.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(database) => code_may_pass(database.as_ref()),
        _ => false,
    }
}

fn code_may_pass(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return postgres_may_pass(&code);
    }
    // SQLite: the low byte is the primary result code; the rest tells more of the same.
    code.parse::<i32>().is_ok_and(|code| sqlite_may_pass(code & 0xff))
}

/// SQLSTATE classes and codes: connection (08), rollback for serialization or deadlock (40), insufficient resources such as
/// disk full (53), operator intervention (57), system error (58), a lock not granted, a standby that only reads.
fn postgres_may_pass(code: &str) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || matches!(code, "55P03" | "25006" | "25P03")
}

/// BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL (a lock that could not be had).
fn sqlite_may_pass(primary: i32) -> bool {
    matches!(primary, 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlocks_lost_connections_and_full_disks_may_pass_and_broken_rules_do_not() {
        for code in ["40P01", "40001", "08006", "53100", "53300", "57P01", "57014", "55P03"] {
            assert!(postgres_may_pass(code), "{code}");
        }
        for code in ["23505", "23503", "42P01", "22021"] {
            assert!(!postgres_may_pass(code), "{code}");
        }
        assert!(sqlite_may_pass(5) && sqlite_may_pass(13));
        assert!(!sqlite_may_pass(19) && !sqlite_may_pass(1));
    }

    #[test]
    fn a_pool_without_a_free_connection_is_unavailable_and_a_missing_column_is_corrupt() {
        assert!(matches!(failed("test")(sqlx::Error::PoolTimedOut), StoreError::Unavailable { .. }));
        assert!(matches!(failed("test")(sqlx::Error::ColumnNotFound("x".into())), StoreError::Corrupt { .. }));
    }

    #[test]
    fn the_settings_of_a_connection_are_not_repeated() {
        let error = sqlx::Error::Configuration("postgres://me:secret@host".into());
        assert!(!Cause::from(&error).to_string().contains("secret"));
    }
}
