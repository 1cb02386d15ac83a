//! The wire: what is read of an answer. Fields that are not named here, all credentials among them, are skipped while
//! parsing and never held (`composio-api.md` §0 trap 10). Source of the shapes: §2 of the same page.

use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::listing::Identity;
use crate::domain::account::{Account, Status};
use crate::domain::slot::Slot;

/// One page of connected accounts.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) items: Vec<Row>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
    /// The schema says "number"; a count, as far as anybody has seen.
    #[serde(default)]
    pub(super) total_items: Option<f64>,
}

/// One connected account.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    toolkit: RowToolkit,
    auth_config: RowAuthConfig,
    #[serde(default)]
    alias: Option<String>,
    /// Deprecated in answers: it may be missing (trap 8).
    #[serde(default)]
    pub(super) user_id: Option<String>,
    status: String,
    #[serde(default)]
    status_reason: Option<String>,
    #[serde(default)]
    is_disabled: bool,
    created_at: DateTime<Utc>,
    #[serde(default)]
    updated_at: Option<DateTime<Utc>>,
    #[serde(default)]
    state: Option<RowState>,
    #[serde(default)]
    experimental: Option<RowExperimental>,
}

#[derive(Debug, Deserialize)]
struct RowToolkit {
    slug: String,
}

#[derive(Debug, Deserialize)]
struct RowAuthConfig {
    id: String,
    #[serde(default)]
    is_disabled: bool,
}

#[derive(Debug, Deserialize)]
struct RowState {
    #[serde(default)]
    val: Option<RowStateValue>,
}

#[derive(Debug, Deserialize)]
struct RowStateValue {
    #[serde(default)]
    expired_at: Option<LooseInstant>,
    /// "Connected as…": a name or an address at the app.
    #[serde(default, rename = "displayName")]
    display_name: Option<LooseText>,
}

/// A text, or anything else, which says nothing.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LooseText {
    Text(String),
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct RowExperimental {
    #[serde(default)]
    account_type: Option<String>,
}

/// `expired_at` has no specified format: a text or a number of seconds or milliseconds; anything else is no instant.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum LooseInstant {
    Text(String),
    Number(f64),
    Other(serde::de::IgnoredAny),
}

impl LooseInstant {
    pub(super) fn instant(&self) -> Option<DateTime<Utc>> {
        let number = match self {
            Self::Text(text) => match DateTime::parse_from_rfc3339(text) {
                Ok(at) => return Some(at.with_timezone(&Utc)).filter(|at| (1970..=9999).contains(&at.year())),
                Err(_) => text.trim().parse().ok()?,
            },
            Self::Number(number) => *number,
            Self::Other(_) => return None,
        };
        // Seconds until the year 5138, milliseconds from 1973 on: the two ranges do not meet.
        let millis = if number.abs() < 100_000_000_000.0 { number * 1000.0 } else { number };
        #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates, and is refused right after")]
        DateTime::from_timestamp_millis(millis as i64).filter(|at| (1970..=9999).contains(&at.year()))
    }
}

impl Row {
    /// An account that its owner shares with others; it concerns the owner alone.
    pub(super) fn is_shared(&self) -> bool {
        self.experimental.as_ref().and_then(|experimental| experimental.account_type.as_deref()) == Some("SHARED")
    }

    /// What tells the account at the app from others, if the app gave it a name.
    pub(super) fn identity(&self) -> Option<Identity> {
        let name = match self.state.as_ref()?.val.as_ref()?.display_name.as_ref()? {
            LooseText::Text(name) => name.trim().to_lowercase(),
            LooseText::Other(_) => return None,
        };
        (!name.is_empty()).then(|| Sha256::digest(name).into())
    }

    /// The row as the floors above know it.
    pub(super) fn into_account(self) -> Account {
        let expired_at =
            self.state.and_then(|state| state.val).and_then(|val| val.expired_at).and_then(|at| at.instant());
        Account {
            id: storable(self.id).into(),
            slot: Slot::new(
                storable(self.toolkit.slug).into(),
                storable(self.auth_config.id).into(),
                self.alias.map(storable),
            ),
            status: Status::from(storable(self.status)),
            reason: self.status_reason.map(storable),
            is_disabled: self.is_disabled,
            auth_config_disabled: self.auth_config.is_disabled,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expired_at,
        }
    }
}

/// A text as a database can keep it: what is observed must equal what is stored, or it would look changed at every check.
pub(super) fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// An app, `GET /toolkits/{slug}`.
#[derive(Debug, Deserialize)]
pub(super) struct ToolkitBody {
    pub(super) name: String,
    #[serde(default)]
    pub(super) meta: Option<ToolkitMeta>,
}

/// What belongs to an app.
#[derive(Debug, Deserialize)]
pub(super) struct ToolkitMeta {
    #[serde(default)]
    pub(super) logo: Option<String>,
}

/// The error envelope; a flat body (429) or none at all (HTML) leaves it empty.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub(super) error: ErrorDetail,
}

/// What the envelope says. The message is for people and may echo parts of the key: it is not read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorDetail {
    #[serde(default)]
    pub(super) slug: Option<String>,
    #[serde(default)]
    code: Option<LooseCode>,
}

/// A number in what was seen, a text in the documentation.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LooseCode {
    Number(u32),
    Other(serde::de::IgnoredAny),
}

impl ErrorDetail {
    /// The error's number, where the answer has one.
    pub(super) fn code(&self) -> Option<u32> {
        match self.code {
            Some(LooseCode::Number(code)) => Some(code),
            Some(LooseCode::Other(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(extra: &str) -> Result<Row, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"id":"ca_-l3FzW_x","toolkit":{{"slug":"gmail"}},"auth_config":{{"id":"ac_1","auth_scheme":"CIMD_OAUTH","is_disabled":false}},
                "status":"EXPIRED","created_at":"2025-12-01T10:00:00.000Z"{extra}}}"#
        ))
    }

    #[test]
    fn the_least_row_is_enough() {
        let account = row("").expect("optional fields may be missing").into_account();
        assert_eq!(account.id.as_str(), "ca_-l3FzW_x");
        assert_eq!((account.reason, account.slot.alias, account.expired_at), (None, None, None));
    }

    #[test]
    fn nulls_and_unknown_fields_are_survived() {
        let account = row(r#","alias":null,"user_id":null,"status_reason":null,"updated_at":null,"state":null,"experimental":null,"new":[1]"#)
            .expect("nulls are as good as nothing")
            .into_account();
        assert_eq!(account.status, Status::Expired);
    }

    #[test]
    fn expired_at_is_read_in_any_format_and_never_fails_a_row() {
        let at = |value: &str| {
            row(&format!(r#","state":{{"authScheme":"OAUTH2","val":{{"status":"EXPIRED","expired_at":{value}}}}}"#))
                .expect("the row is read")
                .into_account()
                .expired_at
                .map(|at| at.timestamp())
        };
        assert_eq!(at(r#""2026-02-06T12:00:00.000Z""#), Some(1_770_379_200));
        assert_eq!(at("1770379200"), Some(1_770_379_200));
        assert_eq!(at("1770379200000"), Some(1_770_379_200));
        assert_eq!(at(r#""1770379200""#), Some(1_770_379_200));
        for nonsense in [r#""soon""#, "{}", "true", "1e300", "null", "1770379200000000", r#""+58071-01-01T00:00:00Z""#]
        {
            assert_eq!(at(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn accounts_of_one_name_are_one_and_a_name_of_another_sort_says_nothing() {
        let of = |name: &str| {
            row(&format!(r#","state":{{"val":{{"status":"ACTIVE","displayName":{name}}}}}"#)).expect("a row").identity()
        };
        assert!(of(r#""Ann@Example.org ""#).is_some());
        assert_eq!(of(r#""Ann@Example.org ""#), of(r#""ann@example.org""#));
        assert_ne!(of(r#""ann@example.org""#), of(r#""ann@work.example""#));
        for nothing in ["null", r#"" ""#, "7", "{}"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_nul_is_replaced_where_it_comes_in() {
        let account = row(r#","alias":"wo\u0000rk""#).expect("the row is read").into_account();
        assert_eq!(account.slot.alias.as_deref(), Some("wo\u{fffd}rk"));
    }

    #[test]
    fn a_row_without_a_status_or_a_date_is_refused() {
        assert!(
            serde_json::from_str::<Row>(r#"{"id":"ca_1","toolkit":{"slug":"x"},"auth_config":{"id":"a"}}"#).is_err()
        );
    }
}
