//! `run`: the worker.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use super::{Exit, Outcome};
use crate::app::{App, Role};
use crate::config::{Config, Need};
use crate::shutdown::Shutdown;

/// Run the worker: schedule, sweep, check, notify, keep.
///
/// Needs the API key of Composio, and for the role notifier who mails come from and where their buttons lead. Any number of
/// workers share one database and one queue; each tick of a schedule is played once.
///
/// SIGTERM or Ctrl-C: takes nothing new, finishes what is in flight within shutdown.grace, exits 0. A second signal leaves at
/// once; leases give the work to another worker.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor -c auditor.toml run
  connection-auditor -c auditor.toml run --roles checker,notifier      one of several, specialised

Every role must run somewhere. Logs go to standard error, as log.format and log.filter say.")]
pub(super) struct RunArgs {
    /// Stages that this worker runs, separated by commas [default: all of them]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
}

pub(super) async fn run(args: &RunArgs, config: Config) -> Outcome {
    let roles: BTreeSet<Role> = match args.roles.as_slice() {
        [] => Role::value_variants().iter().copied().collect(),
        chosen => chosen.iter().copied().collect(),
    };
    if let Err(errors) = config.require(&needs(&roles)) {
        return Ok(super::misconfigured(&errors));
    }
    let shutdown = Shutdown::listen(config.shutdown.grace)?;
    let app = App::connect(config).await?;
    tracing::info!(event = "worker.started", version = env!("CARGO_PKG_VERSION"), ?roles);
    app.run(&roles, &shutdown).await?;
    tracing::info!(event = "worker.stopped");
    Ok(Exit::Done)
}

/// What a replica with these roles cannot do without: one that only rings needs no key and no mail server.
fn needs(roles: &BTreeSet<Role>) -> Vec<Need> {
    let mut needs = Vec::new();
    if roles.iter().any(|role| matches!(role, Role::Sweeper | Role::Checker | Role::Notifier)) {
        needs.push(Need::Audit);
    }
    if roles.contains(&Role::Notifier) {
        needs.push(Need::Mail);
    }
    // Beside other roles, http without an address is just not there.
    if *roles == BTreeSet::from([Role::Http]) {
        needs.push(Need::Answer);
    }
    needs
}
