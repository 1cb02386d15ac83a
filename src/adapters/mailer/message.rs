//! A mail ready to leave: envelope, `Message-ID` and bytes.
//!
//! The bytes of one digest are the same on every try, boundary and date included, so that a receiver that got two copies
//! can tell that they are one.

use std::fmt;
use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use url::{Host, Url};

use super::harmless::person;
use super::page::Page;
use crate::domain::notification::{Digest, EmailAddress};

/// A mail ready to leave. Its `Debug` shows no address and no content.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    pub(super) envelope: Envelope,
    pub(super) message_id: String,
    pub(super) template: String,
    pub(super) bytes: Vec<u8>,
}

impl Mail {
    /// The `Message-ID` without its angle brackets.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// What it was written with: the language, and a print of its templates that is another when they are; `de-0f3a91c2`.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Headers and content, as the mail server gets them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// To whom, in clear.
    #[must_use]
    pub fn recipient(&self) -> &str {
        self.envelope.to().first().map_or("", AsRef::as_ref)
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("message_id", &self.message_id)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A digest that cannot become a mail; trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A digest must be about something.
    #[error("the digest lists no connection")]
    Empty,
    /// The template of `notify.reconnect_url` gave something that is no link.
    #[error("the reconnect link is not an http or https URL: check notify.reconnect_url")]
    Link,
    /// The address is valid, but cannot be written into a mail.
    #[error("the address cannot be written into a mail")]
    Address,
    /// One-click unsubscribing needs https (RFC 8058).
    #[error("the unsubscribe link is not an https URL")]
    Unsubscribe,
    /// A template names something that is not there.
    #[error("{0}")]
    Template(#[from] minijinja::Error),
    /// The headers do not make a message.
    #[error("the mail cannot be built")]
    Build(#[from] lettre::error::Error),
}

/// Who writes: the same in every mail.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
}

/// Builds the message: text first, HTML second, as receivers expect of alternatives.
pub(super) fn build(
    sender: &Sender,
    digest: &Digest,
    page: Page,
    unsubscribe: Option<&Url>,
) -> Result<Mail, MailError> {
    let to = address(&digest.to)?;
    let message_id: String =
        digest.message_id.chars().filter(|c| c.is_ascii_graphic() && !"<>()\"\\,;:".contains(*c)).collect();
    let boundary = format!("=_{}", digest.notification.0.simple());
    let mut message = Message::builder()
        .from(sender.from.clone())
        .to(Mailbox::new(digest.name.as_deref().and_then(person), to.clone()))
        .subject(page.subject)
        .date(SystemTime::from(digest.now))
        .message_id(Some(format!("<{message_id}>")))
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"));
    if let Some(reply_to) = &sender.reply_to {
        message = message.reply_to(reply_to.clone());
    }
    if let Some(url) = unsubscribe {
        message = match url.scheme() {
            "https" => message
                .raw_header(header("List-Unsubscribe", &format!("<{url}>")))
                .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")),
            // Somebody tries it out: the link works for them, and no mail provider could reach it.
            _ if is_this_machine(url) => message,
            _ => return Err(MailError::Unsubscribe),
        };
    }
    let alternatives = MultiPart::alternative()
        .boundary(boundary)
        .singlepart(SinglePart::plain(page.text))
        .singlepart(SinglePart::html(page.html));
    let envelope = Envelope::new(Some(sender.from.email.clone()), vec![to])?;
    let bytes = message.envelope(envelope.clone()).multipart(alternatives)?.formatted();
    Ok(Mail { envelope, message_id, template: page.template, bytes })
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

pub(super) fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The address with its domain as DNS writes it, so that a domain with an umlaut needs no SMTPUTF8.
pub(super) fn address(address: &EmailAddress) -> Result<Address, MailError> {
    let text = address.as_str();
    let (local, domain) = text.rsplit_once('@').ok_or(MailError::Address)?;
    if text.chars().any(char::is_control) {
        return Err(MailError::Address);
    }
    let Ok(Host::Domain(domain)) = Host::parse(domain) else { return Err(MailError::Address) };
    Address::new(local, domain).map_err(|_| MailError::Address)
}
