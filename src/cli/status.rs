//! `status`: how things are, at a glance.

use clap::Args;

use super::show::{self, Table, count, hint, say};
use super::{Exit, Outcome};
use crate::adapters::queue;
use crate::audit::Status;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::guard::percent;
use crate::domain::port::{Depth, OpenIncidents};
use crate::domain::sweep::{Sweep, SweepMode};

/// Show the last sweeps, the queue, open incidents, notifications, and what keeps mail from leaving.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an object with sweeps (newest first), queue (waiting, delayed and in_flight of each \
lane; null if the queue cannot be asked), open_incidents (count and users by toolkit and kind), notifications (counts by \
state and detail), dead_jobs (at most 100), paused (since, note; null while mails leave), guard (the \
trips that hold something), suppressions (how many are in force) and alerts (those that fire).")]
pub(super) struct StatusArgs {
    /// How many sweeps to show
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    sweeps: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(args: &StatusArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let queue = depths(config).await;
    let status = Status::read(store.as_ref(), queue, args.sweeps, SystemClock.now()).await?;
    if args.json {
        show::json(&status)?;
    } else {
        print(&status);
    }
    Ok(Exit::Done)
}

/// How much each lane holds; `None`, with the reason on standard error, if the queue is away: the rest can still be shown.
async fn depths(config: &Config) -> Option<Vec<Depth>> {
    let asked = async { anyhow::Ok(queue::connect(&config.queue).await?.depths().await?) };
    asked.await.inspect_err(|error| hint!("the queue is away: {}", show::chain(error.as_ref()))).ok()
}

fn print(status: &Status) {
    if let Some(pause) = &status.paused {
        say!("Paused: {}; `connection-auditor resume` ends it\n", super::pause::paused(pause));
    }
    if status.sweeps.is_empty() {
        say!("Sweeps: none yet");
    } else {
        say!("Sweeps\n{}", sweeps(&status.sweeps));
    }
    for sweep in &status.sweeps {
        if let Some(note) = &sweep.note {
            say!(" {} {}: {}", show::instant(sweep.tick), sweep.state.as_str(), show::plain(note));
        }
    }

    match &status.queue {
        None => say!("\nQueue: cannot be asked; what it lost is pushed again from the database when it is back"),
        Some(depths) => say!("\nQueue\n{}", lanes(depths)),
    }
    match status.dead_jobs.len() {
        0 => {}
        dead => say!(" {}: see `connection-auditor queue dead list`", count(dead as u64, "dead job", "dead jobs")),
    }

    if status.open_incidents.is_empty() {
        say!("\nOpen incidents: none");
    } else {
        say!("\nOpen incidents\n{}", incidents(&status.open_incidents));
    }

    if status.notifications.is_empty() {
        say!("\nNotifications: none yet");
    } else {
        say!("\nNotifications\n{}", super::sweep::notifications(&status.notifications));
    }
    match status.suppressions {
        0 => {}
        n => say!(" not to be mailed: {} in force", count(n as u64, "suppression", "suppressions")),
    }

    if !status.guard.is_empty() {
        say!("\nHeld by the outage guard: see `connection-auditor guard list`");
    }
    for trip in &status.guard {
        say!(
            " {}: {} of {} broke ({}); {} of {} held, {}",
            show::plain(&trip.tripped.scope.to_string()),
            show::number(trip.tripped.broken),
            show::number(trip.tripped.broken + trip.tripped.healthy),
            percent(trip.tripped.share()),
            count(trip.held, "connection", "connections"),
            count(trip.users, "user", "users"),
            trip.state.as_str()
        );
    }

    if !status.alerts.is_empty() {
        say!("\n{}", count(status.alerts.len() as u64, "alert fires", "alerts fire"));
    }
    for alert in &status.alerts {
        say!(" {} {}", show::instant(alert.since), show::plain(&alert.condition.summary));
    }
}

/// A dry run opens nothing: what it would have opened stands in brackets.
fn sweeps(sweeps: &[Sweep]) -> Table {
    let mut table =
        Table::new(["tick (UTC)", "schedule", "state", "users", "not checked", "opened", "closed", "to tell", "took"])
            .numbers(&[3, 4, 5, 6, 7, 8]);
    for sweep in sweeps {
        let tally = &sweep.tally;
        let expected = sweep.users_expected.map_or_else(String::new, |expected| format!("/{expected}"));
        let dry = sweep.mode == SweepMode::DryRun;
        let found = |n: u64| if dry { format!("({n})") } else { n.to_string() };
        let took = sweep.started_at.zip(sweep.finished_at).and_then(|(from, to)| (to - from).to_std().ok());
        table.row([
            &show::instant(sweep.tick),
            &if dry { format!("{}, dry run", sweep.schedule) } else { sweep.schedule.clone() },
            sweep.state.as_str(),
            &format!("{}{expected}", tally.users_done()),
            &(tally.given_up + tally.refused).to_string(),
            &found(tally.opened),
            &found(tally.closed),
            &found(tally.to_notify),
            &took.map_or_else(String::new, show::span),
        ]);
    }
    table
}

fn lanes(depths: &[Depth]) -> Table {
    let mut table = Table::new(["lane", "waiting", "delayed", "in flight"]).numbers(&[1, 2, 3]);
    for depth in depths {
        table.row([
            depth.lane.as_str(),
            &show::number(depth.waiting),
            &show::number(depth.delayed),
            &show::number(depth.in_flight),
        ]);
    }
    table
}

fn incidents(open: &[OpenIncidents]) -> Table {
    let mut table = Table::new(["app", "kind", "connections", "users", "oldest (UTC)"]).numbers(&[2, 3]);
    for open in open {
        table.row([
            open.toolkit.as_str(),
            &open.kind,
            &show::number(open.count),
            &show::number(open.users),
            &show::instant(open.oldest),
        ]);
    }
    table
}
