//! What a request brings, read once and refused as a problem that names the field.

use std::fmt;
use std::marker::PhantomData;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::access::Caller;
use crate::domain::id::{ToolSlug, Toolkit, UserId};
use crate::domain::port::StoreError;
use crate::http::problem::Problem;

/// Longer ids are none; Composio's own bound is not documented.
const LONGEST_ID: usize = 1_024;
/// Longer keys are none.
const LONGEST_KEY: usize = 255;

/// The user in the path, whatever text the id is.
pub(super) struct OfUser(pub(super) UserId);

/// The user and the app in the path.
pub(super) struct OfUserAndApp(pub(super) UserId, pub(super) Toolkit);

/// The user and the tool in the path.
pub(super) struct OfUserAndTool(pub(super) UserId, pub(super) ToolSlug);

/// The row in the path.
pub(super) struct Row(pub(super) Uuid);

/// The parameters after the `?`.
pub(super) struct Parameters<T>(pub(super) T);

/// The JSON in the body.
pub(super) struct Content<T>(pub(super) T);

/// What makes a repeated request the same: `Idempotency-Key`.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

/// A segment of the path, percent-decoded.
async fn segment(parts: &mut Parts, name: &str) -> Result<String, Problem> {
    let Ok(segments) = RawPathParams::from_request_parts(parts, &()).await else {
        return Err(Problem::bad_request("the path is not UTF-8 once it is percent-decoded").coded("invalid_path"));
    };
    let found = segments.iter().find(|(key, _)| *key == name);
    Ok(found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// Any text but none, or one that no database can hold.
pub(super) fn id(field: &'static str, text: String) -> Result<String, Problem> {
    match text.len() {
        0 => Err(Problem::invalid(field, "it is empty")),
        1..=LONGEST_ID if !text.contains('\0') => Ok(text),
        1..=LONGEST_ID => Err(Problem::invalid(field, "it holds a NUL character")),
        _ => Err(Problem::invalid(field, format!("it is longer than {LONGEST_ID} bytes"))),
    }
}

/// An app as Composio writes it.
pub(super) fn toolkit(field: &'static str, text: &str) -> Result<Toolkit, Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if text.is_empty() || text.len() > 100 || !text.chars().all(fits) {
        return Err(Problem::invalid(field, "expected an app as Composio writes it, such as googlecalendar"));
    }
    Ok(Toolkit::new(text.to_ascii_lowercase()))
}

impl<S: Sync> FromRequestParts<S> for OfUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        id("user", segment(parts, "user").await?).map(|text| Self(UserId::new(text)))
    }
}

impl<S: Sync> FromRequestParts<S> for OfUserAndApp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let OfUser(user) = OfUser::from_request_parts(parts, state).await?;
        Ok(Self(user, toolkit("toolkit", &segment(parts, "toolkit").await?)?))
    }
}

impl<S: Sync> FromRequestParts<S> for OfUserAndTool {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let OfUser(user) = OfUser::from_request_parts(parts, state).await?;
        id("tool", segment(parts, "tool").await?).map(|tool| Self(user, ToolSlug::new(tool)))
    }
}

impl<S: Sync> FromRequestParts<S> for Row {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // What is no id at all is not found, like an id of nothing.
        segment(parts, "id").await?.parse().map(Self).map_err(|_| Problem::not_found().coded("not_found"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => Err(misshapen(&error.body_text())),
            Err(_) => Err(Problem::bad_request("the query cannot be read").coded("invalid_query")),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Content<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::from_request(request, state).await {
            Ok(Json(Object(content))) => Ok(Self(content)),
            Err(JsonRejection::JsonDataError(error)) => Err(misshapen(&error.body_text())),
            Err(JsonRejection::JsonSyntaxError(_)) => {
                Err(Problem::bad_request("the body is not JSON").coded("invalid_json"))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let detail = "the body must be JSON: Content-Type: application/json";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).coded("unsupported_media_type"))
            }
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::too_large().coded("too_large"))
            }
            Err(_) => Err(Problem::bad_request("the body broke off").coded("invalid_body")),
        }
    }
}

/// An object; where a struct is wanted, serde would take a list of its fields too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A shape that is not the one expected. axum's text is `Failed to …: FIELD: MESSAGE at line …`, without the field where
/// the whole is meant.
fn misshapen(text: &str) -> Problem {
    let (_, told) = text.split_once(": ").unwrap_or(("", text));
    let told = told.rsplit_once(" at line ").map_or(told, |(told, _)| told);
    let path = |c: char| c.is_alphanumeric() || "._[]-".contains(c);
    match told.split_once(": ").filter(|(field, _)| !field.is_empty() && field.chars().all(path)) {
        Some((".", message)) => Problem::invalid(named(message).unwrap_or("body"), message),
        Some((field, message)) => Problem::invalid(named(message).unwrap_or(field), message),
        None => Problem::invalid(named(told).unwrap_or("body"), told),
    }
}

/// The field in `` missing field `x` `` and `` unknown field `x`, expected … ``.
fn named(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `"))?;
    rest.split_once('`').map(|(field, _)| field)
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        key(&parts.headers).map(Self)
    }
}

/// A key may stand in quotes, as the draft on the header wants it, or as it is, as most clients send it.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all("idempotency-key").iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if all.next().is_some() || text.is_empty() || text.len() > LONGEST_KEY {
        let message = format!("expected one key of 1 to {LONGEST_KEY} visible ASCII characters");
        return Err(Problem::invalid("Idempotency-Key", message));
    }
    Ok(Some(text.to_owned()))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The door puts it there.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// What the store could not do.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_permanent() {
            tracing::error!(event = "api.store_refused", %error, cause = ?std::error::Error::source(&error).map(ToString::to_string));
            return Self::internal().coded("internal");
        }
        tracing::warn!(event = "api.store_unavailable", %error);
        Self::unavailable("the database does not answer").coded("database_unavailable")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_stands_in_quotes_or_as_it_is() {
        let of = |texts: &[&'static str]| {
            let headers =
                texts.iter().map(|text| ("idempotency-key".parse().expect("a name"), HeaderValue::from_static(text)));
            key(&headers.collect()).map_err(|_| ())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["8e03978e"]), Ok(Some("8e03978e".to_owned())));
        assert_eq!(of(&["\"8e03978e\""]), Ok(Some("8e03978e".to_owned())));
        for wrong in [&[""][..], &["\"\""], &["a", "a"]] {
            assert_eq!(of(wrong), Err(()), "{wrong:?}");
        }
    }

    #[test]
    fn any_text_is_an_id_unless_it_is_none() {
        for text in ["user-1", "a/b", " ", "ü,?#%", "..", "a@b.example", "\u{202e}\n"] {
            assert!(id("user", text.to_owned()).is_ok(), "{text}");
        }
        for text in [String::new(), "a\0b".to_owned(), "x".repeat(1_025)] {
            assert!(id("user", text).is_err());
        }
    }
}
