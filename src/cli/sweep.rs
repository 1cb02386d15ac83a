//! `sweep`: starts one now, follows it, and says what came of it.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use uuid::Uuid;

use super::show::{self, count};
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;
use crate::domain::id::{SweepId, UserId};
use crate::domain::incident::Incident;
use crate::domain::notification::NotificationState;
use crate::domain::port::NotificationCount;
use crate::domain::sweep::{NewSweep, Overlap, Sweep, SweepMode, SweepState, Trigger};

/// How often a followed sweep is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After how long without a worker a hint is printed.
const NOBODY: Duration = Duration::from_secs(5);

/// Start a sweep now: check every user.
///
/// The sweep is carried out by running workers. Exit code 2 with --dry-run: somebody would be mailed; with --wait: some users could not be
/// checked.
#[derive(Debug, Args)]
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_be_mailed: Vec<Finding>,
}

/// Somebody who would be mailed.
#[derive(Debug, Serialize)]
struct Finding {
    user: UserId,
    #[serde(flatten)]
    incident: Incident,
}

pub(super) async fn sweep(args: &SweepArgs, config: &Config) -> Outcome {
    let app = App::connect(config.clone()).await?;
    let id = SweepId(Uuid::now_v7());
    let now = app.clock.now();
    let mode = if args.dry_run { SweepMode::DryRun } else { SweepMode::Full };
    let new = NewSweep {
        id,
        schedule: "manual".to_owned(),
        tick: now,
        start_at: now,
        trigger: Trigger::Manual,
        mode,
        overlap: Overlap::Queue,
    };
    if !app.store.insert_sweep(&new, now).await? {
        bail!("another sweep was started by hand at this very instant; try again");
    }
    let started = app.store.sweep(id).await?.context("the sweep that was just stored is gone")?;
    if started.state == SweepState::Skipped {
        bail!("not started: {}", started.note.unwrap_or_else(|| "another sweep is at work".to_owned()));
    }
    if !args.wait && !args.dry_run {
        if args.json {
            show::json(&started)?;
        } else {
            println!("sweep {id} is waiting for a worker; follow it with `connection-auditor status`");
        }
        return Ok(Exit::Done);
    }
    let ended = follow(&app, id).await?;
    let report = SweepReport {
        notifications: settled_notifications(&app, &ended).await?,
        would_be_mailed: findings(&app, &ended).await?,
        sweep: ended,
    };
    if args.json {
        show::json(&report)?;
    } else {
        print(&report);
    }
    Ok(match report.sweep.state {
        SweepState::Completed if report.sweep.tally.given_up > 0 || !report.would_be_mailed.is_empty() => Exit::Found,
        SweepState::Completed => Exit::Done,
        _ => Exit::Failed,
    })
}

/// Shows a bar until the sweep is over.
pub(super) async fn follow(app: &App, id: SweepId) -> anyhow::Result<Sweep> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{spinner} {bar:30} {human_pos}/{human_len} users, {per_sec}, {eta} left{msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut waited = Duration::ZERO;
    loop {
        let sweep = app.store.sweep(id).await?.context("the sweep is gone")?;
        if sweep.state.is_final() {
            bar.finish_and_clear();
            return Ok(sweep);
        }
        let done = sweep.tally.users_done();
        bar.set_length(sweep.users_expected.and_then(|n| u64::try_from(n).ok()).unwrap_or(done).max(done));
        bar.set_position(done);
        bar.set_message(match (sweep.state, &sweep.note) {
            (SweepState::Paused, Some(why)) => format!(" · paused: {why}"),
            (SweepState::Pending, _) if waited >= NOBODY => {
                " · no worker has taken it yet: is `connection-auditor run` running?".to_owned()
            }
            _ => format!(" · {} found", sweep.tally.opened),
        });
        bar.tick();
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}

/// The notifications of a sweep, once none of them is on its way any more (or after a while, as they are).
pub(super) async fn settled_notifications(app: &App, sweep: &Sweep) -> anyhow::Result<Vec<NotificationCount>> {
    for _ in 0..240 {
        let counts = app.store.notification_counts(Some(sweep.id)).await?;
        let moving = counts.iter().any(|count| {
            matches!(count.state, NotificationState::Pending | NotificationState::Claimed | NotificationState::Sending)
        });
        if !moving {
            return Ok(counts);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(app.store.notification_counts(Some(sweep.id)).await?)
}

async fn findings(app: &App, sweep: &Sweep) -> anyhow::Result<Vec<Finding>> {
    let mut all: Vec<Finding> = Vec::new();
    if sweep.mode != SweepMode::DryRun {
        return Ok(all);
    }
    loop {
        let after = all.last().map(|finding| finding.user.clone());
        let page = app.store.findings(sweep.id, after.as_ref(), 1_000).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.into_iter().map(|(user, incident)| Finding { user, incident }));
    }
}

fn print(report: &SweepReport) {
    let sweep = &report.sweep;
    let tally = &sweep.tally;
    let took = sweep.started_at.zip(sweep.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
    let took = took.map_or_else(String::new, |took| {
        format!(" in {}", humantime::format_duration(Duration::from_millis(took.as_millis().try_into().unwrap_or(0))))
    });
    println!("Sweep {} {}{took}", sweep.id, sweep.state.as_str());
    if let Some(note) = &sweep.note {
        println!("  {note}");
    }
    let mut users = show::table(["users", "how many"]);
    users.add_row(["checked", &tally.checked.to_string()]);
    for (name, number) in [
        ("could not be checked (they keep the state they had)", tally.given_up),
        ("cannot be asked for (the id has a comma)", tally.refused),
        ("listed twice", tally.repeated),
    ] {
        if number > 0 {
            users.add_row([name, &number.to_string()]);
        }
    }
    println!("{users}");
    println!("{} by what they are:", count(tally.accounts, "account", "accounts"));
    println!("{}", verdicts(sweep));
    if sweep.mode == SweepMode::DryRun {
        print_findings(&report.would_be_mailed);
    } else {
        println!(
            "{} opened, {} closed; {} to tell",
            count(tally.opened, "incident", "incidents"),
            tally.closed,
            count(tally.to_notify, "user", "users")
        );
        println!("{}", notifications(&report.notifications));
    }
    for (status, number) in &tally.unknown_statuses {
        println!(
            "{number} accounts have the status {status:?}, which this version does not know: they keep the state they had"
        );
    }
}

/// Slots by verdict, and what each means.
pub(super) fn verdicts(sweep: &Sweep) -> comfy_table::Table {
    let mut table = show::table(["connections", "how many", "what happens"]);
    for (verdict, number) in &sweep.tally.verdicts {
        let means = match verdict.as_str() {
            "healthy" => "nothing",
            "superseded" => "nothing: another account of the same app works",
            "unfinished" => "nothing: an attempt that was never finished",
            "operator_fault" => "nothing to the user: the auth config is disabled, which is yours to mend",
            "by_choice" => "nothing: switched off or revoked on purpose",
            "attempt_failed" => "one mail: connecting did not succeed",
            "broken" => "a mail: it stopped working",
            "unknown" => "nothing: the state it had stands",
            _ => "",
        };
        table.add_row([verdict, &number.to_string(), means]);
    }
    table
}

/// Notifications by what became of them.
pub(super) fn notifications(counts: &[NotificationCount]) -> comfy_table::Table {
    let mut table = show::table(["mails", "why", "how many"]);
    for count in counts {
        table.add_row([count.state.as_str(), count.detail.as_deref().unwrap_or(""), &count.count.to_string()]);
    }
    table
}

fn print_findings(findings: &[Finding]) {
    let users: std::collections::BTreeSet<&UserId> = findings.iter().map(|finding| &finding.user).collect();
    println!("{} would be mailed; nothing was opened, nobody was mailed", count(users.len() as u64, "user", "users"));
    let mut table = show::table(["user", "app", "alias", "why", "status", "reason", "since"]);
    for Finding { user, incident } in findings {
        table.add_row([
            user.as_str(),
            incident.slot.toolkit.as_str(),
            incident.slot.alias.as_deref().unwrap_or(""),
            incident.kind.as_str(),
            &incident.status,
            incident.reason.as_deref().unwrap_or(""),
            &show::instant(incident.broke_at),
        ]);
    }
    println!("{table}");
}
