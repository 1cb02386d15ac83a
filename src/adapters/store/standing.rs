//! What one user's handle rests on, from rows; and what a wish for a link comes to that could not be reserved.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use super::row::{AccountRow, At, Id, IncidentRow};
use crate::domain::id::{AccountId, LinkId, SweepId, Toolkit};
use crate::domain::link::{KeptLink, LIFE, LinkKey, MOST_LOST, Reserved, Wish};
use crate::domain::port::{LinkTrace, Standing, StoreResult, ToolkitName};

/// A user, whether known or not.
#[derive(Debug, FromRow)]
pub(super) struct StandingRow {
    observed_at: Option<At>,
    sweep_id: Option<Id>,
    doubted_at: Option<At>,
    incidents: Option<Json<Vec<IncidentRow>>>,
}

/// An account, with what its app is called.
#[derive(Debug, FromRow)]
pub(super) struct NamedAccountRow {
    #[sqlx(flatten)]
    account: AccountRow,
    app_name: Option<String>,
    app_logo: Option<String>,
    app_read_at: Option<At>,
}

impl StandingRow {
    /// Puts the two statements together.
    pub(super) fn with(self, accounts: Vec<NamedAccountRow>, action: &'static str) -> StoreResult<Standing> {
        let mut standing = Standing { doubted_at: self.doubted_at.map(|at| at.0), ..Standing::default() };
        standing.history.observed_at = self.observed_at.map(|at| at.0);
        standing.history.sweep = self.sweep_id.map(|id| SweepId(id.0));
        for incident in self.incidents.map(|incidents| incidents.0).unwrap_or_default() {
            standing.history.incidents.push(incident.into_incident(action)?);
        }
        for row in accounts {
            let known: crate::domain::history::KnownAccount = row.account.into();
            if let (Some(name), Some(read_at)) = (row.app_name, row.app_read_at) {
                let name = ToolkitName { name, logo: row.app_logo, read_at: read_at.0 };
                standing.names.insert(known.account.toolkit().clone(), name);
            }
            standing.history.accounts.push(known);
        }
        Ok(standing)
    }
}

/// A row of `auditor_links`.
#[derive(Debug, FromRow)]
pub(super) struct LinkRow {
    id: Id,
    content: String,
    toolkit: String,
    auth_config: String,
    alias: Option<String>,
    state: String,
    lease_until: Option<At>,
    tries: i64,
    tried_since: At,
    account_id: Option<String>,
    url: Option<String>,
    expires_at: Option<At>,
    created_at: At,
}

impl From<LinkRow> for KeptLink {
    fn from(row: LinkRow) -> Self {
        Self {
            id: LinkId(row.id.0),
            content: LinkKey::stored(row.content),
            toolkit: Toolkit::new(row.toolkit),
            auth_config: row.auth_config.into(),
            alias: row.alias,
            account: row.account_id.map(AccountId::new),
            url: row.url.map(Into::into),
            expires_at: row.expires_at.map(|at| at.0),
            created_at: row.created_at.0,
        }
    }
}

impl From<LinkRow> for LinkTrace {
    fn from(row: LinkRow) -> Self {
        let kept = KeptLink::from(row);
        Self {
            toolkit: kept.toolkit,
            auth_config: kept.auth_config,
            alias: kept.alias,
            account: kept.account,
            expires_at: kept.expires_at,
            created_at: kept.created_at,
        }
    }
}

/// Why a wish could not be reserved at `now`, from the row that stands in its way.
pub(super) fn in_the_way(row: Option<LinkRow>, wish: &Wish, now: DateTime<Utc>) -> Reserved {
    // What is gone or free by now was not a moment ago: whoever asks again at once finds out.
    let Some(row) = row else { return Reserved::Busy(now) };
    if row.content != wish.content.as_str() {
        return Reserved::Other;
    }
    if row.state == "made" {
        return Reserved::Made(Box::new(row.into()));
    }
    match row.lease_until {
        Some(until) if until.0 > now => Reserved::Busy(until.0),
        _ if row.tries >= i64::from(MOST_LOST) => Reserved::Lost(row.tried_since.0 + LIFE),
        _ => Reserved::Busy(now),
    }
}
