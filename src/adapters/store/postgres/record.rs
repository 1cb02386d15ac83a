//! Recording a check in PostgreSQL: one transaction, and only what changed is written.
//!
//! The order of the steps is the order of the locks: the check, its users (sorted), then what belongs to them. Whoever
//! touches a user's incidents or makes a notification pending locks the user first, so nobody waits in a circle.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::sweeps::{self, Origin};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::write::{self, PostgresJson};
use crate::domain::id::{NotificationId, UserId};
use crate::domain::port::{Record, Recorded, StoreResult, UserRecord};

/// An incident that was really opened, and whose it is.
type Opened = (Id, String);

/// See [`Record`].
pub(super) async fn record(pool: &PgPool, record: &Record) -> StoreResult<Recorded> {
    let action = "recording a check";
    let users = write::sorted(record);
    let mut transaction = pool.begin().await.map_err(failed(action))?;
    let connection = &mut *transaction;
    let origin = match end_check(connection, record).await.map_err(failed(action))? {
        Ended::Fenced => return Ok(Recorded::Fenced),
        Ended::Over(origin) => origin,
    };
    let stale = record_users(connection, record, &users).await.map_err(failed(action))?;
    if !stale.is_empty() {
        return Ok(Recorded::Stale(stale));
    }
    record_accounts(connection, &users).await.map_err(failed(action))?;
    close_incidents(connection, &users).await.map_err(failed(action))?;
    let opened = open_incidents(connection, record, &users).await.map_err(failed(action))?;
    let written = notify(connection, record, &users, opened).await.map_err(failed(action))?;
    record_findings(connection, record, &users).await.map_err(failed(action))?;
    if !record.retries.is_empty() {
        let retries = write::checks::<PostgresJson>(&record.retries);
        sweeps::insert_checks(connection, retries, origin, record.now).await.map_err(failed(action))?;
    }
    transaction.commit().await.map_err(failed(action))?;
    Ok(Recorded::Written(written))
}

/// What came of ending the check of a record.
enum Ended {
    /// The lease was lost.
    Fenced,
    /// It is done (or there was none); this is where its retries come from.
    Over(Origin),
}

async fn end_check(connection: &mut PgConnection, record: &Record) -> sqlx::Result<Ended> {
    let Some((id, token)) = record.fence else { return Ok(Ended::Over(Origin::default())) };
    let ended: Option<(Id, bool)> = sqlx::query_as(
        "-- end_check
         UPDATE auditor_checks SET state = 'done', tally = $3, finished_at = $4, token = NULL, lease_until = NULL
         WHERE id = $1 AND token = $2 AND state = 'claimed'
         RETURNING root, dry_run",
    )
    .bind(Id(id.0))
    .bind(Id(token))
    .bind(Json(write::tally(&record.tally)))
    .bind(At(record.now))
    .fetch_optional(connection)
    .await?;
    Ok(ended.map_or(Ended::Fenced, |(root, dry_run)| Ended::Over(Origin { root: Some(root), dry_run })))
}

/// Moves each user on from what was known when its record was decided; returns those who were moved by somebody else.
async fn record_users(
    connection: &mut PgConnection,
    record: &Record,
    users: &[&UserRecord],
) -> sqlx::Result<Vec<UserId>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let moved: Vec<String> = sqlx::query_scalar(
        "-- record_users
         INSERT INTO auditor_user_checks AS u
             (user_id, observed_at, decided_upon, sweep_id, checked_at, outcome, error)
         SELECT r.user_id, r.observed_at, r.base, $2, $3, r.outcome, r.error
         FROM jsonb_to_recordset($1) AS r (user_id text, observed_at timestamptz, base timestamptz, outcome text,
             error text)
         ORDER BY r.user_id COLLATE \"C\"
         ON CONFLICT (user_id) DO UPDATE SET observed_at = excluded.observed_at,
             decided_upon = excluded.decided_upon, sweep_id = COALESCE(excluded.sweep_id, u.sweep_id),
             checked_at = excluded.checked_at, outcome = excluded.outcome, error = excluded.error
         WHERE u.observed_at IS NOT DISTINCT FROM excluded.decided_upon
         RETURNING user_id",
    )
    .bind(Json(write::users::<PostgresJson>(users)))
    .bind(record.sweep.map(|sweep| Id(sweep.0)))
    .bind(At(record.now))
    .fetch_all(connection)
    .await?;
    Ok(write::missing(users, &moved))
}

async fn record_accounts(connection: &mut PgConnection, users: &[&UserRecord]) -> sqlx::Result<()> {
    let changed = write::accounts::<PostgresJson>(users);
    if !changed.is_empty() {
        sqlx::query(
            "-- record_accounts
             INSERT INTO auditor_accounts (user_id, account_id, toolkit, auth_config, alias, status, reason,
                 is_disabled, auth_config_disabled, created_at, updated_at, expired_at, ever_active, active_with,
                 first_seen_at, changed_at, gone_at)
             SELECT r.user_id, r.account_id, r.toolkit, r.auth_config, r.alias, r.status, r.reason, r.is_disabled,
                 r.auth_config_disabled, r.created_at, r.updated_at, r.expired_at, r.ever_active, r.active_with,
                 r.first_seen_at, r.changed_at, r.gone_at
             FROM jsonb_to_recordset($1) AS r (user_id text, account_id text, toolkit text, auth_config text,
                 alias text, status text, reason text, is_disabled boolean, auth_config_disabled boolean,
                 created_at timestamptz, updated_at timestamptz, expired_at timestamptz, ever_active boolean,
                 active_with jsonb, first_seen_at timestamptz, changed_at timestamptz, gone_at timestamptz)
             ON CONFLICT (user_id, account_id) DO UPDATE SET toolkit = excluded.toolkit,
                 auth_config = excluded.auth_config, alias = excluded.alias, status = excluded.status,
                 reason = excluded.reason, is_disabled = excluded.is_disabled,
                 auth_config_disabled = excluded.auth_config_disabled, created_at = excluded.created_at,
                 updated_at = excluded.updated_at, expired_at = excluded.expired_at,
                 ever_active = excluded.ever_active, active_with = excluded.active_with,
                 first_seen_at = excluded.first_seen_at, changed_at = excluded.changed_at,
                 gone_at = excluded.gone_at",
        )
        .bind(Json(changed))
        .execute(&mut *connection)
        .await?;
    }
    let gone = write::gone::<PostgresJson>(users);
    if !gone.is_empty() {
        sqlx::query(
            "-- record_gone
             UPDATE auditor_accounts AS a SET gone_at = r.gone_at
             FROM jsonb_to_recordset($1) AS r (user_id text, account_id text, gone_at timestamptz)
             WHERE a.user_id = r.user_id AND a.account_id = r.account_id AND a.gone_at IS NULL",
        )
        .bind(Json(gone))
        .execute(&mut *connection)
        .await?;
    }
    let observations = write::observations::<PostgresJson>(users);
    if !observations.is_empty() {
        sqlx::query(
            "-- record_observations
             INSERT INTO auditor_observations (user_id, account_id, observed_at, account)
             SELECT r.user_id, r.account_id, r.observed_at, r.account
             FROM jsonb_to_recordset($1) AS r (user_id text, account_id text, observed_at timestamptz, account jsonb)
             ON CONFLICT DO NOTHING",
        )
        .bind(Json(observations))
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn close_incidents(connection: &mut PgConnection, users: &[&UserRecord]) -> sqlx::Result<()> {
    let closed = write::closed::<PostgresJson>(users);
    if closed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- close_incidents
         UPDATE auditor_incidents AS i SET resolved_at = r.resolved_at, resolution = r.resolution
         FROM jsonb_to_recordset($1) AS r (id uuid, user_id text, resolution text, resolved_at timestamptz)
         WHERE i.id = r.id AND i.user_id = r.user_id AND i.resolved_at IS NULL",
    )
    .bind(Json(closed))
    .execute(connection)
    .await?;
    Ok(())
}

/// What a second look opens while the sweep of its notification goes on is grouped with that sweep.
async fn open_incidents(
    connection: &mut PgConnection,
    record: &Record,
    users: &[&UserRecord],
) -> sqlx::Result<Vec<Opened>> {
    let opened = write::opened::<PostgresJson>(users);
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "-- open_incidents
         INSERT INTO auditor_incidents (id, user_id, toolkit, auth_config, alias, kind, account_id, status, reason,
             broke_at, counts_from, opened_at, sweep_id)
         SELECT r.id, r.user_id, r.toolkit, r.auth_config, r.alias, r.kind, r.account_id, r.status, r.reason,
             r.broke_at, r.counts_from, r.opened_at, COALESCE($2, (
                 SELECT s.id FROM auditor_notifications AS n JOIN auditor_sweeps AS s ON s.id = n.sweep_id
                 WHERE n.id = $3 AND n.user_id = r.user_id AND s.state NOT IN ('completed', 'failed', 'skipped')))
         FROM jsonb_to_recordset($1) AS r (id uuid, user_id text, toolkit text, auth_config text, alias text,
             kind text, account_id text, status text, reason text, broke_at timestamptz, counts_from timestamptz,
             opened_at timestamptz)
         ON CONFLICT DO NOTHING
         RETURNING id, user_id",
    )
    .bind(Json(opened))
    .bind(record.sweep.map(|sweep| Id(sweep.0)))
    .bind(record.join.map(|join| Id(join.0)))
    .fetch_all(connection)
    .await
}

/// Gives every incident that was opened its notification; returns the pending ones that were made or grew
/// and are due: the others are left to the keeper.
async fn notify(
    connection: &mut PgConnection,
    record: &Record,
    users: &[&UserRecord],
    opened: Vec<Opened>,
) -> sqlx::Result<Vec<NotificationId>> {
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    let joined = joinable(connection, record.join).await?;
    let new = write::new_notifications(users, opened.iter().filter(|(_, user)| joined.is_none_of(user)));
    let waiting = grow_or_make(connection, record, new).await?;
    let due = waiting.iter().filter(|(_, _, is_due)| *is_due).map(|(id, _, _)| NotificationId(id.0)).collect();
    let mut notifications: HashMap<String, Id> = waiting.into_iter().map(|(id, user, _)| (user, id)).collect();
    if let Some((id, user)) = joined.0 {
        notifications.insert(user, id);
    }
    let links = opened.iter().filter_map(|(incident, user)| {
        notifications.get(user).map(|notification| json!({"incident_id": incident, "notification_id": notification}))
    });
    sqlx::query(
        "-- link_incidents
         INSERT INTO auditor_notification_incidents (incident_id, notification_id)
         SELECT r.incident_id, r.notification_id
         FROM jsonb_to_recordset($1) AS r (incident_id uuid, notification_id uuid)",
    )
    .bind(Json(links.collect::<Vec<Value>>()))
    .execute(connection)
    .await?;
    Ok(due)
}

/// The notification that takes in what is opened for its user, if there is one.
struct Joined(Option<(Id, String)>);

impl Joined {
    fn is_none_of(&self, user: &str) -> bool {
        self.0.as_ref().is_none_or(|(_, joined)| joined != user)
    }
}

/// Only a notification that is not on its way yet can take anything in.
async fn joinable(connection: &mut PgConnection, join: Option<NotificationId>) -> sqlx::Result<Joined> {
    let Some(join) = join else { return Ok(Joined(None)) };
    sqlx::query_as(
        "-- joinable
         SELECT id, user_id FROM auditor_notifications WHERE id = $1 AND state IN ('pending', 'claimed')
         FOR NO KEY UPDATE",
    )
    .bind(Id(join.0))
    .fetch_optional(connection)
    .await
    .map(Joined)
}

/// Makes a pending (or held) notification for each user, unless one is there that can grow; tells which are due by now.
async fn grow_or_make(
    connection: &mut PgConnection,
    record: &Record,
    new: Vec<Value>,
) -> sqlx::Result<Vec<(Id, String, bool)>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let statement = if record.hold.is_none() {
        "-- grow_or_make_pending
         INSERT INTO auditor_notifications AS n
             (id, user_id, state, hold, due_at, sweep_id, created_at, waiting_since)
         SELECT r.id, r.user_id, 'pending', $2, $3, $4, $5,
             CASE WHEN $3::timestamptz <= $5::timestamptz THEN $5::timestamptz END
         FROM jsonb_to_recordset($1) AS r (id uuid, user_id text) ORDER BY r.user_id COLLATE \"C\"
         ON CONFLICT (user_id) WHERE state = 'pending' DO UPDATE SET due_at = LEAST(n.due_at, excluded.due_at),
             queued_in = NULL, waiting_since = CASE
                 WHEN LEAST(n.due_at, excluded.due_at) <= excluded.created_at THEN excluded.created_at END
         RETURNING id, user_id, due_at <= $5 AS is_due"
    } else {
        "-- grow_or_make_held
         INSERT INTO auditor_notifications AS n
             (id, user_id, state, hold, due_at, sweep_id, created_at, waiting_since)
         SELECT r.id, r.user_id, 'held', $2, $3, $4, $5, $5
         FROM jsonb_to_recordset($1) AS r (id uuid, user_id text) ORDER BY r.user_id COLLATE \"C\"
         ON CONFLICT (user_id, hold) WHERE state = 'held' DO UPDATE SET due_at = LEAST(n.due_at, excluded.due_at)
         RETURNING id, user_id, FALSE AS is_due"
    };
    sqlx::query_as(statement)
        .bind(Json(new))
        .bind(&record.hold)
        .bind(At(record.notify_at))
        .bind(record.sweep.map(|sweep| Id(sweep.0)))
        .bind(At(record.now))
        .fetch_all(connection)
        .await
}

async fn record_findings(connection: &mut PgConnection, record: &Record, users: &[&UserRecord]) -> sqlx::Result<()> {
    let Some(sweep) = record.sweep else { return Ok(()) };
    let findings = write::findings(users);
    if findings.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- record_findings
         INSERT INTO auditor_findings (sweep_id, user_id, incident_id, incident)
         SELECT $2, r.user_id, r.incident_id, r.incident
         FROM jsonb_to_recordset($1) AS r (user_id text, incident_id uuid, incident jsonb)
         ON CONFLICT DO NOTHING",
    )
    .bind(Json(findings))
    .bind(Id(sweep.0))
    .execute(connection)
    .await?;
    Ok(())
}
