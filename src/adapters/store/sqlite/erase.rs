//! Forgetting one user, in SQLite.

use sqlx::SqliteConnection;
use sqlx::types::Json;

use crate::adapters::store::row::Id;
use crate::adapters::store::write::clean;
use crate::domain::id::UserId;
use crate::domain::suppression::AddressHash;

/// What is deleted by the id of the user, table by table.
const BELONGINGS: [(&str, &str); 12] = [
    ("auditor_clicks", "-- erase_clicks\nDELETE FROM auditor_clicks WHERE user_id = $1"),
    (
        "auditor_webhook_deliveries",
        "-- erase_webhook_deliveries\nDELETE FROM auditor_webhook_deliveries WHERE user_id = $1",
    ),
    (
        "auditor_notification_incidents",
        "-- erase_notification_incidents
         DELETE FROM auditor_notification_incidents
         WHERE notification_id IN (SELECT n.id FROM auditor_notifications AS n WHERE n.user_id = $1)
             OR incident_id IN (SELECT i.id FROM auditor_incidents AS i WHERE i.user_id = $1)",
    ),
    ("auditor_notifications", "-- erase_notifications\nDELETE FROM auditor_notifications WHERE user_id = $1"),
    ("auditor_incidents", "-- erase_incidents\nDELETE FROM auditor_incidents WHERE user_id = $1"),
    ("auditor_findings", "-- erase_findings\nDELETE FROM auditor_findings WHERE user_id = $1"),
    ("auditor_accounts", "-- erase_accounts\nDELETE FROM auditor_accounts WHERE user_id = $1"),
    ("auditor_observations", "-- erase_observations\nDELETE FROM auditor_observations WHERE user_id = $1"),
    ("auditor_links", "-- erase_links\nDELETE FROM auditor_links WHERE user_id = $1"),
    ("auditor_doubts", "-- erase_doubts\nDELETE FROM auditor_doubts WHERE user_id = $1"),
    ("auditor_user_checks", "-- erase_user_checks\nDELETE FROM auditor_user_checks WHERE user_id = $1"),
    ("auditor_users", "-- erase_users\nDELETE FROM auditor_users WHERE id = $1"),
];

/// Deletes what is kept of a user; returns how many rows of each table.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    user: &UserId,
    address: Option<&AddressHash>,
) -> sqlx::Result<Vec<(String, u64)>> {
    let user = clean(user.as_str());
    let left = leave_checks(connection, &user).await?;
    let empty: Vec<Id> = left.iter().filter(|(_, is_empty)| *is_empty).map(|(id, _)| *id).collect();
    let mut erased = vec![
        ("auditor_checks".to_owned(), left.len() as u64),
        ("auditor_dead_jobs".to_owned(), erase_dead_jobs(connection, &user, &empty).await?),
        ("auditor_suppressions".to_owned(), erase_suppressions(connection, &user, address).await?),
    ];
    for (table, statement) in BELONGINGS {
        let deleted = sqlx::query(statement).bind(&user).execute(&mut *connection).await?;
        erased.push((table.to_owned(), deleted.rows_affected()));
    }
    Ok(erased)
}

/// Takes the user out of all checks; returns these, and whether nobody is left in them.
///
/// One that is worked on would record the user anew: its worker is fenced, and the others in it are checked again.
async fn leave_checks(connection: &mut SqliteConnection, user: &str) -> sqlx::Result<Vec<(Id, bool)>> {
    sqlx::query_as(
        "-- leave_checks
         UPDATE auditor_checks SET
             users = (SELECT json_group_array(u.value) FROM json_each(users) AS u WHERE u.value <> $1),
             state = CASE WHEN state = 'claimed' THEN 'queued' ELSE state END, token = NULL, lease_until = NULL,
             queued_in = CASE WHEN state = 'claimed' THEN NULL ELSE queued_in END,
             waiting_since = CASE WHEN state = 'claimed' THEN NULL ELSE waiting_since END
         WHERE $1 IN (SELECT u.value FROM json_each(users) AS u)
         RETURNING id, json_array_length(users) = 0 AS is_empty",
    )
    .bind(user)
    .fetch_all(connection)
    .await
}

/// Those of the user's notifications, and of checks in which nobody is left.
async fn erase_dead_jobs(connection: &mut SqliteConnection, user: &str, empty: &[Id]) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "-- erase_dead_jobs
         DELETE FROM auditor_dead_jobs WHERE id IN (SELECT value FROM json_each($2))
             OR id IN (SELECT n.id FROM auditor_notifications AS n WHERE n.user_id = $1)",
    )
    .bind(user)
    .bind(Json(empty))
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}

async fn erase_suppressions(
    connection: &mut SqliteConnection,
    user: &str,
    address: Option<&AddressHash>,
) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "-- erase_suppressions
         DELETE FROM auditor_suppressions WHERE user_id = $1 OR address_hash = $2",
    )
    .bind(user)
    .bind(address.map(AddressHash::as_str))
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected())
}
