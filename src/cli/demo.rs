//! `demo`: the whole product on one machine with nothing else: SQLite, the embedded queue, a simulated Composio, mail into a
//! folder. A schedule ticks, and the result is held against what the simulator knows should have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};

use super::show::{self, Table, count, say};
use super::sweep::{follow, notifications, settled_notifications, verdicts};
use super::{Exit, Outcome};
use crate::adapters::users;
use crate::app::{App, Role};
use crate::config::{Config, LogFormat, MailTransport, Schedule};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::UserId;
use crate::domain::notification::NotificationState;
use crate::domain::sweep::Sweep;
use crate::shutdown::Shutdown;
use crate::simulator::{PopulationSpec, Simulator, SimulatorOptions};
use crate::telemetry;

/// How many kinds of users are shown of those that were mailed, and of those that were not.
const SHOWN: usize = 9;
/// The name of the demo's schedule.
const SCHEDULE: &str = "demo";

/// Play a schedule tick over some hundred simulated users; needs nothing.
///
/// No server, no key, no account: SQLite, the embedded queue, a simulated Composio on loopback, and mail as .eml files in a folder.
/// It reads no configuration. Two seconds after the start the schedule ticks; then it prints what it did and why, holds it against what
/// the simulator knows to be right, and goes on with a tick every minute until Ctrl-C.
///
/// Exit code 1: not exactly the right users were mailed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor demo
  connection-auditor demo --once --users 2000 --folder /tmp/demo")]
pub(super) struct DemoArgs {
    /// Play one tick, print the result, exit
    #[arg(long)]
    once: bool,
    /// How many users
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    users: u64,
    /// The population is the same for the same seed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Show every kind of user, not only the commonest
    #[arg(long)]
    all: bool,
    /// Where the demo keeps its database and the mails; what an earlier demo left there is replaced
    #[arg(long, default_value = "connection-auditor-demo", value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) async fn demo(args: &DemoArgs) -> Outcome {
    let clock = SystemClock;
    let now = clock.now();
    let mails = prepare(&args.folder)?;
    let options = SimulatorOptions {
        population: PopulationSpec { seed: args.seed, users: args.users, anchor: now, ..PopulationSpec::default() },
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options, Arc::new(move || clock.now())).await?;
    let tick = now + TimeDelta::seconds(2);
    let config = settings(&args.folder, &mails, &simulator, tick, args.once)?;
    telemetry::init(&config.log)?;
    let shutdown = Shutdown::listen(config.shutdown.grace)?;
    let app = App::connect(config).await?;
    import(&args.folder, &simulator, &app).await?;
    say!(
        "connection-auditor demo: {}, SQLite, no server, no key",
        count(args.users, "simulated user", "simulated users")
    );
    say!("The schedule {SCHEDULE:?} ticks in two seconds …\n");

    let roles: BTreeSet<Role> = Role::value_variants().iter().copied().collect();
    let telling = async {
        let told = tokio::select! {
            told = tell(&app, &simulator, args, &mails) => told.map(Some),
            // Ctrl-C before the tick was over: there is nothing to tell.
            () = shutdown.soft.cancelled() => Ok(None),
        };
        if args.once || told.is_err() {
            shutdown.soft.cancel();
        } else if matches!(told, Ok(Some(_))) {
            invite(&simulator);
        }
        told
    };
    let (ran, as_it_should) = tokio::join!(app.run(&roles, &shutdown), telling);
    ran?;
    simulator.stop().await;
    match as_it_should? {
        Some(true) => Ok(Exit::Done),
        Some(false) => Ok(Exit::Failed),
        None => bail!("interrupted before the tick was over"),
    }
}

/// Makes the folder, without what an earlier demo left in it; returns where mails go.
fn prepare(folder: &Path) -> anyhow::Result<PathBuf> {
    let mails = folder.join("mail");
    std::fs::create_dir_all(&mails).with_context(|| format!("cannot make the folder {}", mails.display()))?;
    for place in [folder, mails.as_path()] {
        for entry in std::fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ours = name.starts_with("demo.sqlite") || name.starts_with("queue.sqlite") || name == "users.csv";
            if ours || (place == mails && path.extension().is_some_and(|ending| ending == "eml")) {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(mails)
}

fn settings(
    folder: &Path,
    mails: &Path,
    simulator: &Simulator,
    tick: DateTime<Utc>,
    once: bool,
) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", folder.join("demo.sqlite").display()).into();
    config.queue.url = format!("sqlite:{}", folder.join("queue.sqlite").display()).into();
    config.composio.url = simulator.url().parse().context("the simulator has no valid address")?;
    config.composio.api_key = Some(simulator.api_key().to_owned().into());
    config.notify.from = Some("Acme <support@acme.example>".to_owned());
    config.notify.app_name = Some("Acme".to_owned());
    config.notify.reconnect_url =
        Some("https://acme.example/settings/connections?app={toolkit}&user={user_id}".to_owned());
    config.mail.transport = MailTransport::Folder;
    config.mail.folder = Some(mails.to_owned());
    config.log.format = LogFormat::Text;
    "warn".clone_into(&mut config.log.filter);
    if once {
        // It is over before anybody could ask it anything.
        config.http.ops.listen = None;
    }
    let once_at = tick.format("%-S %-M %-H %-d %-m *").to_string();
    let seconds = tick.format("%-S").to_string();
    let cron = if once { once_at } else { format!("{seconds} * * * * *") };
    config.schedules = BTreeMap::from([(SCHEDULE.to_owned(), Schedule { cron, ..Schedule::default() })]);
    Ok(config)
}

async fn import(folder: &Path, simulator: &Simulator, app: &App) -> anyhow::Result<()> {
    let file = folder.join("users.csv");
    let out = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    simulator.population().write_users_csv(out)?;
    users::import(&app.config.database.url, &file).await?;
    Ok(())
}

/// Waits for the tick, follows its sweep, and says what came of it. `false` if it is not what the simulator knows to be right.
async fn tell(app: &App, simulator: &Simulator, args: &DemoArgs, mails: &Path) -> anyhow::Result<bool> {
    let sweep = first_sweep(app).await?;
    let sweep = follow(app.store.as_ref(), sweep.id).await?;
    let counts = settled_notifications(app.store.as_ref(), &sweep).await?;
    let took =
        sweep.started_at.zip(sweep.finished_at).and_then(|(from, to)| (to - from).to_std().ok()).unwrap_or_default();
    say!(
        "Checked {} and {} in {}, with {}:\n\n{}\n",
        count(sweep.tally.checked, "user", "users"),
        count(sweep.tally.accounts, "connected account", "connected accounts"),
        show::span(took),
        count(simulator.counters().requests, "API request", "API requests"),
        verdicts(&sweep)
    );
    say!(
        "What became of {}:\n\n{}\n",
        count(sweep.tally.to_notify, "notification", "notifications"),
        notifications(&counts)
    );

    let sent: BTreeSet<UserId> =
        app.store.notifications(NotificationState::Sent, u32::MAX).await?.into_iter().map(|n| n.user).collect();
    say!(
        "Who was mailed, and who was not{}:\n\n{}\n",
        if args.all { "" } else { " (the commonest; --all shows every kind)" },
        people(simulator, &sent, args.all)
    );
    say!("Each mail is an .eml file in {} (open one in a mail program)", mails.display());
    say!("The database is {}", args.folder.join("demo.sqlite").display());

    let due: BTreeSet<UserId> = simulator.truth().mailed.into_keys().collect();
    let as_it_should = sent == due;
    if as_it_should {
        say!(
            "\nThe simulator knows who should be mailed: {}. Exactly they were, once each.",
            count(due.len() as u64, "user", "users")
        );
    } else {
        let names = |users: BTreeSet<&UserId>| match users.len() {
            0 => "nobody".to_owned(),
            _ => users.into_iter().map(UserId::as_str).collect::<Vec<_>>().join(", "),
        };
        say!(
            "\nNot as it should be.\n  not mailed, though due: {}\n  mailed, though not due: {}",
            names(due.difference(&sent).collect()),
            names(sent.difference(&due).collect())
        );
    }
    Ok(as_it_should)
}

async fn first_sweep(app: &App) -> anyhow::Result<Sweep> {
    for _ in 0..150 {
        if let Some(sweep) = app.store.sweeps(1).await?.into_iter().next() {
            return Ok(sweep);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the schedule did not tick")
}

/// Kinds of users, what happened to them, and why: all of them, or the commonest of those that were mailed and of those that were not.
fn people(simulator: &Simulator, sent: &BTreeSet<UserId>, all: bool) -> Table {
    let mut kinds: BTreeMap<&str, (u64, u64, &str)> = BTreeMap::new();
    for user in simulator.users() {
        let Some(persona) = simulator.population().persona_of(&user.id) else { continue };
        let kind = kinds.entry(persona.name).or_insert((0, 0, persona.why));
        kind.0 += 1;
        kind.1 += u64::from(sent.contains(&user.id));
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(name, (users, mailed, _))| (*mailed > 0, std::cmp::Reverse(*users), *name));
    let mut table = Table::new(["kind of user", "how many", "mailed", "why"]).numbers(&[1, 2]);
    for was_mailed in [false, true] {
        let of_these = kinds.iter().filter(|(_, (_, mailed, _))| (*mailed > 0) == was_mailed);
        for (name, (users, mailed, why)) in of_these.take(if all { usize::MAX } else { SHOWN }) {
            table.row([&name.replace('_', " "), &users.to_string(), &mailed.to_string(), *why]);
        }
    }
    table
}

fn invite(simulator: &Simulator) {
    let url = simulator.url();
    say!("\nThe worker goes on, with a tick every minute, until Ctrl-C. Try:");
    say!("  curl -X POST '{url}/__sim/break?n=5'   break five connections: the next sweep mails their owners");
    say!("  curl -X POST '{url}/__sim/heal?n=5'    heal five: their incidents close");
    say!("  curl '{url}/__sim/truth'               who should be mailed");
}
