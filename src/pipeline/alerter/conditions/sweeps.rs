//! Sweeps that cannot go on, have failed, or are late.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Suspicion, causes, command, paragraphs, span};
use crate::domain::alert::kind;
use crate::domain::cause;
use crate::domain::duration::written;
use crate::domain::fault::Fault;
use crate::domain::notice::quoted;
use crate::domain::port::VitalSigns;

/// How long a sweep stands still, for a reason that may pass, before the operator is told.
const STANDS_STILL: Duration = Duration::from_secs(5 * 60);
/// The key and the filters are the same for every schedule.
const COMPOSIO: &str = "composio";

/// What is expected of sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// A sweep must have been completed within this time.
    pub within: Duration,
    /// Whether there is a schedule; without one, nothing is late.
    pub has_schedules: bool,
}

/// What is wrong with sweeps. `signs` looks back as far as a sweep that failed is worth telling of.
#[must_use]
pub fn of_sweeps(signs: &VitalSigns, expected: &Expected, now: DateTime<Utc>) -> Vec<Suspicion> {
    let mut suspicions = Vec::new();
    let mut faults: BTreeMap<&str, (Fault, String, Vec<&str>)> = BTreeMap::new();
    for (schedule, state, note) in &signs.troubled_sweeps {
        let note = note.as_deref().unwrap_or_default();
        let fault = Fault::of(note);
        match fault {
            Fault::Key => faults.entry(kind::API_KEY),
            Fault::Filters => faults.entry(kind::FILTERS),
            Fault::Other => {
                suspicions.push(troubled(schedule, state, &quoted(note)));
                continue;
            }
        }
        .or_insert_with(|| (fault, quoted(note), Vec::new()))
        .2
        .push(schedule);
    }
    suspicions.extend(faults.into_iter().map(|(kind, (fault, note, schedules))| {
        let schedules = schedules.join(", ");
        if fault == Fault::Key { refused(kind, &note, &schedules) } else { unfiltered(kind, &note, &schedules) }
    }));
    suspicions.extend(late(signs, expected, now));
    suspicions
}

fn refused(kind: &str, note: &str, schedules: &str) -> Suspicion {
    let summary = "Composio refuses the API key: nobody is checked, and nobody is mailed".to_owned();
    let detail = paragraphs([
        format!("It says: {note}."),
        format!("Stopped: {}.", quoted(schedules)),
        format!("What it usually means:\n{}", causes([cause::of_refused_key(note)]).join("\n")),
        "With a key that works (and the workers started again, if composio.api_key has changed), a paused sweep goes on where \
         it stopped. No connection is taken for broken meanwhile."
            .to_owned(),
        command("check-config", "tries the key, and says what is missing"),
    ]);
    Suspicion::certain(kind, COMPOSIO, summary, detail)
}

fn unfiltered(kind: &str, note: &str, schedules: &str) -> Suspicion {
    let summary = "Composio ignores filters: nobody is checked, and nobody is mailed".to_owned();
    let detail = paragraphs([
        format!("It says: {note}."),
        format!("Stopped: {}.", quoted(schedules)),
        "Asked for a user who cannot exist, it lists accounts. So what it lists for anybody may be other people's, and nothing of \
         it is used. It can be Composio itself, or something between it and the auditor that drops the parameters of requests."
            .to_owned(),
        "- If composio.url leads through a proxy, let it pass query parameters on.\n- Otherwise tell Composio's support that \
         user_ids is ignored by GET /api/v3.1/connected_accounts."
            .to_owned(),
        "A paused sweep goes on where it stopped as soon as filters hold again.".to_owned(),
    ]);
    Suspicion::certain(kind, COMPOSIO, summary, detail)
}

fn troubled(schedule: &str, state: &str, note: &str) -> Suspicion {
    let because = if note.is_empty() { "it gave no reason".to_owned() } else { note.to_owned() };
    let schedule_shown = quoted(schedule);
    let is_paused = state == "paused";
    let (summary, what_follows) = if is_paused {
        (
            format!("The sweep {schedule_shown} is paused: {because}"),
            "It looks again every few seconds to a minute and goes on where it stopped; after sweep.give_up_after it fails. Until \
             then nothing that could not be checked is taken for broken.",
        )
    } else {
        (
            format!("The sweep {schedule_shown} has failed: {because}"),
            "Whom it did not check keeps the state before. The next tick of the schedule tries again, or you do, once the reason \
             is gone.",
        )
    };
    let commands = if is_paused {
        command("status", "how far it came")
    } else {
        [command("status", "how far it came"), command("sweep", "start one now")].join("\n")
    };
    let suspicion = Suspicion::certain(kind::SWEEP, schedule, summary, paragraphs([what_follows.to_owned(), commands]));
    if is_paused { suspicion.lasting(STANDS_STILL) } else { suspicion }
}

fn late(signs: &VitalSigns, expected: &Expected, now: DateTime<Utc>) -> Option<Suspicion> {
    let since = signs.completed_at.or(signs.known_since).filter(|_| expected.has_schedules)?;
    let within = TimeDelta::from_std(expected.within).ok()?;
    if now - since <= within {
        return None;
    }
    let expected_within = written(expected.within);
    let summary = if signs.completed_at.is_some() {
        format!("The last complete sweep is {} ago; one is expected within {expected_within}", span(now - since))
    } else {
        format!("No sweep was ever completed, in {}; one is expected within {expected_within}", span(now - since))
    };
    let detail = paragraphs([
        "Connections that break are not found, and nobody hears of them.".to_owned(),
        "What it usually means:\n\
         - No worker with the roles scheduler, sweeper and checker runs: start one; every role must run somewhere.\n\
         - Sweeps are paused or fail: there is an alert of its own that says why.\n\
         - A sweep takes longer than that: raise composio.max_in_flight or start more checkers, if Composio's limit allows it.\n\
         - The schedule ticks more rarely than that: set alerts.expected_within to the longest gap and the length of a sweep."
            .to_owned(),
        command("status", "the last sweeps, and what the queue holds"),
    ]);
    Some(Suspicion::certain(kind::LATE, "sweeps", summary, detail))
}
