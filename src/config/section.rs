//! One section as it is read: what is asked for is known, the rest is refused, and every problem is noted.
//!
//! Reading goes on after a problem, with the default, so that all problems are found at once; and because a setting is
//! known by being asked for, the list of all settings needs no second place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use secrecy::SecretString;

use super::error::Problem;
use super::print::show_mailbox;
use super::rule;
use super::source::{Node, Origin, Table, Value, env_name};

/// No secret is longer than this; what is, is the wrong file.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Whether a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// As it was written.
    Plain,
    /// It holds an address.
    Masked,
    /// Never.
    Nothing,
}

/// A rule: takes a value as it was written, or says what is allowed.
pub(super) trait Rule<T>: FnOnce(&Node) -> Result<T, String> {}
impl<T, F: FnOnce(&Node) -> Result<T, String>> Rule<T> for F {}

/// A section that is being read.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    asked: Vec<String>,
    pub(super) findings: Findings,
}

/// What reading found.
#[derive(Default)]
pub(super) struct Findings {
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// Keys that nothing asked for.
    pub(super) unknown: Vec<(String, Origin)>,
    /// All settings there are.
    pub(super) keys: Vec<String>,
    /// Where those that were set stand.
    pub(super) origins: BTreeMap<String, Origin>,
}

impl Findings {
    fn absorb(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.unknown.extend(other.unknown);
        self.keys.extend(other.keys);
        self.origins.extend(other.origins);
    }
}

impl<'a> Section<'a> {
    /// The tree itself.
    pub(super) fn root(table: &'a Table) -> Self {
        Self { path: String::new(), table, asked: Vec::new(), findings: Findings::default() }
    }

    fn within(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn ask(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.push(key.to_owned());
        self.table.get(key)
    }

    fn setting(&mut self, key: &str) -> Option<&'a Node> {
        let node = self.ask(key);
        let path = self.within(key);
        if let Some(node) = node {
            self.findings.origins.insert(path.clone(), node.origin.clone());
        }
        self.findings.keys.push(path);
        node
    }

    fn refuse(&mut self, key: &str, node: &Node, show: Show, message: String) {
        let problem = Problem::of(self.within(key), message).valued(shown(node, show)).from(Some(node.origin.clone()));
        self.findings.problems.push(problem);
    }

    /// A setting with a default.
    pub(super) fn value<T>(&mut self, key: &str, default: T, rule: impl Rule<T>) -> T {
        self.optional(key, rule).unwrap_or(default)
    }

    /// A setting that may be unset.
    pub(super) fn optional<T>(&mut self, key: &str, rule: impl Rule<T>) -> Option<T> {
        self.optional_shown(key, Show::Plain, rule)
    }

    /// A setting that may be unset, and whose value may not be shown as it is.
    pub(super) fn optional_shown<T>(&mut self, key: &str, show: Show, rule: impl Rule<T>) -> Option<T> {
        let node = self.setting(key)?;
        rule(node).map_err(|allowed| self.refuse(key, node, show, allowed)).ok()
    }

    /// A secret, from the setting itself or from the file that its `…_file` twin names.
    pub(super) fn secret(&mut self, key: &str, allowed: impl Fn(&str) -> Result<(), String>) -> Option<SecretString> {
        let twin = format!("{key}_file");
        let (inline, file) = (self.setting(key), self.setting(&twin));
        let (key, node, text) = match (inline, file) {
            (None, None) => return None,
            (Some(_), Some(file)) => {
                let message = format!("{} is set too: set one of the two", self.within(key));
                self.refuse(&twin, file, Show::Plain, message);
                return None;
            }
            (Some(node), None) => {
                let Value::Text(text) = &node.value else {
                    self.refuse(key, node, Show::Nothing, "expected a text".to_owned());
                    return None;
                };
                (key, node, text.clone())
            }
            (None, Some(node)) => match read_secret(node) {
                Ok(text) => (twin.as_str(), node, text),
                Err(message) => {
                    self.refuse(&twin, node, Show::Plain, message);
                    return None;
                }
            },
        };
        match allowed(&text) {
            Ok(()) => Some(text.into()),
            Err(message) => {
                // The name of the file may be shown, what it holds may not.
                let show = if key == twin { Show::Plain } else { Show::Nothing };
                self.refuse(key, node, show, message);
                None
            }
        }
    }

    /// Some secrets, the first of them the one in use: a list, from the setting itself or, one a line, from the file that its
    /// `…_file` twin names; in an environment variable they are separated by commas.
    pub(super) fn secrets(&mut self, key: &str, allowed: impl Fn(&str) -> Result<(), String>) -> Vec<SecretString> {
        let twin = format!("{key}_file");
        let (inline, file) = (self.setting(key), self.setting(&twin));
        let (key, node, read) = match (inline, file) {
            (None, None) => return Vec::new(),
            (Some(_), Some(file)) => {
                let message = format!("{} is set too: set one of the two", self.within(key));
                self.refuse(&twin, file, Show::Plain, message);
                return Vec::new();
            }
            (Some(node), None) => (key, node, rule::list("secrets", |_| true)(node)),
            (None, Some(node)) => (twin.as_str(), node, read_secret(node).map(|text| lines(&text))),
        };
        let checked = read.and_then(|texts| {
            texts.iter().try_for_each(|text| allowed(text))?;
            Ok(texts.into_iter().map(SecretString::from).collect())
        });
        checked.unwrap_or_else(|message| {
            let show = if key == twin { Show::Plain } else { Show::Nothing };
            self.refuse(key, node, show, message);
            Vec::new()
        })
    }

    /// A section within this one.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let empty = Table::new();
        let table = match self.ask(key) {
            Some(Node { value: Value::Table(table), .. }) => table,
            Some(node) => {
                self.refuse(key, node, Show::Nothing, format!("expected a section, [{}]", self.within(key)));
                &empty
            }
            None => &empty,
        };
        let mut section = Section { path: self.within(key), table, asked: Vec::new(), findings: Findings::default() };
        let value = read(&mut section);
        self.findings.absorb(section.finish());
        value
    }

    /// The names of the sections within a section, if it is there.
    pub(super) fn names(&self, key: &str) -> Option<Vec<String>> {
        match self.table.get(key) {
            Some(Node { value: Value::Table(table), .. }) => Some(table.keys().cloned().collect()),
            _ => None,
        }
    }

    /// Notes a problem with a key of this section.
    pub(super) fn complain(&mut self, key: &str, message: String) {
        let origin = self.table.get(key).map(|node| node.origin.clone());
        self.findings.problems.push(Problem::of(self.within(key), message).from(origin));
    }

    /// Ends the reading: what was not asked for is unknown.
    pub(super) fn finish(mut self) -> Findings {
        for (key, node) in self.table {
            if !self.asked.contains(key) {
                self.findings.unknown.push((self.within(key), node.origin.clone()));
            }
        }
        self.findings
    }
}

fn read_secret(node: &Node) -> Result<String, String> {
    let Value::Text(path) = &node.value else { return Err("expected the path of a file".to_owned()) };
    let mut bytes = Vec::new();
    File::open(Path::new(path))
        .and_then(|file| file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err("the file is too long for a secret (more than 64 KiB)".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

/// The lines that say something.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A value as it may stand in an error.
fn shown(node: &Node, show: Show) -> Option<String> {
    const LONGEST: usize = 80;
    let text = match (&node.value, show) {
        (_, Show::Nothing) => return None,
        (Value::Text(text), Show::Plain) => text.clone(),
        (Value::Text(text), Show::Masked) => show_mailbox(text),
        (Value::Integer(number), _) => return Some(number.to_string()),
        (Value::Boolean(boolean), _) => return Some(boolean.to_string()),
        (Value::Other(text), _) => return Some(text.clone()),
        (Value::List(_), _) => return Some("[…]".to_owned()),
        (Value::Table(_), _) => return Some("{…}".to_owned()),
    };
    let short: String = text.chars().take(LONGEST).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    Some(format!("{:?}", format!("{short}{dots}")))
}

/// The setting that an unknown key was probably meant to be.
pub(super) fn nearest<'k>(unknown: &str, keys: &'k [String]) -> Option<&'k str> {
    let (section, name) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let in_section = |key: &&String| key.rsplit_once('.').map_or("", |(section, _)| section) == section;
    let likeness = |key: &str| {
        let own = key.rsplit_once('.').map_or(key, |(_, name)| name);
        strsim::jaro_winkler(own, name)
    };
    let best = |keys: &mut dyn Iterator<Item = &'k String>, least: f64, of: &dyn Fn(&str) -> f64| {
        keys.map(|key| (of(key), key.as_str())).filter(|(score, _)| *score >= least).max_by(|a, b| a.0.total_cmp(&b.0))
    };
    let flat = unknown.replace(['.', '-'], "_");
    let flattened = |key: &str| key.replace('.', "_");
    // Only a word at the top may be a whole name that was written with the wrong separator.
    let whole = |key: &&String| section.is_empty() && key.contains('.');
    best(&mut keys.iter().filter(whole).filter(|key| flattened(key) == flat), 0.0, &likeness)
        .or_else(|| best(&mut keys.iter().filter(in_section), 0.8, &likeness))
        .or_else(|| best(&mut keys.iter(), 1.0, &likeness))
        .or_else(|| best(&mut keys.iter().filter(whole), 0.85, &|key| strsim::jaro_winkler(&flattened(key), &flat)))
        .map(|(_, key)| key)
}

/// The settings and the sections that hold them.
pub(super) fn with_sections(keys: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for key in keys {
        for (dot, _) in key.match_indices('.') {
            let section = key.get(..dot).unwrap_or_default();
            if !names.iter().any(|name| name == section) {
                names.push(section.to_owned());
            }
        }
        names.push(key.clone());
    }
    names
}

/// What is said of an unknown key.
pub(super) fn unknown_problem(key: String, origin: Origin, keys: &[String]) -> Problem {
    let hint = nearest(&key, keys).map_or_else(String::new, |near| match &origin {
        Origin::Env(_) => format!("; did you mean {near} ({})?", env_name(near)),
        Origin::File(..) => format!("; did you mean {near}?"),
    });
    Problem::of(key, format!("no such setting{hint}")).from(Some(origin))
}
