//! How a message to the operator reads, whatever channel it takes: a title, and the parts of each alert.
//!
//! The detail of an alert is plain text. An empty line parts paragraphs, a line that begins with `- ` is an entry of a list,
//! and a line that begins with [`COMMAND`] is something to type. Channels that can show such things do; plain text loses nothing.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::alert::{Message, kind};

/// What a line that is to be typed begins with.
pub const COMMAND: &str = "    ";

/// What a kind of alert is called.
#[must_use]
pub fn heading(kind: &str) -> &str {
    match kind {
        kind::GUARD => "Mails are held back by the outage guard",
        kind::API_KEY => "Composio refuses the API key",
        kind::FILTERS => "Composio ignores filters",
        kind::SWEEP => "A sweep cannot go on",
        kind::LATE => "No sweep was completed in time",
        kind::NOTIFICATIONS => "Mails do not leave",
        kind::FLAPPING => "Connections break again and again",
        kind::OPERATOR_FAULT => "An auth config is disabled",
        kind::DEAD_JOBS => "Jobs were given up",
        kind::PAUSED => "Mailing is paused",
        kind::TEST => "Test",
        other => other,
    }
}

/// Whether a message tells of trouble, or that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something fires.
    Firing,
    /// All that it is about has ended.
    Resolved,
    /// A person tries the channels out.
    Test,
}

impl Tone {
    /// The name used in the types of webhooks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// One line or more of a detail, to be shown alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "text", rename_all = "snake_case")]
pub enum Part {
    /// A paragraph.
    Text(String),
    /// Entries of a list.
    List(Vec<String>),
    /// Lines to type.
    Commands(Vec<String>),
}

impl Message {
    /// Whether it tells of trouble.
    #[must_use]
    pub fn tone(&self) -> Tone {
        if self.kind == kind::TEST {
            Tone::Test
        } else if self.firing.is_empty() {
            Tone::Resolved
        } else {
            Tone::Firing
        }
    }

    /// One line that says what it is about.
    #[must_use]
    pub fn title(&self) -> String {
        let (told, resolved) = if self.firing.is_empty() { (&self.ended, "Resolved: ") } else { (&self.firing, "") };
        match told.as_slice() {
            [one] => format!("{resolved}{}", one.condition.summary),
            several => format!("{resolved}{} ({} alerts)", heading(&self.kind), several.len()),
        }
    }
}

/// The parts of a detail, in order.
#[must_use]
pub fn parts(detail: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut parted = true;
    for line in detail.lines() {
        if line.trim().is_empty() {
            parted = true;
            continue;
        }
        let command = line.strip_prefix(COMMAND);
        let entry = line.strip_prefix("- ");
        match (parts.last_mut(), command, entry) {
            (Some(Part::Commands(lines)), Some(command), _) => lines.push(command.to_owned()),
            (_, Some(command), _) => parts.push(Part::Commands(vec![command.to_owned()])),
            (Some(Part::List(entries)), _, Some(entry)) if !parted => entries.push(entry.to_owned()),
            (_, _, Some(entry)) => parts.push(Part::List(vec![entry.to_owned()])),
            (Some(Part::Text(text)), ..) if !parted => {
                text.push('\n');
                text.push_str(line);
            }
            _ => parts.push(Part::Text(line.to_owned())),
        }
        parted = false;
    }
    parts
}

/// When a message was made, which its id (UUID version 7) tells: so it reads the same on every try.
#[must_use]
pub fn made_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

/// An instant as people read it.
#[must_use]
pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// The text with its first letter large.
#[must_use]
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What came from outside, made fit for a message: on one line, of bounded length, and without anything that looks like an
/// address.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    let masked = |word: &str| {
        let lower = word.to_lowercase();
        let is_address = ["@", "%40", "&#64;"].iter().any(|at| lower.contains(at));
        if is_address { "…@…".to_owned() } else { word.to_owned() }
    };
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = plain.split_whitespace().map(masked).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Alert, Condition};
    use crate::domain::id::AlertId;
    use crate::domain::sample::day;

    fn alert(summary: &str) -> Alert {
        let condition = Condition {
            kind: kind::SWEEP.to_owned(),
            subject: summary.to_owned(),
            summary: summary.to_owned(),
            detail: String::new(),
        };
        let id = AlertId(Uuid::from_u128(1));
        Alert { id, condition, since: day(0), told_at: None, ended_at: None, end_told: false }
    }

    #[test]
    fn a_title_says_the_one_thing_or_counts_them() {
        let message = |firing: &[&str], ended: &[&str]| Message {
            kind: kind::SWEEP.to_owned(),
            firing: firing.iter().map(|summary| alert(summary)).collect(),
            ended: ended.iter().map(|summary| alert(summary)).collect(),
        };
        assert_eq!(message(&["a"], &[]).title(), "a");
        assert_eq!(message(&["a"], &["b"]).title(), "a");
        assert_eq!(message(&["a", "b"], &[]).title(), "A sweep cannot go on (2 alerts)");
        assert_eq!(message(&[], &["b"]).title(), "Resolved: b");
        assert_eq!(message(&[], &["b"]).tone(), Tone::Resolved);
        assert_eq!(message(&["a"], &["b"]).tone(), Tone::Firing);
    }

    #[test]
    fn a_detail_falls_into_paragraphs_lists_and_commands() {
        let text = |text: &str| Part::Text(text.to_owned());
        let list = |entries: &[&str]| Part::List(entries.iter().map(ToString::to_string).collect());
        let commands = |lines: &[&str]| Part::Commands(lines.iter().map(ToString::to_string).collect());
        assert_eq!(
            parts("One\ntwo\n\nThree:\n- a\n- b\n\n- c\n\n    do this\n    do that\nlast"),
            [
                text("One\ntwo"),
                text("Three:"),
                list(&["a", "b"]),
                list(&["c"]),
                commands(&["do this", "do that"]),
                text("last"),
            ]
        );
        assert_eq!(parts(""), []);
    }

    #[test]
    fn what_comes_from_outside_loses_addresses_and_line_ends() {
        assert_eq!(quoted("user\nann@example.org\t was <bob%40x.example> denied"), "user …@… was …@… denied");
        assert_eq!(quoted(&"ö".repeat(300)).chars().count(), 200);
    }
}
