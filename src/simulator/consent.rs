//! The hosted page behind a link: opening it begins the attempt, sending its form completes it. Opening it alone completes
//! nothing, as mail scanners open links.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use url::Url;

use super::Inner;
use super::answer::text_answer;
use super::catalog;
use super::list;
use super::world::{Consent, Link};

const HTML: &str = "text/html; charset=utf-8";

pub(super) fn pages(inner: &Arc<Inner>) -> Router {
    Router::new().route("/link/{token}", get(show).post(submit)).with_state(Arc::clone(inner))
}

fn live(inner: &Inner, token: &str) -> Option<Link> {
    inner.world.tick(inner.now());
    inner.world.link(token, inner.now())
}

fn gone() -> Response<Body> {
    text_answer(
        StatusCode::GONE,
        HTML,
        "<!doctype html><title>Link expired</title><h1>This link has expired</h1>".into(),
    )
}

async fn show(State(inner): State<Arc<Inner>>, Path(token): Path<String>) -> Response<Body> {
    let Some(link) = live(&inner, &token) else { return gone() };
    inner.world.open(&link, inner.now());
    let app = inner.world.find(&link.account).map_or("the app", |account| catalog::app_at(account.app).name);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Connect {app}</title>\
         <h1>Connect {app}</h1><p>A simulated consent page.</p>\
         <form method=\"post\" action=\"?consent=granted\"><button>Allow</button></form>\
         <form method=\"post\" action=\"?consent=another\"><button>Allow with another account</button></form>\
         <form method=\"post\" action=\"?consent=denied\"><button>Deny</button></form></html>"
    );
    text_answer(StatusCode::OK, HTML, page)
}

async fn submit(
    State(inner): State<Arc<Inner>>,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let Some(link) = live(&inner, &token) else { return gone() };
    let said = list::pairs(query.as_deref()).into_iter().find(|(name, _)| name == "consent").map(|(_, said)| said);
    let consent = match said.as_deref() {
        Some("denied") => Consent::Denied,
        Some("another") => Consent::Another,
        _ => Consent::Granted,
    };
    inner.world.complete(&link, consent, inner.now());
    let status = if consent == Consent::Denied { "failed" } else { "success" };
    let callback = link.callback_url.as_deref().and_then(|url| Url::parse(url).ok()).map(|mut url| {
        url.query_pairs_mut().append_pair("status", status).append_pair("connected_account_id", &link.account);
        url
    });
    if let Some(location) = callback.and_then(|url| HeaderValue::from_str(url.as_str()).ok()) {
        let mut answer = text_answer(StatusCode::SEE_OTHER, HTML, String::new());
        answer.headers_mut().insert(header::LOCATION, location);
        return answer;
    }
    text_answer(
        StatusCode::OK,
        HTML,
        format!("<!doctype html><title>Done</title><h1>{status}</h1>You may close this page."),
    )
}
