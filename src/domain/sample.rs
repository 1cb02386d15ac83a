//! Accounts and histories for the tests of this floor, written in one line each.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::account::{Account, Status};
use super::history::{History, KnownAccount};
use super::id::IncidentId;
use super::incident::{Incident, IncidentKind, Resolution};
use super::slot::Slot;

/// Day `n` of the story.
pub(crate) fn day(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("a valid instant") + TimeDelta::days(n)
}

/// An account of the app `slack` on the auth config `ac_1`, made on day 0.
pub(crate) fn account(id: &str, status: &str) -> Account {
    Account {
        id: id.into(),
        slot: slot("slack", "ac_1", None),
        status: Status::from(status.to_owned()),
        reason: None,
        is_disabled: false,
        auth_config_disabled: false,
        created_at: day(0),
        updated_at: None,
        expired_at: None,
    }
}

pub(crate) fn slot(toolkit: &str, auth_config: &str, alias: Option<&str>) -> Slot {
    Slot::new(toolkit.into(), auth_config.into(), alias.map(ToOwned::to_owned))
}

/// Small changes to an account, in the words of the API.
impl Account {
    pub(crate) fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }
    pub(crate) fn made(self, day_number: i64) -> Self {
        Self { created_at: day(day_number), ..self }
    }
    pub(crate) fn on(self, toolkit: &str, auth_config: &str, alias: Option<&str>) -> Self {
        Self { slot: slot(toolkit, auth_config, alias), ..self }
    }
    pub(crate) fn disabled(self) -> Self {
        Self { is_disabled: true, ..self }
    }
    pub(crate) fn config_disabled(self) -> Self {
        Self { auth_config_disabled: true, ..self }
    }
}

/// What is known of an account that was seen on day 0.
pub(crate) fn known(account: Account) -> KnownAccount {
    KnownAccount {
        ever_active: account.proves_it_worked(),
        account,
        active_with: std::collections::BTreeSet::new(),
        first_seen_at: day(0),
        changed_at: day(0),
        gone_at: None,
    }
}

pub(crate) fn history(accounts: Vec<KnownAccount>, incidents: Vec<Incident>) -> History {
    History { observed_at: Some(day(0)), sweep: None, accounts, incidents }
}

/// Incident number `n`, opened on day 0 about this account.
pub(crate) fn incident(n: u128, about: &Account, kind: IncidentKind) -> Incident {
    Incident {
        id: IncidentId(Uuid::from_u128(n)),
        slot: about.slot.clone(),
        kind,
        account: about.id.clone(),
        status: about.status.as_str().to_owned(),
        reason: about.reason.clone(),
        broke_at: day(0),
        counts_from: day(0),
        opened_at: day(0),
        resolved: None,
    }
}

pub(crate) fn resolved(incident: Incident, how: Resolution) -> Incident {
    Incident { resolved: Some((day(1), how)), ..incident }
}
