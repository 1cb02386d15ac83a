//! `guard`: what the outage guard holds back, and what to do with it.

use anyhow::bail;
use chrono::TimeDelta;
use clap::{Args, Subcommand};

use super::show::{self, Table, count, hint, number, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::cause::{self, Cause, Pattern};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::guard::{RAMP_FIRST, Trip, TripState, percent};
use crate::domain::id::Toolkit;
use crate::domain::port::{Release, Store, TripDetail};

/// Trips that are read, at most, to find the one that is meant.
const TRIPS: u32 = 1_000;
/// Reasons of which it is said what they usually mean.
const REASONS: usize = 2;
/// Users that `show` names.
const SAMPLE: u32 = 10;

/// See what the outage guard holds back, and decide on it.
///
/// When too large a share of an app's connections breaks at once, nobody is mailed about them: a trip of the guard holds them.
/// It lets go by itself once most of them work again.
#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    #[command(subcommand)]
    command: GuardCommand,
}

#[derive(Debug, Subcommand)]
enum GuardCommand {
    List(ListArgs),
    Show(ShowArgs),
    Release(ReleaseArgs),
    Discard(DiscardArgs),
}

/// List the trips that hold something, newest first.
///
/// Exit code 2: there are some.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an array of objects with id, scope (kind, toolkit, auth_config), broken and healthy \
(as counted when it tripped), state, tripped_at, ended (when, and by whom), ramp_at, slots (those \
that broke at once), still_broken (of these), held (those it still holds) and users.")]
struct ListArgs {
    /// Those that are over, too
    #[arg(long)]
    all: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Show one trip: what broke, for which reasons, what that usually means, some of the users.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an object as `guard list` does, with reasons (status, reason and number, at most \
ten) and sample (some of the users, each with an account).")]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Let a trip's mails leave although it is not over.
///
/// The first 20 users now, the rest after `guard.ramp_wait`, unless the guard trips again meanwhile. Each user is checked again
/// before their mail is written; whoever has reconnected gets none.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor guard release 01a1fe26-913d
  connection-auditor guard release 01a1fe26-913d --all-at-once --by ann")]
struct ReleaseArgs {
    #[command(flatten)]
    which: Which,
    /// No first few: everybody now
    #[arg(long)]
    all_at_once: bool,
    #[command(flatten)]
    who: Who,
}

/// Never mail about what a trip holds.
///
/// What breaks afterwards is mailed about as ever. This cannot be undone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor guard discard 01a1fe26-913d --yes")]
struct DiscardArgs {
    #[command(flatten)]
    which: Which,
    /// Yes, for ever; without it, it is only said what would be discarded
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
struct Which {
    /// The trip's id as `guard list` prints it, or its first characters
    #[arg(value_name = "TRIP")]
    trip: String,
}

#[derive(Debug, Args)]
struct Who {
    /// Who decides, for the record
    #[arg(long, value_name = "NAME", default_value = "command line")]
    by: String,
}

pub(super) async fn guard(args: &GuardArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let store = store.as_ref();
    match &args.command {
        GuardCommand::List(args) => list(args, store).await,
        GuardCommand::Show(args) => show(args, store).await,
        GuardCommand::Release(args) => release(args, store, config).await,
        GuardCommand::Discard(args) => discard(args, store).await,
    }
}

async fn list(args: &ListArgs, store: &dyn Store) -> Outcome {
    let trips = store.trips(!args.all, TRIPS).await?;
    if args.json {
        show::json(&trips)?;
    } else if trips.is_empty() {
        say!("{}", if args.all { "the guard never tripped" } else { "the guard holds nothing" });
    } else {
        say!("{}", table(&trips));
    }
    let holds = trips.iter().any(|trip| trip.state.holds());
    Ok(if holds { Exit::Found } else { Exit::Done })
}

fn table(trips: &[Trip]) -> Table {
    let mut table =
        Table::new(["trip", "of", "since (UTC)", "broke", "share", "state", "still broken", "held", "users"])
            .numbers(&[3, 4, 6, 7, 8])
            .whole(&[0]);
    for trip in trips {
        table.row([
            &trip.id.to_string(),
            &trip.tripped.scope.to_string(),
            &show::instant(trip.tripped_at),
            &number(trip.tripped.broken),
            &percent(trip.tripped.share()),
            trip.state.as_str(),
            &number(trip.still_broken),
            &number(trip.held),
            &number(trip.users),
        ]);
    }
    table
}

async fn show(args: &ShowArgs, store: &dyn Store) -> Outcome {
    let trip = find(&args.which, store).await?;
    let Some(detail) = store.trip_detail(trip.id, SAMPLE).await? else {
        bail!("the trip {} was deleted meanwhile", trip.id);
    };
    if args.json {
        show::json(&detail)?;
    } else {
        print(&detail);
    }
    Ok(Exit::Done)
}

fn print(detail: &TripDetail) {
    let trip = &detail.trip;
    let tripped = &trip.tripped;
    say!("{}", show::plain(&tripped.scope.to_string()));
    say!(
        "{} of {} broke ({}): nobody is mailed about them",
        number(tripped.broken),
        count(tripped.broken + tripped.healthy, "connection", "connections"),
        percent(tripped.share())
    );
    say!("\nTrip {}, {} since {}", trip.id, trip.state.as_str(), show::instant(trip.tripped_at));
    say!(
        "It holds {} of {}; of {} that broke at once, {} still broken at their latest check.",
        count(trip.held, "connection", "connections"),
        count(trip.users, "user", "users"),
        number(trip.slots),
        number(trip.still_broken)
    );
    if let Some((at, by)) = &trip.ended {
        say!("Ended {} by {}.", show::instant(*at), show::plain(by));
    }
    if let Some(at) = trip.ramp_at.filter(|_| trip.state == TripState::Releasing) {
        say!("The first {RAMP_FIRST} users are released; the rest follows {}.", show::instant(at));
    }
    if !detail.reasons.is_empty() {
        let mut reasons = Table::new(["connections", "status", "reason"]).numbers(&[0]);
        for (status, reason, count) in &detail.reasons {
            reasons.row([&number(*count), status, reason.as_deref().unwrap_or("none given")]);
        }
        say!("\nReasons\n{reasons}");
    }
    let causes = causes(detail);
    if !causes.is_empty() {
        say!("\nWhat it usually means");
    }
    for cause in causes {
        say!(" {}\n   {}", cause.cause, cause.remedy);
    }
    if !detail.sample.is_empty() {
        let mut sample = Table::new(["user", "account"]).whole(&[0, 1]);
        for (user, account) in &detail.sample {
            sample.row([user.as_str(), account.as_str()]);
        }
        say!("\nSome of its users\n{sample}");
    }
    if trip.state.holds() {
        say!(
            "\nIt lets go by itself once most of them work again. Otherwise:\n connection-auditor guard release {0}   \
             mail those that are still broken, the first {RAMP_FIRST} users first\n connection-auditor guard discard {0}   \
             never mail about these",
            trip.id
        );
    }
}

/// What usually lies behind the most frequent reasons, each cause once.
fn causes(detail: &TripDetail) -> Vec<Cause> {
    let app = detail.trip.tripped.scope.toolkit().map_or("", Toolkit::as_str);
    let seen = detail.reasons.iter().take(REASONS).map(|(status, because, _)| (status.as_str(), because.as_deref()));
    cause::of_all(Pattern::AtOnce, app, seen)
}

async fn release(args: &ReleaseArgs, store: &dyn Store, config: &Config) -> Outcome {
    let trip = find_active(&args.which, store).await?;
    let now = SystemClock.now();
    if let Some(at) = trip.ramp_at.filter(|_| trip.state == TripState::Releasing && !args.all_at_once) {
        say!(
            "it is being released already: the rest, {}, follows {}; --all-at-once lets them go now",
            count(trip.users, "user", "users"),
            show::instant(at)
        );
        return Ok(Exit::Done);
    }
    let wait = TimeDelta::from_std(config.guard.ramp_wait).unwrap_or(TimeDelta::hours(1));
    let ramp = (!args.all_at_once).then_some((RAMP_FIRST, now + wait));
    let Some(released) = store.release_trip(&Release { id: trip.id, by: &args.who.by, ramp }, now).await? else {
        bail!("the trip {} ended meanwhile; `connection-auditor guard list --all` shows how", trip.id);
    };
    let users = released.notifications.len() as u64;
    say!("{} released; each is checked again before the mail", count(users, "user", "users"));
    if let Some((_, at)) = ramp.filter(|_| released.users_left > 0) {
        say!(
            "the rest, {}, follows {} unless the guard trips again meanwhile; `connection-auditor pause` stops all mails",
            count(released.users_left, "user", "users"),
            show::instant(at)
        );
    }
    Ok(Exit::Done)
}

async fn discard(args: &DiscardArgs, store: &dyn Store) -> Outcome {
    let trip = find_active(&args.which, store).await?;
    let held = count(trip.held, "connection", "connections");
    let users = count(trip.users, "user", "users");
    if !args.yes {
        hint!(
            "error: nothing was done: {users} would never be mailed about {held} ({}); say so with --yes",
            show::plain(&trip.tripped.scope.to_string())
        );
        return Ok(Exit::Usage);
    }
    let Some(discarded) = store.discard_trip(trip.id, &args.who.by, SystemClock.now()).await? else {
        bail!("the trip {} ended meanwhile; `connection-auditor guard list --all` shows how", trip.id);
    };
    say!("{} discarded: nobody is mailed about them", count(discarded, "connection", "connections"));
    Ok(Exit::Done)
}

/// The trip that is meant, whatever its state.
async fn find(which: &Which, store: &dyn Store) -> anyhow::Result<Trip> {
    chosen(&which.trip, store.trips(false, TRIPS).await?)
}

/// The trip that is meant, which must still hold something.
async fn find_active(which: &Which, store: &dyn Store) -> anyhow::Result<Trip> {
    let trip = find(which, store).await?;
    if !trip.state.holds() {
        let when = trip.ended.as_ref().map(|(at, by)| format!(" {} by {by}", show::instant(*at))).unwrap_or_default();
        bail!("the trip {} is over: {}{when}", trip.id, trip.state.as_str());
    }
    Ok(trip)
}

/// The one whose id begins so. Where several do, the only one of them that holds something.
fn chosen(prefix: &str, trips: Vec<Trip>) -> anyhow::Result<Trip> {
    let wanted = prefix.trim().to_lowercase();
    let begins = |trip: &Trip| {
        let id = trip.id.to_string();
        !wanted.is_empty() && (id.starts_with(&wanted) || id.replace('-', "").starts_with(&wanted))
    };
    let (mut found, others): (Vec<Trip>, Vec<Trip>) = trips.into_iter().partition(begins);
    if found.len() > 1 && found.iter().filter(|trip| trip.state.holds()).count() == 1 {
        found.retain(|trip| trip.state.holds());
    }
    match found.len() {
        1 => found.pop().ok_or_else(|| anyhow::anyhow!("no trip")),
        0 => bail!("there is no trip {prefix:?}; {}", named(&others)),
        _ => bail!("{prefix:?} begins the ids of several trips: name one of {}", ids(&found)),
    }
}

fn named(trips: &[Trip]) -> String {
    let active: Vec<Trip> = trips.iter().filter(|trip| trip.state.holds()).cloned().collect();
    if active.is_empty() {
        "the guard holds nothing now".to_owned()
    } else {
        format!("those that hold something are {}", ids(&active))
    }
}

fn ids(trips: &[Trip]) -> String {
    let shown: Vec<String> = trips.iter().map(|trip| format!("{} ({})", trip.id, trip.tripped.scope)).collect();
    show::plain(&shown.join(", "))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::guard::{Scope, Tripped};
    use crate::domain::id::TripId;

    fn trip(id: &str, state: TripState) -> Trip {
        Trip {
            id: TripId(id.parse::<Uuid>().unwrap()),
            tripped: Tripped { scope: Scope::Toolkit { toolkit: "slack".into() }, broken: 40, healthy: 60 },
            state,
            tripped_at: SystemClock.now(),
            ended: None,
            ramp_at: None,
            slots: 40,
            still_broken: 40,
            held: 40,
            users: 38,
        }
    }

    fn trips() -> Vec<Trip> {
        vec![
            trip("01a1fe26-913d-765d-9584-2acd1230701c", TripState::Tripped),
            trip("01a1fe26-9999-765d-9584-2acd1230701c", TripState::Released),
            trip("01a1aaaa-9999-765d-9584-2acd1230701c", TripState::Tripped),
        ]
    }

    #[test]
    fn a_trip_is_named_by_the_first_characters_of_its_id() {
        let id = |prefix| chosen(prefix, trips()).map(|trip| trip.id.to_string()).map_err(|error| error.to_string());
        assert_eq!(id("01A1FE26-9999").unwrap(), "01a1fe26-9999-765d-9584-2acd1230701c");
        assert_eq!(id("01a1fe269999").unwrap(), "01a1fe26-9999-765d-9584-2acd1230701c");
        assert_eq!(id("01a1fe26").unwrap(), "01a1fe26-913d-765d-9584-2acd1230701c", "the one that holds something");
    }

    #[test]
    fn an_id_of_none_or_of_several_names_those_that_could_be_meant() {
        let error = |prefix| chosen(prefix, trips()).unwrap_err().to_string();
        assert_eq!(
            error("ff"),
            "there is no trip \"ff\"; those that hold something are 01a1fe26-913d-765d-9584-2acd1230701c (slack), \
             01a1aaaa-9999-765d-9584-2acd1230701c (slack)"
        );
        assert!(error("01a1").starts_with("\"01a1\" begins the ids of several trips"), "{}", error("01a1"));
        assert!(error("").starts_with("there is no trip \"\""));
        assert_eq!(
            chosen("x", Vec::new()).unwrap_err().to_string(),
            "there is no trip \"x\"; the guard holds nothing now"
        );
    }
}
