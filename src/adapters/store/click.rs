//! How rows of clicks and deliveries become domain types: one mapping for both engines, as in [`super::row`].

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;
use sqlx::types::Json;

use super::row::{At, Id, IncidentRow, rows};
use crate::domain::id::{AccountId, CheckId, IncidentId, NotificationId, Toolkit, UserId};
use crate::domain::incident::Incident;
use crate::domain::port::{Click, Coverage, Delivery, Mailed, Reconnects, StoreResult, WITHIN_DAYS, Within};
use crate::domain::stage::Stage;

/// When [`WITHIN_DAYS`] ago was: the parameters of `reconnects`.
pub(super) fn ages(now: DateTime<Utc>) -> [At; 3] {
    WITHIN_DAYS.map(|days| At(now - TimeDelta::days(days)))
}

/// A mail, and the apps that it named.
#[derive(Debug, FromRow)]
pub(super) struct MailedRow {
    user_id: String,
    template: Option<String>,
    toolkits: Option<Json<BTreeSet<String>>>,
}

impl From<MailedRow> for Mailed {
    fn from(row: MailedRow) -> Self {
        let toolkits = row.toolkits.map(|toolkits| toolkits.0).unwrap_or_default();
        Self {
            user: UserId::new(row.user_id),
            toolkits: toolkits.into_iter().map(Toolkit::new).collect(),
            template: row.template,
        }
    }
}

/// An incident with its owner.
#[derive(Debug, FromRow)]
pub(super) struct OwnedRow {
    user_id: String,
    #[sqlx(flatten)]
    incident: IncidentRow,
}

impl OwnedRow {
    pub(super) fn into_incident(self, action: &'static str) -> StoreResult<(UserId, Incident)> {
        Ok((UserId::new(self.user_id), self.incident.into_incident(action)?))
    }
}

/// A row of `auditor_clicks`.
#[derive(Debug, FromRow)]
pub(super) struct ClickRow {
    incident_id: Id,
    notification_id: Id,
    clicked_at: At,
    clicks: i64,
}

impl From<ClickRow> for Click {
    fn from(row: ClickRow) -> Self {
        Self {
            incident: IncidentId(row.incident_id.0),
            mail: NotificationId(row.notification_id.0),
            at: row.clicked_at.0,
            clicks: rows(row.clicks),
        }
    }
}

/// What came of some mails.
#[derive(Debug, FromRow)]
pub(super) struct ReconnectsRow {
    toolkit: String,
    stage: i64,
    template: String,
    mailed: i64,
    clicked: i64,
    of_1: i64,
    back_1: i64,
    of_2: i64,
    back_2: i64,
    of_3: i64,
    back_3: i64,
}

impl From<ReconnectsRow> for Reconnects {
    fn from(row: ReconnectsRow) -> Self {
        let [one, two, three] = WITHIN_DAYS;
        let within = |days, of, back| Within { days, of: rows(of), reconnected: rows(back) };
        Self {
            toolkit: Toolkit::new(row.toolkit),
            stage: Stage(u8::try_from(row.stage).unwrap_or(u8::MAX)),
            template: Some(row.template).filter(|template| !template.is_empty()),
            mailed: rows(row.mailed),
            clicked: rows(row.clicked),
            within: [
                within(one, row.of_1, row.back_1),
                within(two, row.of_2, row.back_2),
                within(three, row.of_3, row.back_3),
            ],
        }
    }
}

/// A row of `auditor_webhook_deliveries`.
#[derive(Debug, FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    #[sqlx(rename = "type")]
    kind: String,
    user_id: Option<String>,
    account_id: Option<String>,
    check_id: Option<Id>,
    received_at: At,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            user: row.user_id.map(UserId::new),
            account: row.account_id.map(AccountId::new),
            check: row.check_id.map(|id| CheckId(id.0)),
            received_at: row.received_at.0,
        }
    }
}

/// How much of what broke an event told of.
#[derive(Debug, FromRow)]
pub(super) struct CoverageRow {
    toolkit: String,
    broke: i64,
    told: i64,
    missed: i64,
}

impl From<CoverageRow> for Coverage {
    fn from(row: CoverageRow) -> Self {
        Self {
            toolkit: Toolkit::new(row.toolkit),
            broke: rows(row.broke),
            told: rows(row.told),
            missed: rows(row.missed),
        }
    }
}
