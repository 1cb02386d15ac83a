//! How things are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::Parameters;
use crate::audit::Status;
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// So many sweeps are listed, at most.
const MOST_SWEEPS: u32 = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// How many sweeps to list, the newest.
    #[serde(default = "sweeps")]
    #[param(minimum = 1, maximum = 1_000, default = 5)]
    sweeps: u32,
}

fn sweeps() -> u32 {
    5
}

/// How things are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Now {
    /// Now.
    as_of: DateTime<Utc>,
    #[serde(flatten)]
    status: Status,
}

/// The last sweeps, the queue, open incidents, notifications, and what keeps mail from leaving.
#[utoipa::path(
    get,
    path = "/status",
    operation_id = "status",
    tag = "status",
    params(Asked),
    responses((status = 200, description = "How things are.", body = Now))
)]
pub(super) async fn status(
    State(ops): State<Arc<Ops>>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Now>, Problem> {
    if !(1..=MOST_SWEEPS).contains(&asked.sweeps) {
        return Err(Problem::invalid("sweeps", format!("expected 1 to {MOST_SWEEPS}")));
    }
    let now = ops.clock.now();
    let status = Status::read(ops.store.as_ref(), ops.depths().await.ok(), asked.sweeps, now).await?;
    Ok(Json(Now { as_of: now, status }))
}
