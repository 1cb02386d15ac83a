//! How rows of trips, suppressions, alerts and trails become domain types: one mapping for both engines, as in
//! [`super::row`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::error::corrupt;
use super::row::{At, Id, IncidentRow, named, rows};
use super::write::cleaned;
use crate::domain::account::Account;
use crate::domain::alert::{Alert, Channel, Condition, Message};
use crate::domain::guard::{Scope, Trip, Tripped};
use crate::domain::id::{
    AccountId, AlertId, AuthConfigId, IncidentId, NotificationId, SuppressionId, Toolkit, TripId, UserId,
};
use crate::domain::port::{Broken, ClaimedMessage, Observed, SentMail, StoreResult};
use crate::domain::stage::Stage;
use crate::domain::suppression::{AddressHash, Suppression, Whom};

/// How many users one transaction of a release or a discard concerns at most.
pub(super) const BATCH: u32 = 1_000;

/// A hundred years: longer than any window, and small enough for every calendar.
const LONGEST: i64 = 3_155_760_000_000_000;

/// A span as a statement compares it, in microseconds.
pub(super) fn micros(span: TimeDelta) -> i64 {
    span.num_microseconds().unwrap_or(LONGEST).clamp(0, LONGEST)
}

/// A count as a statement takes it.
pub(super) fn at_most(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What is broken of one app and auth config.
#[derive(Debug, FromRow)]
pub(super) struct BrokenRow {
    toolkit: String,
    auth_config: String,
    broke: i64,
    backlog: i64,
    unmailed_since: Option<At>,
}

impl From<BrokenRow> for Broken {
    fn from(row: BrokenRow) -> Self {
        Self {
            toolkit: Toolkit::new(row.toolkit),
            auth_config: AuthConfigId::new(row.auth_config),
            broke: rows(row.broke),
            backlog: rows(row.backlog),
            unmailed_since: row.unmailed_since.map(|at| at.0),
        }
    }
}

/// Of which incidents a trip is.
#[derive(Debug, FromRow)]
pub(super) struct ScopeRow {
    pub(super) id: Id,
    scope: String,
    pub(super) toolkit: String,
    pub(super) auth_config: String,
}

impl ScopeRow {
    /// Whether it holds what was broken long before it was found, or what was not.
    pub(super) fn is_backlog(&self) -> bool {
        self.scope == "backlog"
    }
}

/// A row of `auditor_trips`, with what is known of its incidents.
#[derive(Debug, FromRow)]
pub(super) struct TripRow {
    id: Id,
    scope: String,
    toolkit: String,
    auth_config: String,
    broken: i64,
    healthy: i64,
    state: String,
    tripped_at: At,
    ended_at: Option<At>,
    ended_by: Option<String>,
    ramp_at: Option<At>,
    slots: i64,
    still_broken: i64,
    held: i64,
    users: i64,
}

impl TripRow {
    pub(super) fn into_trip(self, action: &'static str) -> StoreResult<Trip> {
        let toolkit = Toolkit::new(self.toolkit);
        let scope = match self.scope.as_str() {
            "auth_config" => Scope::AuthConfig { toolkit, auth_config: AuthConfigId::new(self.auth_config) },
            "toolkit" => Scope::Toolkit { toolkit },
            "all" => Scope::All,
            "backlog" => Scope::Backlog { toolkit },
            other => return Err(corrupt(action, format!("{other:?} is not a scope that this version knows"))),
        };
        Ok(Trip {
            id: TripId(self.id.0),
            tripped: Tripped { scope, broken: rows(self.broken), healthy: rows(self.healthy) },
            state: named(action, &self.state)?,
            tripped_at: self.tripped_at.0,
            ended: self.ended_at.zip(self.ended_by).map(|(at, by)| (at.0, by)),
            ramp_at: self.ramp_at.map(|at| at.0),
            slots: rows(self.slots),
            still_broken: rows(self.still_broken),
            held: rows(self.held),
            users: rows(self.users),
        })
    }
}

/// A row of `auditor_suppressions`.
#[derive(Debug, FromRow)]
pub(super) struct SuppressionRow {
    id: Id,
    user_id: Option<String>,
    address_hash: Option<String>,
    kind: String,
    toolkit: String,
    until: Option<At>,
    source: String,
    detail: Option<String>,
    created_at: At,
}

impl SuppressionRow {
    pub(super) fn into_suppression(self, action: &'static str) -> StoreResult<Suppression> {
        let whom = match (self.user_id, self.address_hash) {
            (Some(user), _) => Whom::User(UserId::new(user)),
            (None, Some(hash)) => Whom::Address(AddressHash::stored(hash)),
            (None, None) => return Err(corrupt(action, "a suppression concerns neither a user nor an address")),
        };
        Ok(Suppression {
            id: SuppressionId(self.id.0),
            whom,
            kind: named(action, &self.kind)?,
            toolkit: (!self.toolkit.is_empty()).then(|| Toolkit::new(self.toolkit)),
            until: self.until.map(|at| at.0),
            source: self.source,
            detail: self.detail,
            created_at: self.created_at.0,
        })
    }
}

/// A row of `auditor_alerts`.
#[derive(Debug, FromRow)]
pub(super) struct AlertRow {
    id: Id,
    kind: String,
    subject: String,
    summary: String,
    detail: String,
    since: At,
    told_at: Option<At>,
    ended_at: Option<At>,
    end_told: bool,
}

impl From<AlertRow> for Alert {
    fn from(row: AlertRow) -> Self {
        Self {
            id: AlertId(row.id.0),
            condition: Condition { kind: row.kind, subject: row.subject, summary: row.summary, detail: row.detail },
            since: row.since.0,
            told_at: row.told_at.map(|at| at.0),
            ended_at: row.ended_at.map(|at| at.0),
            end_told: row.end_told,
        }
    }
}

/// A row of `auditor_messages`, claimed.
#[derive(Debug, FromRow)]
pub(super) struct MessageRow {
    id: Id,
    channel: String,
    message: Json<Message>,
    attempts: i64,
}

impl MessageRow {
    /// The claim counted the try that begins now.
    pub(super) fn into_message(self, action: &'static str) -> StoreResult<ClaimedMessage> {
        Ok(ClaimedMessage {
            id: self.id.0,
            channel: named(action, &self.channel)?,
            message: self.message.0,
            attempts: u32::try_from(self.attempts.saturating_sub(1)).unwrap_or_default(),
        })
    }
}

/// What was told of an alert.
#[derive(Debug, FromRow)]
pub(super) struct ToldRow {
    id: Id,
    told_at: Option<At>,
    end_told: bool,
}

impl ToldRow {
    /// Whether somebody else told of it since, or of its end.
    pub(super) fn is_told(&self, named: &NamedIn, after: DateTime<Utc>) -> bool {
        self.told_at.is_some_and(|at| at.0 > after) || (self.end_told && named.ended.contains(&self.id))
    }
}

/// Which alerts messages name, as what.
#[derive(Debug, Default)]
pub(super) struct NamedIn {
    pub(super) firing: Vec<Id>,
    pub(super) ended: Vec<Id>,
}

/// Which alerts these messages name.
pub(super) fn named_in(messages: &[(Uuid, Channel, Message)]) -> NamedIn {
    let all = |alerts: fn(&Message) -> &Vec<Alert>| {
        messages.iter().flat_map(|(_, _, message)| alerts(message)).map(|alert| Id(alert.id.0)).collect()
    };
    NamedIn { firing: all(|message| &message.firing), ended: all(|message| &message.ended) }
}

/// A message as it is stored.
pub(super) fn message_json(message: &Message) -> serde_json::Value {
    cleaned(serde_json::json!(message))
}

/// Numbers of rows by what they have in common.
pub(super) fn counted(groups: Vec<(String, i64)>) -> Vec<(String, u64)> {
    groups.into_iter().map(|(name, count)| (name, rows(count))).collect()
}

/// Slots of one app and auth config that break again and again, by the newest reason.
#[derive(Debug, FromRow)]
pub(super) struct FlappingRow {
    toolkit: String,
    auth_config: String,
    reason: Option<String>,
    slots: i64,
    users: i64,
}

impl From<FlappingRow> for (String, String, Option<String>, u64, u64) {
    fn from(row: FlappingRow) -> Self {
        (row.toolkit, row.auth_config, row.reason, rows(row.slots), rows(row.users))
    }
}

/// A row of `auditor_observations`.
#[derive(Debug, FromRow)]
pub(super) struct ObservedRow {
    user_id: String,
    account_id: String,
    observed_at: At,
    account: Option<Json<Account>>,
}

impl From<ObservedRow> for Observed {
    fn from(row: ObservedRow) -> Self {
        Self {
            user: UserId::new(row.user_id),
            at: row.observed_at.0,
            account: AccountId::new(row.account_id),
            seen: row.account.map(|account| account.0),
        }
    }
}

/// An incident of a user, with what the guard did with it.
#[derive(Debug, FromRow)]
pub(super) struct GuardedRow {
    #[sqlx(flatten)]
    pub(super) incident: IncidentRow,
    pub(super) trip_id: Option<Id>,
    pub(super) guard: Option<String>,
}

/// Which of these trips held which of these incidents, and what became of that.
pub(super) fn guarded(incidents: &[GuardedRow], trips: &[Trip]) -> Vec<(IncidentId, String, Trip)> {
    let held = |row: &GuardedRow| {
        let trip = trips.iter().find(|trip| row.trip_id == Some(Id(trip.id.0)))?;
        Some((row.incident.id(), row.guard.clone()?, trip.clone()))
    };
    incidents.iter().filter_map(held).collect()
}

/// One stage of one incident that a mail consumed, within JSON.
#[derive(Debug, Deserialize)]
pub(super) struct StageRow {
    incident: IncidentRow,
    stage: u8,
}

/// A mail that left, with what it listed.
#[derive(Debug, FromRow)]
pub(super) struct SentRow {
    id: Id,
    user_id: String,
    sent_at: At,
    incidents: Option<Json<Vec<StageRow>>>,
}

impl SentRow {
    pub(super) fn into_mail(self, action: &'static str) -> StoreResult<SentMail> {
        let listed = self.incidents.map(|incidents| incidents.0).unwrap_or_default();
        let listed = listed.into_iter().map(|row| Ok((row.incident.into_incident(action)?, Stage(row.stage))));
        Ok(SentMail {
            id: NotificationId(self.id.0),
            user: UserId::new(self.user_id),
            at: self.sent_at.0,
            incidents: listed.collect::<StoreResult<_>>()?,
        })
    }
}

/// The ids of rows, as a statement takes them.
pub(super) fn ids(ids: impl IntoIterator<Item = Uuid>) -> Vec<Id> {
    ids.into_iter().map(Id).collect()
}
