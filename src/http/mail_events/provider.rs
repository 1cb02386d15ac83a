//! The forms of mail providers. Each is read for what it says of addresses; fields that do not matter here are not looked at.
//!
//! | provider | permanent bounce | complaint | source |
//! |---|---|---|---|
//! | Postmark | `RecordType` `Bounce` with `Type` `HardBounce` or `BadEmailAddress` | `SpamComplaint` | postmarkapp.com/developer, bounce and spam complaint webhooks |
//! | SendGrid | `event` `bounce`, but `type` `blocked`; `dropped` for it | `spamreport` | Twilio docs, Event Webhook reference |
//! | Brevo | `hard_bounce`, `invalid_email` | `spam`, `complaint` | developers.brevo.com, transactional webhooks |
//! | Mailgun | `failed` with `severity` `permanent` | `complained` | documentation.mailgun.com, events |
//! | Amazon SES | `Bounce` with `bounceType` `Permanent` | `Complaint`, but `not-spam` | docs.aws.amazon.com/ses, notification contents |
//! | Resend | `email.bounced`, but `Transient` and `Undetermined` | `email.complained` | resend.com/docs, webhooks |

use serde_json::Value;
use url::Url;

use super::report::{Event, Report, text};
use crate::domain::suppression::SuppressionKind::{Bounce, Complaint};

/// Reads a body in the form of one of the providers; none if it is in none.
pub(super) fn read(body: &Value) -> Option<Report> {
    if let Some(events) = body.as_array() {
        return events.iter().all(Value::is_object).then(|| listed(events));
    }
    body.as_object()?;
    if let Some(record) = text(body, "/RecordType") {
        return Some(Report::of("Postmark", vec![postmark(record, body)]));
    }
    if let Some(event) = body.get("event-data") {
        return Some(Report::of("Mailgun", vec![mailgun(event)]));
    }
    if let (Some(kind), Some(_)) = (text(body, "/Type"), text(body, "/Message")) {
        return Some(sns(kind, body));
    }
    if body.get("notificationType").or(body.get("eventType")).is_some_and(Value::is_string) {
        return Some(Report::of(SES, ses(body)));
    }
    if text(body, "/source") == Some("aws.ses") {
        return Some(Report::of(SES, body.get("detail").map(ses).unwrap_or_default()));
    }
    if let (Some(kind), Some(data)) = (text(body, "/type"), body.get("data").filter(|data| data.is_object())) {
        return Some(Report::of("Resend", resend(kind, data, body)));
    }
    (text(body, "/event").is_some() && body.get("email").is_some()).then(|| listed(std::slice::from_ref(body)))
}

const SES: &str = "Amazon SES";
const FALSE: Value = Value::Bool(false);

fn postmark(record: &str, event: &Value) -> Event {
    let said = text(event, "/Details").or(text(event, "/Description"));
    let reported = |kind| Event::reported(kind, event.get("Email"), said, event.get("BouncedAt"));
    match (record, text(event, "/Type")) {
        ("Bounce", Some("HardBounce" | "BadEmailAddress")) => reported(Bounce),
        ("SpamComplaint", _) | ("Bounce", Some("SpamComplaint")) => reported(Complaint),
        ("Bounce", _) => Event::Transient,
        _ => Event::Other,
    }
}

/// `SendGrid` and Brevo name their events apart, so one list serves both.
fn listed(events: &[Value]) -> Report {
    let is_brevos = |event: &Value| event.get("ts_event").or(event.get("message-id")).is_some();
    let provider = if events.iter().any(is_brevos) { "Brevo" } else { "SendGrid" };
    Report::of(provider, events.iter().map(one_listed).collect())
}

fn one_listed(event: &Value) -> Event {
    let at = event.get("timestamp").or(event.get("ts_event"));
    let said = text(event, "/reason");
    let reported = |kind| Event::reported(kind, event.get("email"), said, at);
    match text(event, "/event") {
        // `hard_bounce` is how Mailjet tells the two apart, whose events look alike.
        Some("bounce") if text(event, "/type") == Some("blocked") || event.get("hard_bounce") == Some(&FALSE) => {
            Event::Transient
        }
        Some("bounce" | "hard_bounce" | "invalid_email") => reported(Bounce),
        Some("spamreport" | "spam" | "complaint") => reported(Complaint),
        // Not even tried, because of what happened before.
        Some("dropped") => match said {
            Some("Bounced Address" | "Invalid") => reported(Bounce),
            Some("Spam Reporting Address") => reported(Complaint),
            _ => Event::Other,
        },
        Some("soft_bounce" | "blocked" | "deferred" | "error") => Event::Transient,
        _ => Event::Other,
    }
}

fn mailgun(event: &Value) -> Event {
    let said = text(event, "/delivery-status/message")
        .filter(|message| !message.is_empty())
        .or(text(event, "/delivery-status/description"))
        .or(text(event, "/reason"));
    let reported = |kind| Event::reported(kind, event.get("recipient"), said, event.get("timestamp"));
    // Refused for the sender or the content: not the address's doing.
    let is_policy = text(event, "/delivery-status/enhanced-code").is_some_and(|code| code.starts_with("5.7."));
    match (text(event, "/event"), text(event, "/severity"), text(event, "/reason")) {
        (Some("complained"), _, _) | (Some("failed"), Some("permanent"), Some("suppress-complaint")) => {
            reported(Complaint)
        }
        (Some("failed"), Some("permanent"), Some("suppress-unsubscribe")) => Event::Other,
        // `old`: tried in vain until there was no time left.
        (Some("failed"), Some("permanent"), reason) if !is_policy && reason != Some("old") => reported(Bounce),
        (Some("failed"), _, _) => Event::Transient,
        _ => Event::Other,
    }
}

fn sns(kind: &str, body: &Value) -> Report {
    if kind == "SubscriptionConfirmation" {
        let url = text(body, "/SubscribeURL").and_then(|url| Url::parse(url).ok());
        let host = url.as_ref().and_then(Url::host_str).unwrap_or("unknown");
        return Report { provider: SES, events: Vec::new(), confirm_at: Some(host.to_owned()) };
    }
    // What else a topic carries is text, or somebody else's.
    let message = text(body, "/Message").and_then(|message| serde_json::from_str::<Value>(message).ok());
    let events = match (kind, message) {
        ("Notification", Some(message)) => ses(&message),
        _ => vec![Event::Other],
    };
    Report::of(SES, events)
}

fn ses(message: &Value) -> Vec<Event> {
    match text(message, "/notificationType").or(text(message, "/eventType")) {
        Some("Bounce") => {
            let recipients = people(message, "/bounce/bouncedRecipients");
            if text(message, "/bounce/bounceType") != Some("Permanent") {
                return recipients.iter().map(|_| Event::Transient).collect();
            }
            let at = message.pointer("/bounce/timestamp");
            let reported = |one: &Value| {
                let said = text(one, "/diagnosticCode").or(text(message, "/bounce/bounceSubType"));
                Event::reported(Bounce, one.get("emailAddress"), said, at)
            };
            recipients.iter().map(reported).collect()
        }
        // `not-spam` is the opposite: moved out of the spam folder.
        Some("Complaint") if text(message, "/complaint/complaintFeedbackType") != Some("not-spam") => {
            let (said, at) =
                (text(message, "/complaint/complaintFeedbackType"), message.pointer("/complaint/timestamp"));
            let reported = |one: &Value| Event::reported(Complaint, one.get("emailAddress"), said, at);
            people(message, "/complaint/complainedRecipients").iter().map(reported).collect()
        }
        _ => vec![Event::Other],
    }
}

fn people<'a>(message: &'a Value, pointer: &str) -> &'a [Value] {
    message.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn resend(kind: &str, data: &Value, body: &Value) -> Vec<Event> {
    let to = people(data, "/to");
    let said = text(data, "/bounce/message");
    let reported = |kind| to.iter().map(|one| Event::reported(kind, Some(one), said, body.get("created_at"))).collect();
    match (kind, text(data, "/bounce/type")) {
        ("email.bounced", Some("Transient" | "Undetermined")) => to.iter().map(|_| Event::Transient).collect(),
        // A mail to several tells of one bounce and not whose.
        ("email.bounced", _) if to.len() > 1 => vec![Event::Other],
        ("email.bounced", _) => reported(Bounce),
        ("email.complained", _) if to.len() <= 1 => reported(Complaint),
        _ => vec![Event::Other],
    }
}
