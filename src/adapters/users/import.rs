//! `users import`: a CSV file becomes the small table of our own, `auditor_users`, for those who have no table to point at.
//!
//! The whole file is read and checked before the first row is written, and all rows are written in one transaction, so a
//! file that is refused changed nothing. Users who are not in the file stay as they are, and so do columns it does not have.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use csv::{ReaderBuilder, StringRecord};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::domain::id::UserId;
use crate::domain::notification::EmailAddress;

use super::UsersError;

/// The columns of our own table; the first two are required in a file.
const COLUMNS: [&str; 5] = ["id", "email", "name", "locale", "time_zone"];
/// No line of a file may be longer than this, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// How many rows one statement writes.
const CHUNK: usize = 1_000;
/// How long a statement may wait for another writer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Users who are new.
    pub inserted: u64,
    /// Users of whom something changed.
    pub updated: u64,
    /// Users who were there, just so.
    pub unchanged: u64,
    /// Lines that were overruled by a later one with the same id.
    pub duplicates: u64,
    /// Lines that were left out.
    pub rejected: Vec<Rejected>,
}

/// A line that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its number, from 1; the header is line 1.
    pub line: u64,
    /// Why.
    pub reason: &'static str,
}

/// Writes the users of a CSV file (UTF-8, comma-separated, with a header) into the auditor's own database.
///
/// `id` and `email` are required columns, `name`, `locale` and `time_zone` are optional. An id is taken as it stands; the
/// last of several lines with one id wins. A line whose id is empty or holds a comma (Composio cannot be asked for it), or
/// whose address or time zone is invalid, is left out and reported. An empty address is accepted.
pub async fn import(own_database_url: &SecretString, file: &Path) -> Result<Imported, UsersError> {
    let path = file.to_owned();
    let (columns, users, mut imported) =
        tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| UsersError::File {
            file: file.display().to_string(),
            line: 0,
            problem: format!("reading it failed: {error}"),
        })??;
    let failed = |error: sqlx::Error| UsersError::from_driver("importing users", PATIENCE, &error);
    let url = own_database_url.expose_secret();
    let written = match url.split(':').next().unwrap_or_default() {
        "postgres" | "postgresql" => write_postgres(url, &columns, &users).await.map_err(failed)?,
        "sqlite" => write_sqlite(url, &columns, &users).await.map_err(failed)?,
        _ => {
            let problem = "the auditor's own database must be PostgreSQL or SQLite".to_owned();
            return Err(UsersError::Misconfigured { setting: "database.url", value: super::shown(url), problem });
        }
    };
    imported.inserted = written.inserted;
    imported.updated = written.updated;
    imported.unchanged = users.len() as u64 - written.inserted - written.updated;
    Ok(imported)
}

/// One user's fields, in the order of the file's columns.
type Fields = Vec<Option<String>>;

struct Written {
    inserted: u64,
    updated: u64,
}

fn read(path: &Path) -> Result<(Vec<&'static str>, Vec<Fields>, Imported), UsersError> {
    let refused = |line: u64, problem: String| UsersError::File { file: path.display().to_string(), line, problem };
    let opened = std::fs::File::open(path).map_err(|error| refused(0, format!("cannot open it: {error}")))?;
    let since = Arc::new(AtomicUsize::new(0));
    let bounded = Bounded { inner: BufReader::new(opened), since: Arc::clone(&since) };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| -> Result<Option<u64>, UsersError> {
        let line = reader.position().line();
        let more = reader.read_record(record).map_err(|error| refused(line.max(1), csv_problem(&error)))?;
        since.store(0, Ordering::Relaxed);
        let line = record.position().map_or(line, csv::Position::line);
        if record.as_slice().len() > LONGEST_LINE {
            return Err(refused(line, TOO_LONG.to_owned()));
        }
        Ok(more.then_some(line))
    };
    if next(&mut record)?.is_none() {
        return Err(refused(1, format!("the file is empty: it needs a header with {}", COLUMNS.join(", "))));
    }
    let columns = header(&record).map_err(|problem| refused(1, problem))?;
    let id = columns.iter().position(|column| *column == "id").unwrap_or_default();
    let mut imported = Imported::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut users: Vec<Fields> = Vec::new();
    while let Some(line) = next(&mut record)? {
        if record.len() != columns.len() {
            let problem = format!("it has {} fields where the header has {}", record.len(), columns.len());
            return Err(refused(line, problem));
        }
        if let Some(reason) = objection(&columns, &record) {
            imported.rejected.push(Rejected { line, reason });
            continue;
        }
        let fields: Fields = columns.iter().zip(&record).map(|(column, text)| field(column, text)).collect();
        let key = record.get(id).unwrap_or_default();
        if let Some(place) = places.get(key) {
            imported.duplicates += 1;
            if let Some(earlier) = users.get_mut(*place) {
                *earlier = fields;
            }
        } else {
            places.insert(key.to_owned(), users.len());
            users.push(fields);
        }
    }
    Ok((columns, users, imported))
}

fn header(record: &StringRecord) -> Result<Vec<&'static str>, String> {
    let mut columns = Vec::new();
    for name in record {
        let name = name.trim_start_matches('\u{feff}').trim();
        let Some(known) = COLUMNS.iter().find(|column| **column == name) else {
            return Err(format!("unknown column {name:?}; a file may have {}", COLUMNS.join(", ")));
        };
        if columns.contains(known) {
            return Err(format!("the column {name} is there twice"));
        }
        columns.push(*known);
    }
    match COLUMNS.iter().take(2).find(|required| !columns.contains(required)) {
        Some(missing) => Err(format!("the header lacks the column {missing}; a file may have {}", COLUMNS.join(", "))),
        None => Ok(columns),
    }
}

/// Why a line is left out, if it is.
fn objection(columns: &[&str], record: &StringRecord) -> Option<&'static str> {
    if record.iter().any(|text| text.contains('\0')) {
        return Some("it holds a NUL character");
    }
    columns.iter().zip(record).find_map(|(column, text)| match *column {
        "id" if text.trim().is_empty() => Some("the id is empty"),
        "id" if !UserId::new(text).is_filterable() => Some("the id holds a comma, so Composio cannot be asked for it"),
        "email" if !text.trim().is_empty() && EmailAddress::from_str(text).is_err() => Some("invalid email address"),
        "time_zone" if !text.trim().is_empty() && text.trim().parse::<chrono_tz::Tz>().is_err() => {
            Some("unknown time zone: it must be an IANA name such as Europe/Berlin")
        }
        _ => None,
    })
}

fn field(column: &str, text: &str) -> Option<String> {
    let text = if column == "id" { text } else { text.trim() };
    (!text.is_empty()).then(|| text.to_owned())
}

const TOO_LONG: &str = "it is longer than 64 KiB; is a quote left open?";

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => TOO_LONG.to_owned(),
        csv::ErrorKind::Io(error) => format!("cannot read it: {error}"),
        _ => "it is not CSV".to_owned(),
    }
}

/// A reader that fails when one record swallows more than a line may hold, before memory does.
struct Bounded<R> {
    inner: R,
    since: Arc<AtomicUsize>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        // What was read ahead of the record counts too: hence twice.
        if self.since.fetch_add(count, Ordering::Relaxed) > 2 * LONGEST_LINE {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(count)
    }
}

/// `SET` and the condition under which something changes, for the columns that the file has.
fn changes(columns: &[&str], differs: &str) -> (String, String) {
    let others: Vec<&&str> = columns.iter().filter(|column| **column != "id").collect();
    let set: Vec<String> = others.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let changed: Vec<String> =
        others.iter().map(|column| format!("auditor_users.{column} {differs} excluded.{column}")).collect();
    (set.join(", "), changed.join(" OR "))
}

async fn write_postgres(url: &str, columns: &[&'static str], users: &[Fields]) -> Result<Written, sqlx::Error> {
    let timeout = PATIENCE.as_millis().to_string();
    let options = PgConnectOptions::from_str(url)?.options([("statement_timeout", timeout.as_str())]);
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("-- lock_users\nLOCK TABLE auditor_users IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await?;
    let (set, changed) = changes(columns, "IS DISTINCT FROM");
    let lists: Vec<String> = (1..=columns.len()).map(|number| format!("${number}::text[]")).collect();
    let upsert = format!(
        "-- import_users\nINSERT INTO auditor_users ({}) SELECT * FROM unnest({})
        ON CONFLICT (id) DO UPDATE SET {set} WHERE {changed}",
        columns.join(", "),
        lists.join(", ")
    );
    let mut written = Written { inserted: 0, updated: 0 };
    for chunk in users.chunks(CHUNK) {
        let column = |name: &str| -> Vec<Option<&str>> {
            let place = columns.iter().position(|column| *column == name).unwrap_or_default();
            chunk.iter().map(|fields| fields.get(place).and_then(Option::as_deref)).collect()
        };
        let known: i64 =
            sqlx::query_scalar("-- known_users\nSELECT count(*) FROM auditor_users WHERE id = ANY ($1::text[])")
                .bind(column("id"))
                .fetch_one(&mut *transaction)
                .await?;
        let mut query = sqlx::query(AssertSqlSafe(upsert.clone()));
        for name in columns {
            query = query.bind(column(name));
        }
        let affected = query.execute(&mut *transaction).await?.rows_affected();
        written.add(chunk.len(), known, affected);
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(written)
}

async fn write_sqlite(url: &str, columns: &[&'static str], users: &[Fields]) -> Result<Written, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(false).busy_timeout(PATIENCE);
    let mut connection = options.connect().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (set, changed) = changes(columns, "IS NOT");
    let fields: Vec<String> = (0..columns.len()).map(|place| format!("json_extract(value, '$[{place}]')")).collect();
    let id = columns.iter().position(|column| *column == "id").unwrap_or_default();
    let known_users = format!(
        "-- known_users\nSELECT count(*) FROM auditor_users
        WHERE id IN (SELECT json_extract(value, '$[{id}]') FROM json_each(?1))"
    );
    let upsert = format!(
        "-- import_users\nINSERT INTO auditor_users ({}) SELECT {} FROM json_each(?1) WHERE true
        ON CONFLICT (id) DO UPDATE SET {set} WHERE {changed}",
        columns.join(", "),
        fields.join(", ")
    );
    let mut written = Written { inserted: 0, updated: 0 };
    for chunk in users.chunks(CHUNK) {
        let rows = serde_json::json!(chunk).to_string();
        let known: i64 =
            sqlx::query_scalar(AssertSqlSafe(known_users.clone())).bind(&rows).fetch_one(&mut *transaction).await?;
        let affected =
            sqlx::query(AssertSqlSafe(upsert.clone())).bind(&rows).execute(&mut *transaction).await?.rows_affected();
        written.add(chunk.len(), known, affected);
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(written)
}

impl Written {
    fn add(&mut self, rows: usize, known: i64, affected: u64) {
        let inserted = (rows as u64).saturating_sub(u64::try_from(known).unwrap_or_default());
        self.inserted += inserted;
        self.updated += affected.saturating_sub(inserted);
    }
}
