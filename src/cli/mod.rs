//! The command line, one file a subcommand. Raw arguments are parsed here; what they mean is each file's own story.

mod check;
mod check_config;
mod dead;
mod demo;
mod notifications;
mod run;
mod show;
mod simulate;
mod status;
mod sweep;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::telemetry;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to do.
    Done,
    /// It failed; the error was printed.
    Failed,
    /// It found what it was asked to look for: see each command's help.
    Found,
    /// The arguments or the configuration are wrong; nothing was done.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Found => 2,
            Exit::Usage => 64,
        })
    }
}

/// What a command returns: how it ended, or the error that ends it with exit code 1.
type Outcome = anyhow::Result<Exit>;

#[derive(Debug, Parser)]
#[command(
    name = "connection-auditor",
    version,
    about = "Finds the connected accounts of your users that no longer work, and tells their owners, once.",
    long_about = "Pages through all users of an app on a schedule, checks each user's connected accounts at Composio, and mails the users \
                  whose connections expired or failed, once each, with a way to reconnect.",
    after_help = "Try it: `connection-auditor demo` needs no server, no key and no account.\n\
                  Exit codes: 0 done, 1 failed, 2 found what was looked for (see the command's help), 64 wrong usage or configuration.",
    propagate_version = true,
    max_term_width = 120
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Configuration file (TOML); without it, defaults and CONNECTION_AUDITOR_… variables
    #[arg(long, short, global = true, value_name = "FILE", env = "CONNECTION_AUDITOR_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker: schedule, sweep, check, notify, keep
    Run(run::RunArgs),
    /// Play a schedule tick over some hundred simulated users; needs nothing
    Demo(demo::DemoArgs),
    /// Start a sweep now: check every user
    Sweep(sweep::SweepArgs),
    /// Check some users now, ahead of sweeps
    Check(check::CheckArgs),
    /// Show the last sweeps, the queue, open incidents and notifications
    Status(status::StatusArgs),
    /// List, release or discard notifications
    #[command(subcommand)]
    Notifications(notifications::NotificationsCommand),
    /// Look after the queue
    #[command(subcommand)]
    Queue(dead::QueueCommand),
    /// Fill the auditor's own table of users
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Create or upgrade the auditor's tables
    Migrate,
    /// Check the configuration, print it redacted, try every connection, and show the next ticks
    CheckConfig(check_config::CheckConfigArgs),
    /// Send a test mail
    MailTest(check_config::MailTestArgs),
    /// Serve a simulated Composio on loopback
    Simulator(simulate::SimulatorArgs),
}

/// Parses the arguments, runs the command, prints the error if there is one.
pub fn main() -> ExitCode {
    // Two TLS providers are possible in one process; the first that is installed is the one that all libraries use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(dispatch(cli));
    // What still runs after a hard stop is not waited for: leases give its work back.
    runtime.shutdown_background();
    exit.into()
}

async fn dispatch(cli: Cli) -> Exit {
    let outcome = match cli.command {
        Command::Demo(args) => demo::demo(&args).await,
        Command::Simulator(args) => simulate::simulate(&args).await,
        command => match load(&cli.global) {
            Ok(config) => with_config(command, config, &cli.global).await,
            Err(exit) => return exit,
        },
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::Failed
    })
}

async fn with_config(command: Command, config: Config, global: &Global) -> Outcome {
    match command {
        Command::Run(args) => run::run(&args, config).await,
        Command::Sweep(args) => sweep::sweep(&args, &config).await,
        Command::Check(args) => check::check(&args, &config).await,
        Command::Status(args) => status::status(&args, &config).await,
        Command::Notifications(command) => notifications::notifications(&command, &config).await,
        Command::Queue(command) => dead::queue(&command, &config).await,
        Command::Users(command) => users::users(&command, &config).await,
        Command::Migrate => users::migrate(&config).await,
        Command::CheckConfig(args) => check_config::check_config(&args, &config, global.config.as_deref()).await,
        Command::MailTest(args) => check_config::mail_test(&args, &config).await,
        Command::Demo(_) | Command::Simulator(_) => Ok(Exit::Usage),
    }
}

/// Reads the configuration and starts logging; what is wrong with it is printed whole, with exit code 64.
fn load(global: &Global) -> Result<Config, Exit> {
    let config = Config::load(global.config.as_deref()).map_err(|errors| {
        eprintln!("{errors}");
        Exit::Usage
    })?;
    telemetry::init(&config.log).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Usage
    })?;
    Ok(config)
}
