//! What the queue should hold, and housekeeping, in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::PostgresStore;
use super::merge::{lock_users_of, put_back};
use super::{prune, wake};
use crate::adapters::store::error::{corrupt, failed};
use crate::adapters::store::merge::Place;
use crate::adapters::store::row::{At, Id, JobRow};
use crate::domain::id::NotificationId;
use crate::domain::job::{Job, Lane};
use crate::domain::lease::Lease;
use crate::domain::port::{Horizon, OutboxStore, StoreResult};

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn unqueued(
        &self,
        generation: &str,
        until: DateTime<Utc>,
        unpushed_before: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<(Job, DateTime<Utc>)>> {
        // "Another generation" as two ranges, so that the index finds the few that are missing among the many that are not.
        let rows: Vec<JobRow> = sqlx::query_as(
            "-- unqueued
             SELECT u.id, u.kind, u.due_at FROM (
                 SELECT c.id, CASE WHEN c.sweep_id IS NULL THEN 'audit' ELSE 'sweep' END AS kind, c.due_at
                 FROM auditor_checks AS c WHERE c.state = 'queued' AND c.due_at <= $2
                     AND (c.queued_in < $1 OR c.queued_in > $1
                         OR (c.queued_in IS NULL AND (c.waiting_since IS NULL OR c.waiting_since < $3)))
                 UNION ALL
                 SELECT n.id, 'notify' AS kind, n.due_at
                 FROM auditor_notifications AS n WHERE n.state = 'pending' AND n.due_at <= $2
                     AND (n.queued_in < $1 OR n.queued_in > $1
                         OR (n.queued_in IS NULL AND (n.waiting_since IS NULL OR n.waiting_since < $3)))
             ) AS u ORDER BY u.due_at, u.id LIMIT $4",
        )
        .bind(generation)
        .bind(At(until))
        .bind(At(unpushed_before))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed("looking for what is not in the queue"))?;
        Ok(rows.iter().map(|row| (row.job(), row.due_at.0)).collect())
    }

    async fn mark_queued(&self, jobs: &[Job], generation: &str) -> StoreResult<()> {
        let action = "remembering what was pushed";
        let (checks, notifications): (Vec<Job>, Vec<Job>) =
            jobs.iter().copied().partition(|job| matches!(job, Job::Check(..)));
        if !checks.is_empty() {
            sqlx::query(
                "-- mark_checks_queued
                 UPDATE auditor_checks SET queued_in = $2 WHERE id IN (
                     SELECT c.id FROM auditor_checks AS c WHERE c.id = ANY($1) AND c.state = 'queued'
                     ORDER BY c.id FOR NO KEY UPDATE)",
            )
            .bind(ids(&checks))
            .bind(generation)
            .execute(&self.pool)
            .await
            .map_err(failed(action))?;
        }
        if !notifications.is_empty() {
            sqlx::query(
                "-- mark_notifications_queued
                 UPDATE auditor_notifications SET queued_in = $2 WHERE id IN (
                     SELECT n.id FROM auditor_notifications AS n WHERE n.id = ANY($1) AND n.state = 'pending'
                     ORDER BY n.user_id FOR NO KEY UPDATE)",
            )
            .bind(ids(&notifications))
            .bind(generation)
            .execute(&self.pool)
            .await
            .map_err(failed(action))?;
        }
        Ok(())
    }

    async fn forget_queued(&self, lane: Lane, generation: &str, before: DateTime<Utc>) -> StoreResult<u64> {
        // A row waits since it was due or since it was put where it is, whichever is later; where only the first is known, that
        // counts. One that was pushed just now may so be pushed twice, which costs a claim that is refused.
        let statement = match lane {
            Lane::CheckSweep => {
                "-- forget_queued_sweep_checks
                 UPDATE auditor_checks SET queued_in = NULL, waiting_since = NULL WHERE id IN (
                     SELECT c.id FROM auditor_checks AS c WHERE c.state = 'queued' AND c.sweep_id IS NOT NULL
                         AND c.queued_in = $1 AND c.due_at < $2
                         AND (c.waiting_since IS NULL OR c.waiting_since < $2)
                     ORDER BY c.id FOR NO KEY UPDATE)"
            }
            Lane::CheckNow => {
                "-- forget_queued_audits
                 UPDATE auditor_checks SET queued_in = NULL, waiting_since = NULL WHERE id IN (
                     SELECT c.id FROM auditor_checks AS c WHERE c.state = 'queued' AND c.sweep_id IS NULL
                         AND c.queued_in = $1 AND c.due_at < $2
                         AND (c.waiting_since IS NULL OR c.waiting_since < $2)
                     ORDER BY c.id FOR NO KEY UPDATE)"
            }
            Lane::Notify => {
                "-- forget_queued_notifications
                 UPDATE auditor_notifications SET queued_in = NULL, waiting_since = NULL WHERE id IN (
                     SELECT n.id FROM auditor_notifications AS n WHERE n.state = 'pending'
                         AND n.queued_in = $1 AND n.due_at < $2
                         AND (n.waiting_since IS NULL OR n.waiting_since < $2)
                     ORDER BY n.user_id FOR NO KEY UPDATE)"
            }
        };
        let forgotten = sqlx::query(statement)
            .bind(generation)
            .bind(At(before))
            .execute(&self.pool)
            .await
            .map_err(failed("forgetting what the queue has lost"))?;
        Ok(forgotten.rows_affected())
    }

    async fn reclaim_lapsed(&self, lapsed_before: DateTime<Utc>, limit: u32) -> StoreResult<Vec<Job>> {
        let action = "taking back what lapsed";
        let checks: Vec<JobRow> = sqlx::query_as(
            "-- reclaim_checks
             UPDATE auditor_checks SET state = 'queued', token = NULL, lease_until = NULL, queued_in = NULL,
                 waiting_since = NULL
             WHERE id IN (SELECT c.id FROM auditor_checks AS c WHERE c.state = 'claimed' AND c.lease_until < $1
                 ORDER BY c.lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
             RETURNING id, CASE WHEN sweep_id IS NULL THEN 'audit' ELSE 'sweep' END AS kind, due_at",
        )
        .bind(At(lapsed_before))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed(action))?;
        let mut jobs: Vec<Job> = checks.iter().map(JobRow::job).collect();
        let left = i64::from(limit).saturating_sub(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        let mut transaction = self.pool.begin().await.map_err(failed(action))?;
        let back = reclaim_claimed(&mut transaction, lapsed_before, left).await.map_err(failed(action))?;
        let left = left.saturating_sub(i64::try_from(back.len()).unwrap_or(i64::MAX));
        let sending = report_sending(&mut transaction, lapsed_before, left).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        jobs.extend(back.into_iter().chain(sending).map(|id| Job::Notify(NotificationId(id.0))));
        Ok(jobs)
    }

    async fn wake(&self, hold: Option<&str>, now: DateTime<Utc>, limit: u32) -> StoreResult<Vec<NotificationId>> {
        wake::wake(&self.pool, hold, now, limit)
            .await
            .map_err(failed("waking users whose incidents are worth another look"))
    }

    async fn hold_office(&self, name: &str, lease: Lease, now: DateTime<Utc>) -> StoreResult<bool> {
        let held = sqlx::query(
            "-- hold_office
             INSERT INTO auditor_leases AS l (name, token, lease_until) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET token = excluded.token, lease_until = excluded.lease_until
             WHERE l.token = excluded.token OR l.lease_until <= $4",
        )
        .bind(name)
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .bind(At(now))
        .execute(&self.pool)
        .await
        .map_err(failed("taking an office"))?;
        Ok(held.rows_affected() == 1)
    }

    async fn prune(&self, horizon: &Horizon) -> StoreResult<u64> {
        prune::prune(&self.pool, horizon).await.map_err(failed("deleting what is old"))
    }

    async fn ping(&self) -> StoreResult<()> {
        let action = "asking whether the database answers";
        let newest: Option<i64> =
            sqlx::query_scalar("-- ping\nSELECT max(version) FROM auditor_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(failed(action))?;
        newest.map(|_| ()).ok_or_else(|| corrupt(action, "it is not migrated; run `connection-auditor migrate`"))
    }
}

fn ids(jobs: &[Job]) -> Vec<Id> {
    jobs.iter().map(|job| Id(job.id())).collect()
}

async fn reclaim_claimed(
    connection: &mut PgConnection,
    lapsed_before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Id>> {
    let found = lapsed_claimed(connection, lapsed_before, limit).await?;
    if found.is_empty() {
        return Ok(found);
    }
    lock_users_of(connection, &found).await?;
    // A lease may have been renewed, or its work settled, while the locks were waited for.
    let lapsed: Vec<Id> = sqlx::query_scalar(
        "-- still_lapsed
         SELECT n.id FROM auditor_notifications AS n
         WHERE n.id = ANY($1) AND n.state = 'claimed' AND n.lease_until < $2 ORDER BY n.user_id FOR NO KEY UPDATE",
    )
    .bind(&found)
    .bind(At(lapsed_before))
    .fetch_all(&mut *connection)
    .await?;
    put_back(connection, &lapsed, Place { hold: None, due_at: None, waiting_since: None }, lapsed_before).await
}

async fn lapsed_claimed(
    connection: &mut PgConnection,
    lapsed_before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Id>> {
    sqlx::query_scalar(
        "-- lapsed_claimed
         SELECT id FROM auditor_notifications WHERE state = 'claimed' AND lease_until < $1
         ORDER BY lease_until LIMIT $2",
    )
    .bind(At(lapsed_before))
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Lapsed mails on their way stay as they are; each is reported once a lease length.
async fn report_sending(
    connection: &mut PgConnection,
    lapsed_before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Id>> {
    sqlx::query_scalar(
        "-- report_sending
         UPDATE auditor_notifications
         SET reclaim_after = $1::timestamptz + COALESCE(lease_micros, 0) * interval '1 microsecond'
         WHERE id IN (SELECT n.id FROM auditor_notifications AS n WHERE n.state = 'sending' AND n.lease_until < $1
             AND (n.reclaim_after IS NULL OR n.reclaim_after <= $1)
             ORDER BY n.lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
         RETURNING id",
    )
    .bind(At(lapsed_before))
    .bind(limit)
    .fetch_all(connection)
    .await
}
