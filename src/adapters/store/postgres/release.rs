//! Letting go of what the outage guard holds, in PostgreSQL: user by user, some in one transaction.
//!
//! Whatever breaks off in the middle leaves a trip that still holds the rest, and is carried on by asking again.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::merge::put_back;
use crate::adapters::store::case::BATCH;
use crate::adapters::store::merge::Place;
use crate::adapters::store::row::{At, Id, rows};
use crate::adapters::store::write::clean;
use crate::domain::id::{NotificationId, TripId};
use crate::domain::notification::hold;
use crate::domain::port::{Release, Released};

/// The next users of whom a trip holds something.
struct Batch {
    users: Vec<String>,
    last: bool,
}

impl PostgresStore {
    /// See [`release_trip`](crate::domain::port::GuardStore::release_trip).
    pub(super) async fn release(&self, release: &Release<'_>, now: DateTime<Utc>) -> sqlx::Result<Option<Released>> {
        let mut left = release.ramp.map_or(u32::MAX, |(first, _)| first);
        let mut released: Option<Vec<NotificationId>> = None;
        loop {
            let mut transaction = self.pool.begin().await?;
            let Some(batch) = next(&mut transaction, release.id, left.min(BATCH)).await? else { break };
            let woken = release_users(&mut transaction, release.id, &batch.users, now).await?;
            go_on(&mut transaction, release, batch.last, now).await?;
            transaction.commit().await?;
            released.get_or_insert_default().extend(woken.into_iter().map(|id| NotificationId(id.0)));
            left = left.saturating_sub(u32::try_from(batch.users.len()).unwrap_or(u32::MAX));
            if batch.last || left == 0 {
                break;
            }
        }
        let Some(notifications) = released else { return Ok(None) };
        let users_left = users_held(&mut *self.pool.acquire().await?, release.id).await?;
        Ok(Some(Released { notifications, users_left }))
    }

    /// See [`discard_trip`](crate::domain::port::GuardStore::discard_trip).
    pub(super) async fn discard(&self, id: TripId, by: &str, now: DateTime<Utc>) -> sqlx::Result<Option<u64>> {
        let mut discarded: Option<u64> = None;
        loop {
            let mut transaction = self.pool.begin().await?;
            let Some(batch) = next(&mut transaction, id, BATCH).await? else { break };
            *discarded.get_or_insert_default() += discard_users(&mut transaction, id, &batch.users, now).await?;
            if batch.last {
                end_discarded(&mut transaction, id, by, now).await?;
            }
            transaction.commit().await?;
            if batch.last {
                break;
            }
        }
        Ok(discarded)
    }
}

/// Locks a trip that holds something, and the first of its users; none if there is no such trip.
async fn next(connection: &mut PgConnection, id: TripId, limit: u32) -> sqlx::Result<Option<Batch>> {
    let trip: Option<Id> = sqlx::query_scalar(
        "-- lock_trip
         SELECT id FROM auditor_trips WHERE id = $1 AND state IN ('tripped', 'releasing') FOR UPDATE",
    )
    .bind(Id(id.0))
    .fetch_optional(&mut *connection)
    .await?;
    if trip.is_none() {
        return Ok(None);
    }
    let mut users: Vec<String> = sqlx::query_scalar(
        "-- first_held_users
         SELECT DISTINCT user_id FROM auditor_incidents WHERE trip_id = $1 AND guard = 'held' AND resolved_at IS NULL
         ORDER BY user_id LIMIT $2",
    )
    .bind(Id(id.0))
    .bind(i64::from(limit) + 1)
    .fetch_all(&mut *connection)
    .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = users.len() <= limit;
    users.truncate(limit);
    sqlx::query(
        "-- lock_users
         SELECT user_id FROM auditor_user_checks WHERE user_id = ANY($1) ORDER BY user_id FOR NO KEY UPDATE",
    )
    .bind(&users)
    .execute(connection)
    .await?;
    Ok(Some(Batch { users, last }))
}

/// Lets go of what a trip holds of these users, which are locked; returns their notifications that are due from now on.
async fn release_users(
    connection: &mut PgConnection,
    id: TripId,
    users: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Id>> {
    let released: Vec<String> = sqlx::query_scalar(
        "-- release_incidents
         UPDATE auditor_incidents SET guard = 'released'
         WHERE trip_id = $1 AND guard = 'held' AND resolved_at IS NULL AND user_id = ANY($2)
         RETURNING user_id",
    )
    .bind(Id(id.0))
    .bind(users)
    .fetch_all(&mut *connection)
    .await?;
    let mut released: BTreeSet<String> = released.into_iter().collect();
    let held: Vec<(Id, String)> = sqlx::query_as(
        "-- held_by_guard
         SELECT id, user_id FROM auditor_notifications
         WHERE state = 'held' AND hold = $2 AND user_id = ANY($1) ORDER BY user_id FOR NO KEY UPDATE",
    )
    .bind(released.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(hold::GUARD)
    .fetch_all(&mut *connection)
    .await?;
    for (_, user) in &held {
        released.remove(user);
    }
    let held: Vec<Id> = held.into_iter().map(|(id, _)| id).collect();
    let place = Place { hold: None, due_at: Some(now), waiting_since: Some(now) };
    let mut woken = put_back(connection, &held, place, now).await?;
    woken.extend(wake_users(connection, &released, now).await?);
    Ok(woken)
}

/// Makes a pending notification for each user, or the one that is pending due. One that is claimed is left alone: whoever has it may have
/// decided before the release.
async fn wake_users(
    connection: &mut PgConnection,
    users: &BTreeSet<String>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Id>> {
    let new: Vec<Value> = users.iter().map(|user| json!({"id": Uuid::now_v7(), "user_id": user})).collect();
    sqlx::query_scalar(
        "-- wake_users
         INSERT INTO auditor_notifications AS n (id, user_id, state, due_at, created_at, waiting_since)
         SELECT r.id, r.user_id, 'pending', $2, $2, $2 FROM jsonb_to_recordset($1) AS r (id uuid, user_id text)
         ORDER BY r.user_id COLLATE \"C\"
         ON CONFLICT (user_id) WHERE state = 'pending' DO UPDATE SET due_at = LEAST(n.due_at, excluded.due_at),
             queued_in = NULL, waiting_since = excluded.waiting_since
         RETURNING id",
    )
    .bind(Json(new))
    .bind(At(now))
    .fetch_all(connection)
    .await
}

/// The trip is released, or the rest follows.
async fn go_on(
    connection: &mut PgConnection,
    release: &Release<'_>,
    last: bool,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- go_on_releasing
         UPDATE auditor_trips SET state = CASE WHEN $2 THEN 'released' ELSE 'releasing' END,
             ended_at = COALESCE(ended_at, $3), ended_by = COALESCE(ended_by, $4),
             ramp_at = CASE WHEN $2 THEN NULL ELSE $5::timestamptz END
         WHERE id = $1",
    )
    .bind(Id(release.id.0))
    .bind(last)
    .bind(At(now))
    .bind(clean(release.by))
    .bind(At(release.ramp.map_or(now, |(_, rest_at)| rest_at)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn users_held(connection: &mut PgConnection, id: TripId) -> sqlx::Result<u64> {
    let users: i64 = sqlx::query_scalar(
        "-- users_held
         SELECT count(DISTINCT user_id) FROM auditor_incidents
         WHERE trip_id = $1 AND guard = 'held' AND resolved_at IS NULL",
    )
    .bind(Id(id.0))
    .fetch_one(connection)
    .await?;
    Ok(rows(users))
}

/// What a trip holds of these users, which are locked, is never mailed about; returns how many incidents that were.
async fn discard_users(
    connection: &mut PgConnection,
    id: TripId,
    users: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let discarded = sqlx::query(
        "-- discard_incidents
         UPDATE auditor_incidents SET guard = 'discarded'
         WHERE trip_id = $1 AND guard = 'held' AND resolved_at IS NULL AND user_id = ANY($2)",
    )
    .bind(Id(id.0))
    .bind(users)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "-- skip_discarded
         UPDATE auditor_notifications SET state = 'skipped', hold = NULL, error = 'discarded', settled_at = $3
         WHERE id IN (SELECT n.id FROM auditor_notifications AS n
             WHERE n.state = 'held' AND n.hold = $2 AND n.user_id = ANY($1) AND NOT EXISTS (
                 SELECT 1 FROM auditor_incidents AS i
                 WHERE i.user_id = n.user_id AND i.guard = 'held' AND i.resolved_at IS NULL)
             ORDER BY n.user_id FOR NO KEY UPDATE)",
    )
    .bind(users)
    .bind(hold::GUARD)
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(discarded.rows_affected())
}

async fn end_discarded(connection: &mut PgConnection, id: TripId, by: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_discarded
         UPDATE auditor_trips SET state = 'discarded', ended_at = $2, ended_by = $3, ramp_at = NULL WHERE id = $1",
    )
    .bind(Id(id.0))
    .bind(At(now))
    .bind(clean(by))
    .execute(connection)
    .await?;
    Ok(())
}
