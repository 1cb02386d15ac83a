//! Whether the settings fit the database, told before the first sweep rather than in the middle of it.

use super::engine::Failure;
use super::error::UsersError;
use super::source::Mapped;
use super::{LOOK_UP, UsersSource};

/// What [`UsersSource::probe`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// How many users there are; `None` if counting takes too long.
    pub users: Option<i64>,
    /// Rows whose id is NULL, or of a type that cannot be one: they are skipped. `None` if counting takes too long.
    pub without_id: Option<i64>,
    /// What works, but not well.
    pub warnings: Vec<String>,
}

impl UsersSource {
    /// Checks that the database can be reached and read, that the table and every mapped column are there, and that the id
    /// can be paged by.
    pub async fn probe(&self) -> Result<Probe, UsersError> {
        let action = "connecting to the users' database";
        match tokio::time::timeout(super::engine::ACQUIRE, self.engine.reach()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.failure(action, error.into())),
            Err(_) => {
                return Err(UsersError::Unreachable { action, reason: format!("{} does not answer", self.shown_url) });
            }
        }
        self.check_columns().await?;
        if let Some(first) = self.page(None, 1).await?.users.first() {
            self.find(first).await?;
        }
        let unique =
            self.bounded("looking for an index of users", async { Ok(self.engine.has_unique_id().await?) }).await?;
        let mut warnings = Vec::new();
        if unique == Some(false) {
            warnings.push(format!(
                "users.columns.id = {:?}: no unique index has this column alone: pages of a large table will be slow, and \
                 ids that repeat are audited once for all their rows",
                self.source.id.name
            ));
        }
        let without_id =
            self.number("counting rows without an id", "count(*)", &format!("NOT ({})", self.engine.has_id())).await?;
        if let Some(rows) = without_id.filter(|rows| *rows > 0) {
            warnings.push(format!(
                "users.columns.id = {:?}: {rows} rows have no id that can be read; they are skipped",
                self.source.id.name
            ));
        }
        Ok(Probe { users: self.count().await?, without_id, warnings })
    }

    async fn check_columns(&self) -> Result<(), UsersError> {
        let source = &self.source;
        let columns: Vec<&Mapped> = std::iter::once(&source.id).chain(&source.others).collect();
        let list = columns.iter().map(|column| source.column(column)).collect::<Vec<_>>().join(", ");
        let Err(error) = self.prepare(&list).await else { return Ok(()) };
        if !matches!(error, UsersError::Rejected { .. }) {
            return Err(error);
        }
        if let Err(error) = self.prepare("1").await {
            return Err(self.missing_source(error).await);
        }
        for column in columns {
            let Err(UsersError::Rejected { reason, .. }) = self.prepare(&source.column(column)).await else { continue };
            let known = self.prepare("*").await.unwrap_or_default();
            let exists = known.iter().any(|name| source.dialect.same_column(name, &column.name));
            let problem = if exists {
                format!("the column cannot be read: {reason}")
            } else {
                let place = if source.table.is_some() {
                    format!("in the table {}", source.written)
                } else {
                    "in the query's result".to_owned()
                };
                format!("no such column {place}{}", suggestion(&column.name, &known))
            };
            return Err(UsersError::Misconfigured { setting: column.setting, value: column.name.clone(), problem });
        }
        Err(error)
    }

    async fn missing_source(&self, error: UsersError) -> UsersError {
        let UsersError::Rejected { reason, .. } = error else { return error };
        let mut problem = format!("the database refuses to read from it: {reason}");
        if self.source.table.is_some() {
            let known = self.bounded(LOOK_UP, async { Ok(self.engine.tables().await?) }).await.unwrap_or_default();
            if !known.contains(&self.source.written) {
                problem = format!("no such table{}", suggestion(&self.source.written, &known));
            }
        }
        UsersError::Misconfigured { setting: self.source.setting(), value: self.source.written.clone(), problem }
    }

    async fn prepare(&self, columns: &str) -> Result<Vec<String>, UsersError> {
        let sql = format!("-- users_columns\nSELECT {columns} FROM {}", self.source.from);
        self.bounded(LOOK_UP, async { self.engine.prepare(sql).await.map_err(Failure::Driver) }).await
    }
}

/// `; did you mean …?` with the nearest name, or the names that there are.
fn suggestion(name: &str, known: &[String]) -> String {
    let likeness = |candidate: &str| strsim::jaro_winkler(&candidate.to_lowercase(), &name.to_lowercase());
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest {
        Some(nearest) if likeness(nearest) > 0.75 => format!("; did you mean {nearest:?}?"),
        Some(_) => {
            let mut names = known.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ");
            if known.len() > 12 {
                names.push_str(", …");
            }
            format!("; there are: {names}")
        }
        None => "; the database shows none to this login".to_owned(),
    }
}
