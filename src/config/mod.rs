//! Settings: read once, valid from then on. One struct a section; a stage is handed its own section, never the whole.
//!
//! ```text
//!  defaults (sections, mailing) < file < environment        source: one tree, each value with its origin
//!                                     └─► section, rule, read: every value valid, unknown keys refused
//!                                            └─► agree: what contradicts itself is refused
//! ```
//!
//! Everything that is wrong is said at once, each with its place. Secrets may stand in a file of their own, named by the
//! setting's `…_file` twin (a relative path is meant from the working directory); they never reach an error, a log or the
//! printed configuration.
//!
//! An environment variable that is empty counts as not set.

mod agree;
mod error;
mod mailing;
mod ops;
mod outside;
mod print;
mod read;
mod rule;
mod section;
mod sections;
mod source;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

pub use agree::Need;
pub use error::{ConfigErrors, Problem};
pub use mailing::*;
pub use ops::{ApiToken, HttpOps, Scope};
pub use outside::*;
pub use sections::*;
pub use source::{ENV_PREFIX, Origin};

use section::{Section, unknown_problem, with_sections};
use source::Table;

impl Config {
    /// Reads the file, if one is named, and lays the environment of this process over it.
    ///
    /// Commands that need certain settings ask [`Config::require`] afterwards.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let Some(path) = path else { return Self::parse(None, std::env::vars_os()) };
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(bytes) => Self::parse(Some((&name, &bytes)), std::env::vars_os()),
            Err(error) => {
                let message = format!("the configuration file {name} cannot be read: {error}");
                Err(ConfigErrors::one(Problem { key: None, value: None, message, origin: None }))
            }
        }
    }

    /// Reads the content of a file, with the name that errors shall give it, and lays `environment` over it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(
        file: Option<(&str, &[u8])>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut tree = match file.map(|(name, bytes)| source::from_toml(name, bytes).map_err(ConfigErrors::of)) {
            None => Table::new(),
            Some(Ok(tree)) => tree,
            Some(Err(syntax)) => return Err(syntax),
        };
        source::lay_environment(&mut tree, environment, &mut problems);
        let mut root = Section::root(&tree);
        let config = read::config(&mut root);
        let mut findings = root.finish();
        agree::contradictions(&config, &mut findings);
        let names = with_sections(&findings.keys);
        problems.extend(findings.unknown.into_iter().map(|(key, origin)| unknown_problem(key, origin, &names)));
        problems.append(&mut findings.problems);
        ConfigErrors::unless_empty(problems)?;
        Ok(config)
    }

    /// The names of all settings, `section.field`, in the order in which they are read; schedules under the name `daily`.
    pub fn keys() -> Vec<String> {
        let tree = Table::new();
        let mut root = Section::root(&tree);
        read::config(&mut root);
        root.finish().keys
    }
}
