//! The last word on whether a mail may leave, in SQLite.
//!
//! The transaction has the right to write from its first statement on, so that of two mails one sees the other.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{SqliteConnection, SqlitePool};

use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write;
use crate::domain::id::NotificationId;
use crate::domain::port::{Begun, Sending};

/// In which so many mails may leave.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// See [`Begun`].
pub(super) async fn begin(writer: &SqlitePool, id: NotificationId, sending: &Sending<'_>) -> sqlx::Result<Begun> {
    let stages = write::stages(sending.stages);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let Some((paused, refused)) = obstacles(&mut transaction, id, sending, &stages).await? else {
        return Ok(Begun::Fenced);
    };
    if paused {
        return Ok(Begun::Paused);
    }
    // A mail that consumes no stage says nothing that was not said.
    if refused || sending.stages.is_empty() {
        return Ok(Begun::Refused);
    }
    if let Some(max) = sending.max_per_hour
        && let Some(at) = full_until(&mut transaction, id, max, sending.now).await?
    {
        return Ok(Begun::Full(at));
    }
    if !begin_sending(&mut transaction, id, sending).await? {
        return Ok(Begun::Fenced);
    }
    take_in(&mut transaction, id, &stages).await?;
    unlist(&mut transaction, id, &stages).await?;
    transaction.commit().await?;
    Ok(Begun::Yes)
}

/// Whether the kill switch is thrown, and whether anything else speaks against the mail; none if the claim was lost.
async fn obstacles(
    connection: &mut SqliteConnection,
    id: NotificationId,
    sending: &Sending<'_>,
    stages: &Value,
) -> sqlx::Result<Option<(bool, bool)>> {
    sqlx::query_as(
        "-- obstacles
         SELECT EXISTS (SELECT 1 FROM auditor_pause) AS is_paused,
             EXISTS (SELECT 1 FROM auditor_notifications AS o
                 WHERE o.user_id = n.user_id AND o.id <> n.id
                     AND (o.state = 'sending' OR (o.state = 'sent' AND o.sent_at > $4)
                         OR (o.ambiguous > 0 AND (o.state IN ('pending', 'claimed') OR o.sending_at > $4))))
             OR EXISTS (SELECT 1
                 FROM json_each($3) AS r
                 LEFT JOIN auditor_incidents AS i ON i.id = r.value ->> 'incident_id' AND i.user_id = n.user_id
                     AND i.resolved_at IS NULL AND (i.guard IS NULL OR i.guard = 'released')
                 WHERE i.id IS NULL
                     OR EXISTS (SELECT 1 FROM auditor_notification_incidents AS l
                         JOIN auditor_notifications AS o ON o.id = l.notification_id
                         WHERE l.incident_id = i.id AND o.id <> n.id
                             AND ((o.state = 'held' AND o.hold <> 'guard')
                                 OR (o.state = 'held' AND l.listed AND o.ambiguous > 0)
                                 OR (o.state = 'sent' AND l.listed AND l.stage >= r.value ->> 'stage')))
                     OR EXISTS (SELECT 1 FROM auditor_suppressions AS s
                         WHERE s.user_id = n.user_id AND s.toolkit IN ('', i.toolkit)
                             AND (s.until IS NULL OR s.until > $5))) AS is_refused
         FROM auditor_notifications AS n WHERE n.id = $1 AND n.token = $2 AND n.state = 'claimed'",
    )
    .bind(Id(id.0))
    .bind(Id(sending.lease.token))
    .bind(Json(stages))
    .bind(At(sending.quiet_since))
    .bind(At(sending.now))
    .fetch_optional(connection)
    .await
}

/// When there is room for one more, if there is none now. A mail that is tried again counts once.
async fn full_until(
    connection: &mut SqliteConnection,
    id: NotificationId,
    max: u32,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let (mails, oldest): (i64, Option<At>) = sqlx::query_as(
        "-- full_until
         SELECT count(*), min(m.sending_at) FROM (
             SELECT n.sending_at FROM auditor_notifications AS n WHERE n.sending_at > $1 AND n.id <> $2
             ORDER BY n.sending_at DESC LIMIT $3) AS m",
    )
    .bind(At(now - HOUR))
    .bind(Id(id.0))
    .bind(i64::from(max))
    .fetch_one(connection)
    .await?;
    Ok((mails >= i64::from(max)).then(|| oldest.map_or(now, |at| at.0) + HOUR))
}

/// `false` if the claim was lost.
async fn begin_sending(
    connection: &mut SqliteConnection,
    id: NotificationId,
    sending: &Sending<'_>,
) -> sqlx::Result<bool> {
    let begun = sqlx::query(
        "-- begin_sending
         UPDATE auditor_notifications SET state = 'sending', unclear = FALSE, lease_until = $3, sending_at = $4,
             template = $5
         WHERE id = $1 AND token = $2 AND state = 'claimed'",
    )
    .bind(Id(id.0))
    .bind(Id(sending.lease.token))
    .bind(At(sending.lease.until))
    .bind(At(sending.now))
    .bind(sending.template.map(write::clean))
    .execute(connection)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// The stages that a mail consumes become its own.
async fn take_in(connection: &mut SqliteConnection, id: NotificationId, stages: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "-- take_in
         INSERT INTO auditor_notification_incidents (incident_id, stage, notification_id, listed)
         SELECT DISTINCT r.value ->> 'incident_id', r.value ->> 'stage', $1, TRUE FROM json_each($2) AS r WHERE TRUE
         ON CONFLICT (incident_id, stage) DO UPDATE SET notification_id = excluded.notification_id, listed = TRUE",
    )
    .bind(Id(id.0))
    .bind(Json(stages))
    .execute(connection)
    .await?;
    Ok(())
}

/// What it had and does not consume was not mailed.
async fn unlist(connection: &mut SqliteConnection, id: NotificationId, stages: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "-- unlist
         UPDATE auditor_notification_incidents SET listed = FALSE
         WHERE notification_id = $1 AND listed AND (incident_id, stage) NOT IN (
             SELECT r.value ->> 'incident_id', r.value ->> 'stage' FROM json_each($2) AS r)",
    )
    .bind(Id(id.0))
    .bind(Json(stages))
    .execute(connection)
    .await?;
    Ok(())
}
