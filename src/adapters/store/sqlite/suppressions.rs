//! Who is not to be mailed, and whether anybody is, in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::adapters::store::case::SuppressionRow;
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write::clean;
use crate::domain::id::{Toolkit, UserId};
use crate::domain::notification::hold;
use crate::domain::port::{Pause, StoreResult, SuppressionStore};
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};

#[async_trait]
impl SuppressionStore for SqliteStore {
    async fn suppress(&self, suppression: &Suppression) -> StoreResult<bool> {
        // One that had ended begins anew, under the id that it had.
        let statement = match suppression.whom {
            Whom::User(_) => {
                "-- suppress_user
                 INSERT INTO auditor_suppressions AS s
                     (id, user_id, address_hash, kind, toolkit, until, source, detail, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (user_id, kind, toolkit) WHERE user_id IS NOT NULL DO UPDATE SET
                     until = CASE WHEN s.until IS NOT NULL AND excluded.until IS NOT NULL
                         THEN max(s.until, excluded.until) END,
                     source = excluded.source, detail = excluded.detail,
                     created_at = CASE WHEN s.until <= excluded.created_at THEN excluded.created_at
                         ELSE s.created_at END
                 RETURNING id"
            }
            Whom::Address(_) => {
                "-- suppress_address
                 INSERT INTO auditor_suppressions AS s
                     (id, user_id, address_hash, kind, toolkit, until, source, detail, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (address_hash, kind, toolkit) WHERE address_hash IS NOT NULL DO UPDATE SET
                     until = CASE WHEN s.until IS NOT NULL AND excluded.until IS NOT NULL
                         THEN max(s.until, excluded.until) END,
                     source = excluded.source, detail = excluded.detail,
                     created_at = CASE WHEN s.until <= excluded.created_at THEN excluded.created_at
                         ELSE s.created_at END
                 RETURNING id"
            }
        };
        let (user, address) = columns(&suppression.whom);
        let kept: Id = sqlx::query_scalar(statement)
            .bind(Id(suppression.id.0))
            .bind(user)
            .bind(address)
            .bind(suppression.kind.as_str())
            .bind(suppression.toolkit.as_ref().map_or_else(String::new, |toolkit| clean(toolkit.as_str())))
            .bind(suppression.until.map(At))
            .bind(clean(&suppression.source))
            .bind(suppression.detail.as_deref().map(clean))
            .bind(At(suppression.created_at))
            .fetch_one(&self.writer)
            .await
            .map_err(failed("keeping a suppression"))?;
        Ok(kept.0 == suppression.id.0)
    }

    async fn lift(
        &self,
        whom: &Whom,
        kind: Option<SuppressionKind>,
        toolkit: Option<&Toolkit>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let action = "lifting a suppression";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let (user, address) = columns(whom);
        let lifted = sqlx::query(
            "-- lift
             UPDATE auditor_suppressions SET until = $5
             WHERE (user_id = $1 OR address_hash = $2) AND ($3 IS NULL OR kind = $3)
                 AND ($4 IS NULL OR toolkit = $4) AND (until IS NULL OR until > $5)",
        )
        .bind(&user)
        .bind(&address)
        .bind(kind.map(SuppressionKind::as_str))
        .bind(toolkit.map(|toolkit| clean(toolkit.as_str())))
        .bind(At(now))
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        if let Some(user) = user {
            look_again(&mut transaction, &user, now).await.map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(lifted.rows_affected())
    }

    async fn suppressions_of(
        &self,
        user: &UserId,
        address: Option<&AddressHash>,
        now: DateTime<Utc>,
    ) -> StoreResult<Vec<Suppression>> {
        let action = "reading the suppressions of a user";
        let rows: Vec<SuppressionRow> = sqlx::query_as(
            "-- suppressions_of
             SELECT id, user_id, address_hash, kind, toolkit, until, source, detail, created_at
             FROM auditor_suppressions WHERE (user_id = $1 OR address_hash = $2) AND (until IS NULL OR until > $3)
             ORDER BY created_at DESC, id DESC",
        )
        .bind(clean(user.as_str()))
        .bind(address.map(AddressHash::as_str))
        .bind(At(now))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        rows.into_iter().map(|row| row.into_suppression(action)).collect()
    }

    async fn suppressions(&self, limit: u32, now: DateTime<Utc>) -> StoreResult<Vec<Suppression>> {
        let action = "listing suppressions";
        let rows: Vec<SuppressionRow> = sqlx::query_as(
            "-- suppressions
             SELECT id, user_id, address_hash, kind, toolkit, until, source, detail, created_at
             FROM auditor_suppressions WHERE until IS NULL OR until > $2 ORDER BY created_at DESC, id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .bind(At(now))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        rows.into_iter().map(|row| row.into_suppression(action)).collect()
    }

    async fn pause(&self, pause: &Pause) -> StoreResult<Pause> {
        let (since, note): (At, Option<String>) = sqlx::query_as(
            "-- pause
             INSERT INTO auditor_pause AS p (one, since, note) VALUES (1, $1, $2)
             ON CONFLICT (one) DO UPDATE SET since = p.since RETURNING since, note",
        )
        .bind(At(pause.since))
        .bind(pause.note.as_deref().map(clean))
        .fetch_one(&self.writer)
        .await
        .map_err(failed("throwing the kill switch"))?;
        Ok(Pause { since: since.0, note })
    }

    async fn resume(&self, now: DateTime<Utc>) -> StoreResult<Option<Pause>> {
        let action = "taking the kill switch back";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let pause: Option<(At, Option<String>)> =
            sqlx::query_as("-- resume\nDELETE FROM auditor_pause RETURNING since, note")
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed(action))?;
        wake_paused(&mut transaction, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(pause.map(|(since, note)| Pause { since: since.0, note }))
    }

    async fn paused(&self) -> StoreResult<Option<Pause>> {
        let pause: Option<(At, Option<String>)> = sqlx::query_as("-- paused\nSELECT since, note FROM auditor_pause")
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("looking whether mails may leave"))?;
        Ok(pause.map(|(since, note)| Pause { since: since.0, note }))
    }
}

/// The user or the address, as it is stored.
fn columns(whom: &Whom) -> (Option<String>, Option<String>) {
    match whom {
        Whom::User(user) => (Some(clean(user.as_str())), None),
        Whom::Address(address) => (None, Some(clean(address.as_str()))),
    }
}

/// What stood in the way of this user's mails is gone: open incidents are looked at again.
async fn look_again(connection: &mut SqliteConnection, user: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- look_again
         UPDATE auditor_incidents SET look_at = $2 WHERE user_id = $1 AND resolved_at IS NULL",
    )
    .bind(user)
    .bind(At(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// What was put off by the kill switch is due now. Nobody else is about to push it.
async fn wake_paused(connection: &mut SqliteConnection, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- wake_paused
         UPDATE auditor_notifications SET due_at = $1, queued_in = NULL, waiting_since = NULL
         WHERE state = 'pending' AND error = $2",
    )
    .bind(At(now))
    .bind(hold::PAUSED)
    .execute(connection)
    .await?;
    Ok(())
}
