//! What readers do with mails, in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::adapters::store::click::{ClickRow, MailedRow, OwnedRow, ReconnectsRow, ages};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::domain::id::{IncidentId, NotificationId, UserId};
use crate::domain::incident::Incident;
use crate::domain::port::{Click, ClickStore, Mailed, Reconnects, StoreResult};
use crate::domain::token::Subject;

#[async_trait]
impl ClickStore for SqliteStore {
    async fn mailed(&self, mail: NotificationId) -> StoreResult<Option<Mailed>> {
        let row: Option<MailedRow> = sqlx::query_as(
            "-- mailed
             SELECT n.user_id, n.template, (
                 SELECT json_group_array(DISTINCT i.toolkit) FROM auditor_notification_incidents AS l
                 JOIN auditor_incidents AS i ON i.id = l.incident_id WHERE l.notification_id = n.id) AS toolkits
             FROM auditor_notifications AS n WHERE n.id = $1",
        )
        .bind(Id(mail.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed("reading to whom a mail went"))?;
        Ok(row.map(Mailed::from))
    }

    async fn incident(&self, id: IncidentId) -> StoreResult<Option<(UserId, Incident)>> {
        let action = "reading an incident";
        let row: Option<OwnedRow> = sqlx::query_as(
            "-- incident
             SELECT user_id, id, toolkit, auth_config, alias, kind, account_id, status, reason, broke_at, counts_from,
                 opened_at, resolved_at, resolution
             FROM auditor_incidents WHERE id = $1",
        )
        .bind(Id(id.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed(action))?;
        row.map(|row| row.into_incident(action)).transpose()
    }

    async fn note_click(&self, subject: Subject, now: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query(
            "-- note_click
             INSERT INTO auditor_clicks AS c (incident_id, notification_id, user_id, clicked_at)
             SELECT i.id, n.id, i.user_id, $3 FROM auditor_incidents AS i
             JOIN auditor_notifications AS n ON n.id = $2 AND n.user_id = i.user_id WHERE i.id = $1
             ON CONFLICT (incident_id, notification_id) DO UPDATE SET clicks = c.clicks + 1",
        )
        .bind(Id(subject.incident.0))
        .bind(Id(subject.mail.0))
        .bind(At(now))
        .execute(&self.writer)
        .await
        .map_err(failed("noting a click"))?;
        Ok(())
    }

    async fn reconnects(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> StoreResult<Vec<Reconnects>> {
        let [one, two, three] = ages(now);
        // Of several stages that one mail consumed, the newest is what it was.
        let rows: Vec<ReconnectsRow> = sqlx::query_as(
            "-- reconnects
             SELECT m.toolkit, m.stage, m.template, count(*) AS mailed, count(*) FILTER (WHERE m.clicked) AS clicked,
                 count(*) FILTER (WHERE m.sent_at <= $2) AS of_1,
                 count(*) FILTER (WHERE m.sent_at <= $2 AND m.back_at <= m.sent_at + 86400000000) AS back_1,
                 count(*) FILTER (WHERE m.sent_at <= $3) AS of_2,
                 count(*) FILTER (WHERE m.sent_at <= $3 AND m.back_at <= m.sent_at + 259200000000) AS back_2,
                 count(*) FILTER (WHERE m.sent_at <= $4) AS of_3,
                 count(*) FILTER (WHERE m.sent_at <= $4 AND m.back_at <= m.sent_at + 604800000000) AS back_3
             FROM (SELECT i.toolkit, l.stage, COALESCE(n.template, '') AS template, n.sent_at,
                     c.incident_id IS NOT NULL AS clicked,
                     CASE WHEN i.resolution = 'reconnected' THEN i.resolved_at END AS back_at
                 FROM auditor_notifications AS n
                 JOIN auditor_notification_incidents AS l ON l.notification_id = n.id AND l.listed
                 JOIN auditor_incidents AS i ON i.id = l.incident_id
                 LEFT JOIN auditor_clicks AS c ON c.incident_id = i.id AND c.notification_id = n.id
                 WHERE n.state = 'sent' AND n.settled_at >= $1
                     AND NOT EXISTS (SELECT 1 FROM auditor_notification_incidents AS o
                         WHERE o.notification_id = n.id AND o.incident_id = i.id AND o.listed AND o.stage > l.stage)
                 ) AS m
             GROUP BY m.toolkit, m.stage, m.template ORDER BY m.toolkit, m.stage, m.template",
        )
        .bind(At(since))
        .bind(one)
        .bind(two)
        .bind(three)
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting what came of mails"))?;
        Ok(rows.into_iter().map(Reconnects::from).collect())
    }
}

/// The clicks of a user, the newest `limit` of them, oldest first.
pub(super) async fn of(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<Click>> {
    let rows: Vec<ClickRow> = sqlx::query_as(
        "-- clicks_of
         SELECT incident_id, notification_id, clicked_at, clicks FROM auditor_clicks
         WHERE user_id = $1 ORDER BY clicked_at DESC, incident_id DESC, notification_id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().rev().map(Click::from).collect())
}
