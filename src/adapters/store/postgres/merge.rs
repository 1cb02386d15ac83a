//! Putting notifications back in PostgreSQL; see [`crate::adapters::store::merge`].

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::adapters::store::merge::{MERGED, Merge, Place, Waiting};
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write::PostgresJson;

/// Locks the users of these notifications, in the order in which everybody does.
pub(super) async fn lock_users_of(connection: &mut PgConnection, notifications: &[Id]) -> sqlx::Result<()> {
    sqlx::query(
        "-- lock_users_of
         SELECT u.user_id FROM auditor_user_checks AS u WHERE u.user_id IN (
             SELECT n.user_id FROM auditor_notifications AS n WHERE n.id = ANY($1))
         ORDER BY u.user_id FOR NO KEY UPDATE",
    )
    .bind(notifications)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts notifications back, which are locked, and so are their users; returns those that wait from now on.
///
/// One that waits beside them and is claimed at this moment is left to its notifier: hence the second look at its state.
pub(super) async fn put_back(
    connection: &mut PgConnection,
    notifications: &[Id],
    place: Place<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Id>> {
    let rows: Vec<Waiting> = sqlx::query_as(
        "-- waiting_beside
         SELECT n.id, n.user_id, n.due_at FROM auditor_notifications AS n
         WHERE n.id IN (
             SELECT o.id FROM auditor_notifications AS o WHERE o.id = ANY($1)
             UNION SELECT w.id FROM auditor_notifications AS o JOIN auditor_notifications AS w ON w.user_id = o.user_id
             WHERE o.id = ANY($1) AND w.state = CASE WHEN $2::text IS NULL THEN 'pending' ELSE 'held' END
                 AND w.hold IS NOT DISTINCT FROM $2)
             AND (n.id = ANY($1) OR (n.state = CASE WHEN $2::text IS NULL THEN 'pending' ELSE 'held' END
                 AND n.hold IS NOT DISTINCT FROM $2))
         ORDER BY n.user_id, n.ambiguous DESC, n.attempts DESC, n.id FOR NO KEY UPDATE",
    )
    .bind(notifications)
    .bind(place.hold)
    .fetch_all(&mut *connection)
    .await?;
    let plan = Merge::plan(&rows, place);
    if !plan.merged.is_empty() {
        sqlx::query(
            "-- move_incidents
             UPDATE auditor_notification_incidents AS i SET notification_id = r.into_id
             FROM jsonb_to_recordset($1) AS r (id uuid, into_id uuid) WHERE i.notification_id = r.id",
        )
        .bind(Json(plan.merged_json()))
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "-- skip_merged
             UPDATE auditor_notifications AS n SET state = 'skipped', hold = NULL, error = $2, settled_at = $3,
                 token = NULL, lease_until = NULL
             FROM jsonb_to_recordset($1) AS r (id uuid, into_id uuid) WHERE n.id = r.id",
        )
        .bind(Json(plan.merged_json()))
        .bind(MERGED)
        .bind(At(now))
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "-- put_back
         UPDATE auditor_notifications AS n SET state = CASE WHEN $2::text IS NULL THEN 'pending' ELSE 'held' END,
             hold = $2, due_at = r.due_at, waiting_since = $3, queued_in = NULL, settled_at = NULL, token = NULL,
             lease_until = NULL
         FROM jsonb_to_recordset($1) AS r (id uuid, due_at timestamptz) WHERE n.id = r.id",
    )
    .bind(Json(plan.survivors_json::<PostgresJson>()))
    .bind(place.hold)
    .bind(place.waiting_since.map(At))
    .execute(connection)
    .await?;
    Ok(plan.survivors.into_iter().map(|(id, _)| id).collect())
}
