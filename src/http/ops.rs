//! The ops listener, `[http.ops]`: what operators and the app's own servers may ask.
//!
//! | route | what | needs |
//! |---|---|---|
//! | `GET /livez` | whether the process is alive | nothing |
//! | `GET /readyz` | whether database and queue are there | nothing |
//! | `GET /metrics` | what came of mails and events, for Prometheus | a token, if any is set |
//! | `/api/v1/…` | the API; `GET /api/v1/openapi.json` describes it | a token, if any is set |

use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::access::{Door, admit, from_this_machine};
use super::{Around, LONGEST_REQUEST, RequestIds, api, bounded_with, metrics, probes};
use crate::adapters::users::UsersSource;
use crate::audit::Reaudits;
use crate::audit::entity::Entities;
use crate::audit::explain::Explainer;
use crate::config::HttpOps;
use crate::domain::clock::Clock;
use crate::domain::port::{Depth, JobStore, Store};

/// How long the queue may take to say how much it holds.
const ASKING: Duration = Duration::from_secs(2);

/// What a request to execute a tool may take besides the tool: the gate, and which account it is.
const AROUND_EXECUTION: Duration = Duration::from_secs(20);

/// What the ops routes need.
pub struct Ops {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The transport.
    pub queue: Arc<dyn JobStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The app's users, or why they cannot be asked.
    pub users: Result<Arc<UsersSource>, String>,
    /// Handles of single users; none where no API key is set.
    pub entities: Option<Entities>,
    /// Tells why.
    pub explainer: Explainer,
    /// Asks for checks.
    pub reaudits: Reaudits,
    /// How long a tool may take.
    pub execute_timeout: Duration,
    /// Whether the worker was told to stop.
    pub stopping: CancellationToken,
}

impl Ops {
    /// How much each lane holds; `Err` if the queue does not answer in time.
    pub(super) async fn depths(&self) -> Result<Vec<Depth>, ()> {
        match timeout(ASKING, self.queue.depths()).await {
            Ok(Ok(depths)) => Ok(depths),
            Ok(Err(error)) => {
                tracing::warn!(event = "api.queue_unavailable", %error);
                Err(())
            }
            Err(_) => Err(()),
        }
    }
}

/// The routes of the ops listener, for whoever `settings` lets in.
pub fn router(ops: Ops, settings: &HttpOps) -> Router {
    // A tool that is cut off may have done its work all the same: it is given the time that the settings give it.
    let slowest = ops.execute_timeout + AROUND_EXECUTION;
    let ops = Arc::new(ops);
    let door = Arc::new(Door::new(settings));
    let metrics = metrics::routes(&ops).route_layer(middleware::from_fn_with_state(Arc::clone(&door), admit));
    let routes = probes::routes(&ops).merge(metrics).merge(api::router(&ops, &door));
    let routes = bounded_with(routes, Around { ids: RequestIds::Theirs, longest: LONGEST_REQUEST.max(slowest) });
    routes.layer(middleware::from_fn_with_state(door, from_this_machine))
}

/// The document that describes the API: OpenAPI 3.1, as JSON.
#[must_use]
pub fn openapi() -> String {
    api::document()
}
