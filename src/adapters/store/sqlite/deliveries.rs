//! What Composio tells of by itself, in SQLite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::sweeps::{self, Origin};
use crate::adapters::store::click::{CoverageRow, DeliveryRow};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id, rows};
use crate::adapters::store::write::{self, SqliteJson, clean};
use crate::domain::id::{AccountId, UserId};
use crate::domain::port::{ACCOUNT_EXPIRED, Coverage, Delivery, DeliveryStore, StoreResult};
use crate::domain::sweep::Check;

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn take_delivery(&self, delivery: &Delivery, check: Option<&Check>) -> StoreResult<bool> {
        let action = "keeping a delivery";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        // One writes at a time: of several at once, the first inserts, and the others are late.
        if !insert(&mut transaction, delivery).await.map_err(failed(action))? {
            return Ok(false);
        }
        if let Some(check) = check {
            let checks = write::checks::<SqliteJson>(std::slice::from_ref(check));
            sweeps::insert_checks(&mut transaction, checks, Origin::default(), delivery.received_at)
                .await
                .map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(true)
    }

    async fn owner_of(&self, account: &AccountId) -> StoreResult<Option<UserId>> {
        let mut owners: Vec<String> = sqlx::query_scalar(
            "-- owner_of
             SELECT DISTINCT user_id FROM auditor_accounts WHERE account_id = $1 LIMIT 2",
        )
        .bind(clean(account.as_str()))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("reading whose an account is"))?;
        Ok(owners.pop().filter(|_| owners.is_empty()).map(UserId::new))
    }

    async fn deliveries(&self, since: DateTime<Utc>) -> StoreResult<Vec<(String, u64)>> {
        let counts: Vec<(String, i64)> = sqlx::query_as(
            "-- deliveries
             SELECT type, count(*) FROM auditor_webhook_deliveries WHERE received_at >= $1
             GROUP BY type ORDER BY count(*) DESC, type LIMIT 100",
        )
        .bind(At(since))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting deliveries"))?;
        Ok(counts.into_iter().map(|(kind, count)| (kind, rows(count))).collect())
    }

    async fn coverage(&self, since: DateTime<Utc>) -> StoreResult<Vec<Coverage>> {
        // An event that came up to an hour before the instant at which the account expired: clocks differ.
        let found: Vec<CoverageRow> = sqlx::query_as(
            "-- coverage
             SELECT b.toolkit, count(*) AS broke, count(*) FILTER (WHERE b.told) AS told,
                 count(*) FILTER (WHERE b.swept AND NOT b.told) AS missed
             FROM (SELECT i.toolkit, i.sweep_id IS NOT NULL AS swept,
                     EXISTS (SELECT 1 FROM auditor_webhook_deliveries AS d
                         WHERE d.account_id = i.account_id AND d.type = $2
                             AND d.received_at >= i.broke_at - 3600000000) AS told
                 FROM auditor_incidents AS i WHERE i.kind = 'broken' AND i.opened_at >= $1) AS b
             GROUP BY b.toolkit ORDER BY b.toolkit",
        )
        .bind(At(since))
        .bind(ACCOUNT_EXPIRED)
        .fetch_all(&self.readers)
        .await
        .map_err(failed("counting what events told of"))?;
        Ok(found.into_iter().map(Coverage::from).collect())
    }
}

/// `false` if it is there.
async fn insert(connection: &mut SqliteConnection, delivery: &Delivery) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "-- insert_delivery
         INSERT INTO auditor_webhook_deliveries (id, type, user_id, account_id, check_id, received_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
    )
    .bind(clean(&delivery.id))
    .bind(clean(&delivery.kind))
    .bind(delivery.user.as_ref().map(|user| clean(user.as_str())))
    .bind(delivery.account.as_ref().map(|account| clean(account.as_str())))
    .bind(delivery.check.map(|check| Id(check.0)))
    .bind(At(delivery.received_at))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The deliveries that named a user, the newest `limit` of them, oldest first.
pub(super) async fn of(connection: &mut SqliteConnection, user: &str, limit: i64) -> sqlx::Result<Vec<Delivery>> {
    let rows: Vec<DeliveryRow> = sqlx::query_as(
        "-- deliveries_of
         SELECT id, type, user_id, account_id, check_id, received_at FROM auditor_webhook_deliveries
         WHERE user_id = $1 ORDER BY received_at DESC, id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().rev().map(Delivery::from).collect())
}
