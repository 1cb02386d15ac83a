//! `sweep`: starts one now, follows it, and says what came of it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use uuid::Uuid;

use super::show::{self, Table, count, say};
use super::wait::{self, Stillness};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::{SweepId, UserId};
use crate::domain::incident::Incident;
use crate::domain::notification::NotificationState;
use crate::domain::port::{NotificationCount, Store};
use crate::domain::sweep::{NewSweep, Overlap, Sweep, SweepMode, SweepState, Trigger};

/// The schedule under whose name sweeps are started by hand.
const MANUAL: &str = "manual";
/// How often a followed sweep is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long mails that are on their way are waited for after the sweep.
const LEAVING: Duration = Duration::from_secs(60);
/// How many findings are read at a time.
const FINDINGS: u32 = 1_000;

/// Start a sweep now: check every user.
///
/// The sweep is carried out by running workers; one sweep that was started by hand runs at a time, and one more may wait. Ctrl-C
/// ends the waiting, not the sweep.
///
/// Exit code 2 with --dry-run: somebody would be mailed. Exit code 2 with --wait: some users could not be checked. Exit code 1: the
/// sweep failed, or was not started.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor sweep --dry-run               who would be mailed, and why; mails nobody
  connection-auditor sweep --wait                  the real thing, with a progress bar and a summary
  connection-auditor sweep --dry-run --json | jq '.would_be_mailed[].user'

--json prints the sweep (id, schedule, tick, mode, state, note, started_at, finished_at, tally …) if it \
is not waited for. With --wait or --dry-run it prints an object with that sweep, its notifications \
(counts by state and detail) and, of a dry run, would_be_mailed: the user, slot, kind, account, status, \
reason and broke_at of each connection.")]
pub(super) struct SweepArgs {
    /// Follow the sweep to its end and print a summary
    #[arg(long)]
    wait: bool,
    /// Check everybody and store what is seen, but open no incident and mail nobody; prints who would be mailed and why
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a followed sweep came to.
#[derive(Debug, Serialize)]
struct SweepReport {
    sweep: Sweep,
    notifications: Vec<NotificationCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_be_mailed: Option<Vec<Finding>>,
}

/// Somebody who would be mailed.
#[derive(Debug, Serialize)]
struct Finding {
    user: UserId,
    #[serde(flatten)]
    incident: Incident,
}

pub(super) async fn sweep(args: &SweepArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let store = store.as_ref();
    let id = SweepId(Uuid::now_v7());
    let started = start(store, id, args.dry_run).await?;
    if !args.wait && !args.dry_run {
        if args.json {
            show::json(&started)?;
        } else {
            say!("sweep {id} waits for a worker; `connection-auditor status` shows how it goes");
        }
        return Ok(Exit::Done);
    }
    let waiting = async {
        let ended = follow(store, id).await?;
        Ok((settled_notifications(store, &ended).await?, ended))
    };
    let goes_on = "the sweep goes on, and `connection-auditor status` shows how it ends";
    let (notifications, ended) = wait::unless_interrupted(waiting, goes_on).await?;
    let report = SweepReport { notifications, would_be_mailed: findings(store, &ended).await?, sweep: ended };
    if args.json {
        show::json(&report)?;
    } else {
        print(&report);
    }
    let anybody = report.would_be_mailed.as_ref().is_some_and(|findings| !findings.is_empty());
    Ok(match report.sweep.state {
        SweepState::Completed if report.sweep.tally.given_up > 0 || anybody => Exit::Found,
        SweepState::Completed => Exit::Done,
        _ => Exit::Failed,
    })
}

async fn start(store: &dyn Store, id: SweepId, dry_run: bool) -> anyhow::Result<Sweep> {
    let now = SystemClock.now();
    let new = NewSweep {
        id,
        schedule: MANUAL.to_owned(),
        tick: now,
        start_at: now,
        trigger: Trigger::Manual,
        mode: if dry_run { SweepMode::DryRun } else { SweepMode::Full },
        overlap: Overlap::Queue,
    };
    if !store.insert_sweep(&new, now).await? {
        bail!("another sweep was started by hand at this very instant; try again");
    }
    let started = store.sweep(id).await?.context("the sweep that was just stored is gone")?;
    if started.state == SweepState::Skipped {
        bail!(
            "not started: another sweep that was started by hand waits already; `connection-auditor status` shows it"
        );
    }
    Ok(started)
}

/// A bar that nobody has moved yet, and one that moves.
const WAITING: &str = "{spinner} {wide_msg}";
const COUNTING: &str = "{spinner} {bar:20} {human_pos}/{human_len} users, {rate}, {eta} left{wide_msg}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "{:.0}/s", state.per_sec());
    })
}

/// Shows a bar until the sweep is over; says so if nothing moves.
pub(super) async fn follow(store: &dyn Store, id: SweepId) -> anyhow::Result<Sweep> {
    let bar = ProgressBar::new(0).with_style(style(WAITING));
    let mut stillness = Stillness::new();
    let mut looked = Instant::now();
    let mut paused = None;
    let mut counting = false;
    loop {
        let sweep = store.sweep(id).await?.context("the sweep is gone")?;
        if sweep.state.is_final() {
            bar.finish_and_clear();
            return Ok(sweep);
        }
        let done = sweep.tally.users_done();
        bar.set_length(sweep.users_expected.and_then(|n| u64::try_from(n).ok()).unwrap_or(done).max(done));
        bar.set_position(done);
        bar.set_message(match (sweep.state, &sweep.note) {
            (SweepState::Paused, Some(why)) => format!(", paused: {why}"),
            (SweepState::Pending, _) => "the sweep waits for a worker".to_owned(),
            _ => format!(", {} found", show::number(sweep.tally.opened)),
        });
        if sweep.state != SweepState::Pending && !counting {
            counting = true;
            bar.reset_eta();
            bar.set_style(style(COUNTING));
        }
        bar.tick();
        if sweep.state == SweepState::Paused && paused != sweep.note {
            paused.clone_from(&sweep.note);
            wait::above(
                &bar,
                &format!("the sweep is paused: {}", sweep.note.as_deref().unwrap_or("no reason is known")),
            );
        }
        if stillness.begins(done + u64::from(sweep.state != SweepState::Pending), looked.elapsed()) && paused.is_none()
        {
            wait::above(&bar, &why_still(store, &sweep).await?);
        }
        looked = Instant::now();
        tokio::time::sleep(LOOK).await;
    }
}

/// Why a sweep does not move, as far as it can be told from here.
async fn why_still(store: &dyn Store, sweep: &Sweep) -> anyhow::Result<String> {
    if sweep.state != SweepState::Pending {
        return Ok("nothing has moved for some seconds: the answers may be slow, or every `connection-auditor run` has stopped"
            .to_owned());
    }
    let ahead = store.sweeps(50).await?.into_iter().find(|other| {
        other.schedule == sweep.schedule
            && other.id != sweep.id
            && !other.state.is_final()
            && other.state != SweepState::Pending
    });
    Ok(match ahead {
        Some(ahead) => format!("sweep {} comes first: it is {}", ahead.id, ahead.state.as_str()),
        None => {
            "no worker has taken the sweep yet: is `connection-auditor run` running, on the same database?".to_owned()
        }
    })
}

/// The notifications of a sweep, once none of them is on its way any more (or after a while, as they are).
pub(super) async fn settled_notifications(store: &dyn Store, sweep: &Sweep) -> anyhow::Result<Vec<NotificationCount>> {
    let bar = ProgressBar::new_spinner();
    let mut waited = Duration::ZERO;
    loop {
        let counts = store.notification_counts(Some(sweep.id)).await?;
        let leaving: u64 = counts
            .iter()
            .filter(|count| {
                matches!(
                    count.state,
                    NotificationState::Pending | NotificationState::Claimed | NotificationState::Sending
                )
            })
            .map(|count| count.count)
            .sum();
        if leaving == 0 || waited >= LEAVING {
            bar.finish_and_clear();
            return Ok(counts);
        }
        bar.set_message(format!("{} on the way", count(leaving, "mail is", "mails are")));
        bar.tick();
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}

async fn findings(store: &dyn Store, sweep: &Sweep) -> anyhow::Result<Option<Vec<Finding>>> {
    if sweep.mode != SweepMode::DryRun {
        return Ok(None);
    }
    let mut all: Vec<Finding> = Vec::new();
    loop {
        let after = all.last().map(|finding| finding.user.clone());
        let page = store.findings(sweep.id, after.as_ref(), FINDINGS).await?;
        if page.is_empty() {
            return Ok(Some(all));
        }
        all.extend(page.into_iter().map(|(user, incident)| Finding { user, incident }));
    }
}

fn print(report: &SweepReport) {
    let sweep = &report.sweep;
    let tally = &sweep.tally;
    let took = sweep.started_at.zip(sweep.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
    let took = took.map_or_else(String::new, |took| format!(" in {}", show::span(took)));
    let what = if sweep.mode == SweepMode::DryRun { "Dry run" } else { "Sweep" };
    say!("{what} {} {}{took}", sweep.id, sweep.state.as_str());
    if let Some(note) = &sweep.note {
        say!("  {note}");
    }
    say!("  {} checked", count(tally.checked, "user", "users"));
    for (number, what) in [
        (tally.given_up, "could not be checked; they keep the state they had"),
        (tally.refused, "cannot be asked for, as the id is empty or has a comma"),
        (tally.repeated, "listed again; only the first counts"),
    ] {
        if number > 0 {
            say!("  {} {what}", count(number, "user", "users"));
        }
    }
    say!("  {} seen", count(tally.accounts, "account", "accounts"));
    for (status, number) in &tally.unknown_statuses {
        say!(
            "  {} of the status {}, which this version does not know; the state they had stands",
            count(*number, "account", "accounts"),
            show::plain(status)
        );
    }
    let verdicts = verdicts(sweep);
    if !verdicts.is_empty() {
        say!("\n{verdicts}");
    }
    if let Some(findings) = &report.would_be_mailed {
        print_findings(findings);
        return;
    }
    say!(
        "\n{} opened, {} closed; {} to be told",
        count(tally.opened, "incident", "incidents"),
        show::number(tally.closed),
        count(tally.to_notify, "user", "users")
    );
    if !report.notifications.is_empty() {
        say!("\n{}", notifications(&report.notifications));
    }
}

/// Slots by verdict, and what each means.
pub(super) fn verdicts(sweep: &Sweep) -> Table {
    let mut table = Table::new(["verdict", "connections", "what follows"]).numbers(&[1]);
    for (verdict, number) in &sweep.tally.verdicts {
        let means = match verdict.as_str() {
            "healthy" => "nothing",
            "superseded" => "nothing: another account of the same app works",
            "unfinished" => "nothing, unless policy.unfinished asks for a nudge: nobody finished connecting",
            "operator_fault" => "nothing to the user: the auth config is disabled, which is yours to mend",
            "by_choice" => "nothing: switched off or revoked on purpose",
            "attempt_failed" => "one mail: connecting did not succeed",
            "broken" => "one mail: it stopped working",
            "unknown" => "nothing: the state it had stands",
            _ => "",
        };
        table.row([verdict, &show::number(*number), means]);
    }
    table
}

/// Notifications by what became of them.
pub(super) fn notifications(counts: &[NotificationCount]) -> Table {
    let mut table = Table::new(["notifications", "how many", "detail"]).numbers(&[1]);
    for count in counts {
        table.row([count.state.as_str(), &show::number(count.count), count.detail.as_deref().unwrap_or("")]);
    }
    table
}

/// An app, with the name that tells two of its connections apart.
pub(super) fn connection(toolkit: &str, alias: Option<&str>) -> String {
    alias.map_or_else(|| toolkit.to_owned(), |alias| format!("{toolkit} ({alias})"))
}

/// A status with its reason, if it has one.
pub(super) fn standing(status: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| status.to_owned(), |reason| format!("{status}: {reason}"))
}

fn print_findings(findings: &[Finding]) {
    let users: BTreeSet<&UserId> = findings.iter().map(|finding| &finding.user).collect();
    if users.is_empty() {
        say!("\nNobody would be mailed.");
        return;
    }
    say!(
        "\n{} would be mailed about {}; nothing was opened, and nobody was mailed",
        count(users.len() as u64, "user", "users"),
        count(findings.len() as u64, "connection", "connections")
    );
    let mut table = Table::new(["user", "connection", "account", "kind", "why", "since"]).whole(&[2, 3]);
    for Finding { user, incident } in findings {
        table.row([
            user.as_str(),
            &connection(incident.slot.toolkit.as_str(), incident.slot.alias.as_deref()),
            incident.account.as_str(),
            incident.kind.as_str(),
            &standing(&incident.status, incident.reason.as_deref()),
            &incident.broke_at.format("%Y-%m-%d").to_string(),
        ]);
    }
    say!("\n{table}");
}
