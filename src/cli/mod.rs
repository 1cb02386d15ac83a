//! The command line, one file a subcommand. Raw arguments are parsed here; what they mean is each file's own story.

mod alerts;
mod check;
mod check_config;
mod connect;
mod connections;
mod dead;
mod demo;
mod explain;
mod gate;
mod guard;
mod mail;
mod mail_preview;
mod mail_test;
mod notifications;
mod openapi;
mod pause;
mod policy;
mod report;
mod run;
mod show;
mod simulate;
mod status;
mod suppressions;
mod sweep;
mod tools;
mod user;
mod users;
mod wait;
mod webhooks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use self::show::hint;
use crate::adapters::store;
use crate::app::App;
use crate::config::{Config, ConfigErrors};
use crate::domain::port::Store;
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
    /// It could not tell, and says so: see each command's help.
    Unknown,
    /// The arguments or the configuration are wrong; nothing was done.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Found => 2,
            Exit::Unknown => 3,
            Exit::Usage => 64,
        })
    }
}

/// What a command returns: how it ended, or the error that ends it with exit code 1.
type Outcome = anyhow::Result<Exit>;

/// Finds the connected accounts of your users that no longer work, and tells their owners, once.
///
/// Pages through all users of an app on a schedule, checks each user's connected accounts at Composio, and mails the users whose
/// connections expired or failed, once each, with a way to reconnect.
#[derive(Debug, Parser)]
#[command(
    name = "connection-auditor",
    version,
    after_help = "Try it with no server, no key and no account: connection-auditor demo",
    after_long_help = "\
Try it, with no server, no key and no account:
  connection-auditor demo

Set it up:
  connection-auditor -c auditor.toml check-config         what is in effect, and does everything answer?
  connection-auditor -c auditor.toml migrate              make the tables
  connection-auditor -c auditor.toml run                  the worker; start as many as you like
  connection-auditor -c auditor.toml sweep --dry-run      who would be mailed, and why

Ask it why:
  connection-auditor -c auditor.toml explain user-123     what happened to one user, and what is next

One user at a time:
  connection-auditor -c auditor.toml gate user-123 slack  may an action use Slack on behalf of this user?

Every setting is also an environment variable: composio.api_key is CONNECTION_AUDITOR_COMPOSIO__API_KEY.

Durations are written as 30s, 5m, 1h 30m or 7d. Times are printed in UTC.

Exit codes:
  0   done
  1   failed; the error is on standard error
  2   found what was looked for: each command's help says what that is
  3   could not tell: each command's help says what
  64  the arguments or the configuration are wrong; nothing was done",
    max_term_width = 100
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
    /// Configuration file (TOML); without it, defaults and environment
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "CONNECTION_AUDITOR_CONFIG",
        hide_env_values = true,
        display_order = 900
    )]
    config: Option<PathBuf>,
}

// What each of these does is said by its arguments' own type, which is what `--help` shows.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Sweep(sweep::SweepArgs),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Connections(connections::ConnectionsArgs),
    Connect(connect::ConnectArgs),
    Gate(gate::GateArgs),
    Tools(tools::ToolsArgs),
    Execute(tools::ExecuteArgs),
    Notifications(notifications::NotificationsArgs),
    Guard(guard::GuardArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Suppressions(suppressions::SuppressionsArgs),
    Queue(dead::QueueArgs),
    Alerts(alerts::AlertsArgs),
    Policy(policy::PolicyArgs),
    Report(report::ReportArgs),
    Webhooks(webhooks::WebhooksArgs),
    User(user::UserArgs),
    Users(users::UsersArgs),
    Migrate(users::MigrateArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Mail(mail::MailArgs),
    Openapi(openapi::OpenapiArgs),
    /// The older name of `mail test`
    #[command(hide = true)]
    MailTest(mail_test::MailTestArgs),
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
            hint!("error: cannot start the runtime: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(dispatch(cli));
    // What still runs after a hard stop is not waited for: leases give its work back.
    runtime.shutdown_background();
    if show::output_was_lost() && matches!(exit, Exit::Done | Exit::Found | Exit::Unknown) {
        hint!("error: not all of the output could be written");
        return Exit::Failed.into();
    }
    exit.into()
}

async fn dispatch(cli: Cli) -> Exit {
    let outcome = match cli.command {
        Command::Demo(args) => demo::demo(&args).await,
        Command::Simulator(args) => simulate::simulate(&args).await,
        Command::Openapi(_) => openapi::openapi(),
        command => match load(&cli.global) {
            // Every command's work is in it: too large to be moved about.
            Ok(config) => Box::pin(with_config(command, config, &cli.global)).await,
            Err(exit) => return exit,
        },
    };
    outcome.unwrap_or_else(|error| {
        hint!("error: {}{}", show::chain(error.as_ref()), remedy(&error));
        Exit::Failed
    })
}

async fn with_config(command: Command, config: Config, global: &Global) -> Outcome {
    match command {
        Command::Run(args) => Box::pin(run::run(&args, config)).await,
        Command::Sweep(args) => sweep::sweep(&args, &config).await,
        Command::Check(args) => check::check(&args, &config).await,
        Command::Status(args) => status::status(&args, &config).await,
        Command::Connections(args) => connections::connections(&args, &config).await,
        Command::Connect(args) => connect::connect(&args, &config).await,
        Command::Gate(args) => gate::gate(&args, &config).await,
        Command::Tools(args) => tools::tools(&args, &config).await,
        Command::Execute(args) => tools::execute(&args, &config).await,
        Command::Explain(args) => explain::explain(&args, &config).await,
        Command::Guard(args) => guard::guard(&args, &config).await,
        Command::Pause(args) => pause::pause(&args, &config).await,
        Command::Resume(args) => pause::resume(&args, &config).await,
        Command::Notifications(args) => notifications::notifications(&args, &config).await,
        Command::Suppressions(args) => suppressions::suppressions(&args, &config).await,
        Command::Queue(args) => dead::queue(&args, &config).await,
        Command::Alerts(args) => alerts::alerts(&args, &config).await,
        Command::Report(args) => report::report(&args, &config).await,
        Command::Webhooks(args) => webhooks::webhooks(&args, &config).await,
        Command::Policy(args) => policy::policy(&args, &config).await,
        Command::User(args) => user::user(&args, &config).await,
        Command::Users(args) => users::users(&args, &config).await,
        Command::Migrate(args) => users::migrate(&args, &config).await,
        Command::CheckConfig(args) => check_config::check_config(&args, &config, global.config.as_deref()).await,
        Command::Mail(args) => mail::mail(&args, &config).await,
        Command::MailTest(args) => mail_test::mail_test(&args, &config).await,
        Command::Demo(_) | Command::Simulator(_) | Command::Openapi(_) => Ok(Exit::Usage),
    }
}

/// Reads the configuration and starts logging; what is wrong with it is printed whole, with exit code 64.
fn load(global: &Global) -> Result<Config, Exit> {
    let config = Config::load(global.config.as_deref()).map_err(|errors| misconfigured(&errors))?;
    telemetry::init(&config.log).map_err(|error| {
        hint!("error: {}", show::chain(&error));
        Exit::Usage
    })?;
    Ok(config)
}

/// Says all that is wrong with the configuration.
fn misconfigured(errors: &ConfigErrors) -> Exit {
    hint!("error: {errors}");
    Exit::Usage
}

/// Connects a command that asks or hands over, to what a worker left behind. An embedded database that is not there would
/// come into being, empty, by being asked: nearly always the command was told another configuration than the worker.
async fn connect(config: &Config) -> anyhow::Result<App> {
    expect_database(config)?;
    App::connect(config.clone()).await
}

/// As [`connect`], for a command that needs no queue, and works while it is away.
async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    expect_database(config)?;
    App::open_store(config).await
}

fn expect_database(config: &Config) -> anyhow::Result<()> {
    if let Some(path) = missing_file(&config.database.url) {
        anyhow::bail!(
            "there is no database at {path}: name the configuration of the worker with --config, or start one with \
             `connection-auditor run`"
        );
    }
    Ok(())
}

/// The path of an embedded file that is not there yet.
fn missing_file(url: &SecretString) -> Option<String> {
    let path = url.expose_secret().strip_prefix("sqlite:")?.trim_start_matches("//");
    let path = path.split('?').next().unwrap_or(path);
    (path != ":memory:" && !Path::new(path).exists()).then(|| path.to_owned())
}

/// What to look at, where the error itself does not say.
fn remedy(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<store::ConnectError>() {
        Some(store::ConnectError::Unreachable { .. }) => UNREACHABLE_DATABASE,
        _ => "",
    }
}

/// The remedy for a database that cannot be reached.
const UNREACHABLE_DATABASE: &str = "; check database.url, and that it runs and lets us in";
