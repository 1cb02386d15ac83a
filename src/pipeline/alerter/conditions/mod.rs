//! What is so, and worth telling: pure, from what the store says to suspicions, and from those to conditions.
//!
//! A suspicion that may pass by itself has to last before it is a condition (its *patience*); one that cannot is one at once.
//! What fires already needs no patience: another replica, or this one before a restart, has waited for it.
//!
//! | file | kinds |
//! |---|---|
//! | `guard` | the outage guard holds mails; the kill switch is thrown |
//! | `sweeps` | the key is refused, filters are ignored, a sweep is paused, has failed or is late |
//! | `mails` | notifications fail, or are stuck |
//! | `slots` | slots break again and again, auth configs are disabled, jobs are dead |

mod guard;
mod mails;
mod slots;
mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub use guard::{of_pause, of_trips};
pub use mails::{STUCK_FOR, of_mails};
pub use slots::{of_dead_jobs, of_slots};
pub use sweeps::{Expected, of_sweeps};

use crate::domain::alert::{Alert, Condition};
use crate::domain::cause::{self, Cause};
use crate::domain::duration::written;
use crate::domain::id::Toolkit;
use crate::domain::notice::capitalized;

/// What may be a condition, once it has lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// What is so.
    pub condition: Condition,
    /// How long it has to last.
    pub patience: Duration,
}

impl Suspicion {
    /// One that needs no patience.
    fn certain(kind: &str, subject: impl Into<String>, summary: String, detail: String) -> Self {
        let condition = Condition { kind: kind.to_owned(), subject: subject.into(), summary, detail };
        Self { condition, patience: Duration::ZERO }
    }

    fn lasting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

/// Since when suspicions are held.
#[derive(Debug, Default)]
pub struct Patience(BTreeMap<(String, String), DateTime<Utc>>);

impl Patience {
    /// The suspicions that are conditions now. Only those of the kinds in `judged` are forgotten when they are held no more.
    pub fn ripe(
        &mut self,
        judged: &[&str],
        suspicions: Vec<Suspicion>,
        open: &[Alert],
        now: DateTime<Utc>,
    ) -> Vec<Condition> {
        let key = |condition: &Condition| (condition.kind.clone(), condition.subject.clone());
        let held: BTreeSet<_> = suspicions.iter().map(|suspicion| key(&suspicion.condition)).collect();
        self.0.retain(|key, _| held.contains(key) || !judged.contains(&key.0.as_str()));
        let firing: BTreeSet<_> =
            open.iter().filter(|alert| alert.ended_at.is_none()).map(|alert| key(&alert.condition)).collect();
        suspicions
            .into_iter()
            .filter(|Suspicion { condition, patience }| {
                let key = key(condition);
                let fires = firing.contains(&key);
                let since = *self.0.entry(key).or_insert(now);
                fires || TimeDelta::from_std(*patience).is_ok_and(|patience| now - since >= patience)
            })
            .map(|suspicion| suspicion.condition)
            .collect()
    }
}

/// Names of apps as people write them, as far as they are known.
pub type AppNames = BTreeMap<Toolkit, String>;

/// "Gmail", or what Composio calls it.
fn app_name(names: &AppNames, toolkit: &str) -> String {
    names.get(&Toolkit::from(toolkit)).cloned().unwrap_or_else(|| toolkit.to_owned())
}

/// A number, its thousands apart.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun.
fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// A span of time, in its largest two units.
fn span(span: TimeDelta) -> String {
    let seconds = span.to_std().unwrap_or_default().as_secs();
    let grain = if seconds >= 86_400 {
        3_600
    } else if seconds >= 60 {
        60
    } else {
        1
    };
    written(Duration::from_secs(seconds / grain * grain))
}

/// The causes, each once, the likeliest first and no more than a reader takes in at night.
fn causes(likely: impl IntoIterator<Item = Cause>) -> Vec<String> {
    const MOST: usize = 4;
    cause::once(likely)
        .into_iter()
        .take(MOST)
        .map(|Cause { cause, remedy }| format!("- {cause}. {}.", capitalized(remedy)))
        .collect()
}

/// Paragraphs with an empty line between them; empty ones are left out.
fn paragraphs(blocks: impl IntoIterator<Item = String>) -> String {
    blocks.into_iter().filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// Something to type, and what it does.
fn command(text: &str, does: &str) -> String {
    use crate::domain::notice::COMMAND;
    if does.is_empty() {
        format!("{COMMAND}connection-auditor {text}")
    } else {
        format!("{COMMAND}# {does}\n{COMMAND}connection-auditor {text}")
    }
}

#[cfg(test)]
mod tests;
