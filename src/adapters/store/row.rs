//! How rows become domain types: one mapping for both engines.
//!
//! The engines keep times and ids differently (`timestamptz` and `uuid`, or microseconds and text). [`At`] and [`Id`] hide
//! that, so that one struct reads the rows of both.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::types::Json;
use sqlx::{Decode, Encode, FromRow, Postgres, Sqlite, Type};
use uuid::Uuid;

use super::error::corrupt;
use super::write::unescaped;
use crate::domain::account::{Account, Status};
use crate::domain::history::KnownAccount;
use crate::domain::id::{AccountId, CheckId, IncidentId, NotificationId, SweepId, UserId};
use crate::domain::incident::Incident;
use crate::domain::job::{Job, Lane};
use crate::domain::notification::Notification;
use crate::domain::port::{CheckOutcome, DeadJob, LastCheck, StoreResult};
use crate::domain::slot::Slot;
use crate::domain::sweep::{Check, Sweep, Tally};

/// The years 1 to 9999, in microseconds since 1970: what PostgreSQL reads and writes as it is written everywhere.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// An instant from outside; one that cannot be stored becomes the nearest that can.
pub(super) fn storable(at: DateTime<Utc>) -> DateTime<Utc> {
    let micros = at.timestamp_micros();
    if YEARS.contains(&micros) {
        return at;
    }
    DateTime::from_timestamp_micros(micros.clamp(*YEARS.start(), *YEARS.end())).unwrap_or_default()
}

/// An instant, as each engine keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "JsonAt")]
pub(super) struct At(pub(super) DateTime<Utc>);

/// An instant within JSON: text in PostgreSQL, microseconds in SQLite.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonAt {
    Text(DateTime<Utc>),
    Micros(i64),
}

impl From<JsonAt> for At {
    fn from(at: JsonAt) -> Self {
        Self(match at {
            JsonAt::Text(at) => at,
            JsonAt::Micros(micros) => DateTime::from_timestamp_micros(micros).unwrap_or_default(),
        })
    }
}

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <DateTime<Utc> as Encode<'_, Postgres>>::encode_by_ref(&storable(self.0), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for At {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <DateTime<Utc> as Decode<'r, Postgres>>::decode(value).map(Self)
    }
}

impl Type<Sqlite> for At {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for At {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Sqlite>>::encode_by_ref(&storable(self.0).timestamp_micros(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for At {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<'r, Sqlite>>::decode(value)?;
        DateTime::from_timestamp_micros(micros).map(Self).ok_or_else(|| "not an instant".into())
    }
}

/// An id of ours, as each engine keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Id(pub(super) Uuid);

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        <Uuid as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Id {
    fn array_type_info() -> PgTypeInfo {
        <Uuid as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Uuid as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Id {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <Uuid as Decode<'r, Postgres>>::decode(value).map(Self)
    }
}

impl Type<Sqlite> for Id {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Id {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <String as Encode<'_, Sqlite>>::encode(self.0.hyphenated().to_string(), buffer)
    }
}

impl<'r> Decode<'r, Sqlite> for Id {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(<&str as Decode<'r, Sqlite>>::decode(value)?.parse()?))
    }
}

/// The name under which an enum of the domain is stored: the one that serde gives it.
pub(super) fn name<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Reads a stored name back.
pub(super) fn named<T: DeserializeOwned>(action: &'static str, name: &str) -> StoreResult<T> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|_| corrupt(action, format!("{name:?} is not a name that this version knows")))
}

fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(if value < 0 { 0 } else { u32::MAX })
}

/// A number of rows.
pub(super) fn rows(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// A row of `auditor_sweeps`.
#[derive(Debug, FromRow)]
pub(super) struct SweepRow {
    pub(super) id: Id,
    schedule: String,
    tick: At,
    start_at: At,
    asked_by: String,
    mode: String,
    state: String,
    note: Option<String>,
    cursor: Option<String>,
    next_seq: i64,
    paged_at: Option<At>,
    paused_since: Option<At>,
    users_expected: Option<i64>,
    started_at: Option<At>,
    finished_at: Option<At>,
    tally: Option<Json<Tally>>,
}

impl SweepRow {
    /// Whether the sum of its checks is yet to be made.
    pub(super) fn is_running(&self) -> bool {
        self.tally.is_none()
    }

    pub(super) fn into_sweep(self, action: &'static str) -> StoreResult<Sweep> {
        Ok(Sweep {
            id: SweepId(self.id.0),
            schedule: self.schedule,
            tick: self.tick.0,
            start_at: self.start_at.0,
            trigger: named(action, &self.asked_by)?,
            mode: named(action, &self.mode)?,
            state: named(action, &self.state)?,
            note: self.note,
            cursor: self.cursor.as_deref().map(unescaped),
            next_seq: self.next_seq,
            paging_over: self.paged_at.is_some(),
            paused_since: self.paused_since.map(|at| at.0),
            users_expected: self.users_expected,
            started_at: self.started_at.map(|at| at.0),
            finished_at: self.finished_at.map(|at| at.0),
            tally: self.tally.map(|tally| tally.0).unwrap_or_default(),
        })
    }
}

/// The sum of tallies.
pub(super) fn sum(tallies: Vec<Json<Tally>>) -> Tally {
    tallies.into_iter().fold(Tally::default(), |mut sum, tally| {
        sum.add(&tally.0);
        sum
    })
}

/// A row of `auditor_checks`, claimed.
#[derive(Debug, FromRow)]
pub(super) struct CheckRow {
    id: Id,
    sweep_id: Option<Id>,
    seq: i64,
    users: Json<Vec<UserId>>,
    attempt: i64,
    due_at: At,
    pub(super) dry_run: bool,
}

impl From<CheckRow> for Check {
    fn from(row: CheckRow) -> Self {
        Self {
            id: CheckId(row.id.0),
            sweep: row.sweep_id.map(|id| SweepId(id.0)),
            seq: row.seq,
            users: row.users.0,
            attempt: count(row.attempt),
            due_at: row.due_at.0,
        }
    }
}

/// Why a row could not be claimed.
#[derive(Debug, FromRow)]
pub(super) struct StandRow {
    pub(super) state: String,
    pub(super) due_at: At,
    pub(super) lease_until: Option<At>,
    pub(super) sweep_state: Option<String>,
}

/// What a user's history says of the user, and the incidents that matter.
#[derive(Debug, FromRow)]
pub(super) struct UserRow {
    pub(super) user_id: String,
    pub(super) observed_at: Option<At>,
    pub(super) sweep_id: Option<Id>,
    pub(super) incidents: Option<Json<Vec<IncidentRow>>>,
}

/// A row of `auditor_incidents`, on its own or within JSON.
#[derive(Debug, FromRow, Deserialize)]
pub(super) struct IncidentRow {
    id: Id,
    toolkit: String,
    auth_config: String,
    alias: Option<String>,
    kind: String,
    account_id: String,
    status: String,
    reason: Option<String>,
    broke_at: At,
    counts_from: At,
    opened_at: At,
    resolved_at: Option<At>,
    resolution: Option<String>,
}

impl IncidentRow {
    pub(super) fn id(&self) -> IncidentId {
        IncidentId(self.id.0)
    }

    pub(super) fn into_incident(self, action: &'static str) -> StoreResult<Incident> {
        let resolved = match (self.resolved_at, self.resolution) {
            (Some(at), Some(resolution)) => Some((at.0, named(action, &resolution)?)),
            _ => None,
        };
        Ok(Incident {
            id: IncidentId(self.id.0),
            slot: Slot { toolkit: self.toolkit.into(), auth_config: self.auth_config.into(), alias: self.alias },
            kind: named(action, &self.kind)?,
            account: AccountId::new(self.account_id),
            status: self.status,
            reason: self.reason,
            broke_at: self.broke_at.0,
            counts_from: self.counts_from.0,
            opened_at: self.opened_at.0,
            resolved,
        })
    }
}

/// A row of `auditor_accounts`.
#[derive(Debug, FromRow)]
pub(super) struct AccountRow {
    pub(super) user_id: String,
    account_id: String,
    toolkit: String,
    auth_config: String,
    alias: Option<String>,
    status: String,
    reason: Option<String>,
    is_disabled: bool,
    auth_config_disabled: bool,
    created_at: At,
    updated_at: Option<At>,
    expired_at: Option<At>,
    ever_active: bool,
    active_with: Json<BTreeSet<AccountId>>,
    first_seen_at: At,
    changed_at: At,
    gone_at: Option<At>,
}

impl From<AccountRow> for KnownAccount {
    fn from(row: AccountRow) -> Self {
        Self {
            account: Account {
                id: AccountId::new(row.account_id),
                slot: Slot { toolkit: row.toolkit.into(), auth_config: row.auth_config.into(), alias: row.alias },
                status: Status::from(row.status),
                reason: row.reason,
                is_disabled: row.is_disabled,
                auth_config_disabled: row.auth_config_disabled,
                created_at: row.created_at.0,
                updated_at: row.updated_at.map(|at| at.0),
                expired_at: row.expired_at.map(|at| at.0),
            },
            ever_active: row.ever_active,
            active_with: row.active_with.0,
            first_seen_at: row.first_seen_at.0,
            changed_at: row.changed_at.0,
            gone_at: row.gone_at.map(|at| at.0),
        }
    }
}

/// A row of `auditor_notifications`, with the ids of its incidents.
#[derive(Debug, FromRow)]
pub(super) struct NotificationRow {
    id: Id,
    user_id: String,
    state: String,
    hold: Option<String>,
    due_at: At,
    attempts: i64,
    ambiguous: i64,
    unclear: bool,
    error: Option<String>,
    sweep_id: Option<Id>,
    created_at: At,
    sent_at: Option<At>,
    incidents: Option<Json<Vec<IncidentId>>>,
}

impl NotificationRow {
    pub(super) fn into_notification(self, action: &'static str) -> StoreResult<Notification> {
        let mut incidents = self.incidents.map(|incidents| incidents.0).unwrap_or_default();
        incidents.sort_unstable();
        incidents.dedup();
        Ok(Notification {
            id: NotificationId(self.id.0),
            user: UserId::new(self.user_id),
            state: named(action, &self.state)?,
            hold: self.hold,
            due_at: self.due_at.0,
            attempts: count(self.attempts),
            ambiguous: count(self.ambiguous),
            unclear: self.unclear,
            error: self.error,
            sweep: self.sweep_id.map(|id| SweepId(id.0)),
            created_at: self.created_at.0,
            sent_at: self.sent_at.map(|at| at.0),
            incidents,
        })
    }
}

/// What waits, or was taken back: a check with a sweep or without one, or a notification.
#[derive(Debug, FromRow)]
pub(super) struct JobRow {
    pub(super) id: Id,
    pub(super) kind: String,
    pub(super) due_at: At,
}

impl JobRow {
    /// The job that the row stands for; `kind` is `sweep`, `audit` or `notify`.
    pub(super) fn job(&self) -> Job {
        match self.kind.as_str() {
            "sweep" => Job::Check(Lane::CheckSweep, CheckId(self.id.0)),
            "audit" => Job::Check(Lane::CheckNow, CheckId(self.id.0)),
            _ => Job::Notify(NotificationId(self.id.0)),
        }
    }
}

/// A row of `auditor_dead_jobs`.
#[derive(Debug, FromRow)]
pub(super) struct DeadJobRow {
    id: Id,
    lane: String,
    reason: String,
    deliveries: i64,
    died_at: At,
}

impl DeadJobRow {
    pub(super) fn into_dead_job(self, action: &'static str) -> StoreResult<DeadJob> {
        Ok(DeadJob {
            id: self.id.0,
            lane: self.lane.parse().map_err(|error| corrupt(action, format!("{error}")))?,
            reason: self.reason,
            deliveries: count(self.deliveries),
            died_at: self.died_at.0,
        })
    }
}

/// How a user's newest check ended.
#[derive(Debug, FromRow)]
pub(super) struct LastCheckRow {
    checked_at: At,
    observed_at: Option<At>,
    outcome: String,
    error: Option<String>,
}

impl LastCheckRow {
    pub(super) fn into_last_check(self, action: &'static str) -> StoreResult<LastCheck> {
        let error = self.error.unwrap_or_default();
        let outcome = match self.outcome.as_str() {
            "checked" => CheckOutcome::Checked,
            "given_up" => CheckOutcome::GivenUp(error),
            "refused" => CheckOutcome::Refused(error),
            other => return Err(corrupt(action, format!("{other:?} is not an outcome that this version knows"))),
        };
        Ok(LastCheck { at: self.checked_at.0, observed_at: self.observed_at.map(|at| at.0), outcome })
    }
}

/// Open incidents of one app and kind.
#[derive(Debug, FromRow)]
pub(super) struct OpenRow {
    pub(super) toolkit: String,
    pub(super) kind: String,
    pub(super) incidents: i64,
    pub(super) users: i64,
    pub(super) oldest: At,
}
