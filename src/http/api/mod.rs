//! `/api/v1`: what operators and the app's own servers ask and do, and the document that describes it (OpenAPI 3.1), made
//! from the same lines that make the routes.
//!
//! ```text
//!  request ─► access: this machine, or a token of the right scope ─► limit ─► input ─► the use case, as the command line has it
//!                └─► 401, 403, 421                                     └─► 429   └─► 400, 404, 413, 415, 422
//! ```
//!
//! Every answer says as of when it is true. Every refusal is a problem (RFC 9457) with a `code` for programs.
//!
//! | file | what |
//! |---|---|
//! | `access` | who may come in |
//! | `limit` | how often |
//! | `input` | what a request brings |
//! | `document` | what all routes have in common, for the document |
//! | `entity` | what the routes about connections have in common |
//! | `connections`, `gate`, `tools`, `users`, `audits`, `suppressions`, `status` | the routes |

pub(super) mod access;
mod audits;
mod connections;
mod document;
mod entity;
mod gate;
mod input;
mod limit;
mod status;
mod suppressions;
mod tools;
mod users;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, middleware};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ops::Ops;
use access::{Door, admit};

/// Where the API is.
const ROOT: &str = "/api/v1";

/// The document, as it is served.
#[derive(Clone)]
struct Served(Arc<str>);

/// All routes that need a token, with their part of the document.
fn routes() -> OpenApiRouter<Arc<Ops>> {
    OpenApiRouter::default()
        .routes(routes!(connections::list, connections::start))
        .routes(routes!(connections::report))
        .routes(routes!(gate::gate))
        .routes(routes!(tools::list))
        .routes(routes!(tools::execute))
        .routes(routes!(users::explain))
        .routes(routes!(audits::ask))
        .routes(routes!(audits::look))
        .routes(routes!(suppressions::list, suppressions::add, suppressions::lift))
        .routes(routes!(status::status))
}

/// The router of the API.
pub(super) fn router(ops: &Arc<Ops>, door: &Arc<Door>) -> Router {
    let guarded = routes().route_layer(middleware::from_fn_with_state(Arc::clone(door), admit));
    let open = OpenApiRouter::default().routes(routes!(served));
    let api = OpenApiRouter::with_openapi(document::base()).nest(ROOT, guarded.merge(open));
    let (router, api) = api.with_state(Arc::clone(ops)).split_for_parts();
    let text = document::finish(api).to_pretty_json().unwrap_or_default();
    router.layer(Extension(Served(text.into())))
}

/// The document that describes the API: OpenAPI 3.1, as JSON.
#[must_use]
pub(super) fn document() -> String {
    let routes = routes().merge(OpenApiRouter::default().routes(routes!(served)));
    let api = OpenApiRouter::with_openapi(document::base()).nest(ROOT, routes).into_openapi();
    document::finish(api).to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "document",
    tag = "status",
    security(()),
    responses((status = 200, description = "The description of this API.", body = serde_json::Value))
)]
async fn served(Extension(Served(text)): Extension<Served>) -> Response {
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([json], text.to_string()).into_response()
}
