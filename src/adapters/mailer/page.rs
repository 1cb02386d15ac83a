//! What a recipient reads: subject, plain text and HTML, filled in with the words of their language.

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use super::facts::{Context, Facts};
use super::message::MailError;
use super::templates::Voice;
use super::words::{Phrases, Words};
use crate::domain::notification::Digest;

/// What a recipient reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The language of its words.
    pub locale: String,
    /// What it was filled into: the language, and a print of its templates.
    pub template: String,
    /// On one line.
    pub subject: String,
    /// The plain part, which says all that the other does.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Fills a digest in. The same digest makes the same page.
pub(super) fn fill(
    environment: &Environment<'_>,
    voice: &Voice,
    digest: &Digest,
    context: Context<'_>,
) -> Result<Page, MailError> {
    let facts = Facts::of(digest, context)?;
    let mail = context! { mail => Value::from(Serde(&facts)) };
    let subject = environment.get_template(&voice.subject)?.render(mail.clone())?;
    let words = Words::of(&facts, &subject, &mut Phrases::of(environment, &voice.words, &mail)?)?;
    let given = Value::from(Serde(&words));
    let text = environment.get_template(&voice.text)?.render(given.clone())?;
    let html = environment.get_template(&voice.html)?.render(given)?;
    // Dates are kept together by U+00A0, which means nothing in plain text and is in the way of whoever searches it.
    let Words { subject, .. } = words;
    Ok(Page { subject, text: text.replace('\u{a0}', " "), html, locale: facts.locale, template: voice.name() })
}
