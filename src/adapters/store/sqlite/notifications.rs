//! The ledger of notifications in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::SqliteStore;
use super::merge::put_back;
use super::sending;
use super::situation::{self, Asked};
use crate::adapters::store::error::failed;
use crate::adapters::store::merge::Place;
use crate::adapters::store::row::{At, Id, NotificationRow, StandRow, name};
use crate::adapters::store::stand::claim_of;
use crate::adapters::store::write::{self, SqliteJson, clean};
use crate::domain::id::{IncidentId, NotificationId, UserId};
use crate::domain::incident::Resolution;
use crate::domain::lease::{Claim, Lease};
use crate::domain::notification::{Notification, NotificationState, hold};
use crate::domain::plan::Situation;
use crate::domain::port::{Begun, NotificationStore, Sending, Settled, Settlement, StoreResult};
use crate::domain::suppression::AddressHash;

#[async_trait]
impl NotificationStore for SqliteStore {
    async fn claim_notification(
        &self,
        id: NotificationId,
        lease: Lease,
        now: DateTime<Utc>,
    ) -> StoreResult<Claim<Notification>> {
        let action = "claiming a notification";
        let row: Option<NotificationRow> = sqlx::query_as(
            "-- claim_notification
             UPDATE auditor_notifications AS n SET
                 ambiguous = n.ambiguous + CASE WHEN n.state = 'sending' THEN 1 ELSE 0 END,
                 unclear = n.unclear OR n.state = 'sending', state = 'claimed', token = $2,
                 lease_until = $3, lease_micros = $5, reclaim_after = NULL
             WHERE n.id = $1 AND ((n.state = 'pending' AND n.due_at <= $4)
                 OR (n.state IN ('claimed', 'sending') AND n.lease_until <= $4))
             RETURNING id, user_id, state, hold, due_at, attempts, ambiguous, unclear, error, sweep_id, created_at, sent_at, (
                 SELECT json_group_array(i.incident_id) FROM auditor_notification_incidents AS i
                 WHERE i.notification_id = $1) AS incidents",
        )
        .bind(Id(id.0))
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .bind(At(now))
        .bind((lease.until - now).num_microseconds().unwrap_or(i64::MAX))
        .fetch_optional(&self.writer)
        .await
        .map_err(failed(action))?;
        if let Some(row) = row {
            return row.into_notification(action).map(Claim::Won);
        }
        let stand: Option<StandRow> = sqlx::query_as(
            "-- why_not_claimed
             SELECT state, due_at, lease_until, NULL AS sweep_state FROM auditor_notifications WHERE id = $1",
        )
        .bind(Id(id.0))
        .fetch_optional(&self.readers)
        .await
        .map_err(failed(action))?;
        Ok(claim_of(stand.as_ref(), now))
    }

    async fn renew_notification(&self, id: NotificationId, lease: Lease) -> StoreResult<bool> {
        let renewed = sqlx::query(
            "-- renew_notification
             UPDATE auditor_notifications SET lease_until = $3
             WHERE id = $1 AND token = $2 AND state IN ('claimed', 'sending')",
        )
        .bind(Id(id.0))
        .bind(Id(lease.token))
        .bind(At(lease.until))
        .execute(&self.writer)
        .await
        .map_err(failed("renewing the lease of a notification"))?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn begin_sending(&self, id: NotificationId, sending: &Sending<'_>) -> StoreResult<Begun> {
        sending::begin(&self.writer, id, sending).await.map_err(failed("beginning to send a notification"))
    }

    async fn settle(
        &self,
        id: NotificationId,
        token: Uuid,
        settled: &Settled<'_>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        let action = "settling a notification";
        let (state, error, tried) = match settled.settlement {
            Settlement::Sent => ("sent", None, true),
            Settlement::Skipped(why) => ("skipped", Some(why), false),
            Settlement::Unreachable(why) => ("unreachable", Some(why), false),
            Settlement::Failed(why) => ("failed", Some(why), true),
            Settlement::Again { due_at, error, counted, ambiguous } => {
                let noted = Noted {
                    error,
                    counted: *counted,
                    unclear: if *ambiguous { Unclear::Yes } else { Unclear::No },
                    looks: settled.looks,
                };
                let place = Place { hold: None, due_at: Some(*due_at), waiting_since: Some(now) };
                return self.give_back((id, token), &noted, place, now).await.map_err(failed(action));
            }
            Settlement::Held { hold, error } => {
                let unclear = if hold == hold::AMBIGUOUS { Unclear::IfSending } else { Unclear::No };
                let noted = Noted { error, counted: false, unclear, looks: settled.looks };
                let place = Place { hold: Some(hold), due_at: None, waiting_since: Some(now) };
                return self.give_back((id, token), &noted, place, now).await.map_err(failed(action));
            }
        };
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let ended = sqlx::query(
            "-- settle
             UPDATE auditor_notifications SET state = $3, error = $4,
                 attempts = attempts + CASE WHEN $5 THEN 1 ELSE 0 END,
                 sent_at = CASE WHEN $3 = 'sent' THEN $6 END, settled_at = $6,
                 token = NULL, lease_until = NULL
             WHERE id = $1 AND token = $2 AND state IN ('claimed', 'sending')",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(state)
        .bind(error.map(|error| clean(error)))
        .bind(tried)
        .bind(At(now))
        .execute(&mut *transaction)
        .await
        .map_err(failed(action))?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        note_looks(&mut transaction, id, settled.looks).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn situation(
        &self,
        user: &UserId,
        address: Option<&AddressHash>,
        except: Option<NotificationId>,
        now: DateTime<Utc>,
    ) -> StoreResult<Situation> {
        situation::situation(&self.readers, &Asked { user, address, except, now }).await
    }

    async fn close_incidents_of(&self, user: &UserId, resolution: Resolution, now: DateTime<Utc>) -> StoreResult<u64> {
        let action = "closing the incidents of a user";
        let closed = sqlx::query(
            "-- close_incidents_of
             UPDATE auditor_incidents SET resolved_at = $2, resolution = $3
             WHERE user_id = $1 AND resolved_at IS NULL",
        )
        .bind(clean(user.as_str()))
        .bind(At(now))
        .bind(name(resolution))
        .execute(&self.writer)
        .await
        .map_err(failed(action))?;
        Ok(closed.rows_affected())
    }

    async fn release_held(
        &self,
        hold: &str,
        made_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let action = "releasing held notifications";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let listed = held(&mut transaction, hold, made_before).await.map_err(failed(action))?;
        let place = Place { hold: None, due_at: Some(now), waiting_since: Some(now) };
        put_back(&mut transaction, &listed, place, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(listed.len() as u64)
    }

    async fn discard_held(
        &self,
        hold: &str,
        made_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let discarded = sqlx::query(
            "-- discard_held
             UPDATE auditor_notifications SET state = 'skipped', hold = NULL, error = 'discarded', settled_at = $3
             WHERE state = 'held' AND hold = $1 AND ($2 IS NULL OR created_at < $2)",
        )
        .bind(clean(hold))
        .bind(made_before.map(At))
        .bind(At(now))
        .execute(&self.writer)
        .await
        .map_err(failed("discarding held notifications"))?;
        Ok(discarded.rows_affected())
    }

    async fn retry_settled(&self, state: NotificationState, now: DateTime<Utc>) -> StoreResult<u64> {
        let action = "retrying settled notifications";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let retried: Vec<Id> = sqlx::query_scalar(
            "-- retry_settled
             UPDATE auditor_notifications SET attempts = 0, settled_at = NULL
             WHERE state = $1 AND state IN ('failed', 'unreachable') AND NOT buried
             RETURNING id",
        )
        .bind(state.as_str())
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed(action))?;
        let place = Place { hold: None, due_at: Some(now), waiting_since: Some(now) };
        put_back(&mut transaction, &retried, place, now).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(retried.len() as u64)
    }
}

/// What is noted of a try that did not settle its notification.
struct Noted<'a> {
    error: &'a str,
    counted: bool,
    unclear: Unclear,
    looks: &'a [Look],
}

/// Whether a try counts as one of which nobody knows whether the mail went out.
#[derive(PartialEq)]
enum Unclear {
    Yes,
    /// Unless a claim of the lapsed mail has counted it already.
    IfSending,
    No,
}

impl SqliteStore {
    /// Puts a claimed notification back, to be tried again or held; `false` if fenced.
    async fn give_back(
        &self,
        (id, token): (NotificationId, Uuid),
        noted: &Noted<'_>,
        place: Place<'_>,
        now: DateTime<Utc>,
    ) -> sqlx::Result<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let tried = sqlx::query(
            "-- note_try
             UPDATE auditor_notifications SET error = $3, attempts = attempts + CASE WHEN $4 THEN 1 ELSE 0 END,
                 ambiguous = ambiguous + CASE WHEN $5 OR ($6 AND state = 'sending') THEN 1 ELSE 0 END, unclear = FALSE
             WHERE id = $1 AND token = $2 AND state IN ('claimed', 'sending')",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(clean(noted.error))
        .bind(noted.counted)
        .bind(noted.unclear == Unclear::Yes)
        .bind(noted.unclear == Unclear::IfSending)
        .execute(&mut *transaction)
        .await?;
        if tried.rows_affected() == 0 {
            return Ok(false);
        }
        let let_go = place.hold == Some(hold::GUARD) && !is_held_by_guard(&mut transaction, id).await?;
        // What the guard held may have been released since it was decided; the release saw this one claimed, and left it alone.
        let place = if let_go { Place { hold: None, due_at: Some(now), ..place } } else { place };
        put_back(&mut transaction, &[Id(id.0)], place, now).await?;
        note_looks(&mut transaction, id, noted.looks).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Whether a trip holds an open incident of the user, who is locked.
async fn is_held_by_guard(connection: &mut SqliteConnection, id: NotificationId) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- is_held_by_guard
         SELECT EXISTS (
             SELECT 1 FROM auditor_notifications AS n JOIN auditor_incidents AS i ON i.user_id = n.user_id
             WHERE n.id = $1 AND i.guard = 'held' AND i.resolved_at IS NULL)",
    )
    .bind(Id(id.0))
    .fetch_one(connection)
    .await
}

type Look = (IncidentId, Option<DateTime<Utc>>);

/// When the open incidents of the user are worth another look.
async fn note_looks(connection: &mut SqliteConnection, id: NotificationId, looks: &[Look]) -> sqlx::Result<()> {
    if looks.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- note_looks
         UPDATE auditor_incidents AS i SET look_at = r.value ->> 'look_at'
         FROM json_each($1) AS r
         WHERE i.id = r.value ->> 'id' AND i.resolved_at IS NULL AND i.look_at IS NOT r.value ->> 'look_at'
             AND i.user_id = (SELECT n.user_id FROM auditor_notifications AS n WHERE n.id = $2)",
    )
    .bind(Json(write::looks::<SqliteJson>(looks)))
    .bind(Id(id.0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn held(
    connection: &mut SqliteConnection,
    hold: &str,
    made_before: Option<DateTime<Utc>>,
) -> sqlx::Result<Vec<Id>> {
    sqlx::query_scalar(
        "-- held
         SELECT id FROM auditor_notifications
         WHERE state = 'held' AND hold = $1 AND ($2 IS NULL OR created_at < $2) ORDER BY id",
    )
    .bind(clean(hold))
    .bind(made_before.map(At))
    .fetch_all(connection)
    .await
}
