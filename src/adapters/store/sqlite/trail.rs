//! Everything that is known of one user, and what was observed of all, in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::guard::trips;
use super::{SqliteStore, clicks, deliveries, entity, erase};
use crate::adapters::store::case::{GuardedRow, ObservedRow, SentRow, SuppressionRow, guarded, ids};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{AccountRow, At, Id, LastCheckRow, NotificationRow};
use crate::adapters::store::write::clean;
use crate::domain::history::KnownAccount;
use crate::domain::id::{AccountId, IncidentId, NotificationId, UserId};
use crate::domain::port::{Observed, SentMail, StoreResult, Trail, TrailStore};
use crate::domain::stage::Stage;
use crate::domain::suppression::AddressHash;

#[async_trait]
impl TrailStore for SqliteStore {
    async fn trail(&self, user: &UserId, limit: u32) -> StoreResult<Trail> {
        let action = "reading the trail of a user";
        let (user, limit) = (clean(user.as_str()), i64::from(limit));
        // All of it as of one instant: nothing contradicts anything else.
        let mut snapshot = self.readers.begin().await.map_err(failed(action))?;
        let last_check = last_check(&mut snapshot, &user).await.map_err(failed(action))?;
        let incidents = incidents(&mut snapshot, &user, limit).await.map_err(failed(action))?;
        let held_by = ids(incidents.iter().filter_map(|row| row.trip_id.map(|id| id.0)));
        let trips = trips(&mut snapshot, &held_by).await.map_err(failed(action))?;
        let trips = trips.into_iter().map(|row| row.into_trip(action)).collect::<StoreResult<Vec<_>>>()?;
        let notifications = notifications(&mut snapshot, &user, limit).await.map_err(failed(action))?;
        let notifications =
            notifications.into_iter().map(|row| row.into_notification(action)).collect::<StoreResult<Vec<_>>>()?;
        let listed_by = ids(notifications.iter().map(|notification| notification.id.0));
        let suppressions = suppressions(&mut snapshot, &user, limit).await.map_err(failed(action))?;
        let (links, doubted_at) = entity::trail(&mut snapshot, &user, limit).await.map_err(failed(action))?;
        Ok(Trail {
            links,
            doubted_at,
            last_check: last_check.map(|row| row.into_last_check(action)).transpose()?,
            accounts: accounts(&mut snapshot, &user, limit).await.map_err(failed(action))?,
            observations: observed(&mut snapshot, &user, limit).await.map_err(failed(action))?,
            guarded: guarded(&incidents, &trips),
            incidents: incidents
                .into_iter()
                .map(|row| row.incident.into_incident(action))
                .collect::<StoreResult<_>>()?,
            listed: listed(&mut snapshot, &listed_by).await.map_err(failed(action))?,
            notifications,
            suppressions: suppressions
                .into_iter()
                .map(|row| row.into_suppression(action))
                .collect::<StoreResult<_>>()?,
            clicks: clicks::of(&mut snapshot, &user, limit).await.map_err(failed(action))?,
            deliveries: deliveries::of(&mut snapshot, &user, limit).await.map_err(failed(action))?,
            dead_jobs: dead_jobs(&mut snapshot, &user).await.map_err(failed(action))?,
        })
    }

    async fn erase(&self, user: &UserId, address: Option<&AddressHash>) -> StoreResult<Vec<(String, u64)>> {
        let action = "erasing a user";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let erased = erase::erase(&mut transaction, user, address).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(erased)
    }

    async fn observations(
        &self,
        after: Option<&(DateTime<Utc>, UserId, AccountId)>,
        limit: u32,
    ) -> StoreResult<Vec<Observed>> {
        let observed: Vec<ObservedRow> = sqlx::query_as(
            "-- observations
             SELECT user_id, account_id, observed_at, account FROM auditor_observations
             WHERE (observed_at, user_id, account_id) > ($1, $2, $3)
             ORDER BY observed_at, user_id, account_id LIMIT $4",
        )
        .bind(At(after.map_or(DateTime::<Utc>::MIN_UTC, |(at, _, _)| *at)))
        .bind(after.map_or_else(String::new, |(_, user, _)| clean(user.as_str())))
        .bind(after.map_or_else(String::new, |(_, _, account)| clean(account.as_str())))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("reading what was observed"))?;
        Ok(observed.into_iter().map(Observed::from).collect())
    }

    async fn mails_sent(
        &self,
        since: DateTime<Utc>,
        after: Option<(DateTime<Utc>, NotificationId)>,
        limit: u32,
    ) -> StoreResult<Vec<SentMail>> {
        let action = "reading which mails left";
        let (place, id) = after.map_or((since, NotificationId(Uuid::nil())), |(at, id)| (at.max(since), id));
        // What was sent was settled at the same instant, by which it is found.
        let sent: Vec<SentRow> = sqlx::query_as(
            "-- mails_sent
             SELECT n.id, n.user_id, n.settled_at AS sent_at, (
                 SELECT json_group_array(json_object('stage', l.stage, 'incident', json_object('id', i.id,
                     'toolkit', i.toolkit, 'auth_config', i.auth_config, 'alias', i.alias, 'kind', i.kind,
                     'account_id', i.account_id, 'status', i.status, 'reason', i.reason, 'broke_at', i.broke_at,
                     'counts_from', i.counts_from, 'opened_at', i.opened_at, 'resolved_at', i.resolved_at,
                     'resolution', i.resolution)) ORDER BY i.id, l.stage)
                 FROM auditor_notification_incidents AS l JOIN auditor_incidents AS i ON i.id = l.incident_id
                 WHERE l.notification_id = n.id AND l.listed) AS incidents
             FROM auditor_notifications AS n
             WHERE n.state = 'sent' AND n.settled_at >= $1 AND (n.settled_at, n.id) > ($1, $2)
             ORDER BY n.settled_at, n.id LIMIT $3",
        )
        .bind(At(place))
        .bind(Id(id.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        sent.into_iter().map(|row| row.into_mail(action)).collect()
    }
}

async fn last_check(connection: &mut SqliteConnection, user: &str) -> sqlx::Result<Option<LastCheckRow>> {
    sqlx::query_as(
        "-- last_check
         SELECT checked_at, observed_at, outcome, error FROM auditor_user_checks WHERE user_id = $1",
    )
    .bind(user)
    .fetch_optional(connection)
    .await
}

async fn accounts(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<KnownAccount>> {
    let rows: Vec<AccountRow> = sqlx::query_as(
        "-- accounts_of
         SELECT n.user_id, n.account_id, n.toolkit, n.auth_config, n.alias, n.status, n.reason, n.is_disabled,
             n.auth_config_disabled, n.created_at, n.updated_at, n.expired_at, n.ever_active, n.active_with,
             n.first_seen_at, n.changed_at, n.gone_at
         FROM (SELECT a.user_id, a.account_id, a.toolkit, a.auth_config, a.alias, a.status, a.reason, a.is_disabled,
                 a.auth_config_disabled, a.created_at, a.updated_at, a.expired_at, a.ever_active, a.active_with,
                 a.first_seen_at, a.changed_at, a.gone_at
             FROM auditor_accounts AS a WHERE a.user_id = $1
             ORDER BY a.changed_at DESC, a.account_id DESC LIMIT $2) AS n
         ORDER BY n.toolkit, n.auth_config, n.created_at, n.account_id",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(KnownAccount::from).collect())
}

async fn observed(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<Observed>> {
    let rows: Vec<ObservedRow> = sqlx::query_as(
        "-- observations_of
         SELECT user_id, account_id, observed_at, account FROM auditor_observations
         WHERE user_id = $1 ORDER BY observed_at DESC, account_id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().rev().map(Observed::from).collect())
}

/// Oldest first.
async fn incidents(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<GuardedRow>> {
    let mut rows: Vec<GuardedRow> = sqlx::query_as(
        "-- incidents_of
         SELECT id, toolkit, auth_config, alias, kind, account_id, status, reason, broke_at, counts_from, opened_at,
             resolved_at, resolution, trip_id, guard
         FROM auditor_incidents WHERE user_id = $1 ORDER BY opened_at DESC, id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.reverse();
    Ok(rows)
}

/// Oldest first.
async fn notifications(
    connection: &mut SqliteConnection,
    user: &str,
    limit: i64,
) -> sqlx::Result<Vec<NotificationRow>> {
    let mut rows: Vec<NotificationRow> = sqlx::query_as(
        "-- notifications_of
         SELECT n.id, n.user_id, n.state, n.hold, n.due_at, n.attempts, n.ambiguous, n.unclear, n.error, n.sweep_id,
             n.created_at, n.sent_at, (
                 SELECT json_group_array(i.incident_id) FROM auditor_notification_incidents AS i
                 WHERE i.notification_id = n.id) AS incidents
         FROM auditor_notifications AS n WHERE n.user_id = $1 ORDER BY n.created_at DESC, n.id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.reverse();
    Ok(rows)
}

async fn listed(
    connection: &mut SqliteConnection,
    notifications: &[Id],
) -> sqlx::Result<Vec<(NotificationId, IncidentId, Stage)>> {
    let rows: Vec<(Id, Id, i64)> = sqlx::query_as(
        "-- listed_by
         SELECT l.notification_id, l.incident_id, l.stage FROM auditor_notification_incidents AS l
         JOIN auditor_notifications AS n ON n.id = l.notification_id
         WHERE l.notification_id IN (SELECT value FROM json_each($1)) AND l.listed
         ORDER BY n.created_at, n.id, l.incident_id, l.stage",
    )
    .bind(Json(notifications))
    .fetch_all(connection)
    .await?;
    let stage = |stage: i64| Stage(u8::try_from(stage).unwrap_or(u8::MAX));
    Ok(rows
        .into_iter()
        .map(|(notification, incident, number)| (NotificationId(notification.0), IncidentId(incident.0), stage(number)))
        .collect())
}

async fn suppressions(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<SuppressionRow>> {
    let mut rows: Vec<SuppressionRow> = sqlx::query_as(
        "-- suppressions_ever_of
         SELECT id, user_id, address_hash, kind, toolkit, until, source, detail, created_at
         FROM auditor_suppressions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.reverse();
    Ok(rows)
}

async fn dead_jobs(connection: &mut SqliteConnection, user: &str) -> sqlx::Result<Vec<Uuid>> {
    let dead: Vec<Id> = sqlx::query_scalar(
        "-- dead_jobs_of
         SELECT d.id FROM auditor_dead_jobs AS d LEFT JOIN auditor_checks AS c ON c.id = d.id
         LEFT JOIN auditor_notifications AS n ON n.id = d.id
         WHERE $1 IN (SELECT value FROM json_each(c.users)) OR n.user_id = $1
         ORDER BY d.died_at, d.id",
    )
    .bind(user)
    .fetch_all(connection)
    .await?;
    Ok(dead.into_iter().map(|id| id.0).collect())
}
