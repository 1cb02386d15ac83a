//! Stands in for what is being built.
#![expect(unused_variables, reason = "a stand-in")]

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use crate::domain::alert::*;
use crate::domain::guard::*;
use crate::domain::id::*;
use crate::domain::lease::Lease;
use crate::domain::port::*;
use crate::domain::suppression::*;

fn unready<T>() -> StoreResult<T> {
    Err(StoreError::Corrupt { action: "being built", what: "not ready".to_owned() })
}

#[async_trait]
impl AlertStore for PostgresStore {
    async fn alerts_open(&self) -> StoreResult<Vec<Alert>> {
        unready()
    }
    async fn alerts(&self, limit: u32) -> StoreResult<Vec<Alert>> {
        unready()
    }
    async fn set_conditions(&self, judged: &[&str], conditions: &[Condition], now: DateTime<Utc>) -> StoreResult<()> {
        unready()
    }
    async fn tell(
        &self,
        alerts: &[AlertId],
        messages: &[(Uuid, Channel, Message)],
        unless_told_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        unready()
    }
    async fn claim_message(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<ClaimedMessage>> {
        unready()
    }
    async fn settle_message(&self, id: Uuid, token: Uuid, end: &MessageEnd, now: DateTime<Utc>) -> StoreResult<bool> {
        unready()
    }
    async fn vital_signs(&self, since: DateTime<Utc>) -> StoreResult<VitalSigns> {
        unready()
    }
}

#[async_trait]
impl AlertStore for SqliteStore {
    async fn alerts_open(&self) -> StoreResult<Vec<Alert>> {
        unready()
    }
    async fn alerts(&self, limit: u32) -> StoreResult<Vec<Alert>> {
        unready()
    }
    async fn set_conditions(&self, judged: &[&str], conditions: &[Condition], now: DateTime<Utc>) -> StoreResult<()> {
        unready()
    }
    async fn tell(
        &self,
        alerts: &[AlertId],
        messages: &[(Uuid, Channel, Message)],
        unless_told_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        unready()
    }
    async fn claim_message(&self, lease: Lease, now: DateTime<Utc>) -> StoreResult<Option<ClaimedMessage>> {
        unready()
    }
    async fn settle_message(&self, id: Uuid, token: Uuid, end: &MessageEnd, now: DateTime<Utc>) -> StoreResult<bool> {
        unready()
    }
    async fn vital_signs(&self, since: DateTime<Utc>) -> StoreResult<VitalSigns> {
        unready()
    }
}

#[async_trait]
impl TrailStore for PostgresStore {
    async fn trail(&self, user: &UserId, limit: u32) -> StoreResult<Trail> {
        unready()
    }
    async fn erase(&self, user: &UserId, address: Option<&AddressHash>) -> StoreResult<Vec<(String, u64)>> {
        unready()
    }
    async fn observations(
        &self,
        after: Option<&(DateTime<Utc>, UserId, AccountId)>,
        limit: u32,
    ) -> StoreResult<Vec<Observed>> {
        unready()
    }
    async fn mails_sent(
        &self,
        since: DateTime<Utc>,
        after: Option<(DateTime<Utc>, NotificationId)>,
        limit: u32,
    ) -> StoreResult<Vec<SentMail>> {
        unready()
    }
}

#[async_trait]
impl TrailStore for SqliteStore {
    async fn trail(&self, user: &UserId, limit: u32) -> StoreResult<Trail> {
        unready()
    }
    async fn erase(&self, user: &UserId, address: Option<&AddressHash>) -> StoreResult<Vec<(String, u64)>> {
        unready()
    }
    async fn observations(
        &self,
        after: Option<&(DateTime<Utc>, UserId, AccountId)>,
        limit: u32,
    ) -> StoreResult<Vec<Observed>> {
        unready()
    }
    async fn mails_sent(
        &self,
        since: DateTime<Utc>,
        after: Option<(DateTime<Utc>, NotificationId)>,
        limit: u32,
    ) -> StoreResult<Vec<SentMail>> {
        unready()
    }
}
