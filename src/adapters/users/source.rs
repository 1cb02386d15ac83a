//! What is read from: a table with its column mapping, or a query, as safe pieces of SQL.
//!
//! Names come from the configuration and cannot be bound as parameters, so they are held to letters, digits, `_` and `$`
//! and quoted in the engine's own way; everything else is bound. Columns are always written with their alias: SQLite reads
//! a lone quoted name that it does not know as a piece of text.

use crate::config;

use super::error::UsersError;

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
}

impl Dialect {
    fn quoted(self, name: &str) -> String {
        match self {
            Self::Postgres | Self::Sqlite => format!("\"{name}\""),
            Self::Mysql => format!("`{name}`"),
        }
    }

    /// Whether two column names mean the same column.
    pub(super) fn same_column(self, one: &str, other: &str) -> bool {
        match self {
            Self::Postgres => one == other,
            Self::Mysql | Self::Sqlite => one.eq_ignore_ascii_case(other),
        }
    }

    fn as_text(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("{expression}::text"),
            Self::Mysql => format!("CAST({expression} AS CHAR)"),
            Self::Sqlite => format!("CAST({expression} AS TEXT)"),
        }
    }
}

/// A column of the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Its key in the configuration.
    pub(super) setting: &'static str,
    /// Its name in the database.
    pub(super) name: String,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

/// A table or a query, and which of its columns hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) dialect: Dialect,
    /// What follows `FROM`; its alias is `u`.
    pub(super) from: String,
    /// None: a query.
    pub(super) table: Option<Table>,
    /// What the operator wrote, for messages.
    pub(super) written: String,
    /// The id's column.
    pub(super) id: Mapped,
    /// The other columns that are mapped.
    pub(super) others: Vec<Mapped>,
    /// Email, name, locale and time zone as text, in this order; what is not mapped is NULL.
    pub(super) details: String,
}

impl Source {
    pub(super) fn new(settings: &config::Users, dialect: Dialect) -> Result<Self, UsersError> {
        let columns = &settings.columns;
        let id = mapped("users.columns.id", &columns.id)?;
        let optional = [
            ("users.columns.email", Some(&columns.email)),
            ("users.columns.name", columns.name.as_ref()),
            ("users.columns.locale", columns.locale.as_ref()),
            ("users.columns.time_zone", columns.time_zone.as_ref()),
        ];
        let mut others = Vec::new();
        let mut details = Vec::new();
        for (setting, name) in optional {
            let expression = match name {
                Some(name) => {
                    others.push(mapped(setting, name)?);
                    format!("u.{}", dialect.quoted(name))
                }
                None => "NULL".to_owned(),
            };
            details.push(dialect.as_text(&expression));
        }
        let (from, table, written) = if let Some(query) = &settings.query {
            (subquery(query)?, None, query.clone())
        } else {
            let table = table(&settings.table)?;
            let name = dialect.quoted(&table.name);
            let from = match &table.schema {
                Some(schema) => format!("{}.{name} AS u", dialect.quoted(schema)),
                None => format!("{name} AS u"),
            };
            (from, Some(table), settings.table.clone())
        };
        Ok(Self { dialect, from, table, written, id, others, details: details.join(", ") })
    }

    /// The id, unchanged.
    pub(super) fn id(&self) -> String {
        self.column(&self.id)
    }

    pub(super) fn column(&self, column: &Mapped) -> String {
        format!("u.{}", self.dialect.quoted(&column.name))
    }

    /// The key under which the source itself is configured.
    pub(super) fn setting(&self) -> &'static str {
        if self.table.is_some() { "users.table" } else { "users.query" }
    }

    /// The id's column is of no use as it is.
    pub(super) fn unusable_id(&self, problem: String) -> UsersError {
        UsersError::Misconfigured { setting: self.id.setting, value: self.id.name.clone(), problem }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= 128
        && text.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '$'))
}

const NAMES: &str = "a name is made of letters, digits, _ and $; for others write users.query and rename them there";

fn mapped(setting: &'static str, name: &str) -> Result<Mapped, UsersError> {
    if is_name(name) {
        Ok(Mapped { setting, name: name.to_owned() })
    } else {
        Err(UsersError::Misconfigured { setting, value: name.to_owned(), problem: NAMES.to_owned() })
    }
}

fn table(text: &str) -> Result<Table, UsersError> {
    let (schema, name) = match text.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, text),
    };
    if !is_name(name) || schema.is_some_and(|schema| !is_name(schema)) {
        let problem = format!("a table is written table or schema.table; {NAMES}");
        return Err(UsersError::Misconfigured { setting: "users.table", value: text.to_owned(), problem });
    }
    Ok(Table { schema: schema.map(ToOwned::to_owned), name: name.to_owned() })
}

/// The query as a source. The line break ends a comment in its last line.
fn subquery(query: &str) -> Result<String, UsersError> {
    let query = query.trim().trim_end_matches(';').trim_end();
    if query.is_empty() {
        let problem = "it is empty: write a SELECT, or leave it out and set users.table".to_owned();
        return Err(UsersError::Misconfigured { setting: "users.query", value: String::new(), problem });
    }
    Ok(format!("(\n{query}\n) AS u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(table: &str, id: &str) -> config::Users {
        let columns = config::UserColumns { id: id.into(), ..Default::default() };
        config::Users { table: table.into(), columns, ..Default::default() }
    }

    #[test]
    fn names_are_quoted_in_the_engines_own_way() {
        let source = Source::new(&settings("public.Users", "userId"), Dialect::Postgres).unwrap();
        assert_eq!(source.from, "\"public\".\"Users\" AS u");
        assert_eq!(source.id(), "u.\"userId\"");
        let source = Source::new(&settings("app.users", "id"), Dialect::Mysql).unwrap();
        assert_eq!(source.from, "`app`.`users` AS u");
        assert_eq!(
            source.details,
            "CAST(u.`email` AS CHAR), CAST(NULL AS CHAR), CAST(NULL AS CHAR), CAST(NULL AS CHAR)"
        );
    }

    #[test]
    fn a_name_that_could_leave_its_quotes_is_refused() {
        for name in ["", "id\"; DROP TABLE users; --", "a`b", "a b", "a.b.c", "a-b", "x\0", "'"] {
            assert!(Source::new(&settings(name, "id"), Dialect::Postgres).is_err(), "as a table: {name:?}");
            assert!(Source::new(&settings("users", name), Dialect::Mysql).is_err(), "as a column: {name:?}");
        }
    }

    #[test]
    fn a_query_may_end_in_a_comment_or_a_semicolon() {
        let source = |query: &str| {
            let settings = config::Users { query: Some(query.into()), ..Default::default() };
            Source::new(&settings, Dialect::Sqlite).map(|source| source.from)
        };
        assert_eq!(source("SELECT 1 AS id -- one").unwrap(), "(\nSELECT 1 AS id -- one\n) AS u");
        assert_eq!(source(" SELECT 1 AS id ; ").unwrap(), "(\nSELECT 1 AS id\n) AS u");
        assert!(source(" ; ").is_err());
    }
}
