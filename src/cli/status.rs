//! `status`: how things are, at a glance.

use clap::Args;
use serde::Serialize;

use super::show;
use super::{Exit, Outcome};
use crate::app::App;
use crate::config::Config;
use crate::domain::port::{DeadJob, Depth, NotificationCount, OpenIncidents};
use crate::domain::sweep::Sweep;

/// Show the last sweeps, the queue, open incidents and notifications.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How many sweeps to show
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    sweeps: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How things are.
#[derive(Debug, Serialize)]
struct Status {
    sweeps: Vec<Sweep>,
    /// `None` where the queue cannot be asked.
    queue: Option<Vec<Depth>>,
    open_incidents: Vec<OpenIncidents>,
    notifications: Vec<NotificationCount>,
    dead_jobs: Vec<DeadJob>,
}

pub(super) async fn status(args: &StatusArgs, config: &Config) -> Outcome {
    let app = App::connect(config.clone()).await?;
    let status = Status {
        sweeps: app.store.sweeps(args.sweeps).await?,
        queue: app.queue.depths().await.ok(),
        open_incidents: app.store.open_incidents().await?,
        notifications: app.store.notification_counts(None).await?,
        dead_jobs: app.store.dead_jobs(100).await?,
    };
    if args.json {
        show::json(&status)?;
    } else {
        print(&status);
    }
    Ok(Exit::Done)
}

fn print(status: &Status) {
    println!("Sweeps");
    let mut sweeps =
        show::table(["tick", "schedule", "state", "users", "not checked", "opened", "closed", "to tell", "note"]);
    for sweep in &status.sweeps {
        let tally = &sweep.tally;
        let expected = sweep.users_expected.map_or_else(String::new, |expected| format!(" of {expected}"));
        sweeps.add_row([
            &show::instant(sweep.tick),
            &sweep.schedule,
            sweep.state.as_str(),
            &format!("{}{expected}", tally.users_done()),
            &(tally.given_up + tally.refused).to_string(),
            &tally.opened.to_string(),
            &tally.closed.to_string(),
            &tally.to_notify.to_string(),
            sweep.note.as_deref().unwrap_or(""),
        ]);
    }
    println!("{sweeps}");

    println!("\nQueue");
    match &status.queue {
        None => println!("  cannot be asked; what it holds is in the database, and is pushed again when it is back"),
        Some(depths) => {
            let mut queue = show::table(["lane", "waiting", "delayed", "in flight"]);
            for depth in depths {
                queue.add_row([
                    depth.lane.as_str(),
                    &depth.waiting.to_string(),
                    &depth.delayed.to_string(),
                    &depth.in_flight.to_string(),
                ]);
            }
            println!("{queue}");
        }
    }
    if !status.dead_jobs.is_empty() {
        println!(
            "  {}; see `connection-auditor queue dead list`",
            show::count(status.dead_jobs.len() as u64, "dead job", "dead jobs")
        );
    }

    println!("\nOpen incidents");
    let mut incidents = show::table(["app", "kind", "connections", "users", "oldest"]);
    for open in &status.open_incidents {
        incidents.add_row([
            open.toolkit.as_str(),
            &open.kind,
            &open.count.to_string(),
            &open.users.to_string(),
            &show::instant(open.oldest),
        ]);
    }
    println!("{incidents}");

    println!("\nNotifications");
    println!("{}", super::sweep::notifications(&status.notifications));
}
