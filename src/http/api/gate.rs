//! The gate before an action: may it use these apps on behalf of this user?

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::entity::{entity, freshness, toolkits};
use super::input::{OfUser, Parameters};
use crate::domain::gate::{Gate, OnUnknown, Overall, Permit};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// What is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The apps, as Composio writes them, between commas: `slack,gmail`.
    toolkits: String,
    /// How old the answer may be: a duration such as `30s` or `5m`; `0s` asks Composio in any case; `stored` never does. Without
    /// it, `5m`.
    max_age: Option<String>,
    /// Which way an unknown goes for the `permit`; without it there is none, and you decide.
    on_unknown: Option<OnUnknown>,
}

/// The answer of the gate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer {
    /// All apps together.
    decision: Overall,
    /// A yes or a no, if you said which way an unknown goes; else null.
    permit: Option<Permit>,
    #[serde(flatten)]
    gate: Gate,
}

/// Whether an action may use these apps on behalf of this user.
///
/// `allowed`, `denied` with a reason and what to tell the person, or `unknown`: we could not look, and say why. An unknown is never
/// made a yes or a no unless you say which way it goes.
#[utoipa::path(
    get,
    path = "/users/{user}/gate",
    operation_id = "gate",
    tag = "connections",
    params(("user" = String, Path, description = "The id under which Composio knows the user."), Asked),
    responses((status = 200, description = "The answer, an unknown too.", body = Answer))
)]
pub(super) async fn gate(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Answer>, Problem> {
    let toolkits = toolkits("toolkits", &asked.toolkits)?;
    let freshness = freshness(asked.max_age.as_deref())?;
    let gate = entity(&ops, user)?.gate(&toolkits, freshness).await;
    let gate = gate.map_err(|error| Problem::of_entity(error, &ops))?;
    let permit = asked.on_unknown.map(|way| gate.permit(way));
    Ok(Json(Answer { decision: gate.overall(), permit, gate }))
}
