//! What a mail is about, without a word: all that templates may name under `mail`.
//!
//! Names come from outside and are made harmless here, once. What is listed, counted or called a reminder is decided here too,
//! so that every language says it of the same mails.

use serde::Serialize;
use url::Url;

use super::harmless::{NAME, isolated, one_line, person};
use super::locale::{Date, Tag};
use super::message::MailError;
use crate::domain::incident::IncidentKind;
use crate::domain::notification::{Digest, DigestItem};
use crate::domain::stage::Stage;

/// The longest list of connections that the subject names one by one.
const LISTED: usize = 2;
/// The order in which kinds appear.
const KINDS: [IncidentKind; 3] = [IncidentKind::Broken, IncidentKind::AttemptFailed, IncidentKind::Unfinished];

/// What a mail is about.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// The language of the words: `pt-BR`.
    pub(super) locale: String,
    /// `ltr` or `rtl`.
    pub(super) direction: &'static str,
    /// What the mail calls the app: "Acme".
    pub(super) sender: Option<String>,
    /// Whom to greet.
    pub(super) name: Option<String>,
    /// The kind of all connections, or `mixed`.
    pub(super) kind: &'static str,
    /// Nothing is told for the first time, and something is told again.
    pub(super) reminder: bool,
    /// How many connections.
    pub(super) count: usize,
    /// The full names of all connections; empty if they are too many, or not told apart by them.
    pub(super) listed: Vec<String>,
    /// The app, if all connections are to the same.
    pub(super) app: Option<String>,
    pub(super) sections: Vec<Section>,
    /// Where one click stops these mails.
    pub(super) unsubscribe: Option<String>,
    /// Whether this only shows what users would get.
    pub(super) test: bool,
}

/// The connections of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) kind: &'static str,
    pub(super) count: usize,
    pub(super) connections: Vec<Connection>,
}

/// One connection.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Connection {
    pub(super) kind: &'static str,
    /// `first`, `reminder`, or `mention`: told before, and only listed.
    stage: &'static str,
    pub(super) app: String,
    pub(super) alias: Option<String>,
    /// "Slack (work)"
    full: String,
    /// The day on which it broke, or was tried.
    pub(super) date: Date,
    pub(super) url: String,
    #[serde(skip)]
    pub(super) initial: String,
}

/// What a mail depends on besides the digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// The language of the words.
    pub(super) locale: &'a Tag,
    /// How months are called.
    pub(super) months: chrono::Locale,
    /// What the mail calls the app.
    pub(super) app_name: Option<&'a str>,
    /// Where one click stops these mails.
    pub(super) unsubscribe: Option<&'a Url>,
    /// Whether this is only a test.
    pub(super) test: bool,
}

impl Facts {
    pub(super) fn of(digest: &Digest, context: Context<'_>) -> Result<Self, MailError> {
        let connections =
            digest.items.iter().map(|item| connection(item, digest, context)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = connections.first() else { return Err(MailError::Empty) };
        let same = |part: fn(&Connection) -> &str| connections.iter().all(|one| part(one) == part(first));
        let mut listed: Vec<String> = connections.iter().map(|one| one.full.clone()).collect();
        listed.dedup();
        if listed.len() != connections.len() || listed.len() > LISTED {
            listed.clear();
        }
        let sections = KINDS.into_iter().map(|kind| section(kind, &connections)).filter(|section| section.count > 0);
        let stages = || digest.items.iter().map(|item| item.stage);
        Ok(Self {
            locale: context.locale.to_string(),
            direction: context.locale.direction(),
            sender: context.app_name.map(isolated),
            name: digest.name.as_deref().and_then(person).map(|name| isolated(&name)),
            kind: if same(|one| one.kind) { first.kind } else { "mixed" },
            reminder: !stages().any(|stage| stage == Some(Stage::FIRST)) && stages().flatten().any(Stage::is_reminder),
            count: connections.len(),
            listed,
            app: same(|one| &one.app).then(|| first.app.clone()),
            sections: sections.collect(),
            unsubscribe: context.unsubscribe.map(ToString::to_string),
            test: context.test,
        })
    }
}

fn section(kind: IncidentKind, connections: &[Connection]) -> Section {
    let kind = kind.as_str();
    let connections: Vec<Connection> = connections.iter().filter(|one| one.kind == kind).cloned().collect();
    Section { kind, count: connections.len(), connections }
}

fn connection(item: &DigestItem, digest: &Digest, context: Context<'_>) -> Result<Connection, MailError> {
    let shown = one_line(&item.app, NAME);
    let app = if shown.is_empty() { one_line(item.toolkit.as_str(), NAME) } else { shown };
    let initial = app.chars().find(|c| c.is_alphanumeric()).map_or("•".into(), |c| c.to_uppercase().collect());
    let app = isolated(&app);
    let alias = item.alias.as_deref().map(|alias| one_line(alias, NAME)).filter(|alias| !alias.is_empty());
    let alias = alias.as_deref().map(isolated);
    let zone = digest.time_zone.unwrap_or(chrono_tz::UTC);
    Ok(Connection {
        kind: item.kind.as_str(),
        stage: match item.stage {
            Some(stage) if stage.is_reminder() => "reminder",
            Some(_) => "first",
            None => "mention",
        },
        full: alias.as_ref().map_or_else(|| app.clone(), |alias| format!("{app} ({alias})")),
        app,
        alias,
        date: Date::of(item.since.with_timezone(&zone), context.months),
        url: link(&item.reconnect_url)?,
        initial,
    })
}

/// A link that a mail may carry: `https`, or `http` for an app that is tried out on its maker's machine.
fn link(text: &str) -> Result<String, MailError> {
    match Url::parse(text.trim()) {
        Ok(url) if matches!(url.scheme(), "https" | "http") => Ok(url.into()),
        _ => Err(MailError::Link),
    }
}
