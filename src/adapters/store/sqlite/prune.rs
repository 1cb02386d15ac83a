//! Deleting what has been kept for long enough, in SQLite.

use chrono::{DateTime, Utc};
use sqlx::SqlitePool;

use crate::adapters::store::row::At;
use crate::domain::port::Horizon;

/// Runs every statement once; returns the number of rows deleted.
pub(super) async fn prune(pool: &SqlitePool, horizon: &Horizon) -> sqlx::Result<u64> {
    let mut pruned = 0;
    for (before, statement) in PRUNE {
        pruned += sqlx::query(statement).bind(At(before(horizon))).execute(pool).await?.rows_affected();
    }
    Ok(pruned)
}

/// Which horizon a statement goes by.
type Before = fn(&Horizon) -> DateTime<Utc>;

/// Each deletes at most 1,000 rows. Those that others refer to come last, so that a sweep goes when its checks are gone, an
/// incident when the mail about it is, and a user when the user's accounts are. Kept for ever: the newest sweep of a schedule
/// (its tick says what was missed), and, as long as the user is known, closed incidents of the kind that happens once ever.
/// What was observed has ended when something newer was, or when the account was gone.
const PRUNE: [(Before, &str); 18] = [
    (
        |horizon| horizon.sweeps,
        "-- prune_findings
         DELETE FROM auditor_findings WHERE (sweep_id, user_id, incident_id) IN (
             SELECT f.sweep_id, f.user_id, f.incident_id FROM auditor_findings AS f
             JOIN auditor_sweeps AS s ON s.id = f.sweep_id
             WHERE s.state IN ('completed', 'failed', 'skipped') AND s.finished_at < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.sweeps,
        "-- prune_checks
         DELETE FROM auditor_checks WHERE id IN (
             SELECT c.id FROM auditor_checks AS c LEFT JOIN auditor_sweeps AS s ON s.id = c.sweep_id
             WHERE c.state IN ('done', 'dead') AND c.finished_at < $1
                 AND (s.id IS NULL OR (s.state IN ('completed', 'failed', 'skipped') AND s.finished_at < $1))
                 AND NOT EXISTS (SELECT 1 FROM auditor_dead_jobs AS d WHERE d.id = c.id) LIMIT 1000)",
    ),
    (
        |horizon| horizon.sweeps,
        "-- prune_sweeps
         DELETE FROM auditor_sweeps WHERE id IN (
             SELECT s.id FROM auditor_sweeps AS s
             WHERE s.state IN ('completed', 'failed', 'skipped') AND s.finished_at < $1
                 AND EXISTS (SELECT 1 FROM auditor_sweeps AS o WHERE o.schedule = s.schedule AND o.tick > s.tick)
                 AND NOT EXISTS (SELECT 1 FROM auditor_checks AS c WHERE c.sweep_id = s.id)
                 AND NOT EXISTS (SELECT 1 FROM auditor_findings AS f WHERE f.sweep_id = s.id) LIMIT 1000)",
    ),
    (
        |horizon| horizon.incidents,
        "-- prune_notifications
         DELETE FROM auditor_notifications WHERE id IN (
             SELECT n.id FROM auditor_notifications AS n
             WHERE n.settled_at < $1 AND n.state IN ('sent', 'skipped', 'failed', 'unreachable')
                 AND NOT EXISTS (SELECT 1 FROM auditor_dead_jobs AS d WHERE d.id = n.id)
                 AND NOT EXISTS (SELECT 1 FROM auditor_notification_incidents AS l
                     JOIN auditor_incidents AS i ON i.id = l.incident_id
                     WHERE l.notification_id = n.id AND (i.resolved_at IS NULL OR i.resolved_at >= $1)) LIMIT 1000)",
    ),
    (
        |horizon| horizon.incidents,
        "-- prune_incidents
         DELETE FROM auditor_incidents WHERE id IN (
             SELECT i.id FROM auditor_incidents AS i WHERE i.resolved_at < $1
                 AND (i.kind <> 'unfinished'
                     OR NOT EXISTS (SELECT 1 FROM auditor_user_checks AS u WHERE u.user_id = i.user_id))
                 AND NOT EXISTS (SELECT 1 FROM auditor_notification_incidents AS l WHERE l.incident_id = i.id)
             LIMIT 1000)",
    ),
    (
        |horizon| horizon.incidents,
        "-- prune_trips
         DELETE FROM auditor_trips WHERE id IN (
             SELECT t.id FROM auditor_trips AS t WHERE t.ended_at < $1
                 AND t.state IN ('released', 'discarded', 'stopped')
                 AND NOT EXISTS (SELECT 1 FROM auditor_incidents AS i WHERE i.trip_id = t.id) LIMIT 1000)",
    ),
    (
        |horizon| horizon.observations,
        "-- prune_observations
         DELETE FROM auditor_observations WHERE (user_id, account_id, observed_at) IN (
             SELECT o.user_id, o.account_id, o.observed_at FROM auditor_observations AS o
             WHERE o.observed_at < $1 AND (o.account IS NULL OR EXISTS (
                 SELECT 1 FROM auditor_observations AS p WHERE p.user_id = o.user_id AND p.account_id = o.account_id
                     AND p.observed_at > o.observed_at AND p.observed_at < $1))
             LIMIT 1000)",
    ),
    (
        |horizon| horizon.observations,
        "-- prune_webhook_deliveries
         DELETE FROM auditor_webhook_deliveries WHERE id IN (
             SELECT d.id FROM auditor_webhook_deliveries AS d WHERE d.received_at < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_gone_accounts
         DELETE FROM auditor_accounts WHERE (user_id, account_id) IN (
             SELECT a.user_id, a.account_id FROM auditor_accounts AS a WHERE a.gone_at < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_accounts_of_users
         DELETE FROM auditor_accounts WHERE (user_id, account_id) IN (
             SELECT a.user_id, a.account_id FROM auditor_user_checks AS u
             JOIN auditor_accounts AS a ON a.user_id = u.user_id
             WHERE u.checked_at < $1
                 AND NOT EXISTS (SELECT 1 FROM auditor_incidents AS i
                     WHERE i.user_id = u.user_id AND i.resolved_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM auditor_notifications AS n
                     WHERE n.user_id = u.user_id AND n.state IN ('pending', 'held', 'claimed', 'sending'))
             LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_observations_of_users
         DELETE FROM auditor_observations WHERE (user_id, account_id, observed_at) IN (
             SELECT o.user_id, o.account_id, o.observed_at FROM auditor_user_checks AS u
             JOIN auditor_observations AS o ON o.user_id = u.user_id
             WHERE u.checked_at < $1
                 AND NOT EXISTS (SELECT 1 FROM auditor_incidents AS i
                     WHERE i.user_id = u.user_id AND i.resolved_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM auditor_notifications AS n
                     WHERE n.user_id = u.user_id AND n.state IN ('pending', 'held', 'claimed', 'sending'))
             LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_users
         DELETE FROM auditor_user_checks WHERE user_id IN (
             SELECT u.user_id FROM auditor_user_checks AS u
             WHERE u.checked_at < $1
                 AND NOT EXISTS (SELECT 1 FROM auditor_incidents AS i
                     WHERE i.user_id = u.user_id AND i.resolved_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM auditor_notifications AS n
                     WHERE n.user_id = u.user_id AND n.state IN ('pending', 'held', 'claimed', 'sending'))
                 AND NOT EXISTS (SELECT 1 FROM auditor_accounts AS a WHERE a.user_id = u.user_id)
                 AND NOT EXISTS (SELECT 1 FROM auditor_observations AS o WHERE o.user_id = u.user_id)
             LIMIT 1000)",
    ),
    (
        |horizon| horizon.alerts,
        "-- prune_messages
         DELETE FROM auditor_messages WHERE id IN (
             SELECT m.id FROM auditor_messages AS m
             WHERE m.settled_at < $1 AND m.state IN ('delivered', 'given_up') LIMIT 1000)",
    ),
    (
        |horizon| horizon.alerts,
        "-- prune_alerts
         DELETE FROM auditor_alerts WHERE id IN (
             SELECT a.id FROM auditor_alerts AS a WHERE a.ended_at < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.alerts,
        "-- prune_suppressions
         DELETE FROM auditor_suppressions WHERE id IN (
             SELECT s.id FROM auditor_suppressions AS s WHERE s.until < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.links,
        "-- forget_where_links_led
         UPDATE auditor_links SET url = NULL WHERE id IN (
             SELECT l.id FROM auditor_links AS l WHERE l.url IS NOT NULL AND l.expires_at < $1 LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_links
         DELETE FROM auditor_links WHERE id IN (
             SELECT l.id FROM auditor_links AS l WHERE l.created_at < $1 AND l.url IS NULL LIMIT 1000)",
    ),
    (
        |horizon| horizon.users,
        "-- prune_doubts
         DELETE FROM auditor_doubts WHERE user_id IN (
             SELECT d.user_id FROM auditor_doubts AS d WHERE d.doubted_at < $1
                 AND NOT EXISTS (SELECT 1 FROM auditor_user_checks AS u
                     WHERE u.user_id = d.user_id AND u.observed_at < d.doubted_at) LIMIT 1000)",
    ),
];
