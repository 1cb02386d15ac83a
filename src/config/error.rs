//! What is wrong with a configuration: all of it at once, each with its place, and never with a secret.

use std::fmt;

use super::source::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, `section.field`; none if it concerns a whole file or variable.
    pub key: Option<String>,
    /// The value as it was written, shortened; none for secrets, and where there is none.
    pub value: Option<String>,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// Where the value stands.
    pub origin: Option<Origin>,
}

impl Problem {
    pub(super) fn of_file(origin: Origin, message: impl Into<String>) -> Self {
        Self { key: None, value: None, message: message.into(), origin: Some(origin) }
    }

    pub(super) fn of(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: Some(key.into()), value: None, message: message.into(), origin: None }
    }

    pub(super) fn valued(self, value: Option<String>) -> Self {
        Self { value, ..self }
    }

    pub(super) fn from(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// One problem.
    pub(super) fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// Problems, sorted.
    pub(super) fn of(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.origin, &a.key).cmp(&(&b.origin, &b.key)));
        problems.dedup();
        Self(problems)
    }

    /// `Ok` if there is no problem.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::of(problems)) }
    }

    /// The problems.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
