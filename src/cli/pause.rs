//! `pause` and `resume`: the kill switch.

use clap::Args;

use super::show::{self, hint, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::port::Pause;

/// Let no mail leave, until `resume`.
///
/// Users are still checked, and incidents opened and closed; what is to be mailed waits. A mail that is being handed to the mail
/// server at this moment still leaves.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  connection-auditor pause --note \"wrong reconnect page, Ann looks into it\"")]
pub(super) struct PauseArgs {
    /// Why, for whoever looks at `status`
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Let mails leave again.
///
/// Those that waited leave at once, after each user's accounts were read again: whoever has reconnected meanwhile gets none.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {}

pub(super) async fn pause(args: &PauseArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let note = args.note.as_deref().map(str::trim).filter(|note| !note.is_empty()).map(ToOwned::to_owned);
    let asked = Pause { since: SystemClock.now(), note };
    let in_force = store.pause(&asked).await?;
    if in_force.note != asked.note && args.note.is_some() {
        hint!("they were paused before: that note stays; `connection-auditor resume` ends it");
    }
    say!("{}; `connection-auditor resume` lets them leave again", paused(&in_force));
    Ok(Exit::Done)
}

pub(super) async fn resume(_: &ResumeArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    match store.resume(SystemClock.now()).await? {
        Some(was) => say!("mails leave again; they were paused since {}", show::instant(was.since)),
        None => say!("mails were not paused"),
    }
    Ok(Exit::Done)
}

/// That mails are paused, since when, and why.
pub(super) fn paused(pause: &Pause) -> String {
    let note = pause.note.as_deref().map(|note| format!(" ({})", show::plain(note))).unwrap_or_default();
    format!("no mail leaves since {}{note}", show::instant(pause.since))
}
