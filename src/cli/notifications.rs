//! `notifications`: what was mailed, what waits, and what to do with what is held.

use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use clap::{Args, Subcommand, ValueEnum};

use super::show;
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;
use crate::domain::notification::{NotificationState, hold};

/// List, release or discard notifications.
#[derive(Debug, Subcommand)]
pub(super) enum NotificationsCommand {
    /// List the newest notifications in a state
    List(ListArgs),
    /// Let held notifications leave; each user is checked again before their mail is written
    Release(HeldArgs),
    /// Drop held notifications; their users are not mailed
    Discard(HeldArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
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
    Pending,
    Held,
    Claimed,
    Sending,
    Sent,
    Skipped,
    Failed,
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

#[derive(Debug, Args)]
pub(super) struct HeldArgs {
    /// The name of the hold: `go-live` (made under notify.mode = "hold") or `ambiguous` (may have gone out already)
    #[arg(default_value = hold::GO_LIVE, value_parser = [hold::GO_LIVE, hold::AMBIGUOUS])]
    hold: String,
    /// Only those that were made longer ago than this, as in `7d`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

pub(super) async fn notifications(command: &NotificationsCommand, config: &Config) -> Outcome {
    let app = App::connect(config.clone()).await?;
    match command {
        NotificationsCommand::List(args) => return list(args, &app).await,
        NotificationsCommand::Release(args) => {
            let (before, now) = (made_before(args, &app)?, app.clock.now());
            let released = app.store.release_held(&args.hold, before, now).await?;
            println!(
                "{} released; each user is checked again before the mail",
                show::count(released, "notification", "notifications")
            );
        }
        NotificationsCommand::Discard(args) => {
            let (before, now) = (made_before(args, &app)?, app.clock.now());
            let discarded = app.store.discard_held(&args.hold, before, now).await?;
            println!("{} discarded", show::count(discarded, "notification", "notifications"));
        }
    }
    Ok(Exit::Done)
}

fn made_before(args: &HeldArgs, app: &App) -> anyhow::Result<Option<chrono::DateTime<chrono::Utc>>> {
    args.older_than
        .map(|age| {
            let age = TimeDelta::from_std(age).ok().and_then(|age| app.clock.now().checked_sub_signed(age));
            age.context("--older-than reaches back further than the calendar does")
        })
        .transpose()
}

async fn list(args: &ListArgs, app: &App) -> Outcome {
    let notifications = app.store.notifications(args.state.into(), args.limit).await?;
    if args.json {
        show::json(&notifications)?;
        return Ok(Exit::Done);
    }
    let mut table = show::table(["made", "user", "state", "hold", "tries", "sent", "why"]);
    for notification in &notifications {
        table.add_row([
            &show::instant(notification.created_at),
            notification.user.as_str(),
            notification.state.as_str(),
            notification.hold.as_deref().unwrap_or(""),
            &notification.attempts.to_string(),
            &notification.sent_at.map_or_else(String::new, show::instant),
            notification.error.as_deref().unwrap_or(""),
        ]);
    }
    println!("{table}");
    Ok(Exit::Done)
}
