//! What a bulk statement writes: all rows of a chunk as one JSON text, which both engines unfold into rows.
//!
//! So a chunk costs one statement a table, whatever it holds. The rows are sorted by user, so that writers who meet lock
//! them in the same order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::row::{Id, name, storable};
use crate::domain::account::Account;
use crate::domain::id::{AccountId, IncidentId, UserId};
use crate::domain::port::{CheckOutcome, Record, UserRecord};
use crate::domain::stage::Stage;
use crate::domain::sweep::{Check, Tally};

/// How an engine writes an instant within JSON.
pub(super) trait Engine {
    /// The instant, so that the engine's own conversion loses nothing.
    fn time(at: DateTime<Utc>) -> Value;
}

/// PostgreSQL: RFC 3339, which `timestamptz` reads.
pub(super) struct PostgresJson;

impl Engine for PostgresJson {
    fn time(at: DateTime<Utc>) -> Value {
        json!(storable(at))
    }
}

/// SQLite: microseconds, as its columns hold them.
pub(super) struct SqliteJson;

impl Engine for SqliteJson {
    fn time(at: DateTime<Utc>) -> Value {
        json!(storable(at).timestamp_micros())
    }
}

/// Text from outside; the one character that PostgreSQL cannot store is replaced.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Every text within, the names of an object's fields included, as [`clean`] leaves it.
pub(super) fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(clean(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(cleaned).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (clean(&name), cleaned(value))).collect())
        }
        other => other,
    }
}

/// Counters whose names come from outside too.
pub(super) fn tally(tally: &Tally) -> Tally {
    let counted = |counts: &BTreeMap<String, u64>| {
        let mut cleaned = BTreeMap::new();
        for (name, count) in counts {
            *cleaned.entry(clean(name)).or_default() += count;
        }
        cleaned
    };
    Tally { verdicts: counted(&tally.verdicts), unknown_statuses: counted(&tally.unknown_statuses), ..tally.clone() }
}

/// What was asked for, by the text under which it is stored.
pub(super) fn asked<T>(ids: &[T], text: impl Fn(&T) -> &str) -> HashMap<String, &T> {
    ids.iter().map(|id| (clean(text(id)), id)).collect()
}

/// A cursor holds an id of the app's, and must come back as it was: what cannot be stored is escaped.
pub(super) fn escaped(cursor: &str) -> String {
    cursor.replace('\\', "\\\\").replace('\0', "\\0")
}

/// The cursor that [`escaped`] wrote.
pub(super) fn unescaped(cursor: &str) -> String {
    let mut characters = cursor.chars();
    let mut text = String::with_capacity(cursor.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            plain => text.push(plain),
        }
    }
    text
}

fn optional<E: Engine>(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, E::time)
}

/// The users of a record in their order, which is the order of the locks; of two that are stored under one id, the first.
pub(super) fn sorted(record: &Record) -> Vec<&UserRecord> {
    let mut users: Vec<(String, &UserRecord)> =
        record.users.iter().map(|user| (clean(user.user.as_str()), user)).collect();
    users.sort_by(|(a, _), (b, _)| a.cmp(b));
    users.dedup_by(|(a, _), (b, _)| a == b);
    users.into_iter().map(|(_, user)| user).collect()
}

/// One row a check.
pub(super) fn checks<E: Engine>(checks: &[Check]) -> Value {
    checks
        .iter()
        .map(|check| {
            json!({
                "id": check.id, "sweep_id": check.sweep, "seq": check.seq, "users": check.users,
                "attempt": check.attempt, "due_at": E::time(check.due_at),
            })
        })
        .map(cleaned)
        .collect()
}

/// One row a user: how the check of it ended. A failed check does not move `observed_at`.
pub(super) fn users<E: Engine>(users: &[&UserRecord]) -> Value {
    users
        .iter()
        .map(|user| {
            let (outcome, error) = match &user.outcome {
                CheckOutcome::Checked => ("checked", None),
                CheckOutcome::GivenUp(error) => ("given_up", Some(error)),
                CheckOutcome::Refused(error) => ("refused", Some(error)),
            };
            let observed_at = (outcome == "checked").then_some(user.observed_at).or(user.base);
            json!({
                "user_id": user.user, "base": optional::<E>(user.base), "observed_at": optional::<E>(observed_at),
                "outcome": outcome, "error": error,
            })
        })
        .map(cleaned)
        .collect()
}

/// One row an account that is new or changed.
pub(super) fn accounts<E: Engine>(users: &[&UserRecord]) -> Vec<Value> {
    users
        .iter()
        .flat_map(|user| user.changed.iter().map(move |known| (&user.user, known)))
        .map(|(user, known)| {
            let account = &known.account;
            json!({
                "user_id": user, "account_id": account.id, "toolkit": account.slot.toolkit,
                "auth_config": account.slot.auth_config, "alias": account.slot.alias,
                "status": account.status.as_str(), "reason": account.reason,
                "is_disabled": account.is_disabled, "auth_config_disabled": account.auth_config_disabled,
                "created_at": E::time(account.created_at), "updated_at": optional::<E>(account.updated_at),
                "expired_at": optional::<E>(account.expired_at), "ever_active": known.ever_active,
                "active_with": known.active_with, "first_seen_at": E::time(known.first_seen_at),
                "changed_at": E::time(known.changed_at), "gone_at": optional::<E>(known.gone_at),
            })
        })
        .map(cleaned)
        .collect()
}

/// One row an account that vanished.
pub(super) fn gone<E: Engine>(users: &[&UserRecord]) -> Vec<Value> {
    users
        .iter()
        .flat_map(|user| user.gone.iter().map(move |account| (user, account)))
        .map(|(user, account)| {
            json!({"user_id": user.user, "account_id": account, "gone_at": E::time(user.observed_at)})
        })
        .map(cleaned)
        .collect()
}

/// One row a change of an account: as it was seen, or nothing if a complete list was without it.
pub(super) fn observations<E: Engine>(users: &[&UserRecord]) -> Vec<Value> {
    let row = |user: &UserRecord, account: &AccountId, seen: Option<Account>| {
        let observed_at = E::time(user.observed_at);
        json!({"user_id": user.user, "account_id": account, "observed_at": observed_at, "account": seen})
    };
    users
        .iter()
        .flat_map(|user| {
            let changed = user.changed.iter().map(move |known| {
                let mut seen = known.account.clone();
                seen.created_at = storable(seen.created_at);
                seen.updated_at = seen.updated_at.map(storable);
                seen.expired_at = seen.expired_at.map(storable);
                row(user, &known.account.id, Some(seen))
            });
            changed.chain(user.gone.iter().map(move |account| row(user, account, None)))
        })
        .map(cleaned)
        .collect()
}

/// One row an incident to close.
pub(super) fn closed<E: Engine>(users: &[&UserRecord]) -> Vec<Value> {
    users
        .iter()
        .flat_map(|user| user.close.iter().map(move |close| (user, close)))
        .map(|(user, (incident, resolution))| {
            json!({
                "id": incident, "user_id": user.user, "resolution": name(resolution),
                "resolved_at": E::time(user.observed_at),
            })
        })
        .map(cleaned)
        .collect()
}

/// One row an incident to open.
pub(super) fn opened<E: Engine>(users: &[&UserRecord]) -> Vec<Value> {
    users
        .iter()
        .flat_map(|user| user.open.iter().map(move |incident| (&user.user, incident)))
        .map(|(user, incident)| {
            json!({
                "id": incident.id, "user_id": user, "toolkit": incident.slot.toolkit,
                "auth_config": incident.slot.auth_config, "alias": incident.slot.alias, "kind": name(incident.kind),
                "account_id": incident.account, "status": incident.status,
                "reason": incident.reason, "broke_at": E::time(incident.broke_at),
                "counts_from": E::time(incident.counts_from), "opened_at": E::time(incident.opened_at),
            })
        })
        .map(cleaned)
        .collect()
}

/// One row a stage of an incident.
pub(super) fn stages(stages: &[(IncidentId, Stage)]) -> Value {
    stages.iter().map(|(incident, stage)| json!({"incident_id": incident, "stage": stage})).collect()
}

/// One row an incident: when it is worth another look.
pub(super) fn looks<E: Engine>(looks: &[(IncidentId, Option<DateTime<Utc>>)]) -> Value {
    looks.iter().map(|(incident, at)| json!({"id": incident, "look_at": optional::<E>(*at)})).collect()
}

/// One row a user: the id of the notification that the user gets, should one be needed.
pub(super) fn woken(users: &[String]) -> Value {
    users.iter().map(|user| json!({"id": Uuid::now_v7(), "user_id": user})).collect()
}

/// One row an incident that a dry run would have opened.
pub(super) fn findings(users: &[&UserRecord]) -> Vec<Value> {
    users
        .iter()
        .flat_map(|user| user.findings.iter().map(move |incident| (&user.user, incident)))
        .map(|(user, incident)| {
            let mut incident = incident.clone();
            incident.broke_at = storable(incident.broke_at);
            incident.counts_from = storable(incident.counts_from);
            incident.opened_at = storable(incident.opened_at);
            json!({"user_id": user, "incident_id": incident.id, "incident": incident})
        })
        .map(cleaned)
        .collect()
}

/// One row a user for whom an incident was opened: the id that the notification gets, should one be needed.
pub(super) fn new_notifications<'a>(
    users: &[&UserRecord],
    opened: impl Iterator<Item = &'a (Id, String)>,
) -> Vec<Value> {
    let concerned: BTreeSet<&str> = opened.map(|(_, user)| user.as_str()).collect();
    users
        .iter()
        .filter(|user| concerned.contains(clean(user.user.as_str()).as_str()))
        .map(|user| json!({"id": user.notification, "user_id": user.user}))
        .map(cleaned)
        .collect()
}

/// The users that are not among those a statement moved.
pub(super) fn missing(users: &[&UserRecord], moved: &[String]) -> Vec<UserId> {
    let moved: BTreeSet<&str> = moved.iter().map(String::as_str).collect();
    users
        .iter()
        .filter(|user| !moved.contains(clean(user.user.as_str()).as_str()))
        .map(|user| user.user.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for cursor in ["t:ann", "", "t:a\0b", "t:a\\0b", "t:\\", "t:\0\\\0", "t:\u{fffd}"] {
            assert_eq!(unescaped(&escaped(cursor)), cursor);
            assert!(!escaped(cursor).contains('\0'));
        }
    }

    #[test]
    fn what_cannot_be_stored_is_replaced_wherever_it_stands() {
        let value = json!({"a\0": ["b\0", {"c": "\0"}], "d": 1});
        assert_eq!(cleaned(value), json!({"a\u{fffd}": ["b\u{fffd}", {"c": "\u{fffd}"}], "d": 1}));
    }
}
