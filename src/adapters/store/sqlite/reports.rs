//! What operators read, from SQLite.

use async_trait::async_trait;
use sqlx::types::Json;

use super::SqliteStore;
use super::sweeps::tally_of;
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{Id, LastCheckRow, NotificationRow, OpenRow, SweepRow, named, rows};
use crate::adapters::store::write::clean;
use crate::domain::id::{CheckId, SweepId, Toolkit, UserId};
use crate::domain::incident::Incident;
use crate::domain::notification::{Notification, NotificationState};
use crate::domain::port::{LastCheck, NotificationCount, OpenIncidents, Reaudit, ReportStore, StoreResult};
use crate::domain::sweep::Sweep;

#[async_trait]
impl ReportStore for SqliteStore {
    async fn sweep(&self, id: SweepId) -> StoreResult<Option<Sweep>> {
        let action = "reading a sweep";
        let row: Option<SweepRow> = sqlx::query_as(
            "-- sweep
             SELECT id, schedule, tick, start_at, asked_by, mode, state, note, cursor, next_seq, paged_at, paused_since, users_expected,
                 started_at, finished_at, tally
             FROM auditor_sweeps WHERE id = $1",
        )
        .bind(Id(id.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed(action))?;
        match row {
            Some(row) => self.with_tally(row, action).await.map(Some),
            None => Ok(None),
        }
    }

    async fn sweeps(&self, limit: u32) -> StoreResult<Vec<Sweep>> {
        let action = "listing sweeps";
        let found: Vec<SweepRow> = sqlx::query_as(
            "-- sweeps
             SELECT id, schedule, tick, start_at, asked_by, mode, state, note, cursor, next_seq, paged_at, paused_since, users_expected,
                 started_at, finished_at, tally
             FROM auditor_sweeps ORDER BY tick DESC, id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        let mut sweeps = Vec::with_capacity(found.len());
        for row in found {
            sweeps.push(self.with_tally(row, action).await?);
        }
        Ok(sweeps)
    }

    async fn findings(
        &self,
        sweep: SweepId,
        after: Option<&UserId>,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Incident)>> {
        // The limit counts users, so that the next page, which begins after a user, leaves none of its findings out.
        let findings: Vec<(String, Json<Incident>)> = sqlx::query_as(
            "-- findings
             SELECT f.user_id, f.incident FROM auditor_findings AS f
             WHERE f.sweep_id = $1 AND f.user_id IN (
                 SELECT DISTINCT o.user_id FROM auditor_findings AS o
                 WHERE o.sweep_id = $1 AND ($2 IS NULL OR o.user_id > $2) ORDER BY o.user_id LIMIT $3)
             ORDER BY f.user_id, f.incident_id",
        )
        .bind(Id(sweep.0))
        .bind(after.map(|user| clean(user.as_str())))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("reading the findings of a dry run"))?;
        Ok(findings.into_iter().map(|(user, incident)| (UserId::new(user), incident.0)).collect())
    }

    async fn open_incidents(&self) -> StoreResult<Vec<OpenIncidents>> {
        let open: Vec<OpenRow> = sqlx::query_as(
            "-- open_incidents
             SELECT toolkit, kind, count(*) AS incidents, count(DISTINCT user_id) AS users, min(opened_at) AS oldest
             FROM auditor_incidents WHERE resolved_at IS NULL GROUP BY toolkit, kind ORDER BY toolkit, kind",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting open incidents"))?;
        Ok(open
            .into_iter()
            .map(|row| OpenIncidents {
                toolkit: Toolkit::new(row.toolkit),
                kind: row.kind,
                count: rows(row.incidents),
                users: rows(row.users),
                oldest: row.oldest.0,
            })
            .collect())
    }

    async fn notification_counts(&self, sweep: Option<SweepId>) -> StoreResult<Vec<NotificationCount>> {
        let action = "counting notifications";
        let counts: Vec<(String, Option<String>, i64)> = sqlx::query_as(
            "-- notification_counts
             SELECT c.state, c.detail, count(*) AS notifications FROM (
                 SELECT state, CASE state WHEN 'held' THEN hold WHEN 'skipped' THEN error END AS detail
                 FROM auditor_notifications WHERE $1 IS NULL OR sweep_id = $1) AS c
             GROUP BY c.state, c.detail ORDER BY c.state, c.detail",
        )
        .bind(sweep.map(|sweep| Id(sweep.0)))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        counts
            .into_iter()
            .map(|(state, detail, count)| {
                Ok(NotificationCount { state: named(action, &state)?, detail, count: rows(count) })
            })
            .collect()
    }

    async fn notifications(&self, state: NotificationState, limit: u32) -> StoreResult<Vec<Notification>> {
        let action = "listing notifications";
        let found: Vec<NotificationRow> = sqlx::query_as(
            "-- notifications
             SELECT n.id, n.user_id, n.state, n.hold, n.due_at, n.attempts, n.ambiguous, n.unclear, n.error, n.sweep_id,
                 n.created_at, n.sent_at, (
                     SELECT json_group_array(i.incident_id) FROM auditor_notification_incidents AS i
                     WHERE i.notification_id = n.id) AS incidents
             FROM auditor_notifications AS n WHERE n.state = $1 ORDER BY n.created_at DESC, n.id DESC LIMIT $2",
        )
        .bind(state.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        found.into_iter().map(|row| row.into_notification(action)).collect()
    }

    async fn last_check(&self, user: &UserId) -> StoreResult<Option<LastCheck>> {
        let action = "reading the last check of a user";
        let row: Option<LastCheckRow> = sqlx::query_as(
            "-- last_check
             SELECT checked_at, observed_at, outcome, error FROM auditor_user_checks WHERE user_id = $1",
        )
        .bind(clean(user.as_str()))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed(action))?;
        row.map(|row| row.into_last_check(action)).transpose()
    }

    async fn unfinished_checks(&self, ids: &[CheckId]) -> StoreResult<Vec<CheckId>> {
        let ids: Vec<Id> = ids.iter().map(|id| Id(id.0)).collect();
        let unfinished: Vec<Id> = sqlx::query_scalar(
            "-- unfinished_checks
             SELECT c.id FROM auditor_checks AS c WHERE c.id IN (SELECT value FROM json_each($1)) AND EXISTS (
                 SELECT 1 FROM auditor_checks AS r WHERE r.root = c.root AND r.state IN ('queued', 'claimed'))
             ORDER BY c.id",
        )
        .bind(Json(&ids))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("looking which checks are not done yet"))?;
        Ok(unfinished.into_iter().map(|id| CheckId(id.0)).collect())
    }

    async fn reaudit(&self, id: CheckId) -> StoreResult<Option<Reaudit>> {
        let row: Option<(Json<Vec<UserId>>, bool)> = sqlx::query_as(
            "-- reaudit
             SELECT c.users, NOT EXISTS (
                 SELECT 1 FROM auditor_checks AS r WHERE r.root = c.root AND r.state IN ('queued', 'claimed')) AS done
             FROM auditor_checks AS c WHERE c.id = $1 AND c.sweep_id IS NULL AND c.root = c.id",
        )
        .bind(Id(id.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed("reading a re-audit"))?;
        Ok(row.map(|(users, done)| Reaudit { users: users.0, done }))
    }
}

impl SqliteStore {
    /// A sweep that is under way has the sum of its checks so far; a final one has kept it.
    async fn with_tally(&self, row: SweepRow, action: &'static str) -> StoreResult<Sweep> {
        if !row.is_running() {
            return row.into_sweep(action);
        }
        let mut connection = self.readers.acquire().await.map_err(failed(action))?;
        let tally = tally_of(&mut connection, SweepId(row.id.0)).await.map_err(failed(action))?;
        Ok(Sweep { tally, ..row.into_sweep(action)? })
    }
}
