//! `check-config` and `mail-test`: what would go wrong is better known before it does.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use chrono::Utc;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Exit, Outcome};
use crate::adapters::composio::{Composio, ComposioError};
use crate::adapters::mailer::Mailer;
use crate::adapters::users::UsersSource;
use crate::adapters::{queue, store};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::NotificationId;
use crate::domain::notification::EmailAddress;
use crate::domain::tick::Ticks;

/// How many ticks are shown.
const TICKS: usize = 5;

/// Check the configuration, print it redacted, try every connection, and show the next ticks.
///
/// Nothing is changed anywhere. Exit code 1: something cannot be reached, or is not as it must be; 64: the configuration itself is wrong.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    /// Only validate and print; connect to nothing
    #[arg(long)]
    offline: bool,
}

/// Send a test mail.
#[derive(Debug, Args)]
pub(super) struct MailTestArgs {
    /// To whom
    #[arg(value_name = "ADDRESS")]
    to: String,
}

/// What was found of each neighbour.
struct Findings {
    failed: bool,
}

impl Findings {
    fn add(&mut self, what: &str, found: Result<String, String>) {
        match found {
            Ok(good) => println!("  ok      {what}: {good}"),
            Err(bad) => {
                self.failed = true;
                println!("  FAILED  {what}: {bad}");
            }
        }
    }
}

pub(super) async fn check_config(args: &CheckConfigArgs, config: &Config, file: Option<&Path>) -> Outcome {
    if let Err(errors) = config.require_run() {
        eprintln!("{errors}");
        return Ok(Exit::Usage);
    }
    let from = file.map_or_else(|| "defaults and environment".to_owned(), |file| file.display().to_string());
    println!("# The effective configuration ({from}), secrets left out");
    println!("{}", config.redacted_toml());
    print_ticks(config)?;
    if args.offline {
        return Ok(Exit::Done);
    }
    println!("\nConnections");
    let mut findings = Findings { failed: false };
    findings.add("database", database(config).await);
    findings.add("queue", queue(config).await);
    findings.add("users", users(config).await);
    findings.add("composio", composio(config).await);
    findings.add("mail", mail(config).await);
    Ok(if findings.failed { Exit::Failed } else { Exit::Done })
}

fn print_ticks(config: &Config) -> anyhow::Result<()> {
    println!("Next ticks");
    let now = SystemClock.now();
    for (name, schedule) in &config.schedules {
        let ticks = Ticks::parse(&schedule.cron, schedule.time_zone)?;
        println!("  {name} ({} in {})", schedule.cron, schedule.time_zone);
        for tick in ticks.upcoming(now, TICKS) {
            let local = tick.with_timezone(&schedule.time_zone);
            println!(
                "    {}   {}",
                local.format("%a %Y-%m-%d %H:%M:%S %Z"),
                tick.with_timezone(&Utc).format("(%H:%M:%S UTC)")
            );
        }
    }
    Ok(())
}

/// What is said of an embedded file that is not there yet: it must not come into being by being looked at.
fn not_there_yet(url: &SecretString) -> Option<String> {
    let path = url.expose_secret().strip_prefix("sqlite:")?.trim_start_matches("//");
    let path = path.split('?').next().unwrap_or(path);
    (!Path::new(path).exists()).then(|| format!("the file {path} is not there yet; it is made when the worker starts"))
}

async fn database(config: &Config) -> Result<String, String> {
    if let Some(later) = not_there_yet(&config.database.url) {
        return Ok(later);
    }
    store::connect(&config.database).await.map_err(|error| chain(&error))?;
    Ok("it answers, and is migrated".to_owned())
}

async fn queue(config: &Config) -> Result<String, String> {
    if let Some(later) = not_there_yet(&config.queue.url) {
        return Ok(later);
    }
    queue::connect(&config.queue).await.map_err(|error| chain(&error))?;
    Ok("it answers, and keeps what it is given".to_owned())
}

async fn users(config: &Config) -> Result<String, String> {
    if config.users.url.is_none() && not_there_yet(&config.database.url).is_some() {
        return Ok("none yet; import some with `connection-auditor users import`".to_owned());
    }
    let users = UsersSource::connect(&config.users, &config.database.url).map_err(|error| chain(&error))?;
    let probe = users.probe().await.map_err(|error| chain(&error))?;
    for warning in &probe.warnings {
        println!("  warning users: {warning}");
    }
    Ok(match (probe.users, probe.without_id) {
        (Some(users), Some(without)) if without > 0 => {
            format!("{users} users, and {without} rows without an id, which are skipped")
        }
        (Some(users), _) => format!("{users} users"),
        (None, _) => "they can be read; counting them takes too long".to_owned(),
    })
}

async fn composio(config: &Config) -> Result<String, String> {
    let composio = Composio::new(config.composio.clone(), Arc::new(SystemClock)).map_err(|error| error.to_string())?;
    match composio.canary().await {
        Ok(()) => Ok("the key is good, and filters hold".to_owned()),
        Err(error @ ComposioError::Unauthorized { .. }) => {
            Err(format!("{error}; check composio.api_key and its scope Connected accounts: Read"))
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn mail(config: &Config) -> Result<String, String> {
    let mailer = Mailer::new(&config.notify, &config.mail, &TaskTracker::new()).map_err(|error| chain(&error))?;
    let found = mailer.probe().await.map_err(|error| chain(&error));
    mailer.close().await;
    found
}

pub(super) async fn mail_test(args: &MailTestArgs, config: &Config) -> Outcome {
    if let Err(errors) = config.require(&[crate::config::Need::Mail]) {
        eprintln!("{errors}");
        return Ok(Exit::Usage);
    }
    let Ok(to) = args.to.parse::<EmailAddress>() else {
        eprintln!("error: {:?} is not an email address", args.to);
        return Ok(Exit::Usage);
    };
    let mailer = Mailer::new(&config.notify, &config.mail, &TaskTracker::new())?;
    let mail = mailer.compose_test(&to, NotificationId(Uuid::now_v7()), SystemClock.now())?;
    let sent = mailer.send(&mail).await;
    mailer.close().await;
    sent.context("the test mail was not taken")?;
    println!("the mail server took it; its Message-ID is <{}>", mail.message_id());
    Ok(Exit::Done)
}

/// An error with all its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
