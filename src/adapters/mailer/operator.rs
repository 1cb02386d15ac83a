//! Mails to the operator: what an alert says, as text and as plain HTML.
//!
//! The bytes of one message are the same on every try and for every operator but for the recipient, so that a copy is known by
//! its `Message-ID`.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::message::{Mailbox, Message as Builder, MultiPart, SinglePart};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use uuid::Uuid;

use super::Mailer;
use super::harmless::one_line;
use super::message::{Mail, MailError, address, header};
use crate::domain::alert::{Alert, Message};
use crate::domain::notice::{Part, Tone, heading, instant, made_at, parts};
use crate::domain::notification::EmailAddress;

/// The longest subject, in characters; the mail itself says all of it.
const SUBJECT: usize = 150;
/// So many alerts are told in full, and so many that have ended are named.
const SHOWN: usize = 20;
const HTML: &str = "operator.html";

/// What the HTML part is filled with.
#[derive(Serialize)]
struct Words<'a> {
    tone: &'static str,
    heading: &'a str,
    title: &'a str,
    several: bool,
    firing: Vec<Fires<'a>>,
    ended: Vec<String>,
    more: Option<String>,
    foot: &'a str,
}

#[derive(Serialize)]
struct Fires<'a> {
    summary: &'a str,
    since: String,
    parts: Vec<Part>,
}

impl Mailer {
    /// The mail that tells an operator what a message says. `id` is the message's own: with it go the `Message-ID` and the date.
    ///
    /// # Errors
    /// The address cannot be written into a mail, or the template cannot be filled.
    pub fn compose_alert(
        &self,
        id: Uuid,
        message: &Message,
        to: &EmailAddress,
        now: DateTime<Utc>,
    ) -> Result<Mail, MailError> {
        let sender = &self.letterhead.sender;
        let title = message.title();
        let foot = self.letterhead.app_name.as_deref().map_or_else(
            || "Sent by connection-auditor".to_owned(),
            |app| format!("Sent by connection-auditor of {app}"),
        ) + ", because this address stands in alerts.email. `connection-auditor alerts list` shows all alerts.";
        let to = address(to)?;
        let message_id = format!("alert-{}@{}", id.simple(), self.domain());
        let mail = Builder::builder()
            .from(sender.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(one_line(&format!("[connection-auditor] {title}"), SUBJECT))
            .date(SystemTime::from(made_at(id).unwrap_or(now)))
            .message_id(Some(format!("<{message_id}>")))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"));
        let alternatives = MultiPart::alternative()
            .boundary(format!("=_{}", id.simple()))
            .singlepart(SinglePart::plain(text(message, &title, &foot)))
            .singlepart(SinglePart::html(html(message, &title, &foot)?));
        let envelope = Envelope::new(Some(sender.from.email.clone()), vec![to])?;
        let bytes = mail.envelope(envelope.clone()).multipart(alternatives)?.formatted();
        Ok(Mail { envelope, message_id, template: "operator".to_owned(), bytes })
    }
}

fn text(message: &Message, title: &str, foot: &str) -> String {
    let several = message.firing.len() + message.ended.len() > 1;
    let mut blocks = vec![title.to_owned()];
    for alert in message.firing.iter().take(SHOWN) {
        if several {
            let summary = &alert.condition.summary;
            blocks.push(format!("{summary}\n{}", "-".repeat(summary.chars().count().min(72))));
        }
        blocks.push(alert.condition.detail.trim_end().to_owned());
        blocks.push(format!("Since {}", instant(alert.since)));
    }
    if !message.ended.is_empty() {
        let ended: Vec<String> = message.ended.iter().take(SHOWN).map(|alert| format!("- {}", over(alert))).collect();
        blocks.push(format!("Over:\n{}", ended.join("\n")));
    }
    blocks.extend(more(message));
    blocks.push(format!("-- \n{foot}"));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

fn html(message: &Message, title: &str, foot: &str) -> Result<String, MailError> {
    let words = Words {
        tone: message.tone().as_str(),
        heading: match message.tone() {
            Tone::Firing => heading(&message.kind),
            Tone::Resolved => "Over",
            Tone::Test => "Test",
        },
        title,
        several: message.firing.len() + message.ended.len() > 1,
        firing: message
            .firing
            .iter()
            .take(SHOWN)
            .map(|alert| Fires {
                summary: &alert.condition.summary,
                since: instant(alert.since),
                parts: parts(&alert.condition.detail),
            })
            .collect(),
        ended: message.ended.iter().take(SHOWN).map(over).collect(),
        more: more(message),
        foot,
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_template(HTML, include_str!("operator.html"))?;
    Ok(environment.get_template(HTML)?.render(Value::from(Serde(words)))?)
}

fn more(message: &Message) -> Option<String> {
    let hidden = message.firing.len().saturating_sub(SHOWN) + message.ended.len().saturating_sub(SHOWN);
    (hidden > 0).then(|| format!("And {hidden} more."))
}

fn over(alert: &Alert) -> String {
    let until = alert.ended_at.map(|at| format!(", over since {}", instant(at))).unwrap_or_default();
    format!("{} (since {}{until})", alert.condition.summary, instant(alert.since))
}
