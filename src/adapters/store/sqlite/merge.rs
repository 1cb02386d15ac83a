//! Putting notifications back in SQLite; see [`crate::adapters::store::merge`].

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::types::Json;

use crate::adapters::store::merge::{MERGED, Merge, Place, Waiting};
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write::SqliteJson;

/// Puts notifications back; returns those that wait from now on.
pub(super) async fn put_back(
    connection: &mut SqliteConnection,
    notifications: &[Id],
    place: Place<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Id>> {
    let rows: Vec<Waiting> = sqlx::query_as(
        "-- waiting_beside
         SELECT n.id, n.user_id, n.due_at FROM auditor_notifications AS n
         WHERE n.id IN (
             SELECT value FROM json_each($1)
             UNION SELECT w.id FROM auditor_notifications AS o JOIN auditor_notifications AS w ON w.user_id = o.user_id
             WHERE o.id IN (SELECT value FROM json_each($1))
                 AND w.state = CASE WHEN $2 IS NULL THEN 'pending' ELSE 'held' END AND w.hold IS $2)
         ORDER BY n.user_id, n.unclear DESC, n.ambiguous DESC, n.attempts DESC, n.id",
    )
    .bind(Json(notifications))
    .bind(place.hold)
    .fetch_all(&mut *connection)
    .await?;
    let plan = Merge::plan(&rows, place);
    if !plan.merged.is_empty() {
        sqlx::query(
            "-- move_incidents
             UPDATE auditor_notification_incidents AS i SET notification_id = r.value ->> 'into_id'
             FROM json_each($1) AS r WHERE i.notification_id = r.value ->> 'id'",
        )
        .bind(Json(plan.merged_json()))
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "-- skip_merged
             UPDATE auditor_notifications AS n SET state = 'skipped', hold = NULL, error = $2, settled_at = $3,
                 token = NULL, lease_until = NULL
             FROM json_each($1) AS r WHERE n.id = r.value ->> 'id'",
        )
        .bind(Json(plan.merged_json()))
        .bind(MERGED)
        .bind(At(now))
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "-- put_back
         UPDATE auditor_notifications AS n SET state = CASE WHEN $2 IS NULL THEN 'pending' ELSE 'held' END,
             hold = $2, due_at = r.value ->> 'due_at', waiting_since = $3, queued_in = NULL, settled_at = NULL, token = NULL,
             lease_until = NULL
         FROM json_each($1) AS r WHERE n.id = r.value ->> 'id'",
    )
    .bind(Json(plan.survivors_json::<SqliteJson>()))
    .bind(place.hold)
    .bind(place.waiting_since.map(At))
    .execute(connection)
    .await?;
    Ok(plan.survivors.into_iter().map(|(id, _)| id).collect())
}
