//! What is answered over HTTP. A room for each listener and what it serves; none knows another:
//!
//! | room | who reaches it | what |
//! |---|---|---|
//! | [`public`] | the internet, through a proxy that brings TLS | the pages that mails lead to, what Composio and mail providers report |
//!
//! Every listener is bounded alike: connections, the time for headers and for a whole request, the size of a body. Every
//! answer carries a request id, and every refusal is a problem as RFC 9457 describes it. What is logged of a request is its
//! method, its route and the status: paths, queries and bodies may hold addresses and secrets.

mod composio_events;
mod listener;
mod mail_events;
mod problem;
pub mod public;
mod secret;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
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
/// No request may take longer, its body included.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What all listeners share around their routes.
fn bounded(routes: Router) -> Router {
    routes
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(around))
}

/// Bounds a request in time, names it, logs it, and says to browsers that there is nothing to guess or keep.
async fn around(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", id = %id);
    let begin = Instant::now();
    let answer = timeout(LONGEST_REQUEST, next.run(request).instrument(span.clone())).await;
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
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id.to_string()).expect("an id is visible ASCII"));
    answer
}
