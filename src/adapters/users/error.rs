//! What can go wrong with the app's database, told so that the operator knows which setting to turn.
//!
//! The driver's own error is turned into text here and not kept: what a database says may quote a row, and a row holds
//! addresses. Words with an `@` are masked.

use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;

/// The users could not be read, or not be imported.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A setting of `[users]` does not fit the database; trying again will not help.
    #[error("{setting} = {value:?}: {problem}")]
    Misconfigured {
        /// The key, as in `users.columns.id`.
        setting: &'static str,
        /// Its value; a URL is shown without its password.
        value: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// The database cannot be reached, or does not let us in; the same call may succeed later.
    #[error("{action}: the users' database is unavailable: {reason}")]
    Unreachable {
        /// What was attempted.
        action: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// The statement took longer than it may; the same call may succeed later.
    #[error(
        "{action}: no answer within {}: index the id column, or raise users.statement_timeout",
        humantime::format_duration(*limit)
    )]
    Timeout {
        /// What was attempted.
        action: &'static str,
        /// `users.statement_timeout`
        limit: Duration,
    },
    /// The database refused the statement; trying again will not help.
    #[error("{action}: the users' database refused the statement: {reason}")]
    Rejected {
        /// What was attempted.
        action: &'static str,
        /// What the database says.
        reason: String,
    },
    /// The cursor was not made by this source: the id column changed its type. The sweep has to begin anew.
    #[error("the cursor does not fit the column users.columns.id: its type changed since the page before; sweep anew")]
    Cursor,
    /// The file cannot be imported; nothing of it was.
    #[error("{file}{}: {problem}", if *line == 0 { String::new() } else { format!(", line {line}") })]
    File {
        /// Which file.
        file: String,
        /// The line at fault, from 1; 0 for the file as a whole.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl UsersError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// Sorts what a driver says by what the caller can do about it.
    pub(super) fn from_driver(action: &'static str, limit: Duration, error: &sqlx::Error) -> Self {
        let reason = masked(&error_text(error));
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable { action, reason },
            sqlx::Error::Database(database) => match meaning(database.as_ref()) {
                Meaning::TooSlow => Self::Timeout { action, limit },
                Meaning::Unavailable => Self::Unreachable { action, reason },
                Meaning::Refused => Self::Rejected { action, reason },
            },
            _ => Self::Rejected { action, reason },
        }
    }
}

enum Meaning {
    TooSlow,
    Unavailable,
    Refused,
}

fn meaning(error: &(dyn sqlx::error::DatabaseError + 'static)) -> Meaning {
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return match error.number() {
            // MariaDB's max_statement_time; MySQL's max_execution_time.
            1969 | 3024 => Meaning::TooSlow,
            // Too many connections, shutting down, access denied, unknown database, lost, killed.
            1040 | 1203 | 1053 | 1044 | 1045 | 1049 | 2006 | 2013 | 1927 => Meaning::Unavailable,
            _ => Meaning::Refused,
        };
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The low byte is the primary result code: interrupted; busy, locked, I/O, cannot open, not a database.
        return match code.parse::<u32>().unwrap_or_default() & 0xff {
            9 => Meaning::TooSlow,
            5 | 6 | 10 | 14 | 26 => Meaning::Unavailable,
            _ => Meaning::Refused,
        };
    }
    match code.as_ref() {
        "57014" => Meaning::TooSlow,
        // Connection, resources, operator intervention, authorization, unknown database.
        code if ["08", "53", "57", "28", "3D"].iter().any(|class| code.starts_with(class)) => Meaning::Unavailable,
        _ => Meaning::Refused,
    }
}

fn error_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no connection was free or could be made in time".to_owned(),
        other => other.to_string(),
    }
}

/// Masks every word with an `@`: it may be an address out of a row.
pub(super) fn masked(text: &str) -> String {
    text.split(' ').map(|word| if word.contains('@') { "…@…" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_a_database_quotes_is_masked() {
        assert_eq!(
            masked("invalid input syntax for type bigint: \"ann@example.org\""),
            "invalid input syntax for type bigint: …@…"
        );
    }
}
