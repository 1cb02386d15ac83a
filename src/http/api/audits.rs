//! Re-audits: a user is checked ahead of sweeps, and mailed as a sweep would.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::ROOT;
use super::access::Caller;
use super::input::{IdempotencyKey, OfUser, Row};
use crate::domain::history::History;
use crate::domain::id::{AccountId, CheckId, UserId};
use crate::domain::port::LastCheck;
use crate::domain::slot::Slot;
use crate::domain::verdict::{SlotVerdict, Verdict};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// Where a re-audit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AuditState {
    /// It waits for a checker, or for another try.
    Pending,
    /// Nothing of it is outstanding.
    Done,
}

/// A re-audit that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Now.
    as_of: DateTime<Utc>,
    /// Its id.
    id: CheckId,
    /// Where it stands.
    state: AuditState,
    /// It is in the queue. If not, it is stored, and begins as soon as the queue is back.
    queued: bool,
}

/// A re-audit as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Audit {
    /// Now.
    as_of: DateTime<Utc>,
    /// Its id.
    id: CheckId,
    /// Where it stands.
    state: AuditState,
    /// What is known of its users.
    users: Vec<Audited>,
}

/// What is known of one user.
#[derive(Debug, Serialize, ToSchema)]
struct Audited {
    /// Who.
    user: UserId,
    /// How the newest check ended, whoever asked for it; null if there was none.
    check: Option<LastCheck>,
    /// What is said of each connection, by what was last seen of it.
    connections: Vec<Judged>,
}

/// What is said of one connection.
#[derive(Debug, Serialize, ToSchema)]
struct Judged {
    #[serde(flatten)]
    slot: Slot,
    /// What is said.
    verdict: Verdict,
    /// The account that decided.
    account: AccountId,
    /// Its status, as Composio names it.
    status: String,
    /// The reason that Composio gave.
    reason: Option<String>,
    /// Since when it has been so.
    since: DateTime<Utc>,
}

impl From<SlotVerdict> for Judged {
    fn from(about: SlotVerdict) -> Self {
        Self {
            slot: about.slot,
            verdict: about.verdict,
            status: about.deciding.status.as_str().to_owned(),
            since: about.deciding.changed_at(),
            account: about.deciding.id,
            reason: about.deciding.reason,
        }
    }
}

/// Check a user now, ahead of sweeps.
///
/// A running checker carries it out. Asked again with the same `Idempotency-Key` (by the same bearer, for the same user), it is
/// the same re-audit, as long as that is kept (`retention.sweeps`).
#[utoipa::path(
    post,
    path = "/users/{user}/audits",
    operation_id = "ask_audit",
    tag = "audits",
    params(
        ("user" = String, Path, description = "The id under which Composio knows the user."),
        ("Idempotency-Key" = Option<String>, Header, description = "What makes a repeated request the same.",
            min_length = 1, max_length = 255),
    ),
    responses((status = 202, description = "It will be checked.", body = Accepted,
        headers(("Location" = String, description = "Where to look how it stands."))))
)]
pub(super) async fn ask(
    State(ops): State<Arc<Ops>>,
    caller: Caller,
    OfUser(user): OfUser,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<Accepted>), Problem> {
    let asked = match &key {
        Some(key) => ops.reaudits.ask_once(&user, &[caller.name(), key]).await?,
        None => ops.reaudits.ask(std::slice::from_ref(&user)).await?,
    };
    let id = asked.checks.first().copied().ok_or_else(Problem::internal)?;
    let over = ops.store.unfinished_checks(&asked.checks).await?.is_empty();
    let state = if over { AuditState::Done } else { AuditState::Pending };
    let location = HeaderValue::from_str(&format!("{ROOT}/audits/{id}")).expect("an id is visible ASCII");
    tracing::info!(event = "api.audit_asked", check = %id, queued = asked.queued);
    let accepted = Accepted { as_of: ops.clock.now(), id, state, queued: asked.queued };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(accepted)))
}

/// How a re-audit stands.
#[utoipa::path(
    get,
    path = "/audits/{id}",
    operation_id = "look_audit",
    tag = "audits",
    params(("id" = uuid::Uuid, Path, description = "The id of the re-audit.")),
    responses((status = 200, description = "How it stands, and what is known of its users.", body = Audit))
)]
pub(super) async fn look(State(ops): State<Arc<Ops>>, Row(id): Row) -> Result<Json<Audit>, Problem> {
    let id = CheckId(id);
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no re-audit of this id").coded("not_found");
    let audit = ops.store.reaudit(id).await?.ok_or_else(none)?;
    let mut histories = ops.store.history(&audit.users).await?;
    let mut users = Vec::with_capacity(audit.users.len());
    for user in audit.users {
        let history: History = histories.remove(&user).unwrap_or_default();
        let check = ops.store.last_check(&user).await?;
        let connections = history.verdicts().into_iter().map(Judged::from).collect();
        users.push(Audited { user, check, connections });
    }
    let state = if audit.done { AuditState::Done } else { AuditState::Pending };
    Ok(Json(Audit { as_of: ops.clock.now(), id, state, users }))
}
