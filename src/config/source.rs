//! Where settings come from: a TOML file, and above it the environment, as one tree that remembers the origin of each value.
//!
//! Values of the environment stay texts; each setting reads its own type out of them, so that a password of digits stays a
//! text. `CONNECTION_AUDITOR_QUEUE__KEY_PREFIX` is `queue.key_prefix`: `__` stands between section and key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;

/// What the names of all environment variables begin with.
pub const ENV_PREFIX: &str = "CONNECTION_AUDITOR_";

/// Names after the prefix that are not settings: the path of the file (read by the command line), and what Kubernetes puts
/// into every container beside a service of this name.
const NOT_SETTINGS: &[&str] = &["CONFIG", "PORT", "PORT_", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_"];

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the file.
    File(Arc<str>, usize),
    /// An environment variable.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(f, "{name}:{line}"),
            Self::Env(name) => f.write_str(name),
        }
    }
}

/// A value as it was written. It may be a secret, so it has no `Debug`.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// Something that no setting takes: a float, a date, a number beyond 64 bits.
    Other(String),
}

/// A value and its origin.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A section as it was written.
pub(super) type Table = BTreeMap<String, Node>;

/// The environment variable of a setting.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Reads a TOML file. Syntax errors never quote the line: a secret may stand on it.
pub(super) fn from_toml(name: &str, bytes: &[u8]) -> Result<Table, Vec<Problem>> {
    let name: Arc<str> = name.into();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = line_of(bytes, error.valid_up_to());
            return Err(vec![Problem::of_file(Origin::File(name, line), "the file is not UTF-8 from here on")]);
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(FileReader { name, bytes }.table(table.into_inner()));
    }
    let problem = |error: toml::de::Error| {
        let line = line_of(bytes, error.span().map_or(0, |span| span.start));
        Problem::of_file(Origin::File(Arc::clone(&name), line), format!("not TOML: {}", one_line(error.message())))
    };
    Err(errors.into_iter().map(problem).collect())
}

struct FileReader<'a> {
    name: Arc<str>,
    bytes: &'a [u8],
}

impl FileReader<'_> {
    fn table(&self, table: DeTable<'_>) -> Table {
        table.into_iter().map(|(key, value)| (key.get_ref().to_string(), self.node(&key.span(), value))).collect()
    }

    /// Keys carry the line of the key, list items that of the item.
    fn node(&self, place: &Range<usize>, value: Spanned<DeValue<'_>>) -> Node {
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other(number.to_string()),
            },
            DeValue::Boolean(boolean) => Value::Boolean(boolean),
            DeValue::Float(number) => Value::Other(number.to_string()),
            DeValue::Datetime(time) => Value::Other(time.to_string()),
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| {
                        let place = item.span();
                        self.node(&place, item)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value, origin: Origin::File(Arc::clone(&self.name), line_of(self.bytes, place.start)) }
    }
}

/// Lays the environment over the tree: what it says wins.
pub(super) fn lay_environment(
    tree: &mut Table,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some(key) = name.strip_prefix(ENV_PREFIX) else { continue };
        if is_not_a_setting(key) || value.is_empty() {
            continue;
        }
        let origin = Origin::Env(name.to_owned());
        let Ok(value) = value.into_string() else {
            problems.push(Problem::of_file(origin, "its value is not UTF-8"));
            continue;
        };
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        if let Err(message) = insert(tree, &path, Node { value: Value::Text(value), origin: origin.clone() }) {
            problems.push(Problem::of_file(origin, message));
        }
    }
}

fn is_not_a_setting(key: &str) -> bool {
    NOT_SETTINGS.iter().any(|name| key == *name || (name.ends_with('_') && key.starts_with(name)))
}

fn insert(tree: &mut Table, path: &[String], node: Node) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        if matches!(tree.get(key), Some(Node { value: Value::Table(_), .. })) {
            return Err(format!("{key} is a section: name a setting in it after another __"));
        }
        tree.insert(key.clone(), node);
        return Ok(());
    }
    let section = tree
        .entry(key.clone())
        .or_insert_with(|| Node { value: Value::Table(Table::new()), origin: node.origin.clone() });
    match &mut section.value {
        Value::Table(table) => insert(table, rest, node),
        _ => Err(format!("{key} is not a section there: {} gives it a value", section.origin)),
    }
}

/// The line, counted from 1, on which a byte stands.
fn line_of(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}
