//! `check`: re-audits some users, ahead of sweeps.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::show::{self, Table, count, hint, say};
use super::sweep::{connection, standing};
use super::wait::{self, Stillness};
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;
use crate::domain::history::History;
use crate::domain::id::{CheckId, UserId};
use crate::domain::job::{Job, Lane};
use crate::domain::port::{CheckOutcome, LastCheck};
use crate::domain::sweep::Check;
use crate::domain::verdict::{SlotVerdict, Verdict};

/// How often it is looked whether the checks are done.
const LOOK: Duration = Duration::from_millis(150);
/// How many users are asked for at a time.
const PAGE: usize = 1_000;
/// How long the app's database may take to say which users it has; the checks do not depend on it.
const ASKING: Duration = Duration::from_secs(10);

/// Check some users now, ahead of sweeps.
///
/// The checks are carried out by running workers, and mail as a sweep would. A user is named by the id under which Composio knows
/// them. Ctrl-C ends the waiting, not the checks.
///
/// Exit code 2 with --wait: a connection is broken, an attempt to connect failed, a user could not be checked, or the app has no
/// such user. Exit code 1: the checks were not done within --timeout; they stay in the queue.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor check user-123 user-456 --wait
  connection-auditor check --file users.txt                 one id a line
  psql -Atc \"select id from users where plan = 'pro'\" | connection-auditor check - --wait

--json prints, with --wait, an array with an object for each user: user, known (whether the app has \
such a user; null if that cannot be told), check (at, observed_at, outcome: checked, given_up or \
refused, error) and connections (slot, verdict, deciding: the account that decided). Without --wait it prints an object with users (how many) and checks (their ids).")]
pub(super) struct CheckArgs {
    /// Ids of users; - reads them from standard input, one a line
    #[arg(value_name = "USER", required_unless_present = "file")]
    users: Vec<String>,
    /// A file with one user id a line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Wait for the checks and print the verdict of each connection
    #[arg(long)]
    wait: bool,
    /// How long to wait, as in 30s
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What was handed over.
#[derive(Debug, Serialize)]
struct Asked {
    users: usize,
    checks: Vec<CheckId>,
}

/// What came of one user's check.
#[derive(Debug, Serialize)]
struct UserReport {
    user: UserId,
    known: Option<bool>,
    check: Option<LastCheck>,
    connections: Vec<SlotVerdict>,
}

impl UserReport {
    /// Whether this is what the command looks for.
    fn is_found(&self) -> bool {
        self.known == Some(false)
            || !matches!(self.check, Some(LastCheck { outcome: CheckOutcome::Checked, .. }))
            || self.connections.iter().any(|c| matches!(c.verdict, Verdict::Broken | Verdict::AttemptFailed))
    }
}

pub(super) async fn check(args: &CheckArgs, config: &Config) -> Outcome {
    let users = users(args)?;
    let app = super::connect(config).await?;
    let known = tokio::time::timeout(ASKING, known(&app, &users)).await.ok().flatten();
    if let Some(known) = &known {
        for user in users.iter().filter(|user| !known.contains(*user)) {
            hint!("the app has no user {:?}: nobody would be mailed", show::plain(user.as_str()));
        }
    }
    let ids = hand_over(&app, &users).await?;
    if !args.wait {
        if args.json {
            show::json(&Asked { users: users.len(), checks: ids })?;
        } else {
            say!("{} will be checked ahead of sweeps", count(users.len() as u64, "user", "users"));
        }
        return Ok(Exit::Done);
    }
    match tokio::time::timeout(args.timeout, wait::unless_interrupted(done(&app, &ids), "the checks go on")).await {
        Ok(waited) => waited?,
        Err(_) => bail!("not done after {}; the checks stay in the queue", humantime::format_duration(args.timeout)),
    }
    let reports = reports(&app, &users, known.as_ref()).await?;
    if args.json {
        show::json(&reports)?;
    } else {
        say!("{}", table(&reports));
    }
    Ok(if reports.iter().any(UserReport::is_found) { Exit::Found } else { Exit::Done })
}

/// The users that were named, each once, in the order in which they were named.
fn users(args: &CheckArgs) -> anyhow::Result<Vec<UserId>> {
    let mut lines = String::new();
    if let Some(file) = &args.file {
        lines = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        lines.push('\n');
    }
    if args.users.iter().any(|user| user == "-") {
        std::io::stdin().read_to_string(&mut lines).context("cannot read standard input")?;
    }
    let mut seen = BTreeSet::new();
    let named = args.users.iter().map(String::as_str).filter(|user| *user != "-");
    let users: Vec<UserId> = named
        .chain(lines.lines().filter(|line| !line.is_empty()))
        .filter(|user| seen.insert((*user).to_owned()))
        .map(UserId::from)
        .collect();
    if users.is_empty() {
        bail!("no user was named: give ids as arguments, with --file, or - for standard input");
    }
    Ok(users)
}

/// Those that the app has; `None` if its database cannot be asked, which stops no check.
async fn known(app: &App, users: &[UserId]) -> Option<BTreeSet<UserId>> {
    let source = app.users().ok()?;
    let mut known = BTreeSet::new();
    for page in users.chunks(PAGE) {
        known.extend(source.find_many(page).await.ok()?.into_keys());
    }
    Some(known)
}

async fn hand_over(app: &App, users: &[UserId]) -> anyhow::Result<Vec<CheckId>> {
    let now = app.clock.now();
    let size = usize::try_from(app.config.check.users_per_job.max(1))?;
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
        hint!("the queue is away: the checks are stored, and begin as soon as it is back");
    }
    Ok(checks.iter().map(|check| check.id).collect())
}

/// Waits for the checks, their retries included; says so if nobody takes them.
async fn done(app: &App, ids: &[CheckId]) -> anyhow::Result<()> {
    let mut stillness = Stillness::new();
    let mut looked = Instant::now();
    loop {
        let left = app.store.unfinished_checks(ids).await?;
        if left.is_empty() {
            return Ok(());
        }
        if stillness.begins(left.len() as u64, looked.elapsed()) {
            let lanes = app.queue.depths().await.unwrap_or_default();
            let ours = lanes.iter().find(|depth| depth.lane == Lane::CheckNow);
            match ours {
                Some(depth) if depth.waiting > 0 && depth.in_flight == 0 => hint!(
                    "no worker has taken the checks yet: is `connection-auditor run` running, on the same database and queue?"
                ),
                _ => hint!("still waiting: users that cannot be read are tried again, some seconds to minutes apart"),
            }
        }
        looked = Instant::now();
        tokio::time::sleep(LOOK).await;
    }
}

async fn reports(app: &App, users: &[UserId], known: Option<&BTreeSet<UserId>>) -> anyhow::Result<Vec<UserReport>> {
    let mut reports = Vec::with_capacity(users.len());
    for page in users.chunks(PAGE) {
        let mut histories = app.store.history(page).await?;
        for user in page {
            let history: History = histories.remove(user).unwrap_or_default();
            reports.push(UserReport {
                user: user.clone(),
                known: known.map(|known| known.contains(user)),
                check: app.store.last_check(user).await?,
                connections: history.verdicts(),
            });
        }
    }
    Ok(reports)
}

/// One row a connection. Of a user that could not be checked, what was seen the last time follows the reason.
fn table(reports: &[UserReport]) -> Table {
    let mut table = Table::new(["user", "connection", "account", "verdict", "why", "since (UTC)"]).whole(&[2, 3]);
    for report in reports {
        let user = report.user.as_str();
        let mut user_row = |verdict: &str, why: &str| table.row([user, "", "", verdict, why, ""]);
        match &report.check {
            Some(LastCheck { outcome: CheckOutcome::Checked, .. }) if report.connections.is_empty() => {
                let why = if report.known == Some(false) { "the app has no such user" } else { "" };
                user_row("no connections", why);
            }
            Some(LastCheck { outcome: CheckOutcome::Checked, .. }) => {}
            Some(LastCheck { outcome: CheckOutcome::GivenUp(why), observed_at: Some(seen), .. }) => {
                user_row("not checked", &format!("{why}; as of {}:", show::instant(*seen)));
            }
            Some(LastCheck { outcome: CheckOutcome::GivenUp(why) | CheckOutcome::Refused(why), .. }) => {
                user_row("not checked", why);
            }
            None => user_row("not checked", "the check ended without a result"),
        }
        for slot in &report.connections {
            let deciding = &slot.deciding;
            table.row([
                user,
                &connection(slot.slot.toolkit.as_str(), slot.slot.alias.as_deref()),
                deciding.id.as_str(),
                slot.verdict.as_str(),
                &standing(deciding.status.as_str(), deciding.reason.as_deref()),
                &show::instant(deciding.changed_at()),
            ]);
        }
    }
    table
}
