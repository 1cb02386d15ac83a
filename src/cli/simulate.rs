//! `simulator`: a Composio on loopback, with people whose connections are in every state there is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::show::{self, say};
use super::{Exit, Outcome};
use crate::domain::clock::{Clock, SystemClock};
use crate::simulator::{self, Latency, Population, PopulationSpec, RateLimit, SimulatorOptions};

/// Serve a simulated Composio on loopback.
///
/// It answers as the API does, traps included, for a population that is the same for the same seed. /__sim/truth says who should be
/// mailed; /__sim/faults, /__sim/heal and /__sim/break change what happens. It reads no configuration, and ends with Ctrl-C.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example, in three terminals, with composio.url and composio.api_key set to what the simulator prints:
  connection-auditor simulator --users 1000 --users-csv users.csv
  connection-auditor -c auditor.toml users import users.csv && connection-auditor -c auditor.toml run
  connection-auditor -c auditor.toml sweep --wait")]
pub(super) struct SimulatorArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9900", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The population is the same for the same seed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many users
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    users: u64,
    /// How long each answer takes, as in 50ms
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Requests a minute before 429; unset: no limit
    #[arg(long, value_name = "N")]
    rate_limit: Option<u64>,
    /// Also write the users as CSV, for `users import`
    #[arg(long, value_name = "FILE.csv")]
    users_csv: Option<PathBuf>,
}

pub(super) async fn simulate(args: &SimulatorArgs) -> Outcome {
    let clock = SystemClock;
    let population =
        PopulationSpec { seed: args.seed, users: args.users, anchor: clock.now(), ..PopulationSpec::default() };
    if let Some(file) = &args.users_csv {
        let out = std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Population::new(population.clone())
            .write_users_csv(out)
            .with_context(|| format!("cannot write {}", file.display()))?;
        say!("{} are in {}", show::count(args.users, "user", "users"), file.display());
    }
    let options = SimulatorOptions {
        listen: args.listen,
        population,
        latency: Latency { from: args.latency, to: args.latency },
        rate_limit: args
            .rate_limit
            .map_or_else(RateLimit::default, |limit| RateLimit { limit, window: Duration::from_secs(60) }),
        ..SimulatorOptions::default()
    };
    let stop = CancellationToken::new();
    let ctrl_c = stop.clone();
    let signal = async move {
        let _ = tokio::signal::ctrl_c().await;
        ctrl_c.cancel();
    };
    let serving = simulator::serve(options, Arc::new(move || clock.now()), stop, |simulator| {
        say!("{}", simulator.instructions());
    });
    let (served, ()) = tokio::join!(serving, signal);
    served?;
    Ok(Exit::Done)
}
