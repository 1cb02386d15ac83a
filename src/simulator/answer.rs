//! Answers in the API's own shapes: JSON, and the error envelope with the codes and slugs that were seen in the wild.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

/// A refusal, as the error envelope tells it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) slug: &'static str,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, code: u32, slug: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, slug, message: message.into(), fix: "" }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 400, "HTTP_BadRequest", message)
    }

    pub(super) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 906, "Auth_NoAuthProvided", "No authentication provided")
    }

    /// The key is shown as the API shows it: the first three characters and the last four.
    pub(super) fn wrong_key(key: &str) -> Self {
        let letters: Vec<char> = key.chars().collect();
        let head: String = letters.iter().take(3).collect();
        let tail: String = letters.iter().skip(letters.len().saturating_sub(4)).collect();
        let message = format!("Invalid API key: {head}**{tail}");
        Self {
            fix: "Please check you are using a valid API key.",
            ..Self::new(StatusCode::UNAUTHORIZED, 801, "APIKey_InvalidAPIKey", message)
        }
    }

    pub(super) fn expired_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 811, "APIKey_APIKeyExpired", "API key has expired")
    }

    pub(super) fn blocked_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 902, "Auth_Unauthorized", "Access denied")
    }

    pub(super) fn no_scope(access: &str, what: &str) -> Self {
        let message = format!("This API key does not have {access} access to {what}");
        Self::new(StatusCode::FORBIDDEN, 812, "APIKey_InsufficientPermissions", message)
    }

    pub(super) fn no_account(id: &str) -> Self {
        let message = format!("Connected account \"{id}\" not found");
        Self::new(StatusCode::NOT_FOUND, 606, "ConnectedAccount_ResourceNotFound", message)
    }

    pub(super) fn no_auth_config(id: &str) -> Self {
        let message = format!("Auth config \"{id}\" not found");
        Self::new(StatusCode::NOT_FOUND, 607, "AuthConfig_ResourceNotFound", message)
    }

    pub(super) fn no_toolkit(slug: &str) -> Self {
        let message = format!("Toolkit \"{slug}\" not found");
        Self::new(StatusCode::NOT_FOUND, 4301, "Toolkit_ToolkitNotFound", message)
    }

    pub(super) fn no_tool(slug: &str) -> Self {
        let message = format!("Tool \"{slug}\" not found");
        Self::new(StatusCode::NOT_FOUND, 2401, "Tool_ToolNotFound", message)
    }

    pub(super) fn execute_without_account(id: &str) -> Self {
        let message = format!("No connected account found for {id}");
        Self::new(StatusCode::NOT_FOUND, 1810, "ActionExecute_ConnectedAccountNotFound", message)
    }

    pub(super) fn not_their_account(id: &str) -> Self {
        let message = format!("Connected account {id} does not belong to the user");
        Self::new(StatusCode::BAD_REQUEST, 1812, "ActionExecute_ConnectedAccountEntityIdMismatch", message)
    }

    pub(super) fn account_expired(id: &str) -> Self {
        let message = format!("Connected account {id} is in EXPIRED state");
        Self::new(StatusCode::GONE, 1820, "ActionExecute_ConnectedAccountExpired", message)
    }

    pub(super) fn invalid_state(id: &str, status: &str) -> Self {
        let message = format!("Invalid state of the connected account {id}: {status}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, 422, "HTTP_UnprocessableEntity", message)
    }

    pub(super) fn no_route(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 404, "HTTP_NotFound", format!("Route {path} not found"))
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, 409, "HTTP_Conflict", message)
    }

    pub(super) fn retired() -> Self {
        Self::bad_request(
            "Creating connected accounts for Composio-managed OAuth through this endpoint is no longer supported. \
             Use POST /api/v3/connected_accounts/link instead.",
        )
    }

    pub(super) fn broken(status: StatusCode) -> Self {
        let (slug, message) = match status {
            StatusCode::SERVICE_UNAVAILABLE => ("HTTP_ServiceUnavailable", "Service temporarily unavailable"),
            _ => ("HTTP_InternalServerError", "Something went wrong"),
        };
        Self::new(status, u32::from(status.as_u16()), slug, message)
    }

    pub(super) fn answer(&self, request_id: &str) -> Response<Body> {
        let body = json!({
            "error": {
                "message": self.message,
                "code": self.code,
                "slug": self.slug,
                "status": self.status.as_u16(),
                "request_id": request_id,
                "suggested_fix": self.fix,
            }
        });
        json_answer(self.status, &body)
    }
}

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // What is serialised here are our own structs and maps with text keys, which always can be.
    text_answer(status, "application/json; charset=utf-8", serde_json::to_string(body).unwrap_or_default())
}

/// Any answer.
pub(super) fn text_answer(status: StatusCode, media: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}
