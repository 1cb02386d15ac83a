//! `alerts`: what the operator is told of, and whether it would arrive.

use std::collections::HashSet;

use clap::{Args, Subcommand};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::show::{self, Table, count, hint, say};
use super::{Exit, Outcome};
use crate::app::alert_channels;
use crate::config::Config;
use crate::domain::alert::{Alert, Condition, Message, kind};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::AlertId;
use crate::domain::port::Store;

/// See what you are told of, and try the ways it takes.
#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    List(ListArgs),
    Test(TestArgs),
}

/// List alerts: those that fire in full, then the newest that are over.
///
/// Exit code 2: some fire.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an array of objects with id, kind, subject, summary, detail, since, told_at, ended_at (null while it fires) and \
end_told.")]
struct ListArgs {
    /// How many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Send a test message by every configured way, and say how each went.
///
/// The ways are alerts.email, alerts.webhook and alerts.slack. Nothing of it is stored, and nothing is tried again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The webhook gets the type connection_auditor.alert.test.")]
struct TestArgs {}

pub(super) async fn alerts(args: &AlertsArgs, config: &Config) -> Outcome {
    match &args.command {
        AlertsCommand::List(args) => list(args, super::open_store(config).await?.as_ref()).await,
        AlertsCommand::Test(TestArgs {}) => test(config).await,
    }
}

async fn list(args: &ListArgs, store: &dyn Store) -> Outcome {
    let alerts = store.alerts(args.limit).await?;
    let (firing, ended): (Vec<&Alert>, Vec<&Alert>) = alerts.iter().partition(|alert| alert.ended_at.is_none());
    if args.json {
        show::json(&alerts)?;
    } else if alerts.is_empty() {
        say!("no alerts");
    } else {
        print(&firing, &ended);
    }
    Ok(if firing.is_empty() { Exit::Done } else { Exit::Found })
}

fn print(firing: &[&Alert], ended: &[&Alert]) {
    for alert in firing {
        say!("{}  (since {} UTC)\n", show::plain(&alert.condition.summary), show::instant(alert.since));
        for line in alert.condition.detail.lines() {
            let line = if line.is_empty() { String::new() } else { format!("  {}", show::plain(line)) };
            say!("{line}");
        }
        say!("");
    }
    if firing.is_empty() {
        say!("nothing fires");
    }
    if !ended.is_empty() {
        let mut table = Table::new(["over since (UTC)", "began (UTC)", "what"]);
        for alert in ended {
            let ended_at = alert.ended_at.map_or_else(String::new, show::instant);
            table.row([&ended_at, &show::instant(alert.since), &show::plain(&alert.condition.summary)]);
        }
        say!("Over\n{table}");
    }
}

async fn test(config: &Config) -> Outcome {
    let channels = alert_channels(config, &TaskTracker::new())?;
    let configured = channels.configured();
    if configured.is_empty() {
        hint!("error: there is no way to tell you: set alerts.email, alerts.webhook.url or alerts.slack.url");
        return Ok(Exit::Usage);
    }
    let mut failed = 0;
    for channel in configured {
        let now = SystemClock.now();
        let delivered = channels.deliver(channel, Uuid::now_v7(), &test_message(), &mut HashSet::new(), now).await;
        match delivered {
            Ok(who) => say!("{}: {who}", channel.as_str()),
            Err(why) => {
                failed += 1;
                say!("{}: failed: {why}", channel.as_str());
            }
        }
    }
    channels.close().await;
    if failed > 0 {
        anyhow::bail!("{} did not take it", count(failed, "way", "ways"));
    }
    Ok(Exit::Done)
}

fn test_message() -> Message {
    let alert = Alert {
        id: AlertId(Uuid::now_v7()),
        condition: Condition {
            kind: kind::TEST.to_owned(),
            subject: "alerts test".to_owned(),
            summary: "Test: alerts of the connection auditor arrive here".to_owned(),
            detail: "Nothing is wrong: somebody has tried out whether alerts arrive. An alert says what is wrong, what it usually \
                     means, and what to do:\n\n    # what fires now\n    connection-auditor alerts list"
                .to_owned(),
        },
        since: SystemClock.now(),
        told_at: None,
        ended_at: None,
        end_told: false,
    };
    Message { kind: kind::TEST.to_owned(), firing: vec![alert], ended: Vec::new() }
}
