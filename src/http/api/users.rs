//! One user: the whole story.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::input::OfUser;
use crate::audit::explain::Explanation;
use crate::http::ops::Ops;
use crate::http::problem::Problem;

/// The story of one user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    /// When the user's accounts were last seen in full; null if they never were.
    as_of: Option<DateTime<Utc>>,
    /// Whether anything at all is known of this user.
    seen: bool,
    #[serde(flatten)]
    story: Explanation,
}

/// Why a user was mailed, or was not, and what happens next.
///
/// It reads what is stored and asks the app's database whether the user is there; Composio is not asked, and nothing changes.
#[utoipa::path(
    get,
    path = "/users/{user}/explain",
    operation_id = "explain",
    tag = "users",
    params(("user" = String, Path, description = "The id under which Composio knows the user.")),
    responses((status = 200, description = "The story; of a user of whom nothing is known too.", body = Explained))
)]
pub(super) async fn explain(State(ops): State<Arc<Ops>>, OfUser(user): OfUser) -> Result<Json<Explained>, Problem> {
    let facts = ops.explainer.gather(&user, ops.clock.now()).await?;
    let story = facts.story();
    let as_of = story.last_check.as_ref().and_then(|check| check.observed_at);
    Ok(Json(Explained { as_of, seen: !facts.was_never_seen(), story }))
}
