//! What is answered over HTTP. A room for each listener and what it serves; none knows another:
//!
//! | room | who reaches it | what |
//! |---|---|---|
//! | [`public`] | the internet, through a proxy that brings TLS | the pages that mails lead to, what Composio and mail providers report |
//! | [`ops`] | operators and the app's own servers | the API, probes, metrics |
//!
//! Every listener is bounded alike: connections, the time for headers and for a whole request, the size of a body. Every
//! answer carries a request id, and every refusal is a problem as RFC 9457 describes it. What is logged of a request is its
//! method, its route and the status: paths, queries and bodies may hold addresses and secrets.

mod api;
mod composio_events;
mod listener;
mod mail_events;
mod metrics;
pub mod ops;
mod probes;
mod problem;
pub mod public;
mod secret;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

pub use listener::{ListenError, Listener};

use problem::Problem;

/// No body may be larger, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;
/// No request may take longer, its body included, where nobody said otherwise.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// A longer id of a request is not taken over.
const LONGEST_REQUEST_ID: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whose ids requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestIds {
    /// Ours, whatever the client says.
    Ours,
    /// The client's, if it sends one that can be logged.
    Theirs,
}

/// What differs between listeners.
#[derive(Debug, Clone, Copy)]
struct Around {
    ids: RequestIds,
    longest: Duration,
}

/// What all listeners share around their routes; requests are named by us.
fn bounded(routes: Router) -> Router {
    bounded_with(routes, Around { ids: RequestIds::Ours, longest: LONGEST_REQUEST })
}

fn bounded_with(routes: Router, differs: Around) -> Router {
    routes
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(differs, around))
}

/// The id that a client gave its request, if it is one that can stand in a log and a header.
fn id_of(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    ((1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.chars().all(fits)).then(|| id.to_owned())
}

/// Bounds a request in time, names it, logs it, and says to browsers that there is nothing to guess or keep.
async fn around(State(Around { ids, longest }): State<Around>, request: Request, next: Next) -> Response {
    let theirs = if ids == RequestIds::Theirs { id_of(&request) } else { None };
    let id = theirs.unwrap_or_else(|| Uuid::now_v7().to_string());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, caller = tracing::field::Empty);
    let begin = Instant::now();
    let answer = timeout(longest, next.run(request).instrument(span.clone())).await;
    let mut answer = answer.unwrap_or_else(|_| Problem::unavailable("it took too long").into_response());
    let status = answer.status();
    let ms = begin.elapsed().as_millis();
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(event = "http.answered", %method, route, status = status.as_u16(), ms);
        } else {
            tracing::debug!(event = "http.answered", %method, route, status = status.as_u16(), ms);
        }
    });
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("an id is visible ASCII"));
    answer
}
