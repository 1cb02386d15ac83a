//! `suppressions`: who is not mailed, whatever breaks.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::show::{self, Table, count, hint, say};
use super::user::app_has;
use super::{Exit, Outcome};
use crate::adapters::mailer::without_addresses;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock, to_micros};
use crate::domain::id::{SuppressionId, Toolkit, UserId};
use crate::domain::port::Store;
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};

/// So much of an address's hash names it, at least.
const SHORTEST_HASH: usize = 12;

/// List, add or remove suppressions: who is not mailed, whatever breaks.
///
/// A user may have opted out, for one app or for all, or until an instant. An address may have bounced, or its reader may have
/// complained: then nobody is mailed at that address, and a user who gets another one is mailed again.
#[derive(Debug, Args)]
pub(super) struct SuppressionsArgs {
    #[command(subcommand)]
    command: SuppressionsCommand,
}

#[derive(Debug, Subcommand)]
enum SuppressionsCommand {
    List(ListArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
}

/// List the newest suppressions in force.
#[derive(Debug, Args)]
#[command(after_long_help = "\
--json prints an array of objects with id, whom (an object with user, or with address: its SHA-256), kind (opt_out, snooze, \
bounce or complaint), toolkit (null: all apps), until (null: until it is removed), source, detail and created_at.")]
struct ListArgs {
    /// How many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Mail a user no more.
///
/// For one app or all, for a time or until it is removed. A mail that is being sent at this moment still leaves. The same
/// again lasts until the later instant.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor suppressions add --user user-123                               opted out
  connection-auditor suppressions add --user user-123 --app slack --until 30d       snoozed
  connection-auditor suppressions add --user user-123 --until 2027-01-31 --reason \"on leave\"")]
struct AddArgs {
    /// The user, by the id under which Composio knows them
    #[arg(long, value_name = "USER")]
    user: String,
    /// Only mails about this app, as in slack [default: all]
    #[arg(long, value_name = "APP", value_parser = app)]
    app: Option<Toolkit>,
    /// Until then: 30d, 2027-01-31 or 2027-01-31T09:00:00Z [default: until it is removed]
    #[arg(long, visible_alias = "snooze", value_name = "WHEN", value_parser = when)]
    until: Option<When>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Let a user, or an address, be mailed again.
///
/// With --user also what is known against the address that the user has now. What is still broken is looked at again soon, and
/// mailed about if it is its turn.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor suppressions remove --user user-123
  connection-auditor suppressions remove --user user-123 --kind bounce        the address works again
  connection-auditor suppressions remove --address 5f8d1c0a9e77               as `suppressions list` names it")]
struct RemoveArgs {
    /// The user, and the address that they have now
    #[arg(long, value_name = "USER", required_unless_present = "address")]
    user: Option<String>,
    /// An address, by the beginning of its hash: for one that no user has any more
    #[arg(long, value_name = "HASH", conflicts_with = "user", value_parser = hash)]
    address: Option<String>,
    /// Only those about this app
    #[arg(long, value_name = "APP", value_parser = app)]
    app: Option<Toolkit>,
    /// Only those of this kind
    #[arg(long, value_enum)]
    kind: Option<KindArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// They want no more
    OptOut,
    /// They want none for a time
    Snooze,
    /// The address does not work
    Bounce,
    /// They marked a mail as spam
    Complaint,
}

impl From<KindArg> for SuppressionKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::OptOut => Self::OptOut,
            KindArg::Snooze => Self::Snooze,
            KindArg::Bounce => Self::Bounce,
            KindArg::Complaint => Self::Complaint,
        }
    }
}

/// An instant, or how long from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    In(Duration),
    At(DateTime<Utc>),
}

impl When {
    /// The instant, if it is to come.
    fn after(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let at = match self {
            Self::In(wait) => now.checked_add_signed(TimeDelta::from_std(wait).ok()?)?,
            Self::At(at) => at,
        };
        // Later than this the databases do not count.
        Some(to_micros(at)).filter(|at| *at > now && *at < now + TimeDelta::days(365_000))
    }
}

fn when(text: &str) -> Result<When, &'static str> {
    if let Ok(wait) = humantime::parse_duration(text) {
        return Ok(When::In(wait));
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(When::At(at.to_utc()));
    }
    match text.parse::<NaiveDate>() {
        Ok(date) => Ok(When::At(date.and_time(NaiveTime::MIN).and_utc())),
        Err(_) => Err("expected a duration (30d), a date (2027-01-31, in UTC) or an instant (2027-01-31T09:00:00Z)"),
    }
}

fn app(text: &str) -> Result<Toolkit, &'static str> {
    let is_slug = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    is_slug.then(|| Toolkit::new(text.to_lowercase())).ok_or("an app is named as Composio does, as in googlecalendar")
}

fn hash(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches('…').to_lowercase();
    let is_hash = text.len() >= SHORTEST_HASH && text.chars().all(|c| c.is_ascii_hexdigit());
    is_hash.then_some(text).ok_or("expected at least the first 12 digits of a hash, as `suppressions list` prints them")
}

pub(super) async fn suppressions(args: &SuppressionsArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    match &args.command {
        SuppressionsCommand::List(args) => list(args, store.as_ref()).await,
        SuppressionsCommand::Add(args) => add(args, store.as_ref(), config).await,
        SuppressionsCommand::Remove(args) => remove(args, store.as_ref(), config).await,
    }
}

async fn list(args: &ListArgs, store: &dyn Store) -> Outcome {
    let suppressions = store.suppressions(args.limit, SystemClock.now()).await?;
    if args.json {
        show::json(&suppressions)?;
        return Ok(Exit::Done);
    }
    if suppressions.is_empty() {
        say!("nobody is suppressed");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["since (UTC)", "who", "why", "app", "until (UTC)", "said by", "detail"]).whole(&[1]);
    for one in &suppressions {
        table.row([
            &show::instant(one.created_at),
            &one.whom.to_string(),
            one.kind.as_str(),
            one.toolkit.as_ref().map_or("all", Toolkit::as_str),
            &one.until.map_or_else(String::new, show::instant),
            &one.source,
            one.detail.as_deref().unwrap_or(""),
        ]);
    }
    say!("{table}");
    Ok(Exit::Done)
}

async fn add(args: &AddArgs, store: &dyn Store, config: &Config) -> Outcome {
    let (user, now) = (UserId::new(args.user.as_str()), SystemClock.now());
    let until = match args.until.map(|when| when.after(now)) {
        None => None,
        Some(Some(until)) => Some(until),
        Some(None) => {
            hint!("error: --until is in the past, or further away than a thousand years");
            return Ok(Exit::Usage);
        }
    };
    let kind = if until.is_some() { SuppressionKind::Snooze } else { SuppressionKind::OptOut };
    let suppression = Suppression {
        id: SuppressionId(Uuid::now_v7()),
        whom: Whom::User(user.clone()),
        kind,
        toolkit: args.app.clone(),
        until,
        source: "cli".to_owned(),
        detail: args.reason.as_deref().map(|reason| without_addresses(reason, None)),
        created_at: now,
    };
    store.suppress(&suppression).await?;
    let in_force = store.suppressions_of(&user, None, now).await?;
    let kept = in_force.iter().find(|one| one.kind == kind && one.toolkit == args.app);
    let until = kept.map_or(until, |kept| kept.until);
    say!(
        "{} is not mailed {}{}",
        show::plain(&args.user),
        args.app.as_ref().map_or_else(|| "about any app".to_owned(), |app| format!("about {app}")),
        until.map_or_else(|| " any more".to_owned(), |until| format!(" until {} (UTC)", show::instant(until)))
    );
    match app_has(&user, config).await {
        Ok(Some(_)) => {}
        Ok(None) => hint!("note: the app has no such user at the moment; is the id right?"),
        Err(error) => hint!("note: whether the app has such a user could not be told: {}", show::chain(error.as_ref())),
    }
    Ok(Exit::Done)
}

async fn remove(args: &RemoveArgs, store: &dyn Store, config: &Config) -> Outcome {
    let now = SystemClock.now();
    let kind = args.kind.map(SuppressionKind::from);
    let (who, whom) = match (&args.user, &args.address) {
        (Some(user), _) => {
            let id = UserId::new(user.as_str());
            let found =
                app_has(&id, config).await.context("nothing was removed: the address of the user is not known")?;
            let address = found.and_then(|recipient| recipient.email.ok()).map(|email| AddressHash::of(&email));
            // The address first: lifting what is said of the user makes the look that sees both.
            (show::plain(user), address.map(Whom::Address).into_iter().chain([Whom::User(id)]).collect())
        }
        (None, Some(beginning)) => (format!("address {beginning}…"), vec![addressed(beginning, store, now).await?]),
        (None, None) => (String::new(), Vec::new()),
    };
    let mut lifted = 0;
    for whom in &whom {
        lifted += store.lift(whom, kind, args.app.as_ref(), now).await?;
    }
    match lifted {
        0 => say!("nothing of that kind is known against {who}"),
        lifted => say!("{} of {who} ended", count(lifted, "suppression", "suppressions")),
    }
    Ok(Exit::Done)
}

/// The one address whose hash begins so.
async fn addressed(beginning: &str, store: &dyn Store, now: DateTime<Utc>) -> anyhow::Result<Whom> {
    let all = store.suppressions(u32::MAX, now).await?;
    let mut found: Vec<Whom> = all
        .into_iter()
        .map(|one| one.whom)
        .filter(|whom| matches!(whom, Whom::Address(hash) if hash.as_str().starts_with(beginning)))
        .collect();
    found.dedup();
    match (found.pop(), found.is_empty()) {
        (Some(whom), true) => Ok(whom),
        (Some(whom), false) if found.iter().all(|other| *other == whom) => Ok(whom),
        (Some(_), false) => bail!("several addresses have a hash that begins with {beginning}: give more of it"),
        (None, _) => bail!("no address that is suppressed has a hash that begins with {beginning}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_a_date_or_an_instant_to_come() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("an instant");
        let now = at("2026-11-21T12:00:00Z");
        for (text, end) in [
            ("30d", Some(at("2026-12-21T12:00:00Z"))),
            ("2027-01-31", Some(at("2027-01-31T00:00:00Z"))),
            ("2027-01-31T09:00:00+01:00", Some(at("2027-01-31T08:00:00Z"))),
            ("2026-11-21", None),
            ("0s", None),
            ("999999years", None),
        ] {
            assert_eq!(when(text).ok().and_then(|when| when.after(now)), end, "{text}");
        }
        for text in ["", "tomorrow", "30", "2027-13-01"] {
            assert!(when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_app_is_taken_as_composio_names_it() {
        assert_eq!(app("GoogleCalendar"), Ok(Toolkit::new("googlecalendar")));
        assert!(app("Google Calendar").is_err() && app("").is_err());
        assert_eq!(hash("ABCDEF123456…"), Ok("abcdef123456".to_owned()));
        assert!(hash("abc").is_err() && hash("ann@example.org").is_err());
    }
}
