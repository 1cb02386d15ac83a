//! Everything that decides on a user's next mail, in PostgreSQL.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::situation::{InForceRow, StandingRow};
use crate::adapters::store::write::clean;
use crate::domain::id::{NotificationId, UserId};
use crate::domain::plan::{FLAPPING_WINDOW, Situation, Standing};
use crate::domain::port::StoreResult;
use crate::domain::suppression::{AddressHash, Suppression};

/// Of whom, and when.
pub(super) struct Asked<'a> {
    /// Whose situation.
    pub(super) user: &'a UserId,
    /// The address whose suppressions count too.
    pub(super) address: Option<&'a AddressHash>,
    /// The notification that counts neither as a mail nor as a hold.
    pub(super) except: Option<NotificationId>,
    /// Now.
    pub(super) now: DateTime<Utc>,
}

/// The mails last: one that is begun meanwhile makes the answer too strict, never too lax.
pub(super) async fn situation(pool: &PgPool, asked: &Asked<'_>) -> StoreResult<Situation> {
    let open = standing(pool, asked).await?;
    let suppressions = in_force(pool, asked).await?;
    let last_mail = last_mail(pool, asked).await?;
    Ok(Situation { open, last_mail, suppressions })
}

async fn standing(pool: &PgPool, asked: &Asked<'_>) -> StoreResult<Vec<Standing>> {
    let action = "reading what a user has open";
    let rows: Vec<StandingRow> = sqlx::query_as(
        "-- standing
         SELECT i.id, i.toolkit, i.auth_config, i.alias, i.kind, i.account_id, i.status, i.reason, i.broke_at,
             i.counts_from, i.opened_at, i.resolved_at, i.resolution, i.sweep_id, s.schedule AS sweep_schedule,
             s.state AS sweep_state, i.trip_id, i.guard,
             max(l.stage) FILTER (WHERE l.listed AND n.state = 'sent')::bigint AS mailed_stage,
             min(n.sent_at) FILTER (WHERE l.listed AND n.state = 'sent') AS mailed_first_at,
             min(n.hold) FILTER (WHERE n.state = 'held' AND n.hold <> 'guard') AS named_hold,
             count(*) FILTER (WHERE l.listed AND n.ambiguous > 0
                 AND n.state IN ('pending', 'claimed', 'sending', 'held')) > 0 AS is_ambiguous,
             (SELECT jsonb_agg(o.opened_at) FROM auditor_incidents AS o
                 WHERE o.user_id = i.user_id AND o.toolkit = i.toolkit AND o.auth_config = i.auth_config
                     AND o.alias IS NOT DISTINCT FROM i.alias AND o.kind <> 'unfinished' AND o.opened_at > $3) AS openings
         FROM auditor_incidents AS i
         LEFT JOIN auditor_sweeps AS s ON s.id = i.sweep_id
         LEFT JOIN auditor_notification_incidents AS l ON l.incident_id = i.id
         LEFT JOIN auditor_notifications AS n ON n.id = l.notification_id AND n.id IS DISTINCT FROM $2
         WHERE i.user_id = $1 AND i.resolved_at IS NULL GROUP BY i.id, s.id ORDER BY i.id",
    )
    .bind(clean(asked.user.as_str()))
    .bind(asked.except.map(|except| Id(except.0)))
    .bind(At(asked.now - FLAPPING_WINDOW))
    .fetch_all(pool)
    .await
    .map_err(failed(action))?;
    rows.into_iter().map(|row| row.into_standing(action)).collect()
}

async fn in_force(pool: &PgPool, asked: &Asked<'_>) -> StoreResult<Vec<Suppression>> {
    let action = "reading why a user is not to be mailed";
    let rows: Vec<InForceRow> = sqlx::query_as(
        "-- in_force
         SELECT id, user_id, address_hash, kind, toolkit, until, source, detail, created_at
         FROM auditor_suppressions
         WHERE (user_id = $1 OR address_hash = $2) AND (until IS NULL OR until > $3)
         ORDER BY created_at DESC, id DESC",
    )
    .bind(clean(asked.user.as_str()))
    .bind(asked.address.map(AddressHash::as_str))
    .bind(At(asked.now))
    .fetch_all(pool)
    .await
    .map_err(failed(action))?;
    rows.into_iter().map(|row| row.into_suppression(action)).collect()
}

/// A mail of which nobody knows whether it left counts as one that did, however it ended.
async fn last_mail(pool: &PgPool, asked: &Asked<'_>) -> StoreResult<Option<DateTime<Utc>>> {
    let newest: Option<At> = sqlx::query_scalar(
        "-- last_mail
         SELECT max(CASE WHEN state = 'sent' THEN sent_at WHEN state = 'sending' OR ambiguous > 0 THEN sending_at END)
         FROM auditor_notifications WHERE user_id = $1 AND id IS DISTINCT FROM $2",
    )
    .bind(clean(asked.user.as_str()))
    .bind(asked.except.map(|except| Id(except.0)))
    .fetch_one(pool)
    .await
    .map_err(failed("asking when a user was last mailed"))?;
    Ok(newest.map(|at| at.0))
}
