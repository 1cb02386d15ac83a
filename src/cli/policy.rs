//! `policy simulate`: what was recorded, played again under other settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::show::{self, Table, count, say};
use super::{Exit, Outcome};
use crate::config::{Config, OnAmbiguous};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::{IncidentId, UserId};
use crate::domain::incident::Resolution;
use crate::domain::port::{Observed, SentMail, Store};
use crate::domain::replay::{Fortune, Held, Mail, Playback, Rules, Unsure, Word, World};
use crate::domain::slot::Slot;
use crate::domain::stage::Stage;
use crate::domain::suppression::{Suppression, Whom};

/// So many rows are read at a time.
const PAGE: u32 = 2_000;
/// So many sweeps are read: more than the longest retention holds of an hourly schedule.
const SWEEPS: u32 = 20_000;
/// So many suppressions are read.
const SUPPRESSIONS: u32 = 1_000_000;

/// Ask what other settings would do.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Simulate(SimulateArgs),
}

/// Play what was recorded again, under other settings.
///
/// Takes every change of an account that the auditor has recorded, and asks who would have been mailed, when and about what,
/// under the settings that are in effect and under those of another file: its sections policy, guard and notify count. Reads the
/// database of the configuration in effect, and changes nothing; nobody is mailed.
///
/// Exit code 2: the other settings would have mailed somebody else, about something else, or at another time.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor -c auditor.toml policy simulate --config other.toml
  connection-auditor -c auditor.toml policy simulate --config other.toml --since 7d --json

--json prints an object with since, until, recorded_since, users, changes and sweeps (what was \
played); same; sent (really), now and other (each with mails, users and trips of the guard); lines \
(toolkit, stage, sent, now, other); only_now and only_other (users, and examples with user, mails, \
first and why); otherwise (users mailed either way, but not the same); and not_known.

The configuration in effect is named before `policy`, or by -c. Variables of the environment count \
for both files.")]
struct SimulateArgs {
    /// The file with the other settings (TOML)
    #[arg(id = "other", long = "config", value_name = "OTHER", required = true)]
    other: PathBuf,
    /// The configuration in effect (TOML)
    // The option of all commands, here without its long name, which is the other file's.
    #[arg(
        id = "config",
        short = 'c',
        value_name = "FILE",
        env = "CONNECTION_AUDITOR_CONFIG",
        hide_env_values = true,
        display_order = 900
    )]
    _in_effect: Option<PathBuf>,
    /// How far back mails are compared, as in 7d
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    since: Duration,
    /// How many users are named, of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    examples: usize,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// Since when there are observations.
    recorded_since: Option<DateTime<Utc>>,
    users: usize,
    changes: u64,
    sweeps: usize,
    same: bool,
    sent: Sum,
    now: Sum,
    other: Sum,
    lines: Vec<Line>,
    only_now: Named,
    only_other: Named,
    /// Users who would be mailed either way, but not the same mails at the same times.
    otherwise: usize,
    not_known: Vec<String>,
}

/// Mails, and the users who got them.
#[derive(Debug, Default, Serialize)]
struct Sum {
    mails: usize,
    users: usize,
    trips: usize,
}

/// How often an app was mailed about, as which stage.
#[derive(Debug, Serialize)]
struct Line {
    toolkit: String,
    stage: Stage,
    sent: u64,
    now: u64,
    other: u64,
}

/// Users who would be mailed under one of both alone, and some of them by name.
#[derive(Debug, Serialize)]
struct Named {
    users: usize,
    examples: Vec<Example>,
}

/// A user who would be mailed under one of both alone.
#[derive(Debug, Serialize)]
struct Example {
    user: UserId,
    mails: usize,
    first: DateTime<Utc>,
    /// Why there is no mail under the other one.
    why: String,
}

pub(super) async fn policy(args: &PolicyArgs, config: &Config) -> Outcome {
    let PolicyCommand::Simulate(args) = &args.command;
    let other = match Config::load(Some(&args.other)) {
        Ok(other) => other,
        Err(errors) => return Ok(super::misconfigured(&errors)),
    };
    let store = super::open_store(config).await?;
    let until = SystemClock.now();
    let since = TimeDelta::from_std(args.since).ok().and_then(|since| until.checked_sub_signed(since));
    let since = since.context("--since reaches back further than the calendar does")?;
    let played = play(store.as_ref(), [config, &other], until).await?;
    let sent = mails_sent(store.as_ref(), since).await?;
    let report = report(&played, &sent, (since, until), args.examples);
    if args.json {
        show::json(&report)?;
    } else {
        print(&report);
    }
    Ok(if report.same { Exit::Done } else { Exit::Found })
}

/// What was recorded, played under both settings.
struct Played {
    now: Playback,
    other: Playback,
    recorded_since: Option<DateTime<Utc>>,
    changes: u64,
    sweeps: usize,
    not_known: Vec<String>,
}

async fn play(store: &dyn Store, configs: [&Config; 2], until: DateTime<Utc>) -> anyhow::Result<Played> {
    let sweeps = store.sweeps(SWEEPS).await?;
    let suppressions = store.suppressions(SUPPRESSIONS, until).await?;
    let [mut now, mut other] = configs.map(|config| {
        let world = World::new(rules(config), DateTime::UNIX_EPOCH);
        Playback::new(world, &sweeps, &suppressions, until)
    });
    let (mut after, mut look, mut recorded_since, mut changes) = (None, Vec::<Observed>::new(), None, 0);
    loop {
        let page = store.observations(after.as_ref(), PAGE).await?;
        let is_last = page.is_empty();
        changes += page.len() as u64;
        for row in page {
            recorded_since.get_or_insert(row.at);
            after = Some((row.at, row.user.clone(), row.account.clone()));
            if look.first().is_some_and(|first| (first.at, &first.user) != (row.at, &row.user)) {
                now.look(&look);
                other.look(&look);
                look.clear();
            }
            look.push(row);
        }
        if is_last {
            break;
        }
    }
    for playback in [&mut now, &mut other] {
        playback.look(&look);
        playback.run_until(until);
    }
    let not_known = not_known(configs, &suppressions);
    Ok(Played { now, other, recorded_since, changes, sweeps: sweeps.len(), not_known })
}

fn rules(config: &Config) -> Rules {
    Rules {
        policy: config.policy.clone(),
        guard: config.guard.clone(),
        zone: config.schedules.values().next().map_or(chrono_tz::Tz::UTC, |schedule| schedule.time_zone),
        retry: config.notify.retry,
        unsure: match config.notify.on_ambiguous {
            OnAmbiguous::Retry => Unsure::Again,
            OnAmbiguous::Hold => Unsure::Hold,
        },
    }
}

/// What no replay can tell, in sentences.
fn not_known(configs: [&Config; 2], suppressions: &[Suppression]) -> Vec<String> {
    let mut lines = vec![
        "Of changes before the retention of observations, only the last one of each account is known.".to_owned(),
        "Whoever a sweep did not see change counts as found by it as they were known.".to_owned(),
        "Suppressions that were lifted, and what operators paused, released or discarded, are not played.".to_owned(),
        "Mail servers take everything, and everybody has an address.".to_owned(),
    ];
    let addresses = suppressions.iter().filter(|one| matches!(one.whom, Whom::Address(_))).count();
    if addresses > 0 {
        lines.push(format!(
            "{} of addresses: whose they are is not stored, so they stop nobody here.",
            count(addresses as u64, "suppression is", "suppressions are")
        ));
    }
    if configs.iter().any(|config| config.policy.send_window.is_some()) {
        lines.push("policy.send_window is kept by the clock of the first schedule, not by each user's own.".to_owned());
    }
    lines
}

async fn mails_sent(store: &dyn Store, since: DateTime<Utc>) -> anyhow::Result<Vec<SentMail>> {
    let mut mails: Vec<SentMail> = Vec::new();
    loop {
        let after = mails.last().map(|mail| (mail.at, mail.id));
        let page = store.mails_sent(since, after, PAGE).await?;
        if page.is_empty() {
            return Ok(mails);
        }
        mails.extend(page);
    }
}

/// What a mail says, without the ids that differ from one world to the other.
type Content = (DateTime<Utc>, Vec<(Slot, Vec<Stage>)>);

/// The mails of one world, by user.
fn by_user(world: &World, since: DateTime<Utc>) -> BTreeMap<&UserId, Vec<Content>> {
    let mut users: BTreeMap<&UserId, Vec<Content>> = BTreeMap::new();
    for mail in recent(world, since) {
        let slot = |id: IncidentId| world.incident(id).map(|incident| incident.slot.clone());
        let mut list: Vec<_> =
            mail.list.iter().filter_map(|one| Some((slot(one.incident)?, one.stages.clone()))).collect();
        list.sort_unstable();
        users.entry(&mail.user).or_default().push((mail.at, list));
    }
    users
}

fn recent(world: &World, since: DateTime<Utc>) -> impl Iterator<Item = &Mail> {
    world.mails().iter().filter(move |mail| mail.at >= since)
}

fn report(played: &Played, sent: &[SentMail], (since, until): (DateTime<Utc>, DateTime<Utc>), most: usize) -> Report {
    let (now, other) = (played.now.world(), played.other.world());
    let (mailed_now, mailed_other) = (by_user(now, since), by_user(other, since));
    let mut lines: BTreeMap<(String, Stage), [u64; 3]> = BTreeMap::new();
    for (incident, stage) in sent.iter().flat_map(|mail| &mail.incidents) {
        lines.entry((incident.slot.toolkit.to_string(), *stage)).or_default()[0] += 1;
    }
    for (column, world) in [(1, now), (2, other)] {
        for listed in recent(world, since).flat_map(|mail| &mail.list) {
            let Some(incident) = world.incident(listed.incident) else { continue };
            for stage in &listed.stages {
                let counts = lines.entry((incident.slot.toolkit.to_string(), *stage)).or_default();
                if let Some(count) = counts.get_mut(column) {
                    *count += 1;
                }
            }
        }
    }
    let lines =
        lines.into_iter().map(|((toolkit, stage), [sent, now, other])| Line { toolkit, stage, sent, now, other });
    let both = mailed_now.iter().filter(|(user, _)| mailed_other.contains_key(*user));
    Report {
        since,
        until,
        recorded_since: played.recorded_since,
        users: played.now.users(),
        changes: played.changes,
        sweeps: played.sweeps,
        same: mailed_now == mailed_other,
        sent: Sum {
            mails: sent.len(),
            users: sent.iter().map(|mail| &mail.user).collect::<BTreeSet<_>>().len(),
            trips: 0,
        },
        now: sum(now, &mailed_now, since),
        other: sum(other, &mailed_other, since),
        lines: lines.collect(),
        only_now: examples(&mailed_now, &mailed_other, other, most),
        only_other: examples(&mailed_other, &mailed_now, now, most),
        otherwise: both.filter(|(user, mails)| mailed_other.get(*user) != Some(mails)).count(),
        not_known: played.not_known.clone(),
    }
}

fn sum(world: &World, mailed: &BTreeMap<&UserId, Vec<Content>>, since: DateTime<Utc>) -> Sum {
    Sum {
        mails: mailed.values().map(Vec::len).sum(),
        users: mailed.len(),
        trips: world.trips().iter().filter(|trip| trip.at >= since).count(),
    }
}

/// Users who are mailed in one world and not in the other, and why not there.
fn examples(
    mailed: &BTreeMap<&UserId, Vec<Content>>,
    elsewhere: &BTreeMap<&UserId, Vec<Content>>,
    there: &World,
    most: usize,
) -> Named {
    let only = || mailed.iter().filter(|(user, _)| !elsewhere.contains_key(*user));
    let users = only().count();
    let only: BTreeMap<_, _> = only().take(most).collect();
    let mut fortunes: BTreeMap<UserId, Vec<Fortune>> = BTreeMap::new();
    for fortune in there.fortunes().filter(|fortune| only.contains_key(&&fortune.user)) {
        fortunes.entry(fortune.user.clone()).or_default().push(fortune);
    }
    let examples = only.into_iter().filter_map(|(user, mails)| {
        let first = mails.first()?.0;
        let why = why_not(fortunes.get(*user).map(Vec::as_slice).unwrap_or_default());
        Some(Example { user: (*user).clone(), mails: mails.len(), first, why })
    });
    Named { users, examples: examples.collect() }
}

/// Why a user with these incidents got no mail.
fn why_not(fortunes: &[Fortune]) -> String {
    if fortunes.is_empty() {
        return "nothing that these settings mail about".to_owned();
    }
    let held = fortunes.iter().find_map(|fortune| match &fortune.held {
        Some((scope, held)) if held.how == Held::Held => Some(format!("held by the guard: {scope}")),
        _ => None,
    });
    if let Some(held) = held {
        return held;
    }
    if let Some(how) = recovered(fortunes) {
        return format!("over before a mail left: {}", how.as_str().replace('_', " "));
    }
    match fortunes.last().and_then(|fortune| fortune.last.as_ref()) {
        Some(Word::Waits(why)) => format!("waits for {}", why.as_str()),
        Some(Word::Nothing(why)) => why.as_str().to_owned(),
        Some(Word::Mailed) => "mailed before the time that is compared".to_owned(),
        Some(Word::Held) => "held".to_owned(),
        Some(Word::Deleted) => "deleted".to_owned(),
        Some(Word::Failed | Word::PutOff) | None => "put off".to_owned(),
    }
}

/// How the last of them ended, if all have.
fn recovered(fortunes: &[Fortune]) -> Option<Resolution> {
    let ends: Option<Vec<_>> = fortunes.iter().map(|fortune| fortune.incident.resolved).collect();
    ends?.into_iter().max().map(|(_, how)| how)
}

fn print(report: &Report) {
    let Report { sent, now, other, .. } = report;
    say!(
        "{} to {} (UTC): {} of {} and {}",
        show::instant(report.since),
        show::instant(report.until),
        count(report.changes, "recorded change", "recorded changes"),
        count(report.users as u64, "user", "users"),
        count(report.sweeps as u64, "sweep", "sweeps")
    );
    match report.recorded_since {
        None => say!("Nothing is recorded yet: a sweep that finds changes comes first."),
        Some(since) if since > report.since => say!("Nothing is recorded from before {}.", show::instant(since)),
        Some(_) => {}
    }
    let mut table = Table::new(["", "", "sent", "as it is", "other"]).numbers(&[2, 3, 4]);
    let mut row = |app: &str, what: &str, numbers: [u64; 3]| {
        let [sent, now, other] = numbers.map(show::number);
        table.row([app, what, &sent, &now, &other]);
    };
    row("all", "mails", [sent.mails, now.mails, other.mails].map(|n| n as u64));
    row("", "users", [sent.users, now.users, other.users].map(|n| n as u64));
    let mut before = "";
    for line in &report.lines {
        let app = if before == line.toolkit { "" } else { &line.toolkit };
        row(app, &line.stage.to_string(), [line.sent, line.now, line.other]);
        before = &line.toolkit;
    }
    say!("\n{table}");
    if now.trips + other.trips > 0 {
        let times = |n: usize| count(n as u64, "time", "times");
        say!("\nThe guard trips {} as it is, {} under the other settings.", times(now.trips), times(other.trips));
    }
    name("no longer mailed", "why not", &report.only_now);
    name("mailed as well", "why not as it is", &report.only_other);
    if report.otherwise > 0 {
        say!(
            "\n{} mailed either way, but at other times or about other things.",
            count(report.otherwise as u64, "user is", "users are")
        );
    }
    if report.same {
        say!("\nBoth mail the same people, about the same, at the same times.");
    }
    say!("\nWhat cannot be known:");
    for line in &report.not_known {
        say!("  {line}");
    }
}

fn name(what: &str, why: &str, named: &Named) {
    let Named { users, examples } = named;
    if *users == 0 {
        return;
    }
    let mut table = Table::new([what, "mails", "first (UTC)", why]).numbers(&[1]);
    for one in examples {
        table.row([one.user.as_str(), &one.mails.to_string(), &show::instant(one.first), &one.why]);
    }
    say!("\n{table}");
    match users.saturating_sub(examples.len()) {
        0 => {}
        more => say!("and {}", count(more as u64, "more user", "more users")),
    }
}
