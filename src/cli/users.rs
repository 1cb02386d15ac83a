//! `users` and `migrate`: the auditor's own tables.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::show;
use super::{Exit, Outcome};
use crate::adapters::{store, users};
use crate::config::Config;

/// Fill the auditor's own table of users.
#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// Import users from a CSV file with the columns id, email, and optionally name, locale and time_zone
    Import(ImportArgs),
}

/// All of the file is imported, or nothing. Users that are there already are updated; none is deleted. Exit code 2: some lines were rejected.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
}

pub(super) async fn users(command: &UsersCommand, config: &Config) -> Outcome {
    let UsersCommand::Import(args) = command;
    if store::is_embedded(&config.database) {
        store::migrate(&config.database).await?;
    } else {
        // Says clearly if it is not migrated.
        store::connect(&config.database).await?;
    }
    let imported = users::import(&config.database.url, &args.file).await?;
    println!(
        "{} new, {} updated, {} unchanged",
        show::count(imported.inserted, "user", "users"),
        imported.updated,
        imported.unchanged
    );
    if imported.duplicates > 0 {
        println!("{}: the last one counts", show::count(imported.duplicates, "id is repeated", "ids are repeated"));
    }
    for rejected in &imported.rejected {
        println!("line {} was rejected: {}", rejected.line, rejected.reason);
    }
    Ok(if imported.rejected.is_empty() { Exit::Done } else { Exit::Found })
}

pub(super) async fn migrate(config: &Config) -> Outcome {
    store::migrate(&config.database).await?;
    println!("the auditor's tables are up to date");
    Ok(Exit::Done)
}
