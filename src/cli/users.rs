//! `users` and `migrate`: the auditor's own tables.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::show::{self, count, hint, say};
use super::{Exit, Outcome};
use crate::adapters::{store, users};
use crate::config::Config;

/// How many rejected lines are named.
const NAMED: usize = 50;

/// Fill the auditor's own table of users.
///
/// For an app whose users are not in a database that the auditor could read (users.url, users.table). What is kept of one user:
/// see `user export` and `user erase`.
#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    Import(ImportArgs),
}

/// Import users from a CSV file.
///
/// The file is UTF-8 with a header; the columns `id` and `email` are required, `name`, `locale` and `time_zone` are optional. Users that are
/// there already are updated, none is deleted, and where an id repeats, its last line counts. If the file cannot be read to its end,
/// nothing of it is imported. An embedded database is made if it is not there.
///
/// Exit code 2: some lines were rejected (no usable id, an invalid address); the others are imported.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor users import users.csv

  id,email,name,locale,time_zone
  user-123,ann@example.org,Ann,de,Europe/Berlin")]
struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
}

/// Create or upgrade the auditor's tables.
///
/// A database server is migrated by this command alone; an embedded one (SQLite) also by whatever command needs it. Forward only,
/// and safe to repeat: run it before the workers of a new version start.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {}

pub(super) async fn users(args: &UsersArgs, config: &Config) -> Outcome {
    let UsersCommand::Import(args) = &args.command;
    if store::is_embedded(&config.database) {
        store::migrate(&config.database).await?;
    } else {
        // Says clearly if it is not migrated.
        store::connect(&config.database).await?;
    }
    let imported = users::import(&config.database.url, &args.file).await?;
    say!(
        "{} new, {} updated, {} unchanged",
        count(imported.inserted, "user", "users"),
        show::number(imported.updated),
        show::number(imported.unchanged)
    );
    if imported.duplicates > 0 {
        say!("{}: the last one counts", count(imported.duplicates, "id is repeated", "ids are repeated"));
    }
    for rejected in imported.rejected.iter().take(NAMED) {
        say!("line {} was rejected: {}", rejected.line, rejected.reason);
    }
    match imported.rejected.len().saturating_sub(NAMED) {
        0 => {}
        more => say!("{} rejected too", count(more as u64, "further line was", "further lines were")),
    }
    let reads_elsewhere = config.users.url.is_some() || config.users.query.is_some();
    if reads_elsewhere || config.users.table != crate::config::Users::default().table {
        hint!("note: the settings in [users] name another source, so sweeps do not read this table");
    }
    Ok(if imported.rejected.is_empty() { Exit::Done } else { Exit::Found })
}

pub(super) async fn migrate(_args: &MigrateArgs, config: &Config) -> Outcome {
    store::migrate(&config.database).await?;
    say!("the auditor's tables are up to date");
    Ok(Exit::Done)
}
