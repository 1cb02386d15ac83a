//! What a mail says, in words: subject, heading, and one row for each connection.
//!
//! Every kind of incident has words of its own. Nothing here knows about text or HTML; both parts of a mail are filled with
//! the same words, so that neither says less than the other.

use serde::Serialize;
use url::Url;

use super::harmless::{NAME, one_line, person};
use super::message::MailError;
use crate::domain::incident::IncidentKind;
use crate::domain::notification::{Digest, DigestItem};

/// Everything a template may name.
#[derive(Debug, Serialize)]
pub(super) struct Words {
    pub(super) subject: String,
    heading: String,
    /// What a mail program shows beside the subject.
    preview: String,
    greeting: String,
    /// Said before everything else: that this is a test.
    notice: Option<String>,
    intro: String,
    layout: &'static str,
    sections: Vec<Section>,
    because: String,
    /// Where one click stops these mails.
    unsubscribe: Option<String>,
    sender: Option<String>,
}

/// The connections of one kind; it has a title only where there are several kinds.
#[derive(Debug, Serialize)]
struct Section {
    title: Option<&'static str>,
    many: bool,
    /// What to do, after "Select the button" or "Open the link".
    advice: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    initial: String,
    app: String,
    alias: Option<String>,
    /// "Not working since"
    since: &'static str,
    /// "3 November 2026"
    date: String,
    /// On the button.
    action: String,
    /// The button out of context, as a screen reader lists it.
    label: String,
    url: String,
}

/// What the words depend on besides the digest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context<'a> {
    /// What the mail calls the app.
    pub(super) app_name: Option<&'a str>,
    /// Where one click stops these mails.
    pub(super) unsubscribe: Option<&'a Url>,
    /// Whether this is only a test.
    pub(super) test: bool,
}

/// The names of one connection.
struct Named<'a> {
    item: &'a DigestItem,
    app: String,
    alias: Option<String>,
}

impl Named<'_> {
    fn full(&self) -> String {
        match &self.alias {
            Some(alias) => format!("{} ({alias})", self.app),
            None => self.app.clone(),
        }
    }
}

impl Words {
    pub(super) fn of(digest: &Digest, context: Context<'_>) -> Result<Self, MailError> {
        let items: Vec<Named<'_>> = digest.items.iter().map(named).collect();
        let Some(first) = items.first() else { return Err(MailError::Empty) };
        let kinds: Vec<IncidentKind> = KINDS.into_iter().filter(|kind| count(&items, *kind) > 0).collect();
        let single = match kinds.as_slice() {
            [kind] => Some(*kind),
            _ => None,
        };
        let heading = heading(single, &items);
        let subject = if context.test { format!("Test: {heading}") } else { heading.clone() };
        let many = items.len() > 1;
        let sections = kinds
            .iter()
            .map(|kind| section(*kind, single.is_none(), &items, digest))
            .collect::<Result<Vec<_>, MailError>>()?;
        let account = match context.app_name {
            Some(name) => format!("your {name} account"),
            None => "your account".to_owned(),
        };
        Ok(Self {
            subject,
            heading,
            preview: preview(single, many, &first.app),
            greeting: match digest.name.as_deref().and_then(person) {
                Some(name) => format!("Hello {name},"),
                None => "Hello,".to_owned(),
            },
            notice: context.test.then(|| "This is a test. Nothing has happened to any connection.".to_owned()),
            intro: intro(single, many, &first.app, context.app_name),
            layout: match items.len() {
                1 => "single",
                2..=COMPACT => "list",
                _ => "compact",
            },
            sections,
            because: if many {
                format!("You receive this email because these connections belong to {account}.")
            } else {
                format!("You receive this email because this connection belongs to {account}.")
            },
            unsubscribe: context.unsubscribe.map(ToString::to_string),
            sender: context.app_name.map(str::to_owned),
        })
    }
}

/// Longer lists are set closer and without ornament.
const COMPACT: usize = 12;

/// The order in which kinds appear.
const KINDS: [IncidentKind; 3] = [IncidentKind::Broken, IncidentKind::AttemptFailed, IncidentKind::Unfinished];

fn named(item: &DigestItem) -> Named<'_> {
    let shown = one_line(&item.app, NAME);
    let app = if shown.is_empty() { one_line(item.toolkit.as_str(), NAME) } else { shown };
    let alias = item.alias.as_deref().map(|alias| one_line(alias, NAME)).filter(|alias| !alias.is_empty());
    Named { item, app, alias }
}

fn count(items: &[Named<'_>], kind: IncidentKind) -> usize {
    items.iter().filter(|named| named.item.kind == kind).count()
}

/// The subject's words. `single` is the kind, if there is only one.
fn heading(single: Option<IncidentKind>, items: &[Named<'_>]) -> String {
    use IncidentKind::{AttemptFailed, Broken, Unfinished};
    let same_app = |app: &str| items.iter().all(|named| named.app == app);
    match (single, items) {
        (Some(Broken), [one]) => format!("Your {} connection has stopped working", one.full()),
        (Some(AttemptFailed), [one]) => format!("Connecting {} did not succeed", one.full()),
        (Some(Unfinished), [one]) => format!("Finish connecting {}", one.full()),
        (Some(kind), [one, other]) if one.full() != other.full() => {
            let both = format!("{} and {}", one.full(), other.full());
            match kind {
                Broken => format!("Your {both} connections have stopped working"),
                AttemptFailed => format!("Connecting {both} did not succeed"),
                Unfinished => format!("Finish connecting {both}"),
            }
        }
        (None, [one, other]) if one.full() != other.full() => {
            format!("Your {} and {} connections need your attention", one.full(), other.full())
        }
        (kind, items) => {
            let number = items.len();
            let app = match items.first() {
                Some(first) if same_app(&first.app) => format!("{} ", first.app),
                _ => String::new(),
            };
            match kind {
                Some(Broken) => format!("{number} of your {app}connections have stopped working"),
                Some(AttemptFailed) => format!("{number} of your {app}connections did not succeed"),
                Some(Unfinished) => format!("Finish {number} of your {app}connections"),
                None => format!("{number} of your {app}connections need your attention"),
            }
        }
    }
}

fn preview(single: Option<IncidentKind>, many: bool, app: &str) -> String {
    match (single, many) {
        (Some(IncidentKind::Broken), false) => format!("Reconnect {app} with one button."),
        (Some(IncidentKind::AttemptFailed), false) => format!("You can try {app} again."),
        (Some(IncidentKind::Unfinished), false) => "One step is missing.".to_owned(),
        (Some(IncidentKind::Broken), true) => "Reconnect each of them with one button.".to_owned(),
        (Some(IncidentKind::AttemptFailed), true) => "You can try again.".to_owned(),
        (Some(IncidentKind::Unfinished), true) => "One step is missing in each.".to_owned(),
        (None, _) => "One button for each connection puts it right.".to_owned(),
    }
}

fn intro(single: Option<IncidentKind>, many: bool, app: &str, sender: Option<&str>) -> String {
    let who = sender.unwrap_or("We");
    let to = sender.map(|name| format!(" to {name}")).unwrap_or_default();
    match (single, many) {
        (Some(IncidentKind::Broken), false) => format!(
            "{who} can no longer reach your {app} account, usually because its permission ran out or a password was \
             changed. Whatever needs {app} cannot work until you reconnect it."
        ),
        (Some(IncidentKind::Broken), true) => format!(
            "{who} can no longer reach these accounts, usually because a permission ran out or a password was changed. \
             Whatever needs them cannot work until you reconnect them."
        ),
        (Some(IncidentKind::AttemptFailed), false) => {
            format!("You tried to connect {app}{to}, and it did not work. Nothing that worked before was lost.")
        }
        (Some(IncidentKind::AttemptFailed), true) => {
            format!(
                "You tried to make these connections{to}, and they did not work. Nothing that worked before was lost."
            )
        }
        (Some(IncidentKind::Unfinished), false) => {
            format!("You began to connect {app}{to}, but the last step is missing.")
        }
        (Some(IncidentKind::Unfinished), true) => {
            format!("You began to make these connections{to}, but the last step is missing.")
        }
        (None, _) => format!("Some of your connections{to} need a moment of your time."),
    }
}

fn section(kind: IncidentKind, titled: bool, items: &[Named<'_>], digest: &Digest) -> Result<Section, MailError> {
    let of_kind: Vec<&Named<'_>> = items.iter().filter(|named| named.item.kind == kind).collect();
    let rows = of_kind.iter().map(|named| row(named, items.len() > 1, digest)).collect::<Result<Vec<_>, _>>()?;
    let many = of_kind.len() > 1;
    let (title, advice) = match kind {
        IncidentKind::Broken if many => {
            ("Stopped working", "and sign in when you are asked to. It takes about a minute each.")
        }
        IncidentKind::Broken => ("Stopped working", "and sign in when you are asked to. It takes about a minute."),
        IncidentKind::AttemptFailed => {
            ("Did not succeed", "to try again, and allow the access that you are asked for.")
        }
        IncidentKind::Unfinished => ("Not finished yet", "to go on where you stopped."),
    };
    Ok(Section { title: titled.then_some(title), many, advice, rows })
}

fn row(named: &Named<'_>, among_many: bool, digest: &Digest) -> Result<Row, MailError> {
    let zone = digest.time_zone.unwrap_or(chrono_tz::UTC);
    let date = named.item.since.with_timezone(&zone).format("%-d %B %Y");
    let full = named.full();
    let (since, short, label) = match named.item.kind {
        IncidentKind::Broken => ("Not working since", "Reconnect", format!("Reconnect {full}")),
        IncidentKind::AttemptFailed => ("Tried on", "Try again", format!("Try {full} again")),
        IncidentKind::Unfinished => ("Begun on", "Finish", format!("Finish connecting {full}")),
    };
    Ok(Row {
        kind: named.item.kind.as_str(),
        initial: named.app.chars().find(|c| c.is_alphanumeric()).map_or("•".into(), |c| c.to_uppercase().collect()),
        app: named.app.clone(),
        alias: named.alias.clone(),
        since,
        date: date.to_string(),
        action: if among_many { short.to_owned() } else { label.clone() },
        label,
        url: link(&named.item.reconnect_url)?,
    })
}

/// A link that a mail may carry: `https`, or `http` for an app that is tried out on its maker's machine.
fn link(text: &str) -> Result<String, MailError> {
    match Url::parse(text.trim()) {
        Ok(url) if matches!(url.scheme(), "https" | "http") => Ok(url.into()),
        _ => Err(MailError::Link),
    }
}
