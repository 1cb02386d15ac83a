//! Users in SQLite.
//!
//! A column may hold any type in any row, so an id is taken as what its row says it is, an integer or a text; in SQLite's
//! order all integers come before all texts. Texts are ordered by their bytes whatever collation the column has, which is
//! what almost every index does. SQLite has no statement timeout: a progress handler interrupts what takes too long.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row as _, SqlSafeStr, Statement};

use crate::config;

use super::engine::{ACQUIRE, Engine, Failure, Position, Row, integer};
use super::source::Source;

/// How many steps of SQLite's machine lie between two looks at the clock: well under a millisecond.
const STEPS: i32 = 10_000;

pub(super) struct Sqlite {
    options: SqliteConnectOptions,
    pool: SqlitePool,
    source: Source,
    timeout: Duration,
}

impl Sqlite {
    pub(super) fn new(options: SqliteConnectOptions, settings: &config::Users, source: Source) -> Self {
        let options = options.read_only(true).create_if_missing(false).busy_timeout(settings.statement_timeout);
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options.clone());
        Self { options, pool, source, timeout: settings.statement_timeout }
    }

    /// A connection whose statements are interrupted when the time is up.
    async fn connection(&self) -> Result<PoolConnection<sqlx::Sqlite>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let deadline = Instant::now() + self.timeout;
        connection.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() < deadline);
        Ok(connection)
    }
}

#[async_trait]
impl Engine for Sqlite {
    async fn reach(&self) -> Result<(), sqlx::Error> {
        self.options.connect().await?.close().await
    }

    async fn prepare(&self, sql: String) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = self.connection().await?;
        let statement = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    async fn number(&self, sql: String) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *self.connection().await?).await
    }

    async fn tables(&self) -> Result<Vec<String>, sqlx::Error> {
        let sql = "-- users_tables
            SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        sqlx::query_scalar(sql).fetch_all(&mut *self.connection().await?).await
    }

    async fn has_unique_id(&self) -> Result<Option<bool>, sqlx::Error> {
        let Some(table) = &self.source.table else { return Ok(None) };
        let sql = "-- users_id_unique
            SELECT (SELECT count(*) = 1 AND max(name = ?2 COLLATE NOCASE) FROM pragma_table_info(?1) WHERE pk > 0)
                OR EXISTS (SELECT 1 FROM pragma_index_list(?1) AS i WHERE i.\"unique\" AND NOT i.partial
                    AND (SELECT count(*) = 1 AND max(c.name = ?2 COLLATE NOCASE) FROM pragma_index_info(i.name) AS c))
            FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        let found: Option<Option<bool>> = sqlx::query_scalar(sql)
            .bind(&table.name)
            .bind(&self.source.id.name)
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        Ok(found.map(|unique| unique.unwrap_or(false)))
    }

    fn has_id(&self) -> String {
        format!("typeof({}) IN ('integer', 'text')", self.source.id())
    }

    async fn page(&self, after: Option<Position>, limit: i64) -> Result<Vec<Position>, Failure> {
        let (id, from, has_id) = (self.source.id(), &self.source.from, self.has_id());
        let order = format!("{id} COLLATE BINARY");
        let read = format!("typeof({id}), CAST({id} AS TEXT)");
        let mut connection = self.connection().await?;
        let rows: Vec<(String, String)> = match after {
            None => {
                let sql =
                    format!("-- users_first_page\nSELECT {read} FROM {from} WHERE {has_id} ORDER BY {order} LIMIT ?1");
                sqlx::query_as(AssertSqlSafe(sql)).bind(limit).fetch_all(&mut *connection).await?
            }
            Some(after) => {
                let sql = format!(
                    "-- users_page\nSELECT {read} FROM {from} WHERE {has_id} AND {order} > ?1 ORDER BY {order} LIMIT ?2"
                );
                let query = sqlx::query_as(AssertSqlSafe(sql));
                let query = match after {
                    Position::Text(text) => query.bind(text),
                    Position::Integer(number) => {
                        query.bind(i64::try_from(number).map_err(|_| super::UsersError::Cursor)?)
                    }
                };
                query.bind(limit).fetch_all(&mut *connection).await?
            }
        };
        rows.into_iter()
            .map(|(kind, id)| match kind.as_str() {
                "integer" => id.parse().map(Position::Integer).map_err(|_| super::UsersError::Cursor.into()),
                _ => Ok(Position::Text(id)),
            })
            .collect()
    }

    async fn rows(&self, ids: &[&str]) -> Result<Vec<Row>, Failure> {
        let Source { details, from, .. } = &self.source;
        let id = self.source.id();
        // A user asked for as "42" may be stored as the text or as the number.
        let mut wanted: Vec<serde_json::Value> = ids.iter().map(|id| (*id).into()).collect();
        wanted.extend(ids.iter().filter_map(|id| integer(id)?.try_into().ok()).map(|id: i64| id.into()));
        let sql = format!(
            "-- users_by_id\nSELECT CAST({id} AS TEXT), {details} FROM {from}
            WHERE {id} COLLATE BINARY IN (SELECT value FROM json_each(?1)) AND {}",
            self.has_id()
        );
        let mut connection = self.connection().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(serde_json::Value::from(wanted).to_string())
            .fetch_all(&mut *connection)
            .await?;
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut *self.connection().await?).await.map(|_| ())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        name: row.try_get(2)?,
        locale: row.try_get(3)?,
        time_zone: row.try_get(4)?,
    })
}
