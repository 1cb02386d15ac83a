//! Schedules and sweeps in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::SqliteConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::SqliteStore;
use crate::adapters::store::ended::{Ended, Next};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id, SweepRow, name, rows, sum};
use crate::adapters::store::write::{self, SqliteJson, clean, escaped};
use crate::domain::id::SweepId;
use crate::domain::lease::Lease;
use crate::domain::port::{StoreResult, SweepChange, SweepPage, SweepStore};
use crate::domain::sweep::{NewSweep, Overlap, Sweep, SweepState, Tally};

#[async_trait]
impl SweepStore for SqliteStore {
    async fn schedule_known_since(
        &self,
        name: &str,
        cron: &str,
        time_zone: &str,
        now: DateTime<Utc>,
    ) -> StoreResult<DateTime<Utc>> {
        let action = "remembering a schedule";
        let known: At = sqlx::query_scalar(
            "-- schedule_known_since
             INSERT INTO auditor_schedules AS s (name, cron, time_zone, known_since) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone,
                 known_since = CASE WHEN s.cron = excluded.cron AND s.time_zone = excluded.time_zone
                     THEN s.known_since ELSE excluded.known_since END
             RETURNING known_since",
        )
        .bind(name)
        .bind(cron)
        .bind(time_zone)
        .bind(At(now))
        .fetch_one(&self.writer)
        .await
        .map_err(failed(action))?;
        Ok(known.0)
    }

    async fn newest_tick(&self, schedule: &str) -> StoreResult<Option<DateTime<Utc>>> {
        let newest: Option<At> = sqlx::query_scalar(
            "-- newest_tick
             SELECT tick FROM auditor_sweeps WHERE schedule = $1 ORDER BY tick DESC LIMIT 1",
        )
        .bind(schedule)
        .fetch_optional(&self.readers)
        .await
        .map_err(failed("reading the newest tick"))?;
        Ok(newest.map(|at| at.0))
    }

    async fn insert_sweep(&self, sweep: &NewSweep, now: DateTime<Utc>) -> StoreResult<bool> {
        let action = "inserting a sweep";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let inserted = sqlx::query(
            "-- insert_sweep
             INSERT INTO auditor_sweeps (id, schedule, tick, start_at, asked_by, mode, state, note, finished_at)
             SELECT $1, $2, $3, $4, $5, $6, CASE WHEN o.blocked THEN 'skipped' ELSE 'pending' END,
                 CASE WHEN o.blocked THEN o.note END, CASE WHEN o.blocked THEN $7 END
             FROM (SELECT EXISTS (SELECT 1 FROM auditor_sweeps s WHERE s.schedule = $2
                     AND (s.state = 'pending' OR ($8 AND s.state IN ('paging', 'draining', 'paused')))) AS blocked,
                 CASE WHEN $8 THEN 'another sweep of the schedule was at work'
                     ELSE 'another tick of the schedule was waiting already' END AS note) AS o WHERE TRUE
             ON CONFLICT (schedule, tick) DO NOTHING",
        )
        .bind(Id(sweep.id.0))
        .bind(&sweep.schedule)
        .bind(At(sweep.tick))
        .bind(At(sweep.start_at))
        .bind(name(sweep.trigger))
        .bind(name(sweep.mode))
        .bind(At(now))
        .bind(sweep.overlap == Overlap::Skip)
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn claim_sweep(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<Sweep>> {
        let action = "claiming a sweep";
        let row: Option<SweepRow> = sqlx::query_as(
            "-- claim_sweep
             UPDATE auditor_sweeps SET token = $1, lease_until = $2
             WHERE id = (
                 SELECT s.id FROM auditor_sweeps AS s
                 WHERE (s.lease_until IS NULL OR s.lease_until <= $3)
                     AND (s.state IN ('paging', 'paused')
                         OR (s.state = 'pending' AND s.start_at <= $3 AND NOT EXISTS (
                             SELECT 1 FROM auditor_sweeps AS o WHERE o.schedule = s.schedule AND o.id <> s.id
                                 AND o.state IN ('paging', 'draining', 'paused'))))
                 ORDER BY s.tick, s.id LIMIT 1)
             RETURNING id, schedule, tick, start_at, asked_by, mode, state, note, cursor, next_seq, paged_at,
                 paused_since, users_expected, started_at, finished_at, tally",
        )
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .bind(At(now))
        .fetch_optional(&self.writer)
        .await
        .map_err(failed(action))?;
        row.map(|row| row.into_sweep(action)).transpose()
    }

    async fn renew_sweep(&self, id: SweepId, lease: Lease) -> StoreResult<bool> {
        let renewed = sqlx::query(
            "-- renew_sweep
             UPDATE auditor_sweeps SET lease_until = $3
             WHERE id = $1 AND token = $2 AND state IN ('pending', 'paging', 'draining', 'paused')",
        )
        .bind(Id(id.0))
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .execute(&self.writer)
        .await
        .map_err(failed("renewing the lease of a sweep"))?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn set_sweep_state(
        &self,
        id: SweepId,
        token: Uuid,
        change: &SweepChange,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        let action = "changing the state of a sweep";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        // Paging is over for good once the last page was stored: such a sweep goes on draining instead.
        let changed = sqlx::query(
            "-- set_sweep_state
             UPDATE auditor_sweeps SET
                 state = CASE WHEN $3 = 'paging' AND paged_at IS NOT NULL THEN 'draining' ELSE $3 END,
                 note = $4, users_expected = COALESCE($5, users_expected), lease_until = $6,
                 paused_since = CASE WHEN $3 = 'paused' THEN COALESCE(paused_since, $7) END,
                 started_at = CASE WHEN $3 = 'paging' THEN COALESCE(started_at, $7) ELSE started_at END,
                 finished_at = CASE WHEN $8 THEN $7 ELSE finished_at END
             WHERE id = $1 AND token = $2 AND state IN ('pending', 'paging', 'draining', 'paused')",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(change.state.as_str())
        .bind(change.note.as_deref().map(clean))
        .bind(change.users_expected)
        .bind(At(change.claimable_from))
        .bind(At(now))
        .bind(change.state.is_final())
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        if change.state.is_final() {
            end_checks(&mut transaction, id, now).await.map_err(failed(action))?;
            let tally = tally_of(&mut transaction, id).await.map_err(failed(action))?;
            store_tally(&mut transaction, id, &tally).await.map_err(failed(action))?;
            end_group(&mut transaction, id, now).await.map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn append_page(&self, id: SweepId, token: Uuid, page: &SweepPage, now: DateTime<Utc>) -> StoreResult<bool> {
        let action = "storing a page of a sweep";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let dry_run: Option<bool> = sqlx::query_scalar(
            "-- append_page
             UPDATE auditor_sweeps SET cursor = CASE WHEN $3 THEN NULL ELSE $4 END,
                 next_seq = max(next_seq, $5), paged_at = CASE WHEN $3 THEN $6 END,
                 state = CASE WHEN $3 THEN 'draining' ELSE state END
             WHERE id = $1 AND token = $2 AND state = 'paging'
             RETURNING mode = 'dry_run'",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(page.last)
        .bind(page.cursor.as_deref().map(escaped))
        .bind(page.chunks.iter().map(|chunk| chunk.seq + 1).max().unwrap_or(0))
        .bind(At(now))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed(action))?;
        let Some(dry_run) = dry_run else { return Ok(false) };
        let chunks = write::checks::<SqliteJson>(&page.chunks);
        insert_checks(&mut transaction, chunks, Origin { root: None, dry_run }, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn outstanding_checks(&self, id: SweepId) -> StoreResult<u64> {
        let outstanding: i64 = sqlx::query_scalar(
            "-- outstanding_checks
             SELECT count(*) FROM auditor_checks WHERE sweep_id = $1 AND state IN ('queued', 'claimed')",
        )
        .bind(Id(id.0))
        .fetch_one(&self.readers)
        .await
        .map_err(failed("counting outstanding checks"))?;
        Ok(rows(outstanding))
    }

    async fn pause_sweep(&self, id: SweepId, note: &str, now: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query(
            "-- pause_sweep
             UPDATE auditor_sweeps SET state = 'paused', note = $2, paused_since = COALESCE(paused_since, $3), token = NULL,
                 lease_until = NULL
             WHERE id = $1 AND state IN ('paging', 'draining')",
        )
        .bind(Id(id.0))
        .bind(clean(note))
        .bind(At(now))
        .execute(&self.writer)
        .await
        .map_err(failed("pausing a sweep"))?;
        Ok(())
    }

    async fn finish_sweeps(&self, now: DateTime<Utc>) -> StoreResult<Vec<Sweep>> {
        let action = "finishing sweeps";
        let drained: Vec<Id> = sqlx::query_scalar(
            "-- drained_sweeps
             SELECT s.id FROM auditor_sweeps AS s WHERE s.state = 'draining' AND NOT EXISTS (
                 SELECT 1 FROM auditor_checks AS c WHERE c.sweep_id = s.id AND c.state IN ('queued', 'claimed'))
             ORDER BY s.id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        let mut ended = Ended::default();
        for id in drained {
            let end = self.finish_sweep(SweepId(id.0), now, action).await;
            if ended.goes_on(SweepId(id.0), end) == Next::Stop {
                break;
            }
        }
        ended.into_result()
    }
}

impl SqliteStore {
    /// Ends a sweep that is drained; `None` if it is not any more, or if another process ends it at this moment.
    async fn finish_sweep(&self, id: SweepId, now: DateTime<Utc>, action: &'static str) -> StoreResult<Option<Sweep>> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let tally = match tally_of(&mut transaction, id).await {
            Ok(tally) => tally,
            Err(error) => {
                // At once, not when the connection is used next: the lock must not outlive the failure.
                transaction.rollback().await.map_err(failed(action))?;
                return Err(failed(action)(error));
            }
        };
        let nobody = tally.checked == 0 && tally.given_up > 0;
        let row: Option<SweepRow> = sqlx::query_as(
            "-- finish_sweep
             UPDATE auditor_sweeps SET state = $2, note = $3, tally = $4, finished_at = $5, token = NULL,
                 lease_until = NULL
             WHERE id = $1 AND state = 'draining' AND NOT EXISTS (
                 SELECT 1 FROM auditor_checks AS c WHERE c.sweep_id = $1 AND c.state IN ('queued', 'claimed'))
             RETURNING id, schedule, tick, start_at, asked_by, mode, state, note, cursor, next_seq, paged_at,
                 paused_since, users_expected, started_at, finished_at, tally",
        )
        .bind(Id(id.0))
        .bind(if nobody { SweepState::Failed } else { SweepState::Completed }.as_str())
        .bind(nobody.then(|| format!("not one user could be checked; {} were given up", tally.given_up)))
        .bind(Json(&tally))
        .bind(At(now))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed(action))?;
        let sweep = row.map(|row| row.into_sweep(action)).transpose()?;
        if sweep.is_some() {
            end_group(&mut transaction, id, now).await.map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(sweep)
    }
}

/// Where checks come from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Origin {
    /// The root of the check that they retry; any other check is its own root.
    pub(super) root: Option<Id>,
    /// They are of a dry run, or retry one that is.
    pub(super) dry_run: bool,
}

/// Inserts checks.
pub(super) async fn insert_checks(
    connection: &mut SqliteConnection,
    checks: Value,
    origin: Origin,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- insert_checks
         INSERT INTO auditor_checks (id, sweep_id, seq, root, users, attempt, state, due_at, waiting_since, dry_run)
         SELECT r.value ->> 'id', r.value ->> 'sweep_id', r.value ->> 'seq', COALESCE($2, r.value ->> 'id'),
             r.value ->> 'users', r.value ->> 'attempt', 'queued', r.value ->> 'due_at', $3, $4
         FROM json_each($1) AS r WHERE TRUE
         ON CONFLICT DO NOTHING",
    )
    .bind(Json(checks))
    .bind(origin.root)
    .bind(At(now))
    .bind(origin.dry_run)
    .execute(connection)
    .await?;
    Ok(())
}

/// Checks that wait or are worked on in vain, because their sweep is over: whoever works on one is fenced.
async fn end_checks(connection: &mut SqliteConnection, id: SweepId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_checks
         UPDATE auditor_checks SET state = 'done', finished_at = $2, token = NULL, lease_until = NULL
         WHERE sweep_id = $1 AND state IN ('queued', 'claimed')",
    )
    .bind(Id(id.0))
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// The sum of what the checks of a sweep came to so far.
pub(super) async fn tally_of(connection: &mut SqliteConnection, id: SweepId) -> sqlx::Result<Tally> {
    let tallies: Vec<Json<Tally>> = sqlx::query_scalar(
        "-- tally_of
         SELECT tally FROM auditor_checks WHERE sweep_id = $1 AND tally IS NOT NULL",
    )
    .bind(Id(id.0))
    .fetch_all(connection)
    .await?;
    Ok(sum(tallies))
}

async fn store_tally(connection: &mut SqliteConnection, id: SweepId, tally: &Tally) -> sqlx::Result<()> {
    sqlx::query(
        "-- store_tally
         UPDATE auditor_sweeps SET tally = $2 WHERE id = $1",
    )
    .bind(Id(id.0))
    .bind(Json(tally))
    .execute(connection)
    .await?;
    Ok(())
}

/// The group of a sweep that has ended is complete: what it made, or added to, waits no longer for others. What a mail server put
/// off stays put off.
async fn end_group(connection: &mut SqliteConnection, id: SweepId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_group
         UPDATE auditor_notifications SET due_at = $2, queued_in = NULL, waiting_since = NULL WHERE id IN (
             SELECT n.id FROM auditor_notifications AS n
             WHERE n.state = 'pending' AND n.due_at > $2 AND n.attempts = 0 AND (n.sweep_id = $1 OR EXISTS (
                 SELECT 1 FROM auditor_notification_incidents AS l JOIN auditor_incidents AS i ON i.id = l.incident_id
                 WHERE l.notification_id = n.id AND i.sweep_id = $1)))",
    )
    .bind(Id(id.0))
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}
