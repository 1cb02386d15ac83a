//! `user`: everything that is kept of one person, to be handed out or deleted.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::show::{self, Table, hint, say};
use super::{Exit, Outcome};
use crate::adapters::users::UsersSource;
use crate::config::{self, Config};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::UserId;
use crate::domain::notification::Recipient;
use crate::domain::port::{Store, Trail};
use crate::domain::suppression::{AddressHash, Suppression, Whom};

/// Export or erase what is kept of one user.
///
/// To fill the auditor's own table of users see `users import`.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    Export(ExportArgs),
    Erase(EraseArgs),
}

/// Write everything that is kept of one user as JSON.
///
/// It holds personal data, and the address if the auditor's own table of users has one. A file is readable for you alone, and
/// none is overwritten.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor user export user-123 --out user-123.json

The JSON is an object with
  user, exported_at
  auditor_users            the row of `users import`, or null: id, email, name, locale, time_zone
  last_check               how the newest check ended
  accounts                 connected accounts as they were last seen
  observations             what changed in them, and when
  incidents                what broke, when, and how it ended
  notifications, listed    mails, and which incident each listed at which stage
  guarded                  what the outage guard held
  suppressions             reasons not to mail the user, past ones too
  address_suppressions     reasons not to mail the address that the user has now
  dead_jobs                given-up jobs that hold the user
  links                    links to connect an account that were asked for; not where they led
  doubted_at               when it was last said that the accounts may have changed, or null
Your app's own users are not part of it; it is only read.")]
struct ExportArgs {
    /// The user, by the id under which Composio knows them
    #[arg(value_name = "USER")]
    user: String,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Delete everything that is kept of one user.
///
/// Also the row in the auditor's own table of users, and what is known against the address that the user has now. A mail that is
/// on its way is let go. Your app's own database is only read: as long as it has the user, the next sweep sees them again, as
/// somebody new. There is no way back; see `user export`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor user erase user-123 --yes")]
struct EraseArgs {
    /// The user, by the id under which Composio knows them
    #[arg(value_name = "USER")]
    user: String,
    /// Really do it
    #[arg(long)]
    yes: bool,
}

/// What an export holds.
#[derive(Serialize)]
struct Export {
    user: UserId,
    exported_at: DateTime<Utc>,
    auditor_users: Option<OwnRow>,
    #[serde(flatten)]
    trail: Trail,
    address_suppressions: Vec<Suppression>,
}

/// A row of the auditor's own table of users.
#[derive(Serialize)]
struct OwnRow {
    id: UserId,
    email: Option<String>,
    name: Option<String>,
    locale: Option<String>,
    time_zone: Option<Tz>,
}

pub(super) async fn user(args: &UserArgs, config: &Config) -> Outcome {
    match &args.command {
        UserCommand::Export(args) => export(args, config).await,
        UserCommand::Erase(args) => erase(args, config).await,
    }
}

/// The user as the app knows them at this moment.
pub(super) async fn app_has(user: &UserId, config: &Config) -> anyhow::Result<Option<Recipient>> {
    Ok(UsersSource::connect(&config.users, &config.database.url)?.find(user).await?)
}

async fn export(args: &ExportArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let user = UserId::new(args.user.as_str());
    let export = gather(user, store.as_ref(), config).await?;
    if export.trail == Trail::default() && export.auditor_users.is_none() && export.address_suppressions.is_empty() {
        hint!("note: nothing is kept of this user; is the id right?");
    }
    match &args.out {
        None => show::json(&export)?,
        Some(path) => {
            write(path, &serde_json::to_vec_pretty(&export)?)
                .with_context(|| format!("the export cannot be written to {}", path.display()))?;
            say!("everything that is kept of {} is in {}", show::plain(&args.user), path.display());
        }
    }
    Ok(Exit::Done)
}

async fn gather(user: UserId, store: &dyn Store, config: &Config) -> anyhow::Result<Export> {
    let now = SystemClock.now();
    let own = UsersSource::connect(&config::Users::default(), &config.database.url)?.find(&user).await?;
    let known = app_has(&user, config).await.context("whose address the suppressions concern is not known")?;
    let address = known.and_then(|recipient| recipient.email.ok()).map(|email| AddressHash::of(&email));
    let mut address_suppressions = store.suppressions_of(&user, address.as_ref(), now).await?;
    address_suppressions.retain(|one| matches!(one.whom, Whom::Address(_)));
    Ok(Export {
        exported_at: now,
        auditor_users: own.map(|row| OwnRow {
            id: row.user,
            email: row.email.ok().map(|email| email.as_str().to_owned()),
            name: row.name,
            locale: row.locale,
            time_zone: row.time_zone,
        }),
        trail: store.trail(&user, u32::MAX).await?,
        address_suppressions,
        user,
    })
}

/// A new file that nobody else may read.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

async fn erase(args: &EraseArgs, config: &Config) -> Outcome {
    if !args.yes {
        hint!(
            "error: nothing was erased, for there is no way back: repeat it with --yes; `user export` shows what there is"
        );
        return Ok(Exit::Usage);
    }
    let store = super::open_store(config).await?;
    let user = UserId::new(args.user.as_str());
    let known =
        app_has(&user, config).await.context("nothing was erased: whether the app has the user must be known first")?;
    let address = known.as_ref().and_then(|recipient| recipient.email.as_ref().ok()).map(AddressHash::of);
    let erased = store.erase(&user, address.as_ref()).await?;
    let name = show::plain(&args.user);
    if erased.iter().all(|(_, rows)| *rows == 0) {
        say!("nothing was kept of {name}");
    } else {
        let mut table = Table::new(["table", "rows"]).numbers(&[1]);
        for (place, rows) in erased.iter().filter(|(_, rows)| *rows > 0) {
            table.row([place, &show::number(*rows)]);
        }
        say!("Erased of {name}\n{table}");
    }
    // Whoever was in the auditor's own table is gone from there too.
    if app_has(&user, config).await?.is_some() {
        hint!("note: the app still has this user, so the next sweep sees them again, as somebody new");
    } else if address.is_none() {
        hint!(
            "note: the app has no such user; what is known against an address that they had stays until \
             `suppressions remove --address`"
        );
    }
    Ok(Exit::Done)
}
