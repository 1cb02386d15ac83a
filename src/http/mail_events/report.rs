//! A body becomes events: whose form it is in, and what it reports. Pure: bytes in, events out, whatever the bytes.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::provider;
use crate::domain::suppression::SuppressionKind;

/// What a provider reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Who.
    pub(super) provider: &'static str,
    /// What, in its order.
    pub(super) events: Vec<Event>,
    /// The host of a link that the operator must follow before anything is reported.
    pub(super) confirm_at: Option<String>,
}

/// One event of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// No mail to this address is worth trying, or wanted.
    Reported(Reported),
    /// A bounce that may pass.
    Transient,
    /// Something else: delivered, opened, not known to this version.
    Other,
}

/// A permanent bounce or a complaint. It holds an address in clear, so it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) kind: SuppressionKind,
    pub(super) address: String,
    /// Why, in the words of the provider; may repeat the address.
    pub(super) said: Option<String>,
    pub(super) at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reported").field("kind", &self.kind).field("at", &self.at).finish_non_exhaustive()
    }
}

/// A body that nothing can be learned from. Nothing of it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is no JSON.
    #[error("the body is not JSON (line {line}, column {column})")]
    Json {
        /// Where reading stopped.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// It is in no form that is known.
    #[error(
        "expected events of Postmark, SendGrid, Mailgun, Amazon SES (through SNS or EventBridge), Resend or Brevo, or \
         {{\"events\": [{{\"type\": \"bounce\" or \"complaint\", \"email\": \"...\", \"permanent\": true or false, \
         \"reason\": \"...\", \"at\": \"2026-01-31T09:00:00Z\"}}]}}"
    )]
    Form,
    /// Our own form, with something missing.
    #[error("events[{index}].{field}: expected {expected}")]
    Field {
        /// Which event, from 0.
        index: usize,
        /// Which of its fields.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl Report {
    pub(super) fn of(provider: &'static str, events: Vec<Event>) -> Self {
        Self { provider, events, confirm_at: None }
    }
}

impl Event {
    /// A bounce or complaint of whom `address` names; without a text there it cannot be used, but is counted as reported.
    pub(super) fn reported(
        kind: SuppressionKind,
        address: Option<&Value>,
        said: Option<&str>,
        at: Option<&Value>,
    ) -> Self {
        let address = address.and_then(Value::as_str).unwrap_or_default().to_owned();
        Self::Reported(Reported { kind, address, said: said.map(ToOwned::to_owned), at: at.and_then(instant) })
    }
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Report, Unreadable> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Unreadable::Json { line: error.line(), column: error.column() })?;
    if let Some(events) = body.get("events").and_then(Value::as_array) {
        return own(events);
    }
    provider::read(&body).ok_or(Unreadable::Form)
}

/// Our own form. Who writes it by hand is told what is wrong with it.
fn own(events: &[Value]) -> Result<Report, Unreadable> {
    let read = |(index, event): (usize, &Value)| {
        let wrong = |field, expected| Unreadable::Field { index, field, expected };
        let kind = text(event, "/type").ok_or(wrong("type", "\"bounce\" or \"complaint\""))?;
        let kind = match kind {
            "bounce" => SuppressionKind::Bounce,
            "complaint" => SuppressionKind::Complaint,
            _ => return Ok(Event::Other),
        };
        if kind == SuppressionKind::Bounce {
            let permanent = event.get("permanent").and_then(Value::as_bool);
            if !permanent.ok_or(wrong("permanent", "true or false"))? {
                return Ok(Event::Transient);
            }
        }
        text(event, "/email").ok_or(wrong("email", "a text"))?;
        Ok(Event::reported(kind, event.get("email"), text(event, "/reason"), event.get("at")))
    };
    let events: Result<Vec<Event>, Unreadable> = events.iter().enumerate().map(read).collect();
    Ok(Report::of("events", events?))
}

/// The text at a JSON pointer.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// An instant as providers write it: RFC 3339, or seconds since 1970, whole or not.
fn instant(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()),
        Value::Number(number) => {
            let seconds = number.as_f64()?;
            // Whole seconds are enough, and `as` saturates.
            #[expect(clippy::cast_possible_truncation, reason = "an instant of a bounce, to the second")]
            DateTime::from_timestamp(seconds as i64, 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
