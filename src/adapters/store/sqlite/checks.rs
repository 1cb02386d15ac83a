//! Checks in SQLite: claiming them, and what is known of their users.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::sweeps::{self, Origin};
use super::{SqliteStore, record};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{AccountRow, At, CheckRow, Id, StandRow, UserRow};
use crate::adapters::store::stand::claim_of;
use crate::adapters::store::write::{self, SqliteJson, clean};
use crate::domain::history::History;
use crate::domain::id::{CheckId, SweepId, Toolkit, UserId};
use crate::domain::lease::{Claim, Lease};
use crate::domain::port::{CheckStore, ClaimedCheck, Record, Recorded, StoreResult, ToolkitName};
use crate::domain::sweep::Check;

#[async_trait]
impl CheckStore for SqliteStore {
    async fn insert_checks(&self, checks: &[Check], now: DateTime<Utc>) -> StoreResult<()> {
        let action = "inserting checks";
        let mut connection = self.writer.acquire().await.map_err(failed(action))?;
        sweeps::insert_checks(&mut connection, write::checks::<SqliteJson>(checks), Origin::default(), now)
            .await
            .map_err(failed(action))
    }

    async fn claim_check(&self, id: CheckId, lease: Lease, now: DateTime<Utc>) -> StoreResult<Claim<ClaimedCheck>> {
        let action = "claiming a check";
        let row: Option<CheckRow> = sqlx::query_as(
            "-- claim_check
             UPDATE auditor_checks AS c SET state = 'claimed', token = $2, lease_until = $3
             WHERE c.id = $1
                 AND ((c.state = 'queued' AND c.due_at <= $4) OR (c.state = 'claimed' AND c.lease_until <= $4))
                 AND NOT EXISTS (SELECT 1 FROM auditor_sweeps AS s WHERE s.id = c.sweep_id
                     AND s.state IN ('paused', 'completed', 'failed', 'skipped'))
             RETURNING id, sweep_id, seq, users, attempt, due_at, dry_run",
        )
        .bind(Id(id.0))
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .bind(At(now))
        .fetch_optional(&self.writer)
        .await
        .map_err(failed(action))?;
        if let Some(row) = row {
            let dry_run = row.dry_run;
            return Ok(Claim::Won(ClaimedCheck { check: row.into(), dry_run }));
        }
        let stand: Option<StandRow> = sqlx::query_as(
            "-- why_not_claimed
             SELECT c.state, c.due_at, c.lease_until, s.state AS sweep_state
             FROM auditor_checks AS c LEFT JOIN auditor_sweeps AS s ON s.id = c.sweep_id WHERE c.id = $1",
        )
        .bind(Id(id.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed(action))?;
        let claim = claim_of(stand.as_ref(), now);
        if claim == Claim::Over && stand.is_some_and(|stand| stand.state == "queued") {
            sqlx::query(
                "-- end_check_of_final_sweep
                 UPDATE auditor_checks SET state = 'done', finished_at = $2 WHERE id = $1 AND state = 'queued'",
            )
            .bind(Id(id.0))
            .bind(At(now))
            .execute(&self.writer)
            .await
            .map_err(failed(action))?;
        }
        Ok(claim)
    }

    async fn renew_check(&self, id: CheckId, lease: Lease) -> StoreResult<bool> {
        let renewed = sqlx::query(
            "-- renew_check
             UPDATE auditor_checks SET lease_until = $3 WHERE id = $1 AND token = $2 AND state = 'claimed'",
        )
        .bind(Id(id.0))
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .execute(&self.writer)
        .await
        .map_err(failed("renewing the lease of a check"))?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn release_check(&self, id: CheckId, token: Uuid, due_at: DateTime<Utc>) -> StoreResult<bool> {
        let released = sqlx::query(
            "-- release_check
             UPDATE auditor_checks SET state = 'queued', token = NULL, lease_until = NULL, due_at = $3,
                 queued_in = NULL, waiting_since = $3
             WHERE id = $1 AND token = $2 AND state = 'claimed'",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(At(due_at))
        .execute(&self.writer)
        .await
        .map_err(failed("releasing a check"))?;
        Ok(released.rows_affected() == 1)
    }

    async fn history(&self, users: &[UserId]) -> StoreResult<HashMap<UserId, History>> {
        let action = "reading the history of users";
        let asked = write::asked(users, UserId::as_str);
        let ids: Vec<&str> = asked.keys().map(String::as_str).collect();
        let named = |id: &str| asked.get(id).map_or_else(|| UserId::new(id), |user| (*user).clone());
        let mut histories: HashMap<UserId, History> =
            users.iter().map(|user| (user.clone(), History::default())).collect();
        // The users first: what is recorded between the two statements makes `observed_at` too old, never too new.
        let known: Vec<UserRow> = sqlx::query_as(
            "-- history_users
             SELECT u.user_id, u.observed_at, u.sweep_id, (
                 SELECT json_group_array(json_object('id', i.id, 'toolkit', i.toolkit, 'auth_config', i.auth_config,
                     'alias', i.alias, 'kind', i.kind, 'account_id', i.account_id, 'status', i.status,
                     'reason', i.reason, 'broke_at', i.broke_at, 'counts_from', i.counts_from,
                     'opened_at', i.opened_at, 'resolved_at', i.resolved_at, 'resolution', i.resolution)) FROM auditor_incidents AS i
                 WHERE i.user_id = u.user_id AND (i.resolved_at IS NULL OR i.kind = 'unfinished')) AS incidents
             FROM auditor_user_checks AS u WHERE u.user_id IN (SELECT value FROM json_each($1))",
        )
        .bind(Json(&ids))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        for row in known {
            let history = histories.entry(named(&row.user_id)).or_default();
            history.observed_at = row.observed_at.map(|at| at.0);
            history.sweep = row.sweep_id.map(|id| SweepId(id.0));
            for incident in row.incidents.map(|incidents| incidents.0).unwrap_or_default() {
                history.incidents.push(incident.into_incident(action)?);
            }
        }
        let accounts: Vec<AccountRow> = sqlx::query_as(
            "-- history_accounts
             SELECT user_id, account_id, toolkit, auth_config, alias, status, reason, is_disabled,
                 auth_config_disabled, created_at, updated_at, expired_at, ever_active, active_with, first_seen_at,
                 changed_at, gone_at
             FROM auditor_accounts WHERE user_id IN (SELECT value FROM json_each($1)) ORDER BY user_id, account_id",
        )
        .bind(Json(&ids))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        for row in accounts {
            histories.entry(named(&row.user_id)).or_default().accounts.push(row.into());
        }
        Ok(histories)
    }

    async fn record(&self, record: &Record) -> StoreResult<Recorded> {
        record::record(&self.writer, record).await
    }

    async fn toolkits(&self, slugs: &[Toolkit]) -> StoreResult<HashMap<Toolkit, ToolkitName>> {
        let asked = write::asked(slugs, Toolkit::as_str);
        let slugs: Vec<&str> = asked.keys().map(String::as_str).collect();
        let known: Vec<(String, String, Option<String>, At)> = sqlx::query_as(
            "-- toolkits
             SELECT slug, name, logo, read_at FROM auditor_toolkits WHERE slug IN (SELECT value FROM json_each($1))",
        )
        .bind(Json(&slugs))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("reading the names of apps"))?;
        Ok(known
            .into_iter()
            .filter_map(|(slug, name, logo, read_at)| {
                let slug = asked.get(&slug).copied().cloned()?;
                Some((slug, ToolkitName { name, logo, read_at: read_at.0 }))
            })
            .collect())
    }

    async fn remember_toolkit(&self, slug: &Toolkit, name: &ToolkitName) -> StoreResult<()> {
        sqlx::query(
            "-- remember_toolkit
             INSERT INTO auditor_toolkits (slug, name, logo, read_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (slug) DO UPDATE SET name = excluded.name, logo = excluded.logo, read_at = excluded.read_at",
        )
        .bind(clean(slug.as_str()))
        .bind(clean(&name.name))
        .bind(name.logo.as_deref().map(clean))
        .bind(At(name.read_at))
        .execute(&self.writer)
        .await
        .map_err(failed("remembering the name of an app"))?;
        Ok(())
    }
}
