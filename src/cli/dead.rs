//! `queue dead`: jobs that were given up as poison, and what to do with them.

use anyhow::bail;
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::show::{self, Table, count, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::port::Store;

/// Look after the queue.
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    Dead(DeadArgs),
}

/// Jobs that were delivered again and again without coming to an end.
///
/// A job that was delivered `queue.max_deliveries` times, and whose worker died or let its lease lapse each time, is dead: it is
/// kept here until you decide.
#[derive(Debug, Args)]
struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    List(ListArgs),
    /// Let dead jobs be tried again
    Retry(WhichArgs),
    /// Forget dead jobs; what they were about stays undone
    Drop(WhichArgs),
}

/// List dead jobs, newest first.
///
/// Exit code 2: there are some.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an array of objects with id, lane, reason, deliveries and died_at.")]
struct ListArgs {
    /// How many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct WhichArgs {
    /// Ids of dead jobs, as `queue dead list` prints them
    #[arg(value_name = "ID", required_unless_present = "all", value_parser = job_id)]
    ids: Vec<Uuid>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

fn job_id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "an id looks like 01a1fe26-913d-765d-9584-2acd1230701c; `queue dead list` prints them")
}

pub(super) async fn queue(args: &QueueArgs, config: &Config) -> Outcome {
    let QueueCommand::Dead(DeadArgs { command }) = &args.command;
    let store = super::open_store(config).await?;
    let store = store.as_ref();
    match command {
        DeadCommand::List(args) => list(args, store).await,
        DeadCommand::Retry(which) => {
            let mut retried = 0;
            for id in chosen(which, store).await? {
                if !store.retry_dead(id, SystemClock.now()).await? {
                    bail!("there is no dead job {id}; {}", before(retried, "will be tried again"));
                }
                retried += 1;
            }
            say!("{} will be tried again", count(retried, "job", "jobs"));
            Ok(Exit::Done)
        }
        DeadCommand::Drop(which) => {
            let mut dropped = 0;
            for id in chosen(which, store).await? {
                if !store.drop_dead(id).await? {
                    bail!("there is no dead job {id}; {}", before(dropped, "forgotten"));
                }
                dropped += 1;
            }
            say!("{} forgotten", count(dropped, "job", "jobs"));
            Ok(Exit::Done)
        }
    }
}

fn before(jobs: u64, fate: &str) -> String {
    match jobs {
        0 => "nothing was changed".to_owned(),
        jobs => format!("{} named before it {fate}", count(jobs, "job", "jobs")),
    }
}

async fn chosen(which: &WhichArgs, store: &dyn Store) -> anyhow::Result<Vec<Uuid>> {
    if !which.all {
        return Ok(which.ids.clone());
    }
    Ok(store.dead_jobs(u32::MAX).await?.into_iter().map(|dead| dead.id).collect())
}

async fn list(args: &ListArgs, store: &dyn Store) -> Outcome {
    let dead = store.dead_jobs(args.limit).await?;
    if args.json {
        show::json(&dead)?;
    } else if dead.is_empty() {
        say!("no dead jobs");
    } else {
        let mut table = Table::new(["id", "lane", "died (UTC)", "deliveries", "reason"]).numbers(&[3]).whole(&[0]);
        for job in &dead {
            table.row([
                &job.id.to_string(),
                job.lane.as_str(),
                &show::instant(job.died_at),
                &job.deliveries.to_string(),
                &job.reason,
            ]);
        }
        say!("{table}");
    }
    Ok(if dead.is_empty() { Exit::Done } else { Exit::Found })
}
