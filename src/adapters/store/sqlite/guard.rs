//! What the outage guard counts, and what it holds, in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::SqliteStore;
use crate::adapters::store::case::{BrokenRow, ScopeRow, TripRow, at_most, ids, micros};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id, rows};
use crate::adapters::store::write::clean;
use crate::domain::guard::{Scope, Trip};
use crate::domain::id::{AccountId, AuthConfigId, SweepId, Toolkit, TripId, UserId};
use crate::domain::port::{
    Broken, Count, GuardStore, Healthy, LeafCount, NewTrip, Release, Released, StoreResult, TripDetail,
};

#[async_trait]
impl GuardStore for SqliteStore {
    async fn broken(&self, count: &Count) -> StoreResult<Vec<Broken>> {
        let broken: Vec<BrokenRow> = sqlx::query_as(
            "-- broken
             SELECT c.toolkit, c.auth_config, count(*) FILTER (WHERE NOT c.backlog) AS broke,
                 count(*) FILTER (WHERE c.backlog) AS backlog,
                 min(c.opened_at) FILTER (WHERE NOT c.mailed) AS unmailed_since
             FROM (
                 SELECT i.toolkit, i.auth_config, i.opened_at, i.counts_from,
                     i.opened_at - i.counts_from > $3 AS backlog, EXISTS (
                         SELECT 1 FROM auditor_notification_incidents AS l
                         JOIN auditor_notifications AS n ON n.id = l.notification_id
                         WHERE l.incident_id = i.id AND l.listed AND n.state = 'sent') AS mailed
                 FROM auditor_incidents AS i
                 WHERE i.resolved_at IS NULL AND i.trip_id IS NULL AND i.kind <> 'unfinished' AND i.opened_at >= $1
                     AND ($4 IS NULL OR i.sweep_id = $4)) AS c
             WHERE c.backlog OR c.counts_from >= $2
             GROUP BY c.toolkit, c.auth_config ORDER BY c.toolkit, c.auth_config",
        )
        .bind(At(count.opened_since))
        .bind(At(count.counted_since))
        .bind(micros(count.window))
        .bind(count.sweep.map(|sweep| Id(sweep.0)))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting what is broken"))?;
        Ok(broken.into_iter().map(Broken::from).collect())
    }

    async fn healthy(&self, healthy: &Healthy<'_>) -> StoreResult<Vec<LeafCount>> {
        // From one app and auth config straight to the next, and no further into any of them than is asked for: what is counted
        // is few however many accounts there are.
        let action = "counting what is healthy";
        let mut connection = self.readers.acquire().await.map_err(failed(action))?;
        let only = healthy.toolkit.map(|toolkit| clean(toolkit.as_str()));
        let mut place = Place { toolkit: only.clone().unwrap_or_default(), auth_config: String::new(), passed: false };
        let mut counted = Vec::new();
        while let Some(leaf) = next_leaf(&mut connection, &place).await.map_err(failed(action))? {
            if only.as_ref().is_some_and(|only| *only != leaf.0) {
                break;
            }
            let slots = healthy_slots(&mut connection, &leaf, healthy).await.map_err(failed(action))?;
            let (toolkit, auth_config) = leaf;
            if slots > 0 {
                counted.push((Toolkit::new(&toolkit), AuthConfigId::new(&auth_config), rows(slots)));
            }
            place = Place { toolkit, auth_config, passed: true };
        }
        Ok(counted)
    }

    async fn held_by_auth_config(&self) -> StoreResult<Vec<LeafCount>> {
        let held: Vec<(String, String, i64)> = sqlx::query_as(
            "-- held_by_auth_config
             SELECT i.toolkit, i.auth_config, count(*) AS slots FROM auditor_trips AS t
             JOIN auditor_incidents AS i ON i.trip_id = t.id AND i.guard = 'held'
             WHERE t.state = 'tripped' AND t.scope = 'auth_config' AND i.resolved_at IS NULL AND i.kind <> 'unfinished'
             GROUP BY i.toolkit, i.auth_config ORDER BY i.toolkit, i.auth_config",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting what trips of auth configs hold"))?;
        Ok(held
            .into_iter()
            .map(|(toolkit, auth_config, slots)| (Toolkit::new(toolkit), AuthConfigId::new(auth_config), rows(slots)))
            .collect())
    }

    async fn sweeps_with_unmailed(&self, since: DateTime<Utc>) -> StoreResult<Vec<SweepId>> {
        let sweeps: Vec<Id> = sqlx::query_scalar(
            "-- sweeps_with_unmailed
             SELECT DISTINCT i.sweep_id FROM auditor_incidents AS i
             WHERE i.resolved_at IS NULL AND i.trip_id IS NULL AND i.opened_at >= $1 AND i.sweep_id IS NOT NULL
                 AND NOT EXISTS (
                     SELECT 1 FROM auditor_notification_incidents AS l
                     JOIN auditor_notifications AS n ON n.id = l.notification_id
                     WHERE l.incident_id = i.id AND l.listed AND n.state = 'sent')
             ORDER BY i.sweep_id",
        )
        .bind(At(since))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("looking for sweeps that are not mailed about yet"))?;
        Ok(sweeps.into_iter().map(|id| SweepId(id.0)).collect())
    }

    async fn hold_tripped(&self, window: TimeDelta) -> StoreResult<u64> {
        let action = "holding what the guard holds back";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let trips = tripped(&mut transaction).await.map_err(failed(action))?;
        let held = hold(&mut transaction, &trips, window).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(held)
    }

    async fn trip(&self, trip: &NewTrip, now: DateTime<Utc>) -> StoreResult<bool> {
        let action = "noting that the guard tripped";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        let id = match widen(&mut transaction, trip).await.map_err(failed(action))? {
            Some(id) => id,
            None if insert_trip(&mut transaction, trip, now).await.map_err(failed(action))? => Id(trip.id.0),
            None => return Ok(false),
        };
        let stopped = stop_others(&mut transaction, id, now).await.map_err(failed(action))?;
        let trips = tripped(&mut transaction).await.map_err(failed(action))?;
        if !stopped.is_empty() {
            take_over(&mut transaction, &stopped, id).await.map_err(failed(action))?;
        }
        hold(&mut transaction, &trips, trip.window).await.map_err(failed(action))?;
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn trips(&self, active: bool, limit: u32) -> StoreResult<Vec<Trip>> {
        let action = "listing trips of the guard";
        let mut connection = self.readers.acquire().await.map_err(failed(action))?;
        let newest: Vec<Id> = sqlx::query_scalar(
            "-- newest_trips
             SELECT id FROM auditor_trips WHERE NOT $1 OR state IN ('tripped', 'releasing')
             ORDER BY tripped_at DESC, id DESC LIMIT $2",
        )
        .bind(active)
        .bind(i64::from(limit))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(action))?;
        let trips = trips(&mut connection, &newest).await.map_err(failed(action))?;
        trips.into_iter().map(|row| row.into_trip(action)).collect()
    }

    async fn trip_detail(&self, id: TripId, sample: u32) -> StoreResult<Option<TripDetail>> {
        let action = "reading a trip of the guard";
        let mut connection = self.readers.acquire().await.map_err(failed(action))?;
        let Some(trip) = trips(&mut connection, &ids([id.0])).await.map_err(failed(action))?.pop() else {
            return Ok(None);
        };
        let reasons: Vec<(String, Option<String>, i64)> = sqlx::query_as(
            "-- reasons_of_trip
             SELECT status, reason, count(*) AS slots FROM auditor_incidents WHERE trip_id = $1
             GROUP BY status, reason ORDER BY slots DESC, status, reason NULLS FIRST LIMIT 10",
        )
        .bind(Id(id.0))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(action))?;
        let trip = trip.into_trip(action)?;
        let sample: Vec<(String, String)> = sqlx::query_as(
            "-- sample_of_trip
             SELECT user_id, account_id FROM auditor_incidents
             WHERE trip_id = $1 AND (NOT $2 OR (guard = 'held' AND resolved_at IS NULL))
             ORDER BY user_id, account_id, id LIMIT $3",
        )
        .bind(Id(id.0))
        .bind(trip.state.holds())
        .bind(i64::from(sample))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed(action))?;
        Ok(Some(TripDetail {
            trip,
            reasons: reasons.into_iter().map(|(status, reason, slots)| (status, reason, rows(slots))).collect(),
            sample: sample.into_iter().map(|(user, account)| (UserId::new(user), AccountId::new(account))).collect(),
        }))
    }

    async fn release_trip(&self, release: &Release<'_>, now: DateTime<Utc>) -> StoreResult<Option<Released>> {
        self.release(release, now).await.map_err(failed("releasing what the guard holds"))
    }

    async fn discard_trip(&self, id: TripId, by: &str, now: DateTime<Utc>) -> StoreResult<Option<u64>> {
        self.discard(id, by, now).await.map_err(failed("discarding what the guard holds"))
    }
}

/// Where among apps and auth configs counting is, and whether it is past that one.
struct Place {
    toolkit: String,
    auth_config: String,
    passed: bool,
}

/// The next app and auth config of which there is a working account.
async fn next_leaf(connection: &mut SqliteConnection, place: &Place) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as(
        "-- next_leaf
         SELECT toolkit, auth_config FROM auditor_accounts
         WHERE (toolkit, auth_config) >= ($1, $2) AND NOT ($3 AND toolkit = $1 AND auth_config = $2)
             AND status = 'ACTIVE' AND is_disabled = 0 AND auth_config_disabled = 0 AND gone_at IS NULL
         ORDER BY toolkit, auth_config LIMIT 1",
    )
    .bind(&place.toolkit)
    .bind(&place.auth_config)
    .bind(place.passed)
    .fetch_optional(connection)
    .await
}

async fn healthy_slots(
    connection: &mut SqliteConnection,
    (toolkit, auth_config): &(String, String),
    healthy: &Healthy<'_>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- healthy_slots
         SELECT count(*) FROM (
             SELECT DISTINCT a.user_id, a.alias FROM auditor_accounts AS a
             CROSS JOIN auditor_user_checks AS c ON c.user_id = a.user_id
             WHERE a.toolkit = $1 AND a.auth_config = $2 AND a.status = 'ACTIVE' AND a.is_disabled = 0
                 AND a.auth_config_disabled = 0 AND a.gone_at IS NULL AND c.observed_at >= $3
                 AND ($4 IS NULL OR c.sweep_id = $4)
             LIMIT $5)",
    )
    .bind(toolkit)
    .bind(auth_config)
    .bind(At(healthy.since))
    .bind(healthy.sweep.map(|sweep| Id(sweep.0)))
    .bind(at_most(healthy.enough))
    .fetch_one(connection)
    .await
}

/// Trips, newest first, with what is known of their incidents.
pub(super) async fn trips(connection: &mut SqliteConnection, ids: &[Id]) -> sqlx::Result<Vec<TripRow>> {
    sqlx::query_as(
        "-- trips
         SELECT t.id, t.scope, t.toolkit, t.auth_config, t.broken, t.healthy, t.state, t.tripped_at, t.ended_at,
             t.ended_by, t.ramp_at,
             count(i.id) FILTER (WHERE i.counts_from >= t.since OR t.scope = 'backlog') AS slots,
             count(i.id) FILTER (WHERE i.resolved_at IS NULL AND (i.counts_from >= t.since OR t.scope = 'backlog'))
                 AS still_broken,
             count(i.id) FILTER (WHERE i.resolved_at IS NULL AND i.guard = 'held') AS held,
             count(DISTINCT i.user_id) FILTER (WHERE i.resolved_at IS NULL AND i.guard = 'held') AS users
         FROM auditor_trips AS t LEFT JOIN auditor_incidents AS i ON i.trip_id = t.id
         WHERE t.id IN (SELECT value FROM json_each($1)) GROUP BY t.id ORDER BY t.tripped_at DESC, t.id DESC",
    )
    .bind(Json(ids))
    .fetch_all(connection)
    .await
}

/// Trips that take hold of what comes into their scope, from narrow to wide; what was broken long before has its own first.
async fn tripped(connection: &mut SqliteConnection) -> sqlx::Result<Vec<ScopeRow>> {
    sqlx::query_as(
        "-- tripped
         SELECT id, scope, toolkit, auth_config FROM auditor_trips WHERE state = 'tripped'
         ORDER BY CASE scope WHEN 'backlog' THEN 0 WHEN 'auth_config' THEN 1 WHEN 'toolkit' THEN 2 ELSE 3 END, id",
    )
    .fetch_all(connection)
    .await
}

/// Holds what is free in the scopes of these trips; of several that match, the first wins.
async fn hold(connection: &mut SqliteConnection, trips: &[ScopeRow], window: TimeDelta) -> sqlx::Result<u64> {
    let mut held = 0;
    for trip in trips {
        let done = sqlx::query(
            "-- hold
             UPDATE auditor_incidents SET trip_id = $1, guard = 'held' WHERE id IN (
                 SELECT i.id FROM auditor_incidents AS i
                 WHERE i.resolved_at IS NULL AND i.trip_id IS NULL AND ($2 = '' OR i.toolkit = $2)
                     AND ($3 = '' OR i.auth_config = $3)
                     AND (NOT $5 OR i.opened_at - i.counts_from > $4))",
        )
        .bind(trip.id)
        .bind(&trip.toolkit)
        .bind(&trip.auth_config)
        .bind(micros(window))
        .bind(trip.is_backlog())
        .execute(&mut *connection)
        .await?;
        held += done.rows_affected();
    }
    Ok(held)
}

async fn insert_trip(connection: &mut SqliteConnection, trip: &NewTrip, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let scope = &trip.tripped.scope;
    let inserted = sqlx::query(
        "-- insert_trip
         INSERT INTO auditor_trips (id, scope, toolkit, auth_config, broken, healthy, state, tripped_at, since)
         SELECT $1, $2, $3, $4, $5, $6, 'tripped', $7, $8
         WHERE NOT EXISTS (
             SELECT 1 FROM auditor_trips AS w WHERE w.state = 'tripped' AND (
                 (w.scope = 'all' AND $2 <> 'all')
                 OR (w.scope = 'toolkit' AND w.toolkit = $3 AND $2 IN ('auth_config', 'backlog'))))
         ON CONFLICT (scope, toolkit, auth_config) WHERE state = 'tripped' DO NOTHING",
    )
    .bind(Id(trip.id.0))
    .bind(scope.kind())
    .bind(scope.toolkit().map_or_else(String::new, |toolkit| clean(toolkit.as_str())))
    .bind(scope.auth_config().map_or_else(String::new, |auth_config| clean(auth_config.as_str())))
    .bind(at_most(trip.tripped.broken))
    .bind(at_most(trip.tripped.healthy))
    .bind(At(now))
    .bind(At(now - trip.window))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// A trip of a whole app goes on with the oldest trip of one of its auth configs, if there is one.
async fn widen(connection: &mut SqliteConnection, trip: &NewTrip) -> sqlx::Result<Option<Id>> {
    let Scope::Toolkit { toolkit } = &trip.tripped.scope else { return Ok(None) };
    sqlx::query_scalar(
        "-- widen_trip
         UPDATE auditor_trips SET scope = 'toolkit', auth_config = '', broken = $2, healthy = $3
         WHERE id = (
             SELECT id FROM auditor_trips WHERE state = 'tripped' AND scope = 'auth_config' AND toolkit = $1
             ORDER BY tripped_at, id LIMIT 1)
             AND NOT EXISTS (
                 SELECT 1 FROM auditor_trips WHERE state = 'tripped' AND scope = 'toolkit' AND toolkit = $1)
         RETURNING id",
    )
    .bind(clean(toolkit.as_str()))
    .bind(at_most(trip.tripped.broken))
    .bind(at_most(trip.tripped.healthy))
    .fetch_optional(connection)
    .await
}

/// Stops what this trip takes over: releases of its scope, and of an app all trips of its auth configs.
async fn stop_others(connection: &mut SqliteConnection, by: Id, now: DateTime<Utc>) -> sqlx::Result<Vec<Id>> {
    sqlx::query_scalar(
        "-- stop_others
         UPDATE auditor_trips AS t SET state = 'stopped', ended_at = $2, ended_by = 'tripped again', ramp_at = NULL
         FROM auditor_trips AS n WHERE n.id = $1 AND t.id <> n.id AND t.toolkit = n.toolkit AND (
             (t.state = 'releasing' AND t.scope = n.scope AND t.auth_config = n.auth_config)
             OR (t.state IN ('tripped', 'releasing') AND t.scope = 'auth_config' AND n.scope = 'toolkit'))
         RETURNING id",
    )
    .bind(by)
    .bind(At(now))
    .fetch_all(connection)
    .await
}

/// What was held by these trips is held by another.
async fn take_over(connection: &mut SqliteConnection, stopped: &[Id], by: Id) -> sqlx::Result<()> {
    sqlx::query(
        "-- take_over
         UPDATE auditor_incidents SET trip_id = $2
         WHERE trip_id IN (SELECT value FROM json_each($1)) AND guard = 'held' AND resolved_at IS NULL",
    )
    .bind(Json(stopped))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(())
}
