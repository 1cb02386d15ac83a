//! What a mail says: every phrase, in the recipient's language.
//!
//! The phrases are macros of `words.txt`. Both parts of a mail are filled with the same phrases, so that neither says less than
//! the other. Phrases are plain text: escaping is the business of the page that shows them.

use minijinja::value::{Serde, Value};
use minijinja::{Captured, Environment, Error, ErrorKind};
use serde::Serialize;

use super::facts::{Connection, Facts, Section};

/// Longer lists are set closer and without ornament.
const COMPACT: usize = 12;

/// Everything that `digest.txt` and `digest.html` may name.
#[derive(Debug, Serialize)]
pub(super) struct Words<'a> {
    mail: &'a Facts,
    pub(super) subject: String,
    /// The subject, without the mark of a test.
    heading: String,
    /// What a mail program shows beside the subject.
    preview: String,
    greeting: String,
    /// Said before everything else: that this is a test.
    notice: Option<String>,
    intro: String,
    /// `single`, `list` or `compact`.
    layout: &'static str,
    sections: Vec<Shown<'a>>,
    done: String,
    because: String,
    stop: String,
    stop_by_reply: String,
}

/// The connections of one kind; it has a title only where there are several kinds.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    title: Option<String>,
    button_advice: String,
    link_advice: String,
    rows: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    kind: &'static str,
    initial: &'a str,
    app: &'a str,
    alias: Option<&'a str>,
    /// "Not working since 3 November 2026"
    since: String,
    /// On the button.
    action: String,
    /// The button out of context, as a screen reader lists it.
    label: String,
    url: &'a str,
}

impl<'a> Words<'a> {
    /// The words for these facts; `subject` is what `subject.txt` made of them.
    pub(super) fn of(facts: &'a Facts, subject: &str, phrases: &mut Phrases<'_>) -> Result<Self, Error> {
        let heading = on_one_line(subject);
        let titled = facts.sections.len() > 1;
        let among_many = facts.count > 1;
        Ok(Self {
            subject: if facts.test {
                phrases.say("test_subject", &[Value::from(heading.as_str())])?
            } else {
                heading.clone()
            },
            preview: phrases.say("preview", &[])?,
            greeting: phrases.say("greeting", &[])?,
            notice: if facts.test { Some(phrases.say("test_notice", &[])?) } else { None },
            intro: phrases.say("intro", &[])?,
            layout: match facts.count {
                1 => "single",
                2..=COMPACT => "list",
                _ => "compact",
            },
            sections: facts
                .sections
                .iter()
                .map(|section| Shown::of(section, titled, among_many, phrases))
                .collect::<Result<_, _>>()?,
            done: phrases.say("done", &[])?,
            because: phrases.say("because", &[])?,
            stop: phrases.say("stop", &[])?,
            stop_by_reply: phrases.say("stop_by_reply", &[])?,
            mail: facts,
            heading,
        })
    }
}

impl<'a> Shown<'a> {
    fn of(section: &'a Section, titled: bool, among_many: bool, phrases: &mut Phrases<'_>) -> Result<Self, Error> {
        let given = Value::from(Serde(section));
        Ok(Self {
            title: if titled { Some(phrases.say("title", std::slice::from_ref(&given))?) } else { None },
            button_advice: phrases.say("button_advice", std::slice::from_ref(&given))?,
            link_advice: phrases.say("link_advice", &[given])?,
            rows: section
                .connections
                .iter()
                .map(|connection| Row::of(connection, among_many, phrases))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> Row<'a> {
    fn of(connection: &'a Connection, among_many: bool, phrases: &mut Phrases<'_>) -> Result<Self, Error> {
        let given = Value::from(Serde(connection));
        // A date is not broken at the end of a line.
        let date = phrases.say("date", &[Value::from(Serde(&connection.date))])?.replace(' ', "\u{a0}");
        let label = phrases.say("label", std::slice::from_ref(&given))?;
        Ok(Self {
            kind: connection.kind,
            initial: &connection.initial,
            app: &connection.app,
            alias: connection.alias.as_deref(),
            since: phrases.say("since", &[given.clone(), Value::from(date)])?,
            action: if among_many { phrases.say("action", &[given])? } else { label.clone() },
            label,
            url: &connection.url,
        })
    }
}

/// The files of one language in which phrases are looked up, the most specific first: a file may replace a single phrase.
pub(super) struct Phrases<'e> {
    files: &'e [String],
    read: Vec<Captured<'e>>,
}

impl<'e> Phrases<'e> {
    pub(super) fn of(environment: &'e Environment<'_>, files: &'e [String], mail: &Value) -> Result<Self, Error> {
        let read = |file: &String| environment.get_template(file)?.render_captured(mail.clone());
        Ok(Self { files, read: files.iter().map(read).collect::<Result<_, Error>>()? })
    }

    fn say(&mut self, phrase: &str, given: &[Value]) -> Result<String, Error> {
        let knows = |file: &&mut Captured<'_>| file.state().lookup(phrase).is_some();
        let Some(file) = self.read.iter_mut().find(knows) else {
            let files = self.files.join(", nor in ");
            let lacking =
                format!("there is no macro `{phrase}` in {files}: add it, as the built-in en/words.txt has it");
            return Err(Error::new(ErrorKind::UnknownFunction, lacking));
        };
        file.with_state_mut(|state| state.call_macro(phrase, given)).map(|said| on_one_line(&said))
    }
}

/// The text without line ends; unlike other space, U+00A0 stays.
fn on_one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
