//! What every API request passes before its endpoint: it is counted, delayed, limited, its key is looked at, and it may
//! draw a fault.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use futures::stream;

use super::Inner;
use super::answer::{Refusal, text_answer};
use super::asked::Asked;
use super::chance;
use super::connection::Scissors;
use super::faults::{FaultKind, Faults, KeyState};

/// No answer of ours is larger.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// The request's id, which is in the answer's header and in its error envelope.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Wraps every API endpoint.
pub(super) async fn pass(
    State(inner): State<Arc<Inner>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path();
    let target = request.uri().path_and_query().map_or(path.len(), |target| target.as_str().len());
    let number = inner.next_request();
    let _in_flight = inner.tally.begin(format!("{} {}", request.method(), endpoint(path)), target);
    let id = chance::uuid(number, "request").to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let request = if inner.options.record { note(&inner, request).await } else { request };
    inner.world.tick(inner.now());
    inner.delay(inner.options.latency.draw(number)).await;

    let faults = inner.faults();
    let answer = answer(&inner, &faults, number, &id, &scissors, request, next).await;
    let status = if scissors.is_cut() { 0 } else { answer.status().as_u16() };
    inner.tally.count(|counters| *counters.by_status.entry(status).or_default() += 1);
    answer
}

/// Keeps what is asked; the request goes on as it came.
async fn note(inner: &Inner, request: Request) -> Request {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    inner.record.note(Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&bytes).ok(),
    });
    Request::from_parts(parts, Body::from(bytes))
}

async fn answer(
    inner: &Inner,
    faults: &Faults,
    number: u64,
    id: &str,
    scissors: &Scissors,
    request: Request,
    next: Next,
) -> Response<Body> {
    let fault = faults.draw(number);
    if fault.is_some() {
        inner.tally.count(|counters| counters.faults += 1);
    }
    match fault {
        Some(FaultKind::HtmlBadGateway) => return html_bad_gateway(),
        Some(FaultKind::ResetBeforeHeaders) => {
            scissors.cut();
            return Response::new(Body::empty());
        }
        Some(FaultKind::Silent) => {
            inner.stop.cancelled().await;
            scissors.cut();
            return Response::new(Body::empty());
        }
        Some(FaultKind::Slow) => inner.delay(Duration::from_millis(faults.slow_ms)).await,
        _ => {}
    }
    let allowance = inner.limiter.take();
    let mut answer = match (allowance.retry_after, fault) {
        (Some(seconds), _) => too_many(&allowance.refusal(), seconds),
        (None, Some(FaultKind::TooManyRequests)) => too_many(&allowance.refusal(), faults.retry_after),
        (None, Some(FaultKind::InternalError)) => Refusal::broken(StatusCode::INTERNAL_SERVER_ERROR).answer(id),
        (None, Some(FaultKind::Unavailable)) => Refusal::broken(StatusCode::SERVICE_UNAVAILABLE).answer(id),
        (None, _) => match check_key(inner, faults.key, &request) {
            Some(refusal) => refusal.answer(id),
            None => next.run(request).await,
        },
    };
    allowance.write(answer.headers_mut());
    if let Ok(id) = HeaderValue::from_str(id) {
        answer.headers_mut().insert("x-request-id", id);
    }
    match fault {
        Some(FaultKind::TruncatedJson) => halve(answer, None).await,
        Some(FaultKind::ResetMidBody) => halve(answer, Some(scissors.clone())).await,
        _ => answer,
    }
}

fn too_many(body: &str, seconds: u64) -> Response<Body> {
    let mut answer = text_answer(StatusCode::TOO_MANY_REQUESTS, "application/json; charset=utf-8", body.to_owned());
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn html_bad_gateway() -> Response<Body> {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\
                \r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";
    text_answer(StatusCode::BAD_GATEWAY, "text/html", page.to_owned())
}

/// The first half of an answer's body: as if that were all, or with the connection reset after it.
async fn halve(answer: Response<Body>, scissors: Option<Scissors>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    // Our own answers are in memory, whole.
    let whole = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let Some(scissors) = scissors else {
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::from(half));
    };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let chunks = stream::unfold((Some(half), scissors), |(half, scissors)| async move {
        if let Some(half) = half {
            return Some((Ok::<Bytes, Infallible>(half), (None, scissors)));
        }
        // Let the first half leave before the cut; how long that takes does not matter to what the client learns.
        tokio::time::sleep(Duration::from_millis(20)).await;
        scissors.cut();
        Some((Ok(Bytes::from_static(b" ")), (None, scissors)))
    });
    Response::from_parts(parts, Body::from_stream(chunks))
}

fn check_key(inner: &Inner, state: KeyState, request: &Request) -> Option<Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(key) = header("x-api-key").or_else(|| header("x-user-api-key")).filter(|key| !key.is_empty()) else {
        return Some(Refusal::no_key());
    };
    if key != inner.options.api_key {
        return Some(Refusal::wrong_key(key));
    }
    let what = match endpoint(request.uri().path()).split('/').nth(1) {
        Some("toolkits") => "toolkits",
        Some("auth_configs") => "auth configs",
        Some("tools") => "tools",
        _ => "connected accounts",
    };
    match state {
        KeyState::Valid => None,
        KeyState::Unknown => Some(Refusal::wrong_key(key)),
        KeyState::Expired => Some(Refusal::expired_key()),
        KeyState::Blocked => Some(Refusal::blocked_key()),
        KeyState::NoAccess => Some(Refusal::no_scope("read", what)),
        KeyState::ReadOnly => (request.method() != Method::GET).then(|| Refusal::no_scope("write", what)),
    }
}

/// A path without its version and with its ids left out: `/connected_accounts/{id}/status`.
pub(super) fn endpoint(path: &str) -> String {
    let rest = path.strip_prefix("/api/v3.1").or_else(|| path.strip_prefix("/api/v3")).unwrap_or(path);
    let runs = rest.starts_with("/tools/execute/");
    let parts = rest.split('/').enumerate().map(|(place, part)| match (place, part) {
        (2, "link") => part,
        (2, "execute") if runs => part,
        (3, _) if runs => "{id}",
        (2, _) => "{id}",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_no_version_and_no_ids() {
        assert_eq!(endpoint("/api/v3.1/connected_accounts"), "/connected_accounts");
        assert_eq!(endpoint("/api/v3/connected_accounts/ca_1/status"), "/connected_accounts/{id}/status");
        assert_eq!(endpoint("/api/v3/connected_accounts/link"), "/connected_accounts/link");
        assert_eq!(endpoint("/api/v3.1/tools/SLACK_SEND_MESSAGE"), "/tools/{id}");
        assert_eq!(endpoint("/api/v3.1/tools/execute/SLACK_SEND_MESSAGE"), "/tools/execute/{id}");
    }
}
