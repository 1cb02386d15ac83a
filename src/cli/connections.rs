//! `connections`: what one user has connected.

use std::time::Duration;

use clap::Args;

use super::show::{self, Table, hint, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::connection::Connections;
use crate::domain::freshness::Freshness;
use crate::domain::id::UserId;

/// Show what one user has connected, as a settings page would.
///
/// Answers from what was seen last, if that is fresh enough; else Composio is asked, and what it says is recorded as by a check:
/// incidents open and close. If Composio cannot be asked, what is known is shown, and said to be stale.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor connections user-123
  connection-auditor connections user-123 --live --json

--json prints an object with connections (app, name, logo, alias, auth_config, status, reason, verdict, since, account_id, \
reconnect_url, as_of), as_of, stale and why_stale.")]
pub(super) struct ConnectionsArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    freshness: FreshnessArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How old an answer may be.
#[derive(Debug, Args)]
pub(super) struct FreshnessArgs {
    /// Ask Composio if what was seen last is older than this
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    max_age: Duration,
    /// Ask Composio in any case
    #[arg(long, conflicts_with_all = ["max_age", "stored"])]
    live: bool,
    /// Ask nobody: answer from what is stored, however old
    #[arg(long, conflicts_with = "max_age")]
    stored: bool,
}

impl FreshnessArgs {
    /// The same as the floors below know it.
    pub(super) fn freshness(&self) -> Freshness {
        match (self.live, self.stored) {
            (true, _) => Freshness::Now,
            (false, true) => Freshness::Stored,
            (false, false) => Freshness::Within(self.max_age),
        }
    }
}

pub(super) async fn connections(args: &ConnectionsArgs, config: &Config) -> Outcome {
    let app = super::connect(config).await?;
    let entity = app.entities()?.of(UserId::new(args.user.as_str()));
    let told = entity.connections(args.freshness.freshness()).await?;
    if args.json {
        show::json(&told)?;
    } else {
        page(&told);
    }
    Ok(Exit::Done)
}

fn page(told: &Connections) {
    let mut table = Table::new(["app", "connection", "account", "verdict", "status", "since (UTC)"]).whole(&[2]);
    for one in &told.connections {
        let status = match &one.reason {
            Some(reason) => format!("{}: {reason}", one.status),
            None => one.status.to_string(),
        };
        table.row([
            one.name.as_str(),
            one.alias.as_deref().unwrap_or_default(),
            one.account_id.as_str(),
            one.verdict.as_str(),
            &status,
            &show::instant(one.since),
        ]);
    }
    if table.is_empty() {
        say!("nothing is connected");
    } else {
        say!("{table}");
    }
    say!("as of {} UTC", show::instant(told.as_of));
    if told.stale {
        match &told.why_stale {
            Some(why) => hint!("note: this is stale, for {why}"),
            None => hint!("note: this may have changed since"),
        }
    }
}
