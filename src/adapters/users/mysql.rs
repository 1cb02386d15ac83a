//! Users in MySQL or MariaDB.
//!
//! Most collations take `a`, `A` and `á` for one, so a column's own order tells ids apart only where a unique index keeps
//! such ids from standing side by side. There it is used, and the cursor is compared in the column's own character set and
//! collation, so that the index serves. Everywhere else pages are ordered by the bytes of the id. The session is read only
//! and limited in time; the two servers name that limit differently.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row as _, SqlSafeStr, Statement, TypeInfo};
use tokio::sync::OnceCell;

use crate::config;

use super::engine::{ACQUIRE, Engine, Failure, Position, Row, integer};
use super::error::UsersError;
use super::source::Source;

pub(super) struct Mysql {
    options: MySqlConnectOptions,
    pool: MySqlPool,
    source: Source,
    key: OnceCell<Key>,
}

/// How the id column is ordered and compared.
struct Key {
    kind: Kind,
    /// What pages are ordered by.
    order: String,
    /// A cursor of that order.
    cursor: String,
    /// One id to look up.
    wanted: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    Text,
}

impl Kind {
    /// One id as a parameter, where the character set does not matter.
    fn parameter(self) -> &'static str {
        match self {
            Self::Signed => "CAST(? AS SIGNED)",
            Self::Unsigned => "CAST(? AS UNSIGNED)",
            Self::Text => "?",
        }
    }

    fn fits(self, id: &str) -> bool {
        match self {
            Self::Signed => integer(id).is_some_and(|number| i64::try_from(number).is_ok()),
            Self::Unsigned => integer(id).is_some_and(|number| u64::try_from(number).is_ok()),
            Self::Text => true,
        }
    }
}

impl Mysql {
    pub(super) fn new(options: MySqlConnectOptions, settings: &config::Users, source: Source) -> Self {
        let timeout = settings.statement_timeout;
        let pool = MySqlPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE)
            .after_connect(move |connection, _| Box::pin(limit_session(connection, timeout)))
            .connect_lazy_with(options.clone());
        Self { options, pool, source, key: OnceCell::new() }
    }

    async fn key(&self) -> Result<&Key, Failure> {
        self.key.get_or_try_init(|| self.find_key()).await
    }

    async fn find_key(&self) -> Result<Key, Failure> {
        let id = self.source.id();
        let sql = format!("-- users_id\nSELECT {id} FROM {}", self.source.from);
        let mut connection = self.pool.acquire().await?;
        let statement = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        let type_name = statement.columns().first().ok_or(sqlx::Error::RowNotFound)?.type_info().name().to_owned();
        let kind = match type_name.as_str() {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Kind::Signed,
            name if name.ends_with("INT UNSIGNED") => Kind::Unsigned,
            // A text under a binary collation is announced as binary too; one that is no text is found out when it is read.
            "CHAR" | "VARCHAR" | "BINARY" | "VARBINARY" | "ENUM" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT"
            | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => Kind::Text,
            other => return Err(self.unusable_type(other)),
        };
        if kind != Kind::Text {
            let parameter = kind.parameter().to_owned();
            return Ok(Key { kind, order: id, cursor: parameter.clone(), wanted: parameter });
        }
        let declared = self.declared(&mut connection).await?;
        drop(connection);
        let unique = self.has_unique_id().await? == Some(true);
        let (data_type, text) = declared.unwrap_or_default();
        match data_type.as_str() {
            "uuid" => return Ok(Key { kind, order: id, cursor: "?".to_owned(), wanted: "?".to_owned() }),
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                return Err(self.unusable_type(&data_type));
            }
            _ => {}
        }
        let own = text.map(|(charset, collation)| format!("CONVERT(? USING {charset}) COLLATE {collation}"));
        Ok(match own {
            Some(own) if unique => Key { kind, order: id, cursor: own.clone(), wanted: own },
            own => Key {
                kind,
                order: format!("CAST(CONVERT({id} USING utf8mb4) AS BINARY)"),
                cursor: "CAST(CONVERT(? USING utf8mb4) AS BINARY)".to_owned(),
                wanted: own.unwrap_or_else(|| "?".to_owned()),
            },
        })
    }

    fn unusable_type(&self, name: &str) -> Failure {
        let problem = format!(
            "its type {} cannot be a user id: it must be text, an integer or a uuid; turn it into text in users.query",
            name.to_lowercase()
        );
        self.source.unusable_id(problem).into()
    }

    /// The id's data type, character set and collation, as the table declares them; `None` in query mode.
    async fn declared(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<Option<(String, Option<(String, String)>)>, sqlx::Error> {
        let Some(table) = &self.source.table else { return Ok(None) };
        let sql = "-- users_id_declared
            SELECT CONVERT(data_type USING utf8mb4), CONVERT(character_set_name USING utf8mb4),
                CONVERT(collation_name USING utf8mb4)
            FROM information_schema.columns
            WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND column_name = ?";
        let found: Option<(String, Option<String>, Option<String>)> = sqlx::query_as(sql)
            .bind(&table.schema)
            .bind(&table.name)
            .bind(&self.source.id.name)
            .fetch_optional(connection)
            .await?;
        let is_name =
            |text: &String| text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
        Ok(found.map(|(data_type, charset, collation)| {
            (data_type.to_lowercase(), charset.filter(is_name).zip(collation.filter(is_name)))
        }))
    }
}

/// Makes a new connection read only and limits its statements in time.
async fn limit_session(connection: &mut MySqlConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query_scalar("-- users_server\nSELECT CONVERT(VERSION() USING utf8mb4)")
        .fetch_one(&mut *connection)
        .await?;
    let limit = if version.contains("MariaDB") {
        format!("SET SESSION max_statement_time = {:.3}", timeout.as_secs_f64().max(0.001))
    } else {
        format!("SET SESSION max_execution_time = {}", timeout.as_millis().max(1))
    };
    connection.execute(AssertSqlSafe(limit)).await?;
    connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
    Ok(())
}

#[async_trait]
impl Engine for Mysql {
    async fn reach(&self) -> Result<(), sqlx::Error> {
        self.options.connect().await?.close().await
    }

    async fn prepare(&self, sql: String) -> Result<Vec<String>, sqlx::Error> {
        let statement = self.pool.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        Ok(statement.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    async fn number(&self, sql: String) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await
    }

    async fn tables(&self) -> Result<Vec<String>, sqlx::Error> {
        let sql = "-- users_tables
            SELECT CONVERT(IF(table_schema = DATABASE(), table_name, CONCAT(table_schema, '.', table_name)) USING utf8mb4)
            FROM information_schema.tables
            WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') LIMIT 2000";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await
    }

    async fn has_unique_id(&self) -> Result<Option<bool>, sqlx::Error> {
        let Some(table) = &self.source.table else { return Ok(None) };
        let sql = "-- users_id_unique
            SELECT EXISTS (SELECT 1 FROM information_schema.statistics s
                WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name AND s.non_unique = 0
                GROUP BY s.index_name
                HAVING COUNT(*) = 1 AND MAX(s.column_name) = ? AND MAX(s.sub_part) IS NULL)
            FROM information_schema.tables t
            WHERE t.table_schema = COALESCE(?, DATABASE()) AND t.table_name = ? AND t.table_type = 'BASE TABLE'";
        let found: Option<i64> = sqlx::query_scalar(sql)
            .bind(&self.source.id.name)
            .bind(&table.schema)
            .bind(&table.name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.map(|unique| unique != 0))
    }

    fn has_id(&self) -> String {
        format!("{} IS NOT NULL", self.source.id())
    }

    async fn page(&self, after: Option<Position>, limit: i64) -> Result<Vec<Position>, Failure> {
        let key = self.key().await?;
        let (id, from, Key { order, cursor, kind, .. }) = (self.source.id(), &self.source.from, key);
        let after = match (after, kind) {
            (None, _) => None,
            (Some(Position::Integer(number)), Kind::Signed | Kind::Unsigned) => Some(number.to_string()),
            (Some(Position::Text(text)), Kind::Text) => Some(text),
            _ => return Err(UsersError::Cursor.into()),
        };
        if after.as_ref().is_some_and(|after| !kind.fits(after)) {
            return Err(UsersError::Cursor.into());
        }
        let rows = match after {
            None => {
                let has_id = self.has_id();
                let sql =
                    format!("-- users_first_page\nSELECT {id} FROM {from} WHERE {has_id} ORDER BY {order} LIMIT ?");
                sqlx::query(AssertSqlSafe(sql)).bind(limit).fetch_all(&self.pool).await?
            }
            Some(after) => {
                let sql =
                    format!("-- users_page\nSELECT {id} FROM {from} WHERE {order} > {cursor} ORDER BY {order} LIMIT ?");
                sqlx::query(AssertSqlSafe(sql)).bind(after).bind(limit).fetch_all(&self.pool).await?
            }
        };
        rows.iter().map(|row| self.position(row, *kind)).collect()
    }

    async fn rows(&self, ids: &[&str]) -> Result<Vec<Row>, Failure> {
        let Key { kind, wanted, .. } = self.key().await?;
        let kind = *kind;
        let ids: Vec<&str> = ids.iter().copied().filter(|id| kind.fits(id)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let id = self.source.id();
        let rows = match self.rows_where(&id, wanted, &ids).await {
            // The query's column cannot hold a character of one of these ids: compared in a character set that holds all.
            Err(sqlx::Error::Database(error)) if is_illegal_mix(error.as_ref()) => {
                self.rows_where(&format!("CONVERT({id} USING utf8mb4)"), wanted, &ids).await?
            }
            rows => rows?,
        };
        rows.iter()
            .map(|row| {
                Ok(Row {
                    id: self.position(row, kind)?.id().as_str().to_owned(),
                    email: row.try_get(1)?,
                    name: row.try_get(2)?,
                    locale: row.try_get(3)?,
                    time_zone: row.try_get(4)?,
                })
            })
            .collect()
    }

    async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&self.pool).await.map(|_| ())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn is_illegal_mix(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| matches!(error.number(), 1267 | 1270 | 1271))
}

impl Mysql {
    async fn rows_where(&self, key: &str, wanted: &str, ids: &[&str]) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let Source { details, from, .. } = &self.source;
        let id = self.source.id();
        let list = vec![wanted; ids.len()].join(", ");
        let sql = format!("-- users_by_id\nSELECT {id}, {details} FROM {from} WHERE {key} IN ({list})");
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        for id in ids {
            query = query.bind((*id).to_owned());
        }
        query.fetch_all(&self.pool).await
    }

    fn position(&self, row: &MySqlRow, kind: Kind) -> Result<Position, Failure> {
        Ok(match kind {
            Kind::Signed => Position::Integer(row.try_get::<i64, _>(0)?.into()),
            Kind::Unsigned => Position::Integer(row.try_get::<u64, _>(0)?.into()),
            Kind::Text => Position::Text(row.try_get(0).map_err(|_| self.unusable_type("binary"))?),
        })
    }
}
