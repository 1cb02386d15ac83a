//! What a database engine must be able to do for the source; each speaks its own SQL.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::id::UserId;

use super::error::UsersError;

/// How long to wait for a connection.
pub(super) const ACQUIRE: Duration = Duration::from_secs(10);

/// Where the next page begins: after this id, in the order of the engine.
///
/// As text it is `i:42` or `t:ann`. The letter keeps a cursor from being read as what it was not: in SQLite one column may
/// hold both kinds, and in the others the column's type may change while a sweep is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    Integer(i128),
    Text(String),
}

impl Position {
    pub(super) fn parse(cursor: &str) -> Result<Self, UsersError> {
        match cursor.split_once(':') {
            Some(("i", number)) => number.parse().map(Self::Integer).map_err(|_| UsersError::Cursor),
            Some(("t", text)) => Ok(Self::Text(text.to_owned())),
            _ => Err(UsersError::Cursor),
        }
    }

    pub(super) fn cursor(&self) -> String {
        match self {
            Self::Integer(number) => format!("i:{number}"),
            Self::Text(text) => format!("t:{text}"),
        }
    }

    /// The id, as Composio knows it.
    pub(super) fn id(self) -> UserId {
        match self {
            Self::Integer(number) => UserId::new(number.to_string()),
            Self::Text(text) => UserId::new(text),
        }
    }
}

/// An id as a number, if the number is written just so: `007` is not the user 7.
pub(super) fn integer(id: &str) -> Option<i128> {
    id.parse::<i128>().ok().filter(|number| number.to_string() == id)
}

/// One user's row, as text.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) locale: Option<String>,
    pub(super) time_zone: Option<String>,
}

/// A database engine.
#[async_trait]
pub(super) trait Engine: Send + Sync {
    /// Opens one connection, not from the pool: its error is the server's own, not the pool's.
    async fn reach(&self) -> Result<(), sqlx::Error>;
    /// Lets the server read a statement without running it; the names of its columns.
    async fn prepare(&self, sql: String) -> Result<Vec<String>, sqlx::Error>;
    /// Runs a statement without parameters that answers with one number.
    async fn number(&self, sql: String) -> Result<i64, sqlx::Error>;
    /// The tables and views that a typing error may have meant.
    async fn tables(&self) -> Result<Vec<String>, sqlx::Error>;
    /// Whether the id is unique by an index or a constraint; `None` if that cannot be told.
    async fn has_unique_id(&self) -> Result<Option<bool>, sqlx::Error>;
    /// The condition under which a row has an id that can be read.
    fn has_id(&self) -> String;
    /// Up to `limit` ids after `after`, in the engine's order: total, and the same on every page.
    async fn page(&self, after: Option<Position>, limit: i64) -> Result<Vec<Position>, Failure>;
    /// The rows of these users, and perhaps of others whose ids the database takes for equal.
    async fn rows(&self, ids: &[&str]) -> Result<Vec<Row>, Failure>;
    /// Runs a statement as it is.
    async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error>;
    /// Ends every connection.
    async fn close(&self);
}

/// A driver's error, or one that already says what to do.
pub(super) enum Failure {
    Driver(sqlx::Error),
    Known(UsersError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<UsersError> for Failure {
    fn from(error: UsersError) -> Self {
        Self::Known(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_written_down() {
        for position in [Position::Integer(-9), Position::Integer(u64::MAX.into()), Position::Text("t: a:b ".into())] {
            assert_eq!(Position::parse(&position.cursor()).ok(), Some(position));
        }
        for wrong in ["", "42", "i:x", "x:1"] {
            assert!(Position::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_a_number_written_plainly_is_an_integer_id() {
        assert_eq!(integer("-7"), Some(-7));
        for text in ["007", "+7", "7 ", "-0", "", "7.0"] {
            assert_eq!(integer(text), None, "{text:?}");
        }
    }
}
