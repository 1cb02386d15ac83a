//! `notifications`: what was mailed, what waits, and what to do with what is held.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};

use super::show::{self, Table, count, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::notification::{NotificationState, hold};
use crate::domain::port::Store;

/// List, retry, release or discard notifications.
#[derive(Debug, Args)]
pub(super) struct NotificationsArgs {
    #[command(subcommand)]
    command: NotificationsCommand,
}

#[derive(Debug, Subcommand)]
enum NotificationsCommand {
    List(ListArgs),
    Retry(RetryArgs),
    Release(ReleaseArgs),
    Discard(DiscardArgs),
}

/// List the newest notifications in a state.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor notifications list                       what failed, and why
  connection-auditor notifications list --state held --json

--json prints an array of objects with id, user, state, hold, due_at, attempts, ambiguous, unclear, \
error, sweep, created_at, sent_at and incidents (their ids). No address is among them: addresses \
are read from your database when a mail is written.")]
struct ListArgs {
    /// The state
    #[arg(long, value_enum, default_value = "failed")]
    state: StateArg,
    /// How many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    /// Waits until it is due
    Pending,
    /// Waits for `notifications release` or `discard`
    Held,
    /// A notifier prepares it
    Claimed,
    /// It is being handed to the mail server
    Sending,
    /// The mail server took it
    Sent,
    /// Not sent, on purpose: recovered, deleted, discarded
    Skipped,
    /// The mail server refused it for good, or every try failed
    Failed,
    /// The user has no address, or an invalid one
    Unreachable,
}

impl From<StateArg> for NotificationState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Held => Self::Held,
            StateArg::Claimed => Self::Claimed,
            StateArg::Sending => Self::Sending,
            StateArg::Sent => Self::Sent,
            StateArg::Skipped => Self::Skipped,
            StateArg::Failed => Self::Failed,
            StateArg::Unreachable => Self::Unreachable,
        }
    }
}

/// Try again what failed for good, or could not reach anybody.
///
/// For after a mail server refused everything, or addresses were added. Each user is checked again before their mail is
/// written; whoever has reconnected meanwhile gets none.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor notifications retry                 those that failed
  connection-auditor notifications retry unreachable     those whose user had no valid address")]
struct RetryArgs {
    /// Which
    #[arg(value_enum, default_value = "failed", value_name = "STATE")]
    state: RetryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RetryState {
    /// The mail server refused it for good, or every try failed
    Failed,
    /// The user had no address, or an invalid one
    Unreachable,
}

/// Let held notifications leave.
///
/// Each user is checked again before their mail is written; whoever has reconnected meanwhile gets none.
#[derive(Debug, Args)]
struct ReleaseArgs {
    #[command(flatten)]
    held: HeldArgs,
}

/// Drop held notifications; their users are not mailed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor notifications discard go-live --older-than 7d")]
struct DiscardArgs {
    #[command(flatten)]
    held: HeldArgs,
}

#[derive(Debug, Args)]
struct HeldArgs {
    /// The name of the hold: go-live (made under notify.mode = "hold") or ambiguous (may have gone out already)
    #[arg(default_value = hold::GO_LIVE, value_parser = [hold::GO_LIVE, hold::AMBIGUOUS])]
    hold: String,
    /// Only those that were made longer ago than this, as in 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

pub(super) async fn notifications(args: &NotificationsArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let store = store.as_ref();
    match &args.command {
        NotificationsCommand::List(args) => return list(args, store).await,
        NotificationsCommand::Retry(RetryArgs { state }) => {
            let state = match state {
                RetryState::Failed => NotificationState::Failed,
                RetryState::Unreachable => NotificationState::Unreachable,
            };
            let retried = store.retry_settled(state, SystemClock.now()).await?;
            say!("{} will be tried again", count(retried, "notification", "notifications"));
        }
        NotificationsCommand::Release(ReleaseArgs { held }) => {
            let before = made_before(held)?;
            match store.release_held(&held.hold, before, SystemClock.now()).await? {
                0 => say!("{}", nothing_held(held)),
                released => say!(
                    "{} released; each user is checked again before the mail",
                    count(released, "notification", "notifications")
                ),
            }
        }
        NotificationsCommand::Discard(DiscardArgs { held }) => {
            let before = made_before(held)?;
            match store.discard_held(&held.hold, before, SystemClock.now()).await? {
                0 => say!("{}", nothing_held(held)),
                discarded => say!("{} discarded", count(discarded, "notification", "notifications")),
            }
        }
    }
    Ok(Exit::Done)
}

fn nothing_held(args: &HeldArgs) -> String {
    let age = args.older_than.map_or_else(String::new, |age| format!(" for {}", humantime::format_duration(age)));
    format!("nothing is held under {}{age}", args.hold)
}

fn made_before(args: &HeldArgs) -> anyhow::Result<Option<DateTime<Utc>>> {
    args.older_than
        .map(|age| {
            let age = TimeDelta::from_std(age).ok().and_then(|age| SystemClock.now().checked_sub_signed(age));
            age.context("--older-than reaches back further than the calendar does")
        })
        .transpose()
}

async fn list(args: &ListArgs, store: &dyn Store) -> Outcome {
    let state = NotificationState::from(args.state);
    let notifications = store.notifications(state, args.limit).await?;
    if args.json {
        show::json(&notifications)?;
        return Ok(Exit::Done);
    }
    if notifications.is_empty() {
        say!("no {} notifications", state.as_str());
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["made (UTC)", "user", "hold", "tries", "sent (UTC)", "why"]).numbers(&[3]);
    for notification in &notifications {
        table.row([
            &show::instant(notification.created_at),
            notification.user.as_str(),
            notification.hold.as_deref().unwrap_or(""),
            &notification.attempts.to_string(),
            &notification.sent_at.map_or_else(String::new, show::instant),
            notification.error.as_deref().unwrap_or(""),
        ]);
    }
    say!("The newest {} notifications\n{table}", state.as_str());
    Ok(Exit::Done)
}
