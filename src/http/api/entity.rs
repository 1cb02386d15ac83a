//! What all routes about one user's connections share: the user's handle, how fresh an answer is wanted, and what an error
//! means to who asked. "We could not look" is 502 or 503, never an answer about the user.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::TimeDelta;

use super::input::toolkit;
use crate::adapters::composio::{ComposioError, Refusal};
use crate::audit::entity::{Entity, EntityError};
use crate::domain::freshness::Freshness;
use crate::domain::id::{Toolkit, UserId};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// How old an answer may be unless the caller says otherwise.
const USUAL: Duration = Duration::from_secs(300);
/// More apps or tools at once are no question that an app asks.
const MOST_NAMED: usize = 100;
/// How long who met an outage of Composio should wait, unless Composio says.
const AWAY: Duration = Duration::from_secs(5);

/// The handle of a user.
pub(super) fn entity(ops: &Ops, user: UserId) -> Result<Entity, Problem> {
    let missing = || {
        let detail = "this worker has no composio.api_key, so it knows nothing of connections";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).coded("no_api_key")
    };
    Ok(ops.entities.as_ref().ok_or_else(missing)?.of(user))
}

/// How fresh an answer is wanted: `stored`, or a duration; none at all means now.
pub(super) fn freshness(max_age: Option<&str>) -> Result<Freshness, Problem> {
    let expected = "expected a duration such as 30s or 5m, 0s for an answer of now, or stored for whatever is known";
    match max_age.map(str::trim) {
        None => Ok(Freshness::Within(USUAL)),
        Some("stored") => Ok(Freshness::Stored),
        Some(text) => match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Ok(Freshness::Now),
            Ok(span) => Ok(Freshness::Within(span)),
            Err(_) => Err(Problem::invalid("max_age", expected)),
        },
    }
}

/// Names between commas, at least one and not too many.
pub(super) fn names<'t>(field: &'static str, text: &'t str) -> Result<Vec<&'t str>, Problem> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    match names.len() {
        1..=MOST_NAMED => Ok(names),
        0 => Err(Problem::invalid(field, "expected one or more names between commas")),
        _ => Err(Problem::invalid(field, format!("expected at most {MOST_NAMED} names"))),
    }
}

/// Apps between commas.
pub(super) fn toolkits(field: &'static str, text: &str) -> Result<Vec<Toolkit>, Problem> {
    names(field, text)?.into_iter().map(|name| toolkit(field, name)).collect()
}

fn conflict(error: &EntityError, code: &'static str) -> Problem {
    Problem::new(StatusCode::CONFLICT, error.to_string()).coded(code)
}

impl Problem {
    /// Why there is no answer about a user.
    pub(super) fn of_entity(error: EntityError, ops: &Ops) -> Self {
        match error {
            EntityError::Composio(error) => error.into(),
            EntityError::Store(error) => error.into(),
            EntityError::Contended => Self::unavailable(error.to_string()).coded("contended").retry_after(AWAY),
            EntityError::NeverSeen => Self::new(StatusCode::NOT_FOUND, error.to_string()).coded("never_seen"),
            EntityError::NothingAsked => Self::invalid("toolkits", error.to_string()),
            EntityError::BadRedirect => Self::invalid("redirect_url", error.to_string()),
            EntityError::OtherAuthConfig { .. } => Self::invalid("auth_config", error.to_string()),
            EntityError::NoAuthConfig { .. } => conflict(&error, "no_auth_config"),
            EntityError::AuthConfigsDisabled { .. } => conflict(&error, "auth_configs_disabled"),
            EntityError::SeveralAuthConfigs { .. } => conflict(&error, "several_auth_configs"),
            EntityError::AlreadyConnected { .. } => conflict(&error, "already_connected"),
            EntityError::SeveralAccounts { .. } => conflict(&error, "several_accounts"),
            EntityError::LinkBusy => conflict(&error, "link_busy").retry_after(AWAY),
            EntityError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).coded("idempotency_key_reused")
            }
            EntityError::LinkLost { until } => {
                let wait = (until - ops.clock.now()).max(TimeDelta::seconds(1)).to_std().unwrap_or(AWAY);
                Self::unavailable(error.to_string()).coded("link_lost").retry_after(wait)
            }
            EntityError::NoAccountNeeded { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).coded("no_account_needed")
            }
        }
    }
}

/// Why Composio could not be asked, or what it refused.
impl From<ComposioError> for Problem {
    fn from(error: ComposioError) -> Self {
        let gateway = |code| Self::new(StatusCode::BAD_GATEWAY, error.to_string()).coded(code);
        let wait = error.retry_after().unwrap_or(AWAY);
        match &error {
            ComposioError::RateLimited { .. } => {
                Self::unavailable(error.to_string()).coded("composio_rate_limited").retry_after(wait)
            }
            ComposioError::Unavailable { .. } | ComposioError::Incomplete { .. } => {
                Self::unavailable(error.to_string()).coded("composio_unavailable").retry_after(wait)
            }
            ComposioError::Unauthorized { .. } => gateway("composio_key_refused"),
            ComposioError::Ambiguous { .. } => gateway("composio_answer_lost"),
            ComposioError::Foreign { .. } | ComposioError::FiltersIgnored { .. } => gateway("composio_foreign_rows"),
            ComposioError::Unfilterable => Self::invalid("user", error.to_string()),
            ComposioError::Malformed { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).coded("malformed")
            }
            ComposioError::Rejected { refusal, .. } => match refusal {
                Refusal::NotFound | Refusal::NoAccount | Refusal::NotTheirs => {
                    Self::new(StatusCode::NOT_FOUND, error.to_string()).coded("not_found")
                }
                Refusal::Conflict | Refusal::Expired | Refusal::InvalidState => {
                    Self::new(StatusCode::CONFLICT, error.to_string()).coded("composio_conflict")
                }
                Refusal::Other => gateway("composio_refused"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_old_an_answer_may_be_is_a_duration_or_a_word() {
        let of = |text| freshness(text).map_err(|_| ());
        assert_eq!(of(None), Ok(Freshness::Within(Duration::from_secs(300))));
        assert_eq!(of(Some("90s")), Ok(Freshness::Within(Duration::from_secs(90))));
        assert_eq!(of(Some("0s")), Ok(Freshness::Now));
        assert_eq!(of(Some("stored")), Ok(Freshness::Stored));
        for wrong in ["", "90", "-1s", "soon"] {
            assert_eq!(of(Some(wrong)), Err(()), "{wrong}");
        }
    }

    #[test]
    fn apps_are_named_between_commas() {
        let of = |text| toolkits("toolkits", text).map_err(|_| ());
        assert_eq!(of("slack, GoogleCalendar,"), Ok(vec![Toolkit::new("slack"), Toolkit::new("googlecalendar")]));
        assert_eq!(of(" , "), Err(()));
        assert_eq!(of("Google Calendar"), Err(()));
        assert_eq!(of(&vec!["x"; 101].join(",")), Err(()));
    }
}
