//! Users in PostgreSQL.
//!
//! The order of a page is the id column's own, so that its index serves, as long as that order tells any two ids apart:
//! integers, uuids, and text under a deterministic collation. Otherwise (citext, a nondeterministic collation, an
//! expression of a query) it is the order of the bytes, `COLLATE "C"`. The session is read only and its statements are
//! limited in time by connection options, so that no connection can be without them.

use async_trait::async_trait;
use sqlx::postgres::{PgColumn, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row as _, SqlSafeStr, Statement, TypeInfo};
use tokio::sync::OnceCell;

use crate::config;

use super::engine::{ACQUIRE, Engine, Failure, Position, Row, integer};
use super::error::UsersError;
use super::source::Source;

pub(super) struct Postgres {
    options: PgConnectOptions,
    pool: PgPool,
    source: Source,
    key: OnceCell<Key>,
}

/// How the id column is read, ordered and compared.
struct Key {
    kind: Kind,
    /// The id as text.
    read: String,
    /// What pages are ordered by.
    order: String,
    /// The type of a cursor.
    cursor: &'static str,
    /// The type of a list of ids.
    list: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Uuid,
    Text,
}

impl Postgres {
    pub(super) fn new(options: PgConnectOptions, settings: &config::Users, source: Source) -> Self {
        let timeout = settings.statement_timeout.as_millis().max(1).to_string();
        let options = options
            .application_name("connection-auditor users")
            .options([("default_transaction_read_only", "on"), ("statement_timeout", timeout.as_str())]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options.clone());
        Self { options, pool, source, key: OnceCell::new() }
    }

    async fn key(&self) -> Result<&Key, Failure> {
        self.key.get_or_try_init(|| self.find_key()).await
    }

    async fn find_key(&self) -> Result<Key, Failure> {
        let id = self.source.id();
        let sql = format!("-- users_id\nSELECT {id} FROM {}", self.source.from);
        let statement = self.pool.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        let column = statement.columns().first().ok_or(sqlx::Error::RowNotFound)?;
        let type_name = column.type_info().name();
        let as_text = format!("{id}::text");
        let key = |kind, read: &str, order: &str, cursor, list: &str| Key {
            kind,
            read: read.to_owned(),
            order: order.to_owned(),
            cursor,
            list: list.to_owned(),
        };
        let bytes = format!("{as_text} COLLATE \"C\"");
        Ok(match type_name {
            "INT2" | "INT4" | "INT8" => key(Kind::Integer, &as_text, &id, "bigint", "bigint"),
            "UUID" => key(Kind::Uuid, &as_text, &id, "uuid", "uuid"),
            "TEXT" | "VARCHAR" if self.tells_apart(column).await? => key(Kind::Text, &as_text, &id, "text", "text"),
            // char(n) is read as it is, padded: a cast would cut off its spaces.
            "CHAR" if self.tells_apart(column).await? => key(Kind::Text, &id, &id, "bpchar", "bpchar"),
            "TEXT" | "VARCHAR" | "NAME" => key(Kind::Text, &as_text, &bytes, "text", "text"),
            "CHAR" => key(Kind::Text, &id, &bytes, "text", "bpchar"),
            name if name.eq_ignore_ascii_case("citext") => {
                let list = self.qualified_type(column).await?;
                key(Kind::Text, &as_text, &bytes, "text", &list)
            }
            other => {
                let problem = format!(
                    "its type {} cannot be a user id: it must be text, an integer or a uuid; cast it in users.query",
                    other.to_lowercase()
                );
                return Err(self.source.unusable_id(problem).into());
            }
        })
    }

    /// Whether the column's own order tells any two texts apart; `false` if it is no plain column.
    async fn tells_apart(&self, column: &PgColumn) -> Result<bool, sqlx::Error> {
        let (Some(relation), Some(attribute)) = (column.relation_id(), column.relation_attribute_no()) else {
            return Ok(false);
        };
        let sql = "-- users_id_collation
            SELECT c.collisdeterministic FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
            WHERE a.attrelid = $1 AND a.attnum = $2";
        let found: Option<bool> =
            sqlx::query_scalar(sql).bind(relation).bind(attribute).fetch_optional(&self.pool).await?;
        Ok(found.unwrap_or(false))
    }

    async fn qualified_type(&self, column: &PgColumn) -> Result<String, sqlx::Error> {
        let sql = "-- users_id_type\nSELECT format_type(t.oid, NULL) FROM pg_type t WHERE t.oid = $1";
        sqlx::query_scalar(sql).bind(column.type_info().oid()).fetch_one(&self.pool).await
    }
}

fn fits(kind: Kind, id: &str) -> bool {
    match kind {
        Kind::Integer => integer(id).is_some_and(|number| i64::try_from(number).is_ok()),
        Kind::Uuid => uuid::Uuid::try_parse(id).is_ok_and(|uuid| uuid.to_string() == id),
        Kind::Text => !id.contains('\0'),
    }
}

#[async_trait]
impl Engine for Postgres {
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
            SELECT CASE WHEN table_schema = current_schema() THEN table_name::text
                ELSE table_schema || '.' || table_name END
            FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') LIMIT 2000";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await
    }

    async fn has_unique_id(&self) -> Result<Option<bool>, sqlx::Error> {
        let sql = format!("-- users_id\nSELECT {} FROM {}", self.source.id(), self.source.from);
        let statement = self.pool.prepare(AssertSqlSafe(sql).into_sql_str()).await?;
        let column = statement.columns().first();
        let origin = column.and_then(|column| column.relation_id().zip(column.relation_attribute_no()));
        let (true, Some((relation, attribute))) = (self.source.table.is_some(), origin) else { return Ok(None) };
        let sql = "-- users_id_unique
            SELECT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
                AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = $2)
            FROM pg_class c WHERE c.oid = $1 AND c.relkind IN ('r', 'p')";
        sqlx::query_scalar(sql).bind(relation).bind(attribute).fetch_optional(&self.pool).await
    }

    fn has_id(&self) -> String {
        format!("{} IS NOT NULL", self.source.id())
    }

    async fn page(&self, after: Option<Position>, limit: i64) -> Result<Vec<Position>, Failure> {
        let key = self.key().await?;
        let after = match (after, key.kind) {
            (None, _) => None,
            (Some(Position::Integer(number)), Kind::Integer) => Some(number.to_string()),
            (Some(Position::Text(text)), Kind::Uuid | Kind::Text) => Some(text),
            _ => return Err(UsersError::Cursor.into()),
        };
        if after.as_ref().is_some_and(|after| !fits(key.kind, after)) {
            return Err(UsersError::Cursor.into());
        }
        let Key { read, order, cursor, .. } = key;
        let from = &self.source.from;
        let ids: Vec<String> = match after {
            None => {
                let has_id = self.has_id();
                let sql =
                    format!("-- users_first_page\nSELECT {read} FROM {from} WHERE {has_id} ORDER BY {order} LIMIT $1");
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(limit).fetch_all(&self.pool).await?
            }
            Some(after) => {
                let sql = format!(
                    "-- users_page\nSELECT {read} FROM {from} WHERE {order} > $1::text::{cursor} ORDER BY {order} LIMIT $2"
                );
                sqlx::query_scalar(AssertSqlSafe(sql)).bind(after).bind(limit).fetch_all(&self.pool).await?
            }
        };
        ids.into_iter()
            .map(|id| match key.kind {
                Kind::Integer => id.parse().map(Position::Integer).map_err(|_| UsersError::Cursor.into()),
                Kind::Uuid | Kind::Text => Ok(Position::Text(id)),
            })
            .collect()
    }

    async fn rows(&self, ids: &[&str]) -> Result<Vec<Row>, Failure> {
        let key = self.key().await?;
        let Source { details, from, .. } = &self.source;
        let ids: Vec<&str> = ids.iter().copied().filter(|id| fits(key.kind, id)).collect();
        let (read, list, id) = (&key.read, &key.list, self.source.id());
        let sql =
            format!("-- users_by_id\nSELECT {read}, {details} FROM {from} WHERE {id} = ANY ($1::text[]::{list}[])");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
    }

    async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&self.pool).await.map(|_| ())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: row.try_get(0)?,
        email: row.try_get(1)?,
        name: row.try_get(2)?,
        locale: row.try_get(3)?,
        time_zone: row.try_get(4)?,
    })
}
