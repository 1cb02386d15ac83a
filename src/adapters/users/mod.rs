//! Where the app's users come from: a table, or a query, of the app's own database, which is only read.
//!
//! Users are paged by their id, so that a page costs the same wherever it is and a user who was there all the time is
//! neither missed nor seen twice, whatever is inserted or deleted meanwhile. For that the order must tell any two ids
//! apart; how each engine sees to it is told in its file. Ids come through unchanged: nothing is trimmed, folded or padded.

mod engine;
mod error;
mod import;
mod mysql;
mod postgres;
mod probe;
mod source;
mod sqlite;

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

pub use error::UsersError;
pub use import::{Imported, Rejected, import};
pub use probe::Probe;

use crate::config;
use crate::domain::id::UserId;
use crate::domain::notification::{NoAddress, Recipient};

use engine::{Engine, Failure, Position, Row};
use source::{Dialect, Source};

/// How many users are looked up by one statement.
const LOOKUP_CHUNK: usize = 500;

/// The auditor's own table of users.
const OWN_TABLE: &str = "auditor_users";

const LOOK_UP: &str = "reading the shape of the users' table";

/// The app's users.
pub struct UsersSource {
    engine: Box<dyn Engine>,
    source: Source,
    timeout: Duration,
    shown_url: String,
}

/// Of the auditor's own table it is known which columns there are.
fn with_own_columns(settings: &config::Users) -> config::Users {
    let mut settings = settings.clone();
    if settings.url.is_none() && settings.query.is_none() && settings.table == OWN_TABLE {
        let columns = &mut settings.columns;
        for (column, own) in
            [(&mut columns.name, "name"), (&mut columns.locale, "locale"), (&mut columns.time_zone, "time_zone")]
        {
            column.get_or_insert_with(|| own.to_owned());
        }
    }
    settings
}

/// Some users, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Their ids; an id that repeats in the source may repeat here.
    pub users: Vec<UserId>,
    /// Where the next page begins; `None` at the end. Plain text, valid across restarts.
    pub next: Option<String>,
}

impl UsersSource {
    /// Reads the settings; connections are made when they are needed, so an app's database that is down at the start stops
    /// nothing ([`probe`](Self::probe) tells). `own_database_url` is the auditor's own, for when `users.url` is unset.
    ///
    /// Must be called within a Tokio runtime.
    pub fn connect(settings: &config::Users, own_database_url: &SecretString) -> Result<Self, UsersError> {
        let settings = &with_own_columns(settings);
        let (setting, url) = match &settings.url {
            Some(url) => ("users.url", url.expose_secret()),
            None => ("database.url", own_database_url.expose_secret()),
        };
        let shown_url = shown(url);
        let unreadable = |reason: &dyn std::fmt::Display| UsersError::Misconfigured {
            setting,
            value: shown_url.clone(),
            problem: format!("not a database URL: {}", error::masked(&reason.to_string())),
        };
        let (source, engine): (Source, Box<dyn Engine>) = match url.split(':').next().unwrap_or_default() {
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(url).map_err(|error| unreadable(&error))?;
                let source = Source::new(settings, Dialect::Postgres)?;
                (source.clone(), Box::new(postgres::Postgres::new(options, settings, source)))
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(url).map_err(|error| unreadable(&error))?;
                let source = Source::new(settings, Dialect::Mysql)?;
                (source.clone(), Box::new(mysql::Mysql::new(options, settings, source)))
            }
            "sqlite" => {
                let options = SqliteConnectOptions::from_str(url).map_err(|error| unreadable(&error))?;
                let source = Source::new(settings, Dialect::Sqlite)?;
                (source.clone(), Box::new(sqlite::Sqlite::new(options, settings, source)))
            }
            _ => return Err(unreadable(&"it must begin with postgres://, mysql://, mariadb:// or sqlite:")),
        };
        Ok(Self { engine, source, timeout: settings.statement_timeout, shown_url })
    }

    /// Up to `limit` users after the cursor, or the first ones. Rows without an id are skipped.
    pub async fn page(&self, after: Option<&str>, limit: u32) -> Result<Page, UsersError> {
        let after = after.map(Position::parse).transpose()?;
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let read = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let mut found = self.bounded("reading a page of users", self.engine.page(after, read)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(Position::cursor);
        Ok(Page { users: found.into_iter().map(Position::id).collect(), next })
    }

    /// One user as they are now; `None` if there is no user with exactly this id.
    pub async fn find(&self, user: &UserId) -> Result<Option<Recipient>, UsersError> {
        Ok(self.find_many(std::slice::from_ref(user)).await?.remove(user))
    }

    /// Those of the users that exist. Where rows repeat an id, one with a usable address is taken.
    pub async fn find_many(&self, users: &[UserId]) -> Result<HashMap<UserId, Recipient>, UsersError> {
        let mut found: HashMap<UserId, Recipient> = HashMap::with_capacity(users.len());
        for chunk in users.chunks(LOOKUP_CHUNK) {
            let ids: Vec<&str> = chunk.iter().map(UserId::as_str).collect();
            let mut rows = self.bounded("looking up users", self.engine.rows(&ids)).await?;
            // What the database takes for equal may still be another user: 'Ann' is not 'ann'.
            rows.retain(|row| ids.contains(&row.id.as_str()));
            rows.sort_by(|one, other| (&one.id, &one.email).cmp(&(&other.id, &other.email)));
            for recipient in rows.into_iter().map(recipient) {
                let known = found.get(&recipient.user);
                if known.is_none_or(|known| known.email.is_err() && recipient.email.is_ok()) {
                    found.insert(recipient.user.clone(), recipient);
                }
            }
        }
        Ok(found)
    }

    /// How many users there are; `None` if counting them takes longer than a statement may.
    pub async fn count(&self) -> Result<Option<i64>, UsersError> {
        self.number("counting users", "count(*)", &self.engine.has_id()).await
    }

    /// Runs a statement as it is on a connection of the source, so that the suite can prove that none can write.
    #[doc(hidden)]
    pub async fn attempt_write(&self, statement: &'static str) -> Result<(), UsersError> {
        self.bounded("writing to the users' database", async { Ok(self.engine.execute(statement).await?) }).await
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    async fn number(&self, action: &'static str, what: &str, condition: &str) -> Result<Option<i64>, UsersError> {
        let sql = format!("-- users_number\nSELECT {what} FROM {} WHERE {condition}", self.source.from);
        match self.bounded(action, async { Ok(self.engine.number(sql).await?) }).await {
            Ok(number) => Ok(Some(number)),
            Err(UsersError::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server ends a statement that takes too long; this is for a server that does not answer at all.
    async fn bounded<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, UsersError> {
        let limit = self.timeout.saturating_add(engine::ACQUIRE).saturating_add(Duration::from_secs(2));
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|failure| self.failure(action, failure)),
            Err(_) => Err(UsersError::Timeout { action, limit }),
        }
    }

    fn failure(&self, action: &'static str, failure: Failure) -> UsersError {
        match failure {
            Failure::Known(error) => error,
            Failure::Driver(error) => UsersError::from_driver(action, self.timeout, &error),
        }
    }
}

impl std::fmt::Debug for UsersSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsersSource")
            .field("url", &self.shown_url)
            .field("from", &self.source.written)
            .finish_non_exhaustive()
    }
}

/// A URL without its password and its parameters, either of which may be secret.
fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) => {
            if parsed.password().is_some() && parsed.set_password(Some("…")).is_err() {
                return "…".to_owned();
            }
            parsed.set_query(None);
            parsed.to_string()
        }
        Err(_) => url.split(':').next().map_or_else(|| "…".to_owned(), |scheme| format!("{scheme}:…")),
    }
}

fn recipient(row: Row) -> Recipient {
    let present = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let email = match present(row.email) {
        Some(email) => email.parse().map_err(|_| NoAddress::Invalid),
        None => Err(NoAddress::Missing),
    };
    Recipient {
        user: UserId::new(row.id),
        email,
        name: present(row.name),
        locale: present(row.locale),
        time_zone: present(row.time_zone).and_then(|zone| zone.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(shown("postgres://app:s3cret@db:5432/app?sslkey=k"), "postgres://app:%E2%80%A6@db:5432/app");
        assert_eq!(shown("sqlite:users.sqlite"), "sqlite:users.sqlite");
        assert_eq!(shown("postgres://app:s3/cret@@@:x"), "postgres:…");
    }

    #[test]
    fn an_address_is_trimmed_and_an_unknown_time_zone_is_none() {
        let row = |email: &str, zone: &str| Row {
            id: " 1".into(),
            email: Some(email.into()),
            time_zone: Some(zone.into()),
            name: Some(" ".into()),
            ..Row::default()
        };
        let ann = recipient(row(" ann@example.org\n", "Europe/Berlin"));
        assert_eq!(ann.email.map(|email| email.as_str().to_owned()), Ok("ann@example.org".to_owned()));
        assert_eq!(ann.time_zone, Some(chrono_tz::Europe::Berlin));
        assert_eq!((ann.user.as_str(), ann.name), (" 1", None));
        let bob = recipient(row("bob at example", "Mars/Olympus"));
        assert_eq!((bob.email, bob.time_zone), (Err(NoAddress::Invalid), None));
        assert_eq!(recipient(row("  ", "")).email, Err(NoAddress::Missing));
    }
}
