//! `report`: whether mails do what they are for.

use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, Subcommand};

use super::show::{self, Table, hint, say};
use super::{Exit, Outcome};
use crate::audit::Report;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::port::{WITHIN_DAYS, Within};

/// Report on what came of mails.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(subcommand)]
    command: ReportCommand,
}

#[derive(Debug, Subcommand)]
enum ReportCommand {
    Reconnects(ReconnectsArgs),
}

/// How many broken connections were reconnected after a mail, and what webhooks told of.
///
/// By app, stage (first mail or reminder) and template: the language, and a print that is another as soon as a letter of the templates
/// is. A click is a press of the button on our own page; opening it counts for nothing, as scanners do that. A share is of the mails
/// that are old enough to tell. A mail whose button leads to the app's own page has no clicks.
///
/// The second table compares what broke with the events that Composio sent: missed is what a sweep found and no event told of.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor -c auditor.toml report reconnects
  connection-auditor -c auditor.toml report reconnects --since 90d --json

--json prints an object with since, reconnects (an array with an object for each app, stage and template: toolkit, stage, template, \
mailed, clicked, within: days, of, reconnected), coverage (toolkit, broke, told, missed) and events (by type).")]
struct ReconnectsArgs {
    /// Mails that left, and connections that broke, within this time
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn report(args: &ReportArgs, config: &Config) -> Outcome {
    let ReportCommand::Reconnects(args) = &args.command;
    let now = SystemClock.now();
    let since = now - TimeDelta::from_std(args.since).unwrap_or(TimeDelta::days(36_500)).min(TimeDelta::days(36_500));
    let store = super::open_store(config).await?;
    let report = Report::read(store.as_ref(), since, now).await?;
    if args.json {
        show::json(&report)?;
        return Ok(Exit::Done);
    }
    print(&report);
    Ok(Exit::Done)
}

fn print(report: &Report) {
    let since = show::instant(report.since);
    if report.reconnects.is_empty() {
        say!("no mail has left since {since} (UTC)");
    } else {
        let within =
            WITHIN_DAYS.map(|days| if days == 1 { "within a day".to_owned() } else { format!("within {days} days") });
        let [one, three, seven] = &within;
        let heads = ["app", "mail", "template", "mailed", "clicked", one, three, seven];
        let mut table = Table::new(heads).numbers(&[3, 4, 5, 6, 7]);
        for row in &report.reconnects {
            let [one, three, seven] = row.within.map(share);
            table.row([
                row.toolkit.as_str(),
                &row.stage.to_string(),
                row.template.as_deref().unwrap_or(""),
                &show::number(row.mailed),
                &show::number(row.clicked),
                &one,
                &three,
                &seven,
            ]);
        }
        say!("Mails since {since} (UTC), and what was reconnected after them\n{table}");
    }
    if report.coverage.is_empty() {
        say!("\nnothing broke since then");
    } else {
        let mut table = Table::new(["app", "broke", "told by an event", "missed"]).numbers(&[1, 2, 3]);
        for row in &report.coverage {
            let numbers = [row.broke, row.told, row.missed].map(show::number);
            let [broke, told, missed] = &numbers;
            table.row([row.toolkit.as_str(), broke, told, missed]);
        }
        say!("\nConnections that broke, and what webhooks told of them\n{table}");
    }
    if report.events.is_empty() {
        hint!("note: no event of Composio was taken since then; see `webhooks show`");
    }
    for (kind, count) in &report.events {
        say!("{}: {}", show::plain(kind), show::count(*count, "event", "events"));
    }
}

/// "12 of 40 (30 %)"
fn share(within: Within) -> String {
    match within.of {
        0 => "too early".to_owned(),
        of => {
            let percent = within.reconnected * 100 / of;
            format!("{} of {} ({percent} %)", show::number(within.reconnected), show::number(of))
        }
    }
}
