//! `queue dead`: jobs that were given up as poison, and what to do with them.

use anyhow::bail;
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::show;
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;

/// Look after the queue.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Jobs that were given up because whoever took them died of it
    #[command(subcommand)]
    Dead(DeadCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List dead jobs; exit code 2 if there are any
    List(ListArgs),
    /// Let dead jobs be tried again
    Retry(WhichArgs),
    /// Forget dead jobs; what they were about stays undone
    Drop(WhichArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How many, newest first
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Ids of dead jobs
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<Uuid>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

pub(super) async fn queue(command: &QueueCommand, config: &Config) -> Outcome {
    let QueueCommand::Dead(command) = command;
    let app = App::connect(config.clone()).await?;
    match command {
        DeadCommand::List(args) => list(args, &app).await,
        DeadCommand::Retry(which) => {
            let mut retried = 0;
            for id in chosen(which, &app).await? {
                if !app.store.retry_dead(id, app.clock.now()).await? {
                    bail!("there is no dead job {id}; {retried} were retried before it");
                }
                retried += 1;
            }
            println!("{} will be tried again", show::count(retried, "job", "jobs"));
            Ok(Exit::Done)
        }
        DeadCommand::Drop(which) => {
            let mut dropped = 0;
            for id in chosen(which, &app).await? {
                if !app.store.drop_dead(id).await? {
                    bail!("there is no dead job {id}; {dropped} were dropped before it");
                }
                dropped += 1;
            }
            println!("{} forgotten", show::count(dropped, "job", "jobs"));
            Ok(Exit::Done)
        }
    }
}

async fn chosen(which: &WhichArgs, app: &App) -> anyhow::Result<Vec<Uuid>> {
    if !which.all {
        return Ok(which.ids.clone());
    }
    Ok(app.store.dead_jobs(u32::MAX).await?.into_iter().map(|dead| dead.id).collect())
}

async fn list(args: &ListArgs, app: &App) -> Outcome {
    let dead = app.store.dead_jobs(args.limit).await?;
    if args.json {
        show::json(&dead)?;
    } else if dead.is_empty() {
        println!("no dead jobs");
    } else {
        let mut table = show::table(["id", "lane", "died", "deliveries", "reason"]);
        for job in &dead {
            table.add_row([
                &job.id.to_string(),
                job.lane.as_str(),
                &show::instant(job.died_at),
                &job.deliveries.to_string(),
                &job.reason,
            ]);
        }
        println!("{table}");
    }
    Ok(if dead.is_empty() { Exit::Done } else { Exit::Found })
}
