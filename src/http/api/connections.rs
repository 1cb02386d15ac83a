//! What a user has connected, starting another connection, and saying that one has just failed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::entity::{entity, freshness};
use super::input::{Content, IdempotencyKey, OfUser, OfUserAndApp, Parameters, id, toolkit};
use crate::audit::entity::{Initiate, LinkOrigin, Reported};
use crate::domain::connection::Connections;
use crate::domain::id::{AccountId, AuthConfigId, CheckId, Toolkit};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// How fresh an answer is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Age {
    /// How old the answer may be: a duration such as `30s` or `5m`; `0s` asks Composio in any case; `stored` never does. Without
    /// it, `5m`.
    max_age: Option<String>,
}

/// A connection that is to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewConnection {
    /// The app, as Composio writes it.
    toolkit: String,
    /// The page of your app to which the person returns; `status` and `connected_account_id` are appended.
    #[serde(default)]
    redirect_url: Option<String>,
    /// The name of the connection, where the user is to have several of the app.
    #[serde(default)]
    alias: Option<String>,
    /// Through which auth config; needed only if the app has several.
    #[serde(default)]
    auth_config: Option<String>,
    /// Also if the user has a connection that works.
    #[serde(default)]
    allow_another: bool,
}

/// A connection that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    /// Now.
    as_of: DateTime<Utc>,
    /// Where the person goes. Whoever has it can connect an account for this user: keep it between you and them.
    redirect_url: String,
    /// Until when it can be followed.
    expires_at: Option<DateTime<Utc>>,
    /// The account that comes to be: keep it for direct reference.
    account_id: AccountId,
    /// The app.
    toolkit: Toolkit,
    /// Through which auth config.
    auth_config: AuthConfigId,
    /// Whether the link was made now, or is the one that the same wish got before.
    origin: LinkOrigin,
}

/// What came of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Taken {
    /// Now: what was seen before is doubted from here on.
    as_of: DateTime<Utc>,
    /// The re-audit that was asked for; null: one that was asked for in this way is waiting or under way already.
    audit: Option<CheckId>,
}

/// What this user has connected.
///
/// From the store if that is fresh enough, else from Composio. If Composio cannot be asked, what is known is told and marked
/// `stale`.
#[utoipa::path(
    get,
    path = "/users/{user}/connections",
    operation_id = "list_connections",
    tag = "connections",
    params(("user" = String, Path, description = "The id under which Composio knows the user."), Age),
    responses((status = 200, description = "The connections.", body = Connections))
)]
pub(super) async fn list(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    Parameters(age): Parameters<Age>,
) -> Result<Json<Connections>, Problem> {
    let freshness = freshness(age.max_age.as_deref())?;
    let told = entity(&ops, user)?.connections(freshness).await;
    told.map(Json).map_err(|error| Problem::of_entity(error, &ops))
}

/// Start a connection: a link for the person to follow.
///
/// The same wish (the same `Idempotency-Key`; without one, the same app, page, auth config and alias) gets the same link as long
/// as it can be followed, so repeating the request makes nothing twice.
#[utoipa::path(
    post,
    path = "/users/{user}/connections",
    operation_id = "start_connection",
    tag = "connections",
    params(
        ("user" = String, Path, description = "The id under which Composio knows the user."),
        ("Idempotency-Key" = Option<String>, Header, description = "What makes a repeated request the same.",
            min_length = 1, max_length = 255),
    ),
    request_body = NewConnection,
    responses(
        (status = 201, description = "The link was made.", body = Started),
        (status = 200, description = "The link that the same wish got before.", body = Started),
    )
)]
pub(super) async fn start(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Content(new): Content<NewConnection>,
) -> Result<(StatusCode, Json<Started>), Problem> {
    let redirect = new.redirect_url.as_deref().map(Url::parse).transpose();
    let initiate = Initiate {
        toolkit: toolkit("toolkit", &new.toolkit)?,
        redirect: redirect.map_err(|error| Problem::invalid("redirect_url", error.to_string()))?,
        alias: new.alias.map(|alias| id("alias", alias)).transpose()?,
        auth_config: new.auth_config.map(|text| id("auth_config", text)).transpose()?.map(AuthConfigId::new),
        allow_another: new.allow_another,
        idempotency_key,
    };
    let initiated = entity(&ops, user)?.initiate_connection(&initiate).await;
    let initiated = initiated.map_err(|error| Problem::of_entity(error, &ops))?;
    let status = match initiated.origin {
        LinkOrigin::Made => StatusCode::CREATED,
        LinkOrigin::Kept => StatusCode::OK,
    };
    let started = Started {
        as_of: ops.clock.now(),
        redirect_url: initiated.link.url.expose_secret().to_owned(),
        expires_at: initiated.link.expires_at,
        account_id: initiated.link.account,
        toolkit: initiated.toolkit,
        auth_config: initiated.auth_config,
        origin: initiated.origin,
    };
    Ok((status, Json(started)))
}

/// Say that using an app has just failed for this user.
///
/// It is taken as a hint: what was seen before is doubted, so that a gate does not rest on it, and the user is checked ahead of
/// sweeps.
#[utoipa::path(
    post,
    path = "/users/{user}/connections/{toolkit}/report",
    operation_id = "report_failure",
    tag = "connections",
    params(
        ("user" = String, Path, description = "The id under which Composio knows the user."),
        ("toolkit" = String, Path, description = "The app, as Composio writes it."),
    ),
    responses((status = 202, description = "The user is looked at again.", body = Taken))
)]
pub(super) async fn report(
    State(ops): State<Arc<Ops>>,
    OfUserAndApp(user, toolkit): OfUserAndApp,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let reported = entity(&ops, user)?.report(&toolkit).await;
    let audit = match reported.map_err(|error| Problem::of_entity(error, &ops))? {
        Reported::Recheck(check) => Some(check),
        Reported::UnderWay => None,
    };
    Ok((StatusCode::ACCEPTED, Json(Taken { as_of: ops.clock.now(), audit })))
}
