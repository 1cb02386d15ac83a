//! What users cannot mend: slots that break again and again, auth configs that are switched off, and jobs that were given up.

use std::collections::BTreeMap;

use super::{AppNames, Suspicion, app_name, causes, command, count, number, paragraphs};
use crate::domain::alert::kind;
use crate::domain::cause::{self, Pattern};
use crate::domain::notice::quoted;
use crate::domain::plan::{FLAPPING_INCIDENTS, FLAPPING_WINDOW};
use crate::domain::port::VitalSigns;

/// All slots of one app and auth config that break again and again.
#[derive(Default)]
struct Flapping<'a> {
    slots: u64,
    users: u64,
    reasons: Vec<(Option<&'a str>, u64)>,
}

/// What is wrong with slots: one condition for each app and auth config.
#[must_use]
pub fn of_slots(signs: &VitalSigns, names: &AppNames) -> Vec<Suspicion> {
    let mut groups: BTreeMap<(&str, &str), Flapping<'_>> = BTreeMap::new();
    for (toolkit, auth_config, because, slots, users) in &signs.flapping {
        let group = groups.entry((toolkit, auth_config)).or_default();
        group.slots += slots;
        group.users += users;
        group.reasons.push((because.as_deref(), *slots));
    }
    let flapping = groups.iter().map(|((toolkit, auth_config), group)| flapping(toolkit, auth_config, group, names));
    let disabled = signs.operator_faults.iter().map(|(toolkit, auth_config, users)| {
        let app = app_name(names, toolkit);
        let summary = format!(
            "The auth config {auth_config} of {app} is disabled; {} cannot use it",
            count(*users, "user", "users")
        );
        let detail = paragraphs([
            "They can do nothing about it, so they are not mailed.".to_owned(),
            format!("What to do:\n{}", causes([cause::of_disabled_auth_config()]).join("\n")),
        ]);
        Suspicion::certain(kind::OPERATOR_FAULT, subject(toolkit, auth_config), summary, detail)
    });
    flapping.chain(disabled).collect()
}

fn flapping(toolkit: &str, auth_config: &str, group: &Flapping<'_>, names: &AppNames) -> Suspicion {
    let app = app_name(names, toolkit);
    let summary = format!(
        "{app} through {auth_config}: {} of {} break again and again",
        count(group.slots, "connection", "connections"),
        count(group.users, "user", "users"),
    );
    let reasons: Vec<String> = group
        .reasons
        .iter()
        .map(|(because, slots)| {
            format!("- {} {}", number(*slots), because.map_or("without a reason".to_owned(), quoted))
        })
        .collect();
    let likely =
        cause::of_all(Pattern::Repeatedly, toolkit, group.reasons.iter().map(|(because, _)| ("EXPIRED", *because)));
    let detail = paragraphs([
        format!(
            "Each broke {FLAPPING_INCIDENTS} times or more within {} days. Reconnecting does not last, so their users get no \
             further mail about them for now.",
            FLAPPING_WINDOW.num_days()
        ),
        format!("By the newest reason:\n{}", reasons.join("\n")),
        format!("What it usually means, the likeliest first:\n{}", causes(likely).join("\n")),
    ]);
    Suspicion::certain(kind::FLAPPING, subject(toolkit, auth_config), summary, detail)
}

fn subject(toolkit: &str, auth_config: &str) -> String {
    format!("{toolkit} through {auth_config}")
}

/// Jobs that nobody could bring to an end.
#[must_use]
pub fn of_dead_jobs(signs: &VitalSigns) -> Option<Suspicion> {
    if signs.dead_jobs == 0 {
        return None;
    }
    let summary = format!("{} given up", count(signs.dead_jobs, "job was", "jobs were"));
    let detail = paragraphs([
        "Workers took them again and again and died, or the store refused what they were about. Their users stay unchecked or \
         unmailed until you decide."
            .to_owned(),
        [
            command("queue dead list", "which, and why"),
            command("queue dead retry --all", "try them again, once the reason is gone"),
            command("queue dead drop --all", "forget them"),
        ]
        .join("\n"),
    ]);
    Some(Suspicion::certain(kind::DEAD_JOBS, "jobs", summary, detail))
}
