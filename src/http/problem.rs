//! A refusal, as RFC 9457 describes it. Its `type` is `about:blank`, so its title is that of the status; what a program
//! goes by is its `code`. Nothing of the request is repeated in it but, to whom we know, the names of fields.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::gate::AppGate;

/// How long whoever met an outage should wait.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// What a problem is, on the wire.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    code: Option<&'static str>,
    errors: Vec<FieldError>,
    gate: Option<Box<AppGate>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// Which: its path within the body, or the name of the parameter.
    field: String,
    /// What was expected.
    message: String,
}

/// Why a request was refused (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// Always `about:blank`: the status says what kind of problem it is, the code which one.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request, for people.
    detail: &'a str,
    /// The same for programs: a word that does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// What the gate said, where it kept a tool from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<&'a AppGate>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), code: None, errors: Vec::new(), gate: None, headers: Vec::new() }
    }

    /// The request itself is wrong; `detail` says what was expected.
    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// One field of it is wrong, which is named.
    pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError { field: field.into(), message: message.into() };
        let detail = format!("{}: {}", error.field, error.message);
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).coded("invalid_field");
        problem.errors.push(error);
        problem
    }

    /// The shared secret is missing or wrong.
    pub(super) fn unauthorized(detail: &'static str) -> Self {
        // Amazon SNS shows its password only to who asks for Basic.
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"connection-auditor\""))
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method: see Allow")
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB")
    }

    /// It is our fault, and the same request may succeed later.
    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
    }

    /// It is our fault, and the log says why.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the operator finds the reason in the log, under the request id")
    }

    /// With a word that programs go by.
    pub(super) fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// With what the gate said.
    pub(super) fn gated(self, app: AppGate) -> Self {
        Self { gate: Some(Box::new(app)), ..self }
    }

    /// With a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the time after which the same request may succeed, in whole seconds, at least one.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.headers.retain(|(name, _)| name != header::RETRY_AFTER);
        self.with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.errors,
            gate: self.gate.as_deref(),
        };
        let mut answer = (self.status, Json(body)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        answer
    }
}
