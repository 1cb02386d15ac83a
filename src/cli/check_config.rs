//! `check-config`: what would go wrong is better known before it does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Args;
use secrecy::SecretString;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::show::{self, chain, say};
use super::{Exit, Outcome, UNREACHABLE_DATABASE};
use crate::adapters::composio::{Composio, ComposioError};
use crate::adapters::mailer::Mailer;
use crate::adapters::users::UsersSource;
use crate::adapters::{queue, store};
use crate::config::{Config, MailTransport};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::tick::Ticks;

/// How many ticks are shown.
const TICKS: usize = 5;

/// Check the configuration, try every connection, and show the next ticks.
///
/// Prints what is in effect (defaults, file and environment together, secrets left out) and the next five ticks of each schedule, then
/// asks the database, the queue, the users' table, Composio and the mail server. No mail is sent, and no user is read or written.
///
/// Exit code 1: something cannot be reached, or is not as it must be. Exit code 64: the configuration itself is wrong; everything
/// that is wrong is said at once.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor -c auditor.toml check-config
  connection-auditor check-config --offline > effective.toml     a configuration again, but for secrets

--json prints an object with config, ticks (by schedule, in its time zone) and connections (name, ok, \
found, warnings; null with --offline).")]
pub(super) struct CheckConfigArgs {
    /// Only validate and print; connect to nothing
    #[arg(long)]
    offline: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// All that there is to say.
#[derive(Debug, Serialize)]
struct Report<'c> {
    config: &'c Config,
    ticks: BTreeMap<&'c str, Vec<DateTime<Tz>>>,
    connections: Option<Vec<Finding>>,
}

/// What was found of one neighbour.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    ok: bool,
    found: String,
    warnings: Vec<String>,
}

impl Finding {
    fn new(name: &'static str, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        let (Ok(found) | Err(found)) = found;
        Self { name, ok, found, warnings: Vec::new() }
    }
}

pub(super) async fn check_config(args: &CheckConfigArgs, config: &Config, file: Option<&Path>) -> Outcome {
    if let Err(errors) = config.require_run() {
        return Ok(super::misconfigured(&errors));
    }
    let ticks = ticks(config)?;
    if !args.json {
        let from = file.map_or_else(|| "defaults and environment".to_owned(), |file| file.display().to_string());
        say!("# The effective configuration ({from}), secrets left out");
        say!("{}", config.redacted_toml());
        print_ticks(config, &ticks);
    }
    let connections = if args.offline { None } else { Some(connections(config, args).await) };
    let ok = connections.iter().flatten().all(|finding| finding.ok);
    if args.json {
        show::json(&Report { config, ticks, connections })?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn ticks(config: &Config) -> anyhow::Result<BTreeMap<&str, Vec<DateTime<Tz>>>> {
    let now = SystemClock.now();
    let mut all = BTreeMap::new();
    for (name, schedule) in &config.schedules {
        let ticks = Ticks::parse(&schedule.cron, schedule.time_zone)?.upcoming(now, TICKS);
        all.insert(name.as_str(), ticks.iter().map(|tick| tick.with_timezone(&schedule.time_zone)).collect());
    }
    Ok(all)
}

/// As comments, so that what is printed stays a configuration.
fn print_ticks(config: &Config, ticks: &BTreeMap<&str, Vec<DateTime<Tz>>>) {
    say!("# Next ticks");
    for (name, schedule) in &config.schedules {
        say!("#   {name}: {} in {}", schedule.cron, schedule.time_zone);
        let upcoming = ticks.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        for tick in upcoming {
            let utc = if schedule.time_zone == chrono_tz::UTC {
                String::new()
            } else {
                tick.with_timezone(&Utc).format("  = %Y-%m-%d %H:%M:%S UTC").to_string()
            };
            say!("#     {}{utc}", tick.format("%a %Y-%m-%d %H:%M:%S %Z"));
        }
        if upcoming.is_empty() {
            say!("#     none: no day that the calendar has fits");
        }
    }
}

/// Asks each neighbour, and says what it found as soon as it knows.
async fn connections(config: &Config, args: &CheckConfigArgs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |finding: Finding| {
        if !args.json {
            if findings.is_empty() {
                say!("\n# Connections");
            }
            for warning in &finding.warnings {
                say!("#   warning {}: {warning}", finding.name);
            }
            say!("#   {} {}: {}", if finding.ok { "ok     " } else { "FAILED " }, finding.name, finding.found);
        }
        findings.push(finding);
    };
    add(Finding::new("database", database(config).await));
    add(Finding::new("queue", queue(config).await));
    let mut warnings = Vec::new();
    let found = users(config, &mut warnings).await;
    add(Finding { warnings, ..Finding::new("users", found) });
    add(Finding::new("composio", composio(config).await));
    add(Finding::new("mail", mail(config).await));
    findings
}

/// What is said of an embedded file that is not there yet: it must not come into being by being looked at.
fn not_there_yet(url: &SecretString, setting: &str) -> Option<Result<String, String>> {
    let path = super::missing_file(url)?;
    let folder = Path::new(&path).parent().filter(|folder| !folder.as_os_str().is_empty());
    Some(match folder {
        Some(folder) if !folder.is_dir() => {
            Err(format!("there is no folder {} for {setting}: make it", folder.display()))
        }
        _ => Ok(format!("{path} is not there yet; it is made when the worker starts")),
    })
}

async fn database(config: &Config) -> Result<String, String> {
    if let Some(later) = not_there_yet(&config.database.url, "database.url") {
        return later;
    }
    match store::connect(&config.database).await {
        Ok(_) => Ok("it answers, and is migrated".to_owned()),
        Err(store::ConnectError::NotMigrated { .. }) if store::is_embedded(&config.database) => {
            Ok("it answers, and is migrated when the worker starts".to_owned())
        }
        Err(error @ store::ConnectError::Unreachable { .. }) => Err(format!("{}{UNREACHABLE_DATABASE}", chain(&error))),
        Err(error) => Err(chain(&error)),
    }
}

async fn queue(config: &Config) -> Result<String, String> {
    if let Some(later) = not_there_yet(&config.queue.url, "queue.url") {
        return later;
    }
    queue::connect(&config.queue).await.map_err(|error| chain(&error))?;
    Ok("it answers, and keeps what it is given".to_owned())
}

async fn users(config: &Config, warnings: &mut Vec<String>) -> Result<String, String> {
    if config.users.url.is_none() && super::missing_file(&config.database.url).is_some() {
        return Ok("none yet; import some with `connection-auditor users import`".to_owned());
    }
    let users = UsersSource::connect(&config.users, &config.database.url).map_err(|error| chain(&error))?;
    let probe = users.probe().await.map_err(|error| chain(&error))?;
    *warnings = probe.warnings;
    Ok(match (probe.users, probe.without_id) {
        (Some(users), Some(without)) if without > 0 => {
            format!("{users} users, and {without} rows without an id, which are skipped")
        }
        (Some(users), _) => format!("{users} users"),
        (None, _) => "they can be read; counting them takes too long".to_owned(),
    })
}

async fn composio(config: &Config) -> Result<String, String> {
    let composio = Composio::new(config.composio.clone(), Arc::new(SystemClock)).map_err(|error| chain(&error))?;
    match composio.canary().await {
        Ok(()) => Ok("the key is good, and filters hold".to_owned()),
        Err(error @ ComposioError::Unavailable { .. }) => Err(format!("{error}; check composio.url")),
        Err(error) => Err(error.for_operator()),
    }
}

async fn mail(config: &Config) -> Result<String, String> {
    let mailer = Mailer::new(&config.notify, &config.mail, &TaskTracker::new()).map_err(|error| chain(&error))?;
    let found = mailer.probe().await.map_err(|error| match config.mail.transport {
        MailTransport::Smtp if !error.to_string().contains("mail.smtp.") => {
            format!("{}; check the settings in [mail.smtp]", chain(&error))
        }
        _ => chain(&error),
    });
    mailer.close().await;
    found
}
