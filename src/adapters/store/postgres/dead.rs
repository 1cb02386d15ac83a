//! Dead jobs in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::merge::{lock_users_of, put_back};
use crate::adapters::store::error::failed;
use crate::adapters::store::merge::Place;
use crate::adapters::store::row::{At, DeadJobRow, Id};
use crate::adapters::store::write::clean;
use crate::domain::id::UserId;
use crate::domain::job::Lane;
use crate::domain::port::{DeadJob, DeadJobStore, StoreResult};
use crate::domain::sweep::Tally;

#[async_trait]
impl DeadJobStore for PostgresStore {
    async fn bury(&self, dead: &DeadJob) -> StoreResult<()> {
        let action = "burying a job";
        let mut transaction = self.pool.begin().await.map_err(failed(action))?;
        match dead.lane {
            Lane::CheckNow | Lane::CheckSweep => bury_check(&mut transaction, dead).await,
            Lane::Notify => bury_notification(&mut transaction, dead).await,
        }
        .map_err(failed(action))?;
        sqlx::query(
            "-- bury
             INSERT INTO auditor_dead_jobs (id, lane, reason, deliveries, died_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET lane = excluded.lane, reason = excluded.reason,
                 deliveries = excluded.deliveries, died_at = excluded.died_at",
        )
        .bind(Id(dead.id))
        .bind(dead.lane.as_str())
        .bind(clean(&dead.reason))
        .bind(i64::from(dead.deliveries))
        .bind(At(dead.died_at))
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))
    }

    async fn dead_jobs(&self, limit: u32) -> StoreResult<Vec<DeadJob>> {
        let action = "listing dead jobs";
        let rows: Vec<DeadJobRow> = sqlx::query_as(
            "-- dead_jobs
             SELECT id, lane, reason, deliveries, died_at FROM auditor_dead_jobs
             ORDER BY died_at DESC, id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed(action))?;
        rows.into_iter().map(|row| row.into_dead_job(action)).collect()
    }

    async fn retry_dead(&self, id: Uuid, now: DateTime<Utc>) -> StoreResult<bool> {
        let action = "retrying a dead job";
        let mut transaction = self.pool.begin().await.map_err(failed(action))?;
        if !forget(&mut transaction, id).await.map_err(failed(action))? {
            return Ok(false);
        }
        revive_check(&mut transaction, id, now).await.map_err(failed(action))?;
        revive_notification(&mut transaction, id, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn drop_dead(&self, id: Uuid) -> StoreResult<bool> {
        let action = "dropping a dead job";
        let mut connection = self.pool.acquire().await.map_err(failed(action))?;
        forget(&mut connection, id).await.map_err(failed(action))
    }
}

async fn bury_check(connection: &mut PgConnection, dead: &DeadJob) -> sqlx::Result<()> {
    let users: Option<Json<Vec<UserId>>> = sqlx::query_scalar(
        "-- users_of_dead_check
         SELECT users FROM auditor_checks WHERE id = $1 AND state IN ('queued', 'claimed') FOR NO KEY UPDATE",
    )
    .bind(Id(dead.id))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(users) = users else { return Ok(()) };
    sqlx::query(
        "-- bury_check
         UPDATE auditor_checks SET state = 'dead', tally = $2, finished_at = $3, token = NULL, lease_until = NULL
         WHERE id = $1",
    )
    .bind(Id(dead.id))
    .bind(Json(Tally { given_up: users.0.len() as u64, ..Tally::default() }))
    .bind(At(dead.died_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn bury_notification(connection: &mut PgConnection, dead: &DeadJob) -> sqlx::Result<()> {
    sqlx::query(
        "-- bury_notification
         UPDATE auditor_notifications SET state = 'failed', error = $2, settled_at = $3, token = NULL, lease_until = NULL
         WHERE id = $1 AND state IN ('pending', 'claimed', 'sending')",
    )
    .bind(Id(dead.id))
    .bind(clean(&dead.reason))
    .bind(At(dead.died_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let forgotten = sqlx::query("-- forget_dead\nDELETE FROM auditor_dead_jobs WHERE id = $1")
        .bind(Id(id))
        .execute(connection)
        .await?;
    Ok(forgotten.rows_affected() == 1)
}

/// A check whose sweep has ended meanwhile goes on as a re-audit: nothing of an ended sweep is checked any more.
async fn revive_check(connection: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- revive_check
         UPDATE auditor_checks AS c SET state = 'queued', attempt = 0, due_at = $2, waiting_since = $2,
             queued_in = NULL, tally = NULL, finished_at = NULL, sweep_id = (
                 SELECT s.id FROM auditor_sweeps AS s WHERE s.id = c.sweep_id
                     AND s.state NOT IN ('completed', 'failed', 'skipped') FOR NO KEY UPDATE)
         WHERE c.id = $1 AND c.state = 'dead'",
    )
    .bind(Id(id))
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}

async fn revive_notification(connection: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    lock_users_of(connection, &[Id(id)]).await?;
    let revived = sqlx::query(
        "-- revive_notification
         UPDATE auditor_notifications SET attempts = 0, settled_at = NULL WHERE id = $1 AND state = 'failed'",
    )
    .bind(Id(id))
    .execute(&mut *connection)
    .await?;
    if revived.rows_affected() == 1 {
        let place = Place { hold: None, due_at: Some(now), waiting_since: Some(now) };
        put_back(connection, &[Id(id)], place, now).await?;
    }
    Ok(())
}
