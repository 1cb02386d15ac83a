//! What a supervisor asks: is the process alive, and can it do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::ops::Ops;

/// How long the database and the queue may take to answer.
const ASKING: Duration = Duration::from_secs(2);
/// How long an answer is given again without asking: anybody may ask, as often as they like.
const FRESH: Duration = Duration::from_secs(1);

/// How one thing that is needed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// It answers, and is as it must be.
    Ok,
    /// It does not.
    Unavailable,
}

/// Whether the worker can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Readiness {
    ready: bool,
    /// The database, with all its migrations.
    database: Health,
    queue: Health,
    /// It was told to stop.
    stopping: bool,
}

/// How the database and the queue were found, and when.
type Found = Arc<Mutex<Option<(Instant, (Health, Health))>>>;

pub(super) fn routes(ops: &Arc<Ops>) -> Router {
    let state = (Arc::clone(ops), Found::default());
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(state)
}

/// Whoever answers is alive.
async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({"live": true}))
}

async fn ready(State((ops, found)): State<(Arc<Ops>, Found)>) -> (StatusCode, Json<Readiness>) {
    // One asks, the others wait for the answer.
    let mut found = found.lock().await;
    let needs = match *found {
        Some((at, needs)) if at.elapsed() < FRESH => needs,
        _ => {
            let needs =
                tokio::join!(async { health(matches!(timeout(ASKING, ops.store.ping()).await, Ok(Ok(())))) }, async {
                    health(ops.depths().await.is_ok())
                },);
            *found = Some((Instant::now(), needs));
            needs
        }
    };
    drop(found);
    let ((database, queue), stopping) = (needs, ops.stopping.is_cancelled());
    let ready = database == Health::Ok && queue == Health::Ok && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, database, queue, stopping }))
}

fn health(answers: bool) -> Health {
    if answers { Health::Ok } else { Health::Unavailable }
}
