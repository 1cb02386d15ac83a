//! Looking again at users whose incidents are worth it, in SQLite.
//!
//! A look is forgotten only when a notification takes it on: a new one, or one that is held under the same name, whose release
//! is a look of its own. While a notification of the user waits or is worked on, looks stay noted: it may end without one.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::SqliteStore;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write;
use crate::domain::id::NotificationId;

/// See [`OutboxStore::wake`](crate::domain::port::OutboxStore::wake).
pub(super) async fn wake(
    store: &SqliteStore,
    hold: Option<&str>,
    now: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<Vec<NotificationId>> {
    let mut reader = store.readers.acquire().await?;
    if due_looks(&mut reader, now, limit).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = store.writer.begin_with("BEGIN IMMEDIATE").await?;
    let users = due_looks(&mut transaction, now, limit).await?;
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let made = match hold {
        None => wake_pending(&mut transaction, &users, now).await?,
        Some(hold) => wake_held(&mut transaction, &users, hold, now).await?,
    };
    carry(&mut transaction, &users, hold, now).await?;
    forget_looks(&mut transaction, &users, now).await?;
    transaction.commit().await?;
    Ok(made)
}

/// Those of whom nothing waits or is worked on, whose look is oldest. Left to itself, SQLite would go through all that is open.
async fn due_looks(connection: &mut SqliteConnection, now: DateTime<Utc>, limit: u32) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "-- due_looks
         SELECT i.user_id FROM auditor_incidents AS i INDEXED BY auditor_incidents_looks
         WHERE i.resolved_at IS NULL AND i.look_at <= $1 AND NOT EXISTS (
             SELECT 1 FROM auditor_notifications AS n
             WHERE n.user_id = i.user_id AND n.state IN ('pending', 'claimed', 'sending'))
         GROUP BY i.user_id ORDER BY min(i.look_at), i.user_id LIMIT $2",
    )
    .bind(At(now))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
}

/// Whoever asked is about to push them.
async fn wake_pending(
    connection: &mut SqliteConnection,
    users: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<NotificationId>> {
    let made: Vec<Id> = sqlx::query_scalar(
        "-- wake_pending
         INSERT INTO auditor_notifications (id, user_id, state, due_at, created_at, waiting_since)
         SELECT r.value ->> 'id', r.value ->> 'user_id', 'pending', $2, $2, $2 FROM json_each($1) AS r WHERE TRUE
         ON CONFLICT (user_id) WHERE state = 'pending' DO NOTHING
         RETURNING id",
    )
    .bind(Json(write::woken(users)))
    .bind(At(now))
    .fetch_all(connection)
    .await?;
    Ok(made.into_iter().map(|id| NotificationId(id.0)).collect())
}

/// None of them is for the queue.
async fn wake_held(
    connection: &mut SqliteConnection,
    users: &[String],
    hold: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<NotificationId>> {
    sqlx::query(
        "-- wake_held
         INSERT INTO auditor_notifications (id, user_id, state, hold, due_at, created_at, waiting_since)
         SELECT r.value ->> 'id', r.value ->> 'user_id', 'held', $3, $2, $2, $2 FROM json_each($1) AS r WHERE TRUE
         ON CONFLICT (user_id, hold) WHERE state = 'held' DO NOTHING",
    )
    .bind(Json(write::woken(users)))
    .bind(At(now))
    .bind(write::clean(hold))
    .execute(connection)
    .await?;
    Ok(Vec::new())
}

/// The notification carries the next stage of what is looked at, unless one that is held carries that already.
async fn carry(
    connection: &mut SqliteConnection,
    users: &[String],
    hold: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- carry
         INSERT INTO auditor_notification_incidents AS c (incident_id, stage, notification_id)
         SELECT i.id, (SELECT min(COALESCE(max(l.stage) + 1, 0), 255) FROM auditor_notification_incidents AS l
                 JOIN auditor_notifications AS m ON m.id = l.notification_id
                 WHERE l.incident_id = i.id AND l.listed AND m.state = 'sent'), n.id
         FROM auditor_incidents AS i JOIN auditor_notifications AS n ON n.user_id = i.user_id
             AND n.state = CASE WHEN $3 IS NULL THEN 'pending' ELSE 'held' END AND n.hold IS $3
         WHERE i.user_id IN (SELECT value FROM json_each($1)) AND i.resolved_at IS NULL AND i.look_at <= $2
         ON CONFLICT (incident_id, stage) DO UPDATE SET notification_id = excluded.notification_id
         WHERE NOT c.listed AND NOT EXISTS (
             SELECT 1 FROM auditor_notifications AS o WHERE o.id = c.notification_id AND o.state = 'held')",
    )
    .bind(Json(users))
    .bind(At(now))
    .bind(hold.map(write::clean))
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget_looks(connection: &mut SqliteConnection, users: &[String], now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- forget_looks
         UPDATE auditor_incidents SET look_at = NULL
         WHERE user_id IN (SELECT value FROM json_each($1)) AND resolved_at IS NULL AND look_at <= $2",
    )
    .bind(Json(users))
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}
