//! Tools of one user: which there are, and running one with that user's own account, after the gate.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::entity::{entity, freshness, names, toolkits};
use super::input::{Content, OfUser, OfUserAndTool, Parameters, id};
use crate::audit::entity::{Executed, ToolCall};
use crate::domain::gate::{Decision, Gate};
use crate::domain::id::{AccountId, ToolSlug};
use crate::domain::tool::{Tool, ToolFilter, Which};
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// Which tools are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// All tools of these apps, between commas: `slack,gmail`.
    toolkits: Option<String>,
    /// These tools, between commas: `SLACK_SEND_MESSAGE`. Either of the two must be given.
    tools: Option<String>,
    /// How old the gate's answer may be: a duration such as `30s` or `5m`; `0s` asks Composio in any case; `stored` never does.
    /// Without it, `5m`.
    max_age: Option<String>,
}

/// Tools, and whether this user may use their apps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tools)]
pub(super) struct Offered {
    /// Now.
    as_of: DateTime<Utc>,
    /// The tools.
    tools: Vec<Tool>,
    /// Their apps, for this user; null if no tool needs an account.
    gate: Option<Gate>,
}

/// How a tool is run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// What the tool is given.
    #[serde(default)]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
    /// With this account of the user's; not beside `alias`. Without either, the only one that works.
    #[serde(default)]
    account: Option<String>,
    /// With the connection of this name.
    #[serde(default)]
    alias: Option<String>,
    /// This version of the tool; without it, the latest.
    #[serde(default)]
    version: Option<String>,
    /// How old the gate's answer may be, as for the gate itself.
    #[serde(default)]
    max_age: Option<String>,
}

/// What came of running a tool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ran {
    /// Now.
    as_of: DateTime<Utc>,
    /// The user's own account with which it ran.
    account: AccountId,
    /// What Composio answered, as it came: `data`, `error`, `successful`, `log_id`. The tool itself may have failed.
    #[schema(value_type = Object)]
    result: Box<RawValue>,
}

/// The tools that may be offered to who acts for this user, with the gate of their apps.
#[utoipa::path(
    get,
    path = "/users/{user}/tools",
    operation_id = "list_tools",
    tag = "tools",
    params(("user" = String, Path, description = "The id under which Composio knows the user."), Asked),
    responses((status = 200, description = "The tools.", body = Offered))
)]
pub(super) async fn list(
    State(ops): State<Arc<Ops>>,
    OfUser(user): OfUser,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Offered>, Problem> {
    let slug = |name: &str| ToolSlug::new(name.to_owned());
    let filter = ToolFilter {
        toolkits: asked.toolkits.as_deref().map_or(Ok(Vec::new()), |text| toolkits("toolkits", text))?,
        tools: match asked.tools.as_deref() {
            Some(text) => names("tools", text)?.into_iter().map(slug).collect(),
            None => Vec::new(),
        },
    };
    let freshness = freshness(asked.max_age.as_deref())?;
    let scoped = entity(&ops, user)?.tools(&filter, freshness).await;
    let scoped = scoped.map_err(|error| Problem::of_entity(error, &ops))?;
    Ok(Json(Offered { as_of: ops.clock.now(), tools: scoped.tools, gate: scoped.gate }))
}

/// Run a tool for this user, with this user's own account.
///
/// The gate is asked first. The tool is sent once, and no other account is ever used in place of the one that was meant. An
/// account that turns out to have expired is a denial, and the user is looked at again.
#[utoipa::path(
    post,
    path = "/users/{user}/tools/{tool}/execute",
    operation_id = "execute_tool",
    tag = "tools",
    params(
        ("user" = String, Path, description = "The id under which Composio knows the user."),
        ("tool" = String, Path, description = "The tool, as Composio writes it: `SLACK_SEND_MESSAGE`."),
    ),
    request_body = Run,
    responses((status = 200, description = "It ran.", body = Ran))
)]
pub(super) async fn execute(
    State(ops): State<Arc<Ops>>,
    OfUserAndTool(user, tool): OfUserAndTool,
    Content(run): Content<Run>,
) -> Result<Json<Ran>, Problem> {
    let which = match (run.account, run.alias) {
        (None, None) => Which::Only,
        (Some(account), None) => Which::Account(AccountId::new(id("account", account)?)),
        (None, Some(alias)) => Which::Alias(id("alias", alias)?),
        (Some(_), Some(_)) => return Err(Problem::invalid("alias", "account is set too: set one of the two")),
    };
    let freshness = freshness(run.max_age.as_deref())?;
    let call = ToolCall { tool, arguments: run.arguments, which, version: run.version, freshness };
    let ran = entity(&ops, user)?.execute(&call).await;
    match ran.map_err(|error| Problem::of_entity(error, &ops))? {
        Executed::Done { account, answer } => Ok(Json(Ran { as_of: ops.clock.now(), account, result: answer })),
        Executed::Denied(app) => {
            let told = match &app.decision {
                Decision::Denied { prompt, .. } => prompt.clone(),
                Decision::Allowed { .. } | Decision::Unknown { .. } => format!("{} may not be used", app.name),
            };
            Err(Problem::new(StatusCode::CONFLICT, told).coded("denied").gated(app))
        }
        Executed::Unknown(app) => {
            let told = format!("whether {} may be used cannot be told now: it did not run", app.name);
            Err(Problem::unavailable(told).coded("unknown").gated(app))
        }
    }
}
