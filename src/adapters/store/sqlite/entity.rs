//! What one user's handle rests on, in SQLite: what is known and doubted, and links.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::SqliteStore;
use super::sweeps::{self, Origin};
use crate::adapters::store::error::failed;
use crate::adapters::store::row::{At, Id};
use crate::adapters::store::standing::{LinkRow, NamedAccountRow, StandingRow, in_the_way};
use crate::adapters::store::write::{self, SqliteJson, clean};
use crate::domain::id::{AccountId, LinkId, UserId};
use crate::domain::link::{InVain, KeptLink, LEAST_LEFT, LIFE, Link, LinkKey, MOST_LOST, Reserved, Wish};
use crate::domain::port::{EntityStore, LinkTrace, Standing, StoreResult};
use crate::domain::sweep::Check;

#[async_trait]
impl EntityStore for SqliteStore {
    async fn standing(&self, user: &UserId) -> StoreResult<Standing> {
        let action = "reading what is known of a user";
        let user = clean(user.as_str());
        // The user first: what is recorded between the two statements makes `observed_at` too old, never too new.
        let known: StandingRow = sqlx::query_as(
            "-- standing_user
             SELECT u.observed_at, u.sweep_id, d.doubted_at, (
                 SELECT json_group_array(json_object('id', i.id, 'toolkit', i.toolkit, 'auth_config', i.auth_config,
                     'alias', i.alias, 'kind', i.kind, 'account_id', i.account_id, 'status', i.status,
                     'reason', i.reason, 'broke_at', i.broke_at, 'counts_from', i.counts_from,
                     'opened_at', i.opened_at, 'resolved_at', i.resolved_at, 'resolution', i.resolution)) FROM auditor_incidents AS i
                 WHERE i.user_id = $1 AND (i.resolved_at IS NULL OR i.kind = 'unfinished')) AS incidents
             FROM (SELECT 1 AS one) AS o LEFT JOIN auditor_user_checks AS u ON u.user_id = $1
             LEFT JOIN auditor_doubts AS d ON d.user_id = $1",
        )
        .bind(&user)
        .fetch_one(&self.readers)
        .await
        .map_err(failed(action))?;
        let accounts: Vec<NamedAccountRow> = sqlx::query_as(
            "-- standing_accounts
             SELECT a.user_id, a.account_id, a.toolkit, a.auth_config, a.alias, a.status, a.reason, a.is_disabled,
                 a.auth_config_disabled, a.created_at, a.updated_at, a.expired_at, a.ever_active, a.active_with,
                 a.first_seen_at, a.changed_at, a.gone_at, t.name AS app_name, t.logo AS app_logo,
                 t.read_at AS app_read_at
             FROM auditor_accounts AS a LEFT JOIN auditor_toolkits AS t ON t.slug = a.toolkit
             WHERE a.user_id = $1 ORDER BY a.account_id",
        )
        .bind(&user)
        .fetch_all(&self.readers)
        .await
        .map_err(failed(action))?;
        known.with(accounts, action)
    }

    async fn doubt(&self, user: &UserId, at: DateTime<Utc>) -> StoreResult<()> {
        let action = "doubting what is known of a user";
        let mut connection = self.writer.acquire().await.map_err(failed(action))?;
        doubt(&mut connection, &clean(user.as_str()), at).await.map_err(failed(action))
    }

    async fn recheck(&self, user: &UserId, check: &Check, now: DateTime<Utc>) -> StoreResult<bool> {
        let action = "asking for a re-check";
        let user = clean(user.as_str());
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(action))?;
        // The doubt locks the user, so that of two who ask at once the second sees the check of the first.
        doubt(&mut transaction, &user, now).await.map_err(failed(action))?;
        let is_first = claim_recheck(&mut transaction, &user, check).await.map_err(failed(action))?;
        if is_first {
            let checks = write::checks::<SqliteJson>(std::slice::from_ref(check));
            sweeps::insert_checks(&mut transaction, checks, Origin::default(), now).await.map_err(failed(action))?;
        }
        transaction.commit().await.map_err(failed(action))?;
        Ok(is_first)
    }

    async fn reserve_link(&self, wish: &Wish, now: DateTime<Utc>) -> StoreResult<Reserved> {
        let action = "reserving a link";
        let won: Option<Id> = sqlx::query_scalar(
            "-- reserve_link
             INSERT INTO auditor_links AS l (id, user_id, key, content, toolkit, auth_config, alias, state, token,
                 lease_until, tries, tried_since, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'reserved', $8, $9, 1, $10, $10)
             ON CONFLICT (user_id, key) DO UPDATE SET state = 'reserved', token = excluded.token,
                 lease_until = excluded.lease_until, auth_config = excluded.auth_config,
                 tries = CASE WHEN l.state = 'made' OR l.tried_since <= $11 THEN 1 ELSE l.tries + 1 END,
                 tried_since = CASE WHEN l.state = 'made' OR l.tried_since <= $11 OR l.tries = 0
                     THEN excluded.tried_since ELSE l.tried_since END,
                 account_id = NULL, url = NULL, expires_at = NULL
             WHERE l.content = excluded.content AND (
                 (l.state = 'made' AND (l.expires_at <= $12 OR l.account_id = $13))
                 OR (l.state = 'reserved' AND l.lease_until <= $10 AND (l.tries < $14 OR l.tried_since <= $11)))
             RETURNING id",
        )
        .bind(Id(wish.id.0))
        .bind(clean(wish.user.as_str()))
        .bind(wish.key.as_str())
        .bind(wish.content.as_str())
        .bind(clean(wish.toolkit.as_str()))
        .bind(clean(wish.auth_config.as_str()))
        .bind(wish.alias.as_deref().map(clean))
        .bind(Id(wish.lease.token))
        .bind(At(wish.lease.until))
        .bind(At(now))
        .bind(At(now - LIFE))
        .bind(At(now + LEAST_LEFT))
        .bind(wish.used_up.as_ref().map(AccountId::as_str))
        .bind(i64::from(MOST_LOST))
        .fetch_optional(&self.writer)
        .await
        .map_err(failed(action))?;
        if let Some(id) = won {
            return Ok(Reserved::Won(LinkId(id.0)));
        }
        let row = find(&self.readers, &clean(wish.user.as_str()), &wish.key).await.map_err(failed(action))?;
        Ok(in_the_way(row, wish, now))
    }

    async fn keep_link(&self, id: LinkId, token: Uuid, link: &Link, now: DateTime<Utc>) -> StoreResult<bool> {
        let kept = sqlx::query(
            "-- keep_link
             UPDATE auditor_links SET state = 'made', account_id = $3, url = $4, expires_at = $5, token = NULL,
                 lease_until = NULL, tries = 0
             WHERE id = $1 AND token = $2 AND state = 'reserved'",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(clean(link.account.as_str()))
        .bind(clean(link.url.expose_secret()))
        .bind(At(link.expires_at.unwrap_or(now + LIFE)))
        .execute(&self.writer)
        .await
        .map_err(failed("keeping a link"))?;
        Ok(kept.rows_affected() == 1)
    }

    async fn give_up_link(&self, id: LinkId, token: Uuid, how: InVain, now: DateTime<Utc>) -> StoreResult<()> {
        let counts = i64::from(how == InVain::Unclear);
        sqlx::query(
            "-- give_up_link
             UPDATE auditor_links SET token = NULL, lease_until = $3, tries = tries - 1 + $4
             WHERE id = $1 AND token = $2 AND state = 'reserved'",
        )
        .bind(Id(id.0))
        .bind(Id(token))
        .bind(At(now))
        .bind(counts)
        .execute(&self.writer)
        .await
        .map_err(failed("giving up a link"))?;
        Ok(())
    }

    async fn link(&self, user: &UserId, key: &LinkKey) -> StoreResult<Option<KeptLink>> {
        let row = find(&self.readers, &clean(user.as_str()), key).await.map_err(failed("reading a link"))?;
        Ok(row.map(KeptLink::from))
    }
}

/// The newest doubt stands.
async fn doubt(connection: &mut SqliteConnection, user: &str, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- doubt
         INSERT INTO auditor_doubts AS d (user_id, doubted_at) VALUES ($1, $2)
         ON CONFLICT (user_id) DO UPDATE SET doubted_at = max(d.doubted_at, excluded.doubted_at)",
    )
    .bind(user)
    .bind(At(at))
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes the check as the user's newest, unless the one before is not over; its retries belong to it.
async fn claim_recheck(connection: &mut SqliteConnection, user: &str, check: &Check) -> sqlx::Result<bool> {
    let claimed = sqlx::query(
        "-- claim_recheck
         UPDATE auditor_doubts SET check_id = $2 WHERE user_id = $1 AND NOT EXISTS (
             SELECT 1 FROM auditor_checks AS c
             WHERE c.root = auditor_doubts.check_id AND c.state IN ('queued', 'claimed'))",
    )
    .bind(user)
    .bind(Id(check.id.0))
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

async fn find(pool: &SqlitePool, user: &str, key: &LinkKey) -> sqlx::Result<Option<LinkRow>> {
    sqlx::query_as(
        "-- link
         SELECT id, content, toolkit, auth_config, alias, state, lease_until, tries, tried_since, account_id, url,
             expires_at, created_at
         FROM auditor_links WHERE user_id = $1 AND key = $2",
    )
    .bind(user)
    .bind(key.as_str())
    .fetch_optional(pool)
    .await
}

/// What the trail of a user tells of links, oldest first, and since when the user is doubted.
pub(super) async fn trail(
    connection: &mut SqliteConnection,
    user: &str,
    limit: i64,
) -> sqlx::Result<(Vec<LinkTrace>, Option<DateTime<Utc>>)> {
    let mut links: Vec<LinkRow> = sqlx::query_as(
        "-- links_of
         SELECT id, content, toolkit, auth_config, alias, state, lease_until, tries, tried_since, account_id,
             NULL AS url, expires_at, created_at
         FROM auditor_links WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
    )
    .bind(user)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    links.reverse();
    let doubted: Option<At> =
        sqlx::query_scalar("-- doubt_of\nSELECT doubted_at FROM auditor_doubts WHERE user_id = $1")
            .bind(user)
            .fetch_optional(connection)
            .await?;
    Ok((links.into_iter().map(LinkTrace::from).collect(), doubted.map(|at| at.0)))
}
