//! What the operator is told of, in PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{PostgresStore, vital};
use crate::adapters::store::case::{AlertRow, MessageRow, ToldRow, ids, message_json, named_in};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write::clean;
use crate::domain::alert::{Alert, Channel, Condition, Message};
use crate::domain::id::AlertId;
use crate::domain::lease::Lease;
use crate::domain::port::{AlertStore, ClaimedMessage, MessageEnd, StoreResult, VitalSigns};

#[async_trait]
impl AlertStore for PostgresStore {
    async fn alerts_open(&self) -> StoreResult<Vec<Alert>> {
        let open: Vec<AlertRow> = sqlx::query_as(
            "-- alerts_open
             SELECT id, kind, subject, summary, detail, since, told_at, ended_at, end_told FROM auditor_alerts
             WHERE ended_at IS NULL OR NOT end_told ORDER BY since, id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed("reading the alerts that are open"))?;
        Ok(open.into_iter().map(Alert::from).collect())
    }

    async fn alerts(&self, limit: u32) -> StoreResult<Vec<Alert>> {
        let newest: Vec<AlertRow> = sqlx::query_as(
            "-- alerts
             SELECT id, kind, subject, summary, detail, since, told_at, ended_at, end_told FROM auditor_alerts
             ORDER BY since DESC, id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(failed("listing alerts"))?;
        Ok(newest.into_iter().map(Alert::from).collect())
    }

    async fn set_conditions(&self, judged: &[&str], conditions: &[Condition], now: DateTime<Utc>) -> StoreResult<()> {
        let action = "noting what is wrong";
        let mut transaction = self.pool.begin().await.map_err(failed(action))?;
        let firing = raise(&mut transaction, conditions, now).await.map_err(failed(action))?;
        end_others(&mut transaction, judged, &firing, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))
    }

    async fn tell(
        &self,
        alerts: &[AlertId],
        messages: &[(Uuid, Channel, Message)],
        unless_told_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        let action = "telling of alerts";
        let named = named_in(messages);
        let mut transaction = self.pool.begin().await.map_err(failed(action))?;
        let known: Vec<ToldRow> = sqlx::query_as(
            "-- lock_alerts
             SELECT id, told_at, end_told FROM auditor_alerts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        )
        .bind(ids(alerts.iter().map(|id| id.0)))
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed(action))?;
        if known.iter().any(|row| row.is_told(&named, unless_told_after)) {
            return Ok(false);
        }
        // One that was told as firing and has ended meanwhile: its end is told next time.
        sqlx::query(
            "-- note_told
             UPDATE auditor_alerts SET told_at = $2, end_told = ended_at IS NOT NULL AND NOT id = ANY($3)
             WHERE id = ANY($1)",
        )
        .bind(ids(alerts.iter().map(|id| id.0)))
        .bind(At(now))
        .bind(&named.firing)
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        for (id, channel, message) in messages {
            insert_message(&mut transaction, *id, *channel, message, now).await.map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn claim_message(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<ClaimedMessage>> {
        let action = "claiming a message to the operator";
        let row: Option<MessageRow> = sqlx::query_as(
            "-- claim_message
             UPDATE auditor_messages SET token = $1, lease_until = $2, attempts = attempts + 1 WHERE id = (
                 SELECT m.id FROM auditor_messages AS m WHERE m.state = 'pending' AND m.due_at <= $3
                     AND (m.lease_until IS NULL OR m.lease_until <= $3)
                 ORDER BY m.due_at, m.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
             RETURNING id, channel, message, attempts",
        )
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .bind(At(now))
        .fetch_optional(&self.pool)
        .await
        .map_err(failed(action))?;
        row.map(|row| row.into_message(action)).transpose()
    }

    async fn settle_message(&self, id: Uuid, token: Uuid, end: &MessageEnd, now: DateTime<Utc>) -> StoreResult<bool> {
        let (state, due_at, error) = match end {
            MessageEnd::Delivered => ("delivered", None, None),
            MessageEnd::Again(due_at, error) => ("pending", Some(*due_at), Some(error)),
            MessageEnd::GivenUp(error) => ("given_up", None, Some(error)),
        };
        let settled = sqlx::query(
            "-- settle_message
             UPDATE auditor_messages SET state = $3, due_at = COALESCE($4, due_at), error = $5,
                 settled_at = CASE WHEN $3 <> 'pending' THEN $6::timestamptz END, token = NULL, lease_until = NULL
             WHERE id = $1 AND token = $2 AND state = 'pending'",
        )
        .bind(Id(id))
        .bind(Id(token))
        .bind(state)
        .bind(due_at.map(At))
        .bind(error.map(|error| clean(error)))
        .bind(At(now))
        .execute(&self.pool)
        .await
        .map_err(failed("settling a message to the operator"))?;
        Ok(settled.rows_affected() == 1)
    }

    async fn vital_signs(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> StoreResult<VitalSigns> {
        let action = "reading what tells that something is wrong";
        let mut connection = self.pool.acquire().await.map_err(failed(action))?;
        vital::signs(&mut connection, since, now).await.map_err(failed(action))
    }
}

/// Raises what is new, and gives what goes on its new words; returns all that fires of these.
async fn raise(connection: &mut PgConnection, conditions: &[Condition], now: DateTime<Utc>) -> sqlx::Result<Vec<Id>> {
    let conditions: BTreeMap<(String, String), &Condition> =
        conditions.iter().map(|one| ((clean(&one.kind), clean(&one.subject)), one)).collect();
    let rows: Vec<Value> = conditions
        .into_iter()
        .map(|((kind, subject), one)| {
            json!({"id": Uuid::now_v7(), "kind": kind, "subject": subject, "summary": clean(&one.summary),
                "detail": clean(&one.detail)})
        })
        .collect();
    sqlx::query_scalar(
        "-- raise
         INSERT INTO auditor_alerts (id, kind, subject, summary, detail, since)
         SELECT r.id, r.kind, r.subject, r.summary, r.detail, $2
         FROM jsonb_to_recordset($1) AS r (id uuid, kind text, subject text, summary text, detail text)
         ORDER BY r.kind COLLATE \"C\", r.subject COLLATE \"C\"
         ON CONFLICT (kind, subject) WHERE ended_at IS NULL DO UPDATE SET summary = excluded.summary,
             detail = excluded.detail
         RETURNING id",
    )
    .bind(Json(rows))
    .bind(At(now))
    .fetch_all(connection)
    .await
}

/// Ends what was judged and holds no more. An end of which nobody knows the beginning is not told.
async fn end_others(
    connection: &mut PgConnection,
    judged: &[&str],
    firing: &[Id],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_others
         UPDATE auditor_alerts SET ended_at = $3, end_told = told_at IS NULL WHERE id IN (
             SELECT a.id FROM auditor_alerts AS a
             WHERE a.ended_at IS NULL AND a.kind = ANY($1) AND NOT a.id = ANY($2)
             ORDER BY a.kind COLLATE \"C\", a.subject COLLATE \"C\" FOR NO KEY UPDATE)",
    )
    .bind(judged)
    .bind(firing)
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_message(
    connection: &mut PgConnection,
    id: Uuid,
    channel: Channel,
    message: &Message,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- insert_message
         INSERT INTO auditor_messages (id, channel, message, state, due_at, created_at)
         VALUES ($1, $2, $3, 'pending', $4, $4)",
    )
    .bind(Id(id))
    .bind(channel.as_str())
    .bind(Json(message_json(message)))
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}
