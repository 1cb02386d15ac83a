//! Who is not mailed, whatever breaks: one user's part of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::input::{Content, OfUser, Parameters, toolkit};
use crate::adapters::mailer::without_addresses;
use crate::domain::clock::to_micros;
use crate::domain::id::{SuppressionId, UserId};
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// How long the app's database may take to tell the user's address.
const ASKING: Duration = Duration::from_secs(10);
/// Longer reasons are no reasons.
const LONGEST_REASON: usize = 1_000;
/// Nobody is kept unmailed for longer with an end.
const LONGEST: TimeDelta = TimeDelta::days(36_500);

/// What keeps mails from one user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InForce {
    /// Now.
    as_of: DateTime<Utc>,
    /// What is in force, newest first: what is said of the user, and what is known against the address that they have now.
    suppressions: Vec<Suppression>,
    /// Whether the app's database could be asked for the address; if not, what is known against it is missing here.
    address_asked: bool,
}

/// Somebody is not to be mailed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSuppression {
    /// About this app only, as Composio writes it; without it, about all.
    #[serde(default)]
    toolkit: Option<String>,
    /// Until then (a snooze); without it, until it is lifted (an opt-out).
    #[serde(default)]
    until: Option<DateTime<Utc>>,
    /// Why, in your words; addresses are taken out.
    #[serde(default)]
    #[schema(max_length = 1_000)]
    reason: Option<String>,
}

/// Which suppressions end.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those of this kind.
    kind: Option<SuppressionKind>,
    /// Only those about this app.
    toolkit: Option<String>,
}

/// What was lifted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lifted {
    /// Now.
    as_of: DateTime<Utc>,
    /// How many suppressions ended.
    lifted: u64,
}

/// The address that the user has now, as the store knows it; `Err` if the app's database cannot be asked.
async fn address(ops: &Ops, user: &UserId) -> Result<Option<AddressHash>, ()> {
    let users = ops.users.as_ref().map_err(drop)?;
    let found = tokio::time::timeout(ASKING, users.find(user)).await.map_err(drop)?;
    let found = found.map_err(|error| tracing::warn!(event = "api.users_unavailable", %error))?;
    Ok(found.and_then(|recipient| recipient.email.ok()).map(|email| AddressHash::of(&email)))
}

/// What keeps mails from this user.
#[utoipa::path(
    get,
    path = "/users/{user}/suppressions",
    operation_id = "list_suppressions",
    tag = "suppressions",
    params(("user" = String, Path, description = "The id under which Composio knows the user.")),
    responses((status = 200, description = "What is in force.", body = InForce))
)]
pub(super) async fn list(State(ops): State<Arc<Ops>>, OfUser(user): OfUser) -> Result<Json<InForce>, Problem> {
    let address = address(&ops, &user).await;
    let now = ops.clock.now();
    let known = address.as_ref().ok().and_then(Option::as_ref);
    let suppressions = ops.store.suppressions_of(&user, known, now).await?;
    Ok(Json(InForce { as_of: now, suppressions, address_asked: address.is_ok() }))
}

/// Stop mailing this user, about one app or all, for ever or until an instant.
///
/// The same again is the same suppression: it lasts until the later of both ends.
#[utoipa::path(
    post,
    path = "/users/{user}/suppressions",
    operation_id = "add_suppression",
    tag = "suppressions",
    params(("user" = String, Path, description = "The id under which Composio knows the user.")),
    request_body = NewSuppression,
    responses((status = 201, description = "What is said of the user now.", body = InForce))
)]
pub(super) async fn add(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    Content(new): Content<NewSuppression>,
) -> Result<(StatusCode, Json<InForce>), Problem> {
    let now = ops.clock.now();
    if new.until.is_some_and(|until| until <= now || until - now > LONGEST) {
        return Err(Problem::invalid("until", "expected an instant to come, within a hundred years"));
    }
    if new.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
        return Err(Problem::invalid("reason", format!("it is longer than {LONGEST_REASON} bytes")));
    }
    let suppression = Suppression {
        id: SuppressionId(Uuid::now_v7()),
        whom: Whom::User(user.clone()),
        kind: if new.until.is_some() { SuppressionKind::Snooze } else { SuppressionKind::OptOut },
        toolkit: new.toolkit.as_deref().map(|text| toolkit("toolkit", text)).transpose()?,
        until: new.until.map(to_micros),
        source: "api".to_owned(),
        detail: new.reason.as_deref().map(|reason| without_addresses(reason, None)),
        created_at: now,
    };
    ops.store.suppress(&suppression).await?;
    let suppressions = ops.store.suppressions_of(&user, None, now).await?;
    Ok((StatusCode::CREATED, Json(InForce { as_of: now, suppressions, address_asked: false })))
}

/// Mail this user again: ends what is said of the user and what is known against the address that they have now.
#[utoipa::path(
    delete,
    path = "/users/{user}/suppressions",
    operation_id = "lift_suppressions",
    tag = "suppressions",
    params(("user" = String, Path, description = "The id under which Composio knows the user."), Which),
    responses((status = 200, description = "How many ended.", body = Lifted))
)]
pub(super) async fn lift(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    Parameters(which): Parameters<Which>,
) -> Result<Json<Lifted>, Problem> {
    let toolkit = which.toolkit.as_deref().map(|text| toolkit("toolkit", text)).transpose()?;
    let Ok(address) = address(&ops, &user).await else {
        let detail =
            "nothing was lifted: the address of the user is not known while the app's database does not answer";
        return Err(Problem::unavailable(detail).coded("users_unavailable"));
    };
    let now = ops.clock.now();
    // The address first: lifting what is said of the user makes the look that sees both.
    let whom = address.map(Whom::Address).into_iter().chain([Whom::User(user)]);
    let mut lifted = 0;
    for whom in whom {
        lifted += ops.store.lift(&whom, which.kind, toolkit.as_ref(), now).await?;
    }
    Ok(Json(Lifted { as_of: now, lifted }))
}
