//! Mails that are held back: by the outage guard, or by hand.

use chrono::{DateTime, TimeDelta, Utc};

use super::{AppNames, Suspicion, app_name, causes, command, count, number, paragraphs, span};
use crate::domain::alert::kind;
use crate::domain::cause::{self, Pattern};
use crate::domain::guard::{GuardRules, Scope, TripState, percent};
use crate::domain::notice::{instant, quoted};
use crate::domain::port::{Pause, TripDetail};

/// How long the kill switch may be thrown before the operator is reminded of it.
const PAUSED_FOR: TimeDelta = TimeDelta::hours(1);

/// One condition for each trip that holds something.
#[must_use]
pub fn of_trips(trips: &[TripDetail], rules: &GuardRules, names: &AppNames) -> Vec<Suspicion> {
    trips
        .iter()
        .filter(|detail| detail.trip.state.holds())
        .map(|detail| {
            let subject = detail.trip.id.to_string();
            Suspicion::certain(kind::GUARD, subject, summary(detail, names), explained(detail, rules))
        })
        .collect()
}

fn summary(detail: &TripDetail, names: &AppNames) -> String {
    let tripped = &detail.trip.tripped;
    let all = tripped.broken + tripped.healthy;
    let numbers = format!(
        "{} of {} ({})",
        number(tripped.broken),
        count(all, "connection", "connections"),
        percent(tripped.share())
    );
    match &tripped.scope {
        Scope::AuthConfig { toolkit, auth_config } => {
            let app = app_name(names, toolkit.as_str());
            format!("{app} through {auth_config}: {numbers} broke at once; their mails are held back")
        }
        Scope::Toolkit { toolkit } => {
            format!("{}: {numbers} broke at once; their mails are held back", app_name(names, toolkit.as_str()))
        }
        Scope::All => format!("All apps together: {numbers} broke at once; their mails are held back"),
        Scope::Backlog { toolkit } => {
            let app = app_name(names, toolkit.as_str());
            format!("{app}: {numbers} were broken long before they were first seen; their mails are held back")
        }
    }
}

fn explained(detail: &TripDetail, rules: &GuardRules) -> String {
    let trip = &detail.trip;
    let toolkit = trip.tripped.scope.toolkit().map_or("", |toolkit| toolkit.as_str());
    let reasons = detail.reasons.iter().map(|(status, because, slots)| {
        let because = because.as_deref().map(quoted).filter(|because| !because.is_empty());
        let because = because.map_or_else(|| ", without a reason".to_owned(), |because| format!(": {because}"));
        format!("- {} {}{because}", number(*slots), quoted(status))
    });
    let seen = detail.reasons.iter().map(|(status, because, _)| (status.as_str(), because.as_deref()));
    let likely = cause::of_all(Pattern::AtOnce, toolkit, seen);
    let sample = detail.sample.iter().map(|(user, account)| format!("- {}: {account}", quoted(user.as_str())));
    let id = trip.id;
    paragraphs([
        standing(detail, rules),
        listed("By status and reason:", reasons),
        listed("What it usually means, the likeliest first:", causes(likely)),
        listed("Some of the users and accounts:", sample),
        [
            command(&format!("guard show {id}"), "what is held, and why"),
            command(
                &format!("guard release {id}"),
                "their owners must act: check each again, then mail, the first few first",
            ),
            command(&format!("guard discard {id}"), "never mail about these"),
        ]
        .join("\n"),
    ])
}

/// What the guard does now, and what would end it.
fn standing(detail: &TripDetail, rules: &GuardRules) -> String {
    let trip = &detail.trip;
    let held = format!(
        "{} of {} are held; of {} that broke at once, {} still broken at their latest check.",
        count(trip.held, "connection", "connections"),
        count(trip.users, "user", "users"),
        number(trip.slots),
        if trip.still_broken == 1 { "1 is".to_owned() } else { format!("{} are", number(trip.still_broken)) },
    );
    if trip.state == TripState::Releasing {
        let rest = trip.ramp_at.map(|at| format!(" at {}", instant(at))).unwrap_or_default();
        return format!("{held} The first of their users were let go of; the rest follows{rest}.");
    }
    let most = match trip.tripped.scope {
        Scope::Backlog { .. } => rules.max_share_first,
        _ => rules.max_share,
    };
    format!(
        "{held} The guard lets {} break; above that it is hardly the users' doing, so nobody is mailed about these until you \
         decide, or until most of them work again. Other mails leave as usual.",
        percent(most)
    )
}

fn listed(head: &str, entries: impl IntoIterator<Item = String>) -> String {
    let entries: Vec<String> = entries.into_iter().collect();
    if entries.is_empty() { String::new() } else { format!("{head}\n{}", entries.join("\n")) }
}

/// The kill switch, once it has been thrown for so long that it may have been forgotten.
#[must_use]
pub fn of_pause(pause: Option<&Pause>, now: DateTime<Utc>) -> Vec<Suspicion> {
    let Some(pause) = pause.filter(|pause| now - pause.since >= PAUSED_FOR) else { return Vec::new() };
    let note = pause.note.as_deref().map(quoted).filter(|note| !note.is_empty());
    let detail = paragraphs([
        format!("Nobody is mailed since {}. Checks go on, and what is due waits.", instant(pause.since)),
        note.map_or_else(String::new, |note| format!("The reason that was given: {note}")),
        command("resume", "let mails leave again; each user is checked again before theirs"),
    ]);
    let summary = format!("Mailing has been paused by hand for {}", span(now - pause.since));
    vec![Suspicion::certain(kind::PAUSED, "mails", summary, detail)]
}
