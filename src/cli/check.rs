//! `check`: re-audits some users, ahead of sweeps.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::show;
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;
use crate::domain::history::History;
use crate::domain::id::{CheckId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::port::{CheckOutcome, LastCheck};
use crate::domain::sweep::Check;
use crate::domain::verdict::{SlotVerdict, Verdict, assess};

/// How often it is looked whether the checks are done.
const LOOK: Duration = Duration::from_millis(150);

/// Check some users now, ahead of sweeps.
///
/// Exit code 2 with --wait: a connection is broken, an attempt failed, or a user could not be checked.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Ids of users; `-` reads them from standard input, one a line
    #[arg(value_name = "USER", required_unless_present = "file")]
    users: Vec<String>,
    /// A file with one user id a line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait for the checks and print the verdict of each connection
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What came of one user's check.
#[derive(Debug, Serialize)]
struct UserReport {
    user: UserId,
    check: Option<LastCheck>,
    connections: Vec<SlotVerdict>,
}

pub(super) async fn check(args: &CheckArgs, config: &Config) -> Outcome {
    let users = users(args)?;
    let app = App::connect(config.clone()).await?;
    let now = app.clock.now();
    let size = usize::try_from(config.check.users_per_job.max(1))?;
    let checks: Vec<Check> = users
        .chunks(size)
        .map(|users| Check {
            id: CheckId(Uuid::now_v7()),
            sweep: None,
            seq: 0,
            users: users.to_vec(),
            attempt: 0,
            due_at: now,
        })
        .collect();
    app.store.insert_checks(&checks, now).await?;
    let jobs: Vec<_> = checks.iter().map(|check| (Job::Check(Lane::CheckNow, check.id), None)).collect();
    if !app.outbox().hand_over(&jobs).await {
        eprintln!("the queue is away: the checks are stored, and begin as soon as it is back");
    }
    if !args.wait {
        println!("{} will be checked ahead of sweeps", show::count(users.len() as u64, "user", "users"));
        return Ok(Exit::Done);
    }
    let ids: Vec<CheckId> = checks.iter().map(|check| check.id).collect();
    let waiting = async {
        while !app.store.unfinished_checks(&ids).await?.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(args.timeout, waiting).await {
        Ok(waited) => waited?,
        Err(_) => bail!(
            "not done after {}; is `connection-auditor run` running? The checks stay in the queue",
            humantime::format_duration(args.timeout)
        ),
    }
    let reports = reports(&app, &users).await?;
    if args.json {
        show::json(&reports)?;
    } else {
        print(&reports);
    }
    let found = reports.iter().any(|report| {
        !matches!(report.check, Some(LastCheck { outcome: CheckOutcome::Checked, .. }))
            || report.connections.iter().any(|c| matches!(c.verdict, Verdict::Broken | Verdict::AttemptFailed))
    });
    Ok(if found { Exit::Found } else { Exit::Done })
}

/// The users that were named, each once, in the order in which they were named.
fn users(args: &CheckArgs) -> anyhow::Result<Vec<UserId>> {
    let mut lines = String::new();
    if let Some(file) = &args.file {
        lines = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    if args.users.iter().any(|user| user == "-") {
        std::io::stdin().read_to_string(&mut lines).context("cannot read standard input")?;
    }
    let mut seen = BTreeSet::new();
    let named = args.users.iter().map(String::as_str).filter(|user| *user != "-");
    let users: Vec<UserId> = named
        .chain(lines.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()))
        .filter(|user| seen.insert((*user).to_owned()))
        .map(UserId::from)
        .collect();
    if users.is_empty() {
        bail!("no user was named: give ids as arguments, with --file, or `-` for standard input");
    }
    Ok(users)
}

async fn reports(app: &App, users: &[UserId]) -> anyhow::Result<Vec<UserReport>> {
    let mut histories = app.store.history(users).await?;
    let mut reports = Vec::with_capacity(users.len());
    for user in users {
        let history: History = histories.remove(user).unwrap_or_default();
        let listed: Vec<_> =
            history.accounts.iter().filter(|known| known.gone_at.is_none()).map(|k| k.account.clone()).collect();
        reports.push(UserReport {
            user: user.clone(),
            check: app.store.last_check(user).await?,
            connections: assess(&listed, &history),
        });
    }
    Ok(reports)
}

fn print(reports: &[UserReport]) {
    let mut table = show::table(["user", "app", "alias", "verdict", "status", "reason", "since", "account"]);
    for report in reports {
        match &report.check {
            Some(LastCheck { outcome: CheckOutcome::Checked, .. }) => {}
            Some(LastCheck { outcome: CheckOutcome::GivenUp(why) | CheckOutcome::Refused(why), .. }) => {
                table.add_row([report.user.as_str(), "", "", "not checked", "", why, "", ""]);
            }
            None => {
                table.add_row([report.user.as_str(), "", "", "not checked", "", "", "", ""]);
            }
        }
        if report.connections.is_empty() && report.check.is_some() {
            table.add_row([report.user.as_str(), "", "", "no connections", "", "", "", ""]);
        }
        for connection in &report.connections {
            table.add_row([
                report.user.as_str(),
                connection.slot.toolkit.as_str(),
                connection.slot.alias.as_deref().unwrap_or(""),
                connection.verdict.as_str(),
                connection.deciding.status.as_str(),
                connection.deciding.reason.as_deref().unwrap_or(""),
                &show::instant(connection.deciding.changed_at()),
                connection.deciding.id.as_str(),
            ]);
        }
    }
    println!("{table}");
}
