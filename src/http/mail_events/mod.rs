//! `POST /webhooks/mail`: what mail providers report of addresses. Permanent bounces and complaints suppress the address;
//! everything else is counted and let go.
//!
//! ```text
//!  body ─► report: whose form is this, which events are in it ─► suppressions, by the hash of the address ─► 200
//!               └─► 400: in no form that is known                     └─► 503: not stored, report it again
//! ```
//!
//! 2xx is said only once all is stored; a report that comes twice changes nothing. No address is kept, logged or answered.
//!
//! | provider | how its form is known |
//! |---|---|
//! | any, in our own form: `{"events": [{"type": "bounce", "email": "…", "permanent": true, "reason": "…", "at": "…"}]}` | `events` |
//! | Postmark | `RecordType` |
//! | Mailgun | `event-data` |
//! | Amazon SES, through SNS or EventBridge | `Type` and `Message`, or `notificationType`, `eventType`, or `source` |
//! | Resend | `type` and `data` |
//! | SendGrid, Brevo | an array of events, or one, with `event` and `email` |

mod provider;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

use self::report::{Event, Reported};
use super::problem::Problem;
use super::secret;
use crate::adapters::mailer::without_addresses;
use crate::domain::clock::{Clock, to_micros};
use crate::domain::id::SuppressionId;
use crate::domain::notification::EmailAddress;
use crate::domain::port::Store;
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};

/// What is reported to have happened longer ago counts as reported now: the clock that said so is wrong.
const OLDEST: TimeDelta = TimeDelta::days(3_650);

/// What the route needs.
struct Desk {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    secret: SecretString,
}

/// The request shows the secret; this is found before its body is read.
struct Authorized;

impl FromRequestParts<Arc<Desk>> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        if secret::is_shown(&parts.headers, &desk.secret) {
            return Ok(Self);
        }
        Err(Problem::unauthorized(
            "show http.public.mail_events_secret as a bearer token, or as the password of HTTP Basic",
        ))
    }
}

/// What became of the events of a report.
#[derive(Debug, Default, Serialize)]
struct Tally {
    /// Addresses that are suppressed from now on.
    suppressed: u64,
    /// Addresses that were already, for the same reason.
    known: u64,
    /// Bounces that may pass.
    transient: u64,
    /// Events of other kinds.
    other: u64,
    /// Bounces and complaints without a valid address.
    unusable: u64,
}

/// The route, with all that it needs.
pub(super) fn routes(store: Arc<dyn Store>, clock: Arc<dyn Clock>, secret: SecretString) -> Router {
    Router::new().route("/webhooks/mail", post(take)).with_state(Arc::new(Desk { store, clock, secret }))
}

async fn take(
    State(desk): State<Arc<Desk>>,
    _: Authorized,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Tally>, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::bad_request("the body broke off"),
    })?;
    let report = report::read(&body).map_err(|unreadable| Problem::bad_request(unreadable.to_string()))?;
    let provider = report.provider;
    if let Some(host) = &report.confirm_at {
        tracing::warn!(
            event = "mail_events.confirmation",
            provider,
            host,
            "a subscription waits to be confirmed; this program follows no link, so confirm it yourself"
        );
    }
    let mut tally = Tally::default();
    let mut found: BTreeMap<(AddressHash, SuppressionKind), Suppression> = BTreeMap::new();
    let now = desk.clock.now();
    for event in report.events {
        match event {
            Event::Transient => tally.transient += 1,
            Event::Other => tally.other += 1,
            Event::Reported(reported) => match suppression(provider, &reported, now) {
                Some((key, suppression)) => {
                    found.entry(key).or_insert(suppression);
                }
                None => tally.unusable += 1,
            },
        }
    }
    for suppression in found.values() {
        match desk.store.suppress(suppression).await {
            Ok(true) => tally.suppressed += 1,
            Ok(false) => tally.known += 1,
            Err(error) => {
                tracing::warn!(event = "mail_events.not_stored", provider, %error);
                return Err(if error.is_permanent() {
                    Problem::internal()
                } else {
                    Problem::unavailable("it could not be stored; report it again")
                });
            }
        }
    }
    let Tally { suppressed, known, transient, other, unusable } = tally;
    tracing::info!(event = "mail_events.taken", provider, suppressed, known, transient, other, unusable);
    Ok(Json(tally))
}

/// What a report means for us; none if it names no valid address.
fn suppression(
    provider: &str,
    reported: &Reported,
    now: DateTime<Utc>,
) -> Option<((AddressHash, SuppressionKind), Suppression)> {
    let address: EmailAddress = bare(&reported.address).parse().ok()?;
    let hash = AddressHash::of(&address);
    let said = reported.said.as_deref().map(|said| without_addresses(said, Some(address.as_str())));
    let detail = match said.filter(|said| !said.is_empty()) {
        Some(said) => format!("{provider}: {said}"),
        None => provider.to_owned(),
    };
    let suppression = Suppression {
        id: SuppressionId(Uuid::now_v7()),
        whom: Whom::Address(hash.clone()),
        kind: reported.kind,
        toolkit: None,
        until: None,
        source: "mail provider".to_owned(),
        detail: Some(detail),
        created_at: reported.at.map(to_micros).filter(|at| (now - OLDEST..=now).contains(at)).unwrap_or(now),
    };
    Some(((hash, reported.kind), suppression))
}

/// `ann@example.org` of `Ann <ann@example.org>`.
fn bare(address: &str) -> &str {
    match address.rsplit_once('<') {
        Some((_, rest)) => rest.trim_end().trim_end_matches('>'),
        None => address,
    }
}
