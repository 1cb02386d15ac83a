//! `POST /webhooks/composio`: events that Composio sends. Each is verified, kept once, and starts a check of the user that it is
//! about; it is never believed on its own.
//!
//! ```text
//!  signature ─► event ─► whose? ─► delivery and check, in one transaction ─► 200     ─► queue
//!     └─► 400, 401          └─► nobody known: kept and counted              └─► 503: not stored, send it again
//! ```
//!
//! Composio delivers at least once: what comes again under the same `webhook-id` changes nothing.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

use super::problem::Problem;
use crate::adapters::composio::webhook::{Event, NotSigned, Signed, verify};
use crate::audit::Outbox;
use crate::domain::clock::Clock;
use crate::domain::id::{CheckId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::port::{ACCOUNT_EXPIRED, Delivery, Store, StoreError, StoreResult};
use crate::domain::sweep::Check;

/// An event names one account; it is nowhere near as large.
const LARGEST_EVENT: usize = 512 * 1024;
/// Events that say that a connection may have broken.
const ALARMS: [&str; 2] = [ACCOUNT_EXPIRED, "composio.trigger.disabled"];

/// What the route needs.
pub(super) struct Intake {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) outbox: Outbox,
    pub(super) secrets: Vec<SecretString>,
}

/// What became of a delivery.
#[derive(Debug, Serialize)]
struct Taken {
    /// `checking`, `known` (it came before), or `kept` (it starts no check).
    outcome: &'static str,
}

/// The route, with all that it needs.
pub(super) fn routes(intake: Intake) -> Router {
    Router::new()
        .route("/webhooks/composio", post(take))
        .layer(DefaultBodyLimit::max(LARGEST_EVENT))
        .with_state(Arc::new(intake))
}

async fn take(
    State(intake): State<Arc<Intake>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Taken>, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::bad_request("the body broke off"),
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = Signed {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signatures: header("webhook-signature"),
    };
    verify(signed, &body, &intake.secrets, intake.clock.now()).map_err(|refused| {
        tracing::warn!(event = "composio_events.refused", reason = %refused);
        match refused {
            NotSigned::Malformed => Problem::bad_request(refused.to_string()),
            NotSigned::Stale => Problem::unauthorized("webhook-timestamp is more than five minutes away"),
            NotSigned::Wrong => Problem::unauthorized("webhook-signature was not made with composio.webhook_secrets"),
        }
    })?;
    let event = Event::read(&body).ok_or_else(|| Problem::bad_request("the body is no JSON object"))?;
    let (outcome, check) = intake.keep(signed.id, event).await.map_err(|error| not_stored(&error))?;
    if let Some(check) = check {
        // What the queue does not take now the keeper finds.
        intake.outbox.hand_over(&[(Job::Check(Lane::CheckNow, check), None)]).await;
    }
    Ok(Json(Taken { outcome }))
}

fn not_stored(error: &StoreError) -> Problem {
    tracing::warn!(event = "composio_events.not_stored", %error);
    if error.is_permanent() {
        Problem::internal()
    } else {
        Problem::unavailable("it could not be stored; send it again")
    }
}

impl Intake {
    /// Keeps a delivery with the check that it starts; says what became of it, and which check is to be handed over.
    async fn keep(&self, id: &str, event: Event) -> StoreResult<(&'static str, Option<CheckId>)> {
        let is_alarm = ALARMS.contains(&event.kind.as_str());
        let user = self.user_of(&event).await?;
        let now = self.clock.now();
        let alarmed = user.clone().filter(|_| is_alarm);
        let check = alarmed.map(|user| Check::of_users(CheckId(Uuid::now_v7()), vec![user], now));
        let delivery = Delivery {
            id: id.to_owned(),
            kind: event.kind.chars().take(200).collect(),
            user,
            account: event.account,
            check: check.as_ref().map(|check| check.id),
            received_at: now,
        };
        let is_new = self.store.take_delivery(&delivery, check.as_ref()).await?;
        let outcome = match (is_new, &check) {
            (false, _) => "known",
            (true, Some(_)) => "checking",
            (true, None) => "kept",
        };
        tracing::info!(event = "composio_events.taken", delivery = id, kind = ?delivery.kind, user = ?delivery.user, outcome);
        if is_alarm && delivery.user.is_none() {
            tracing::warn!(
                event = "composio_events.nobody",
                delivery = id,
                "it names no user, and no account that is known"
            );
        }
        let Some(check) = check.filter(|_| is_new) else { return Ok((outcome, None)) };
        for user in &check.users {
            self.store.doubt(user, now).await?;
        }
        Ok((outcome, Some(check.id)))
    }

    /// Whom an event is about: whom it names, else whose the account is that it names.
    async fn user_of(&self, event: &Event) -> StoreResult<Option<UserId>> {
        match (&event.user, &event.account) {
            (Some(user), _) => Ok(Some(user.clone())),
            (None, Some(account)) => self.store.owner_of(account).await,
            (None, None) => Ok(None),
        }
    }
}
