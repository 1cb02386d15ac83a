//! What tells that something is wrong, in PostgreSQL: a few counts, each of which an index answers.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::adapters::store::case::{FlappingRow, counted};
use crate::adapters::store::row::{At, rows};
use crate::domain::notification::hold;
use crate::domain::plan::{FLAPPING_INCIDENTS, FLAPPING_WINDOW};
use crate::domain::port::VitalSigns;

/// See [`vital_signs`](crate::domain::port::AlertStore::vital_signs).
pub(super) async fn signs(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<VitalSigns> {
    let (completed_at, known_since, sent, dead_jobs) = figures(connection, since).await?;
    Ok(VitalSigns {
        completed_at: completed_at.map(|at| at.0),
        known_since: known_since.map(|at| at.0),
        troubled_sweeps: troubled_sweeps(connection, since).await?,
        failed: counted(failed(connection, since).await?),
        stuck: counted(stuck(connection).await?),
        sent: rows(sent),
        flapping: flapping(connection, now).await?,
        operator_faults: operator_faults(connection).await?,
        dead_jobs: rows(dead_jobs),
    })
}

async fn figures(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
) -> sqlx::Result<(Option<At>, Option<At>, i64, i64)> {
    sqlx::query_as(
        "-- figures
         SELECT (SELECT max(s.finished_at) FROM auditor_sweeps AS s WHERE s.state = 'completed' AND s.mode = 'full'),
             (SELECT min(k.known_since) FROM auditor_schedules AS k),
             (SELECT count(*) FROM auditor_notifications AS n WHERE n.state = 'sent' AND n.settled_at >= $1),
             (SELECT count(*) FROM auditor_dead_jobs)",
    )
    .bind(At(since))
    .fetch_one(connection)
    .await
}

/// One that failed goes on being trouble until a later one of its schedule has ended better: one that is skipped or under way
/// says nothing yet.
async fn troubled_sweeps(
    connection: &mut PgConnection,
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, String, Option<String>)>> {
    sqlx::query_as(
        "-- troubled_sweeps
         SELECT s.schedule, s.state, s.note FROM auditor_sweeps AS s
         WHERE s.state = 'paused' OR (s.state = 'failed' AND s.finished_at >= $1 AND NOT EXISTS (
             SELECT 1 FROM auditor_sweeps AS l
             WHERE l.schedule = s.schedule AND l.tick > s.tick AND l.state IN ('completed', 'failed')))
         ORDER BY s.schedule, s.tick",
    )
    .bind(At(since))
    .fetch_all(connection)
    .await
}

async fn failed(connection: &mut PgConnection, since: DateTime<Utc>) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "-- failed_notifications
         SELECT COALESCE(error, '') AS why, count(*) AS notifications FROM auditor_notifications
         WHERE state = 'failed' AND settled_at >= $1
         GROUP BY why ORDER BY notifications DESC, why LIMIT 10",
    )
    .bind(At(since))
    .fetch_all(connection)
    .await
}

/// What waits as the plan, the ceiling or the kill switch have it is not stuck.
async fn stuck(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "-- stuck_notifications
         SELECT error AS why, count(*) AS notifications FROM auditor_notifications
         WHERE state = 'pending' AND error IS NOT NULL AND error <> $1 AND error NOT LIKE 'waits for %'
             AND error NOT LIKE 'guard.max_mails_per_hour%'
         GROUP BY why ORDER BY notifications DESC, why LIMIT 10",
    )
    .bind(hold::PAUSED)
    .fetch_all(connection)
    .await
}

async fn flapping(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, String, Option<String>, u64, u64)>> {
    let flapping: Vec<FlappingRow> = sqlx::query_as(
        "-- flapping
         SELECT f.toolkit, f.auth_config, f.reason, count(*) AS slots, count(DISTINCT f.user_id) AS users FROM (
             SELECT i.user_id, i.toolkit, i.auth_config, i.alias,
                 (array_agg(i.reason ORDER BY i.opened_at DESC, i.id DESC))[1] AS reason
             FROM auditor_incidents AS i WHERE i.opened_at > $1 AND i.kind <> 'unfinished'
             GROUP BY i.user_id, i.toolkit, i.auth_config, i.alias HAVING count(*) >= $2) AS f
         GROUP BY f.toolkit, f.auth_config, f.reason
         ORDER BY slots DESC, f.toolkit, f.auth_config, f.reason NULLS FIRST",
    )
    .bind(At(now - FLAPPING_WINDOW))
    .bind(i64::try_from(FLAPPING_INCIDENTS).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    Ok(flapping.into_iter().map(Into::into).collect())
}

async fn operator_faults(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, String, u64)>> {
    let faults: Vec<(String, String, i64)> = sqlx::query_as(
        "-- operator_faults
         SELECT toolkit, auth_config, count(DISTINCT user_id) AS users FROM auditor_accounts
         WHERE auth_config_disabled AND gone_at IS NULL
         GROUP BY toolkit, auth_config ORDER BY toolkit, auth_config",
    )
    .fetch_all(connection)
    .await?;
    Ok(faults.into_iter().map(|(toolkit, auth_config, users)| (toolkit, auth_config, rows(users))).collect())
}
