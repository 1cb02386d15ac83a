//! Notifications that fail for good, or do not leave.
//!
//! One refused address in ten thousand is nobody's night. What counts is the share of what was tried within the hour: so many
//! failed that it is the sender's trouble ([`LEAST`] and [`ONE_IN`]), or nothing else left at all. Mails that wait for a server
//! that is away count from the first, once that has lasted.

use std::time::Duration;

use super::{Suspicion, causes, command, count, number, paragraphs};
use crate::domain::alert::kind;
use crate::domain::cause;
use crate::domain::notice::quoted;
use crate::domain::notification::hold;
use crate::domain::port::VitalSigns;

/// How long nothing may leave before the operator is told.
pub const STUCK_FOR: Duration = Duration::from_secs(5 * 60);
/// Fewer failures than this are nobody's trouble but the reader's, as long as others arrive.
const LEAST: u64 = 5;
/// One failure in so many tries is too many (5 %).
const ONE_IN: u64 = 20;
/// So many failures in a row are enough where nothing arrives at all.
const LEAST_IN_VAIN: u64 = 3;
/// What the ledger notes of a mail that only waits its turn.
const WAITS: [&str; 6] = [
    hold::PAUSED,
    "waits for ",
    "it was not its turn",
    "something changed ",
    "guard.max_mails_per_hour ",
    "the outage guard holds it",
];

/// What is wrong with mails. `hour` looks back an hour; `sent_lately` is how many left within [`STUCK_FOR`].
#[must_use]
pub fn of_mails(hour: &VitalSigns, sent_lately: u64) -> Vec<Suspicion> {
    let stuck: Vec<_> = hour.stuck.iter().filter(|(error, _)| !only_waits(error)).cloned().collect();
    let (failed, waiting) = (total(&hour.failed), total(&stuck));
    let tried = hour.sent + failed + waiting;
    let too_many = |n: u64| (n >= LEAST && n * ONE_IN >= tried) || (n >= LEAST_IN_VAIN && hour.sent == 0);
    let is_away = sent_lately == 0 && stuck.iter().any(|(error, _)| !is_about_one_mailbox(error));
    let mut suspicions = Vec::new();
    if too_many(failed) {
        let summary =
            format!("{} failed for good within an hour, of {} tried", count(failed, "mail", "mails"), number(tried));
        let detail = explained(
            "Their users have not heard of what broke, and will not by themselves.",
            &hour.failed,
            &[
                command("notifications list --state failed", "who, and why"),
                command("notifications retry failed", "when it is mended: each user is checked again before the mail"),
            ],
        );
        suspicions.push(Suspicion::certain(kind::NOTIFICATIONS, "failed", summary, detail));
    }
    if is_away || too_many(waiting) {
        let left = if sent_lately == 0 { "no mail leaves" } else { "some still leave" };
        let summary = format!("{} cannot leave and wait to be tried again; {left}", count(waiting, "mail", "mails"));
        let detail = explained(
            "Nothing is lost: they are tried again with growing waits (notify.retry), and what heals meanwhile is left out.",
            &stuck,
            &[
                command("check-config", "tries every connection"),
                command("notifications list --state pending", "who waits"),
            ],
        );
        suspicions.push(Suspicion::certain(kind::NOTIFICATIONS, "stuck", summary, detail).lasting(STUCK_FOR));
    }
    suspicions
}

fn explained(what_follows: &str, errors: &[(String, u64)], commands: &[String]) -> String {
    let by_error: Vec<String> =
        errors.iter().map(|(error, n)| format!("- {} × {}", number(*n), quoted(error))).collect();
    let causes = causes(errors.iter().filter_map(|(error, _)| cause::of_mail_error(error)));
    let causes =
        if causes.is_empty() { String::new() } else { format!("What it usually means:\n{}", causes.join("\n")) };
    paragraphs([what_follows.to_owned(), format!("By error:\n{}", by_error.join("\n")), causes, commands.join("\n")])
}

fn total(errors: &[(String, u64)]) -> u64 {
    errors.iter().map(|(_, n)| n).sum()
}

fn only_waits(error: &str) -> bool {
    WAITS.iter().any(|start| error.starts_with(start))
}

/// A server that answers, and whose answer is not about us, puts off this one mail (greylisting, a full mailbox).
fn is_about_one_mailbox(error: &str) -> bool {
    error.starts_with("the mail server answered ") && cause::of_mail_error(error).is_none()
}
