//! `explain`: why somebody was mailed, or was not, and what happens next.

use std::sync::Arc;

use clap::Args;

use super::show::{self, say};
use super::{Exit, Outcome};
use crate::adapters::users::UsersSource;
use crate::audit::explain::{Connection, Explainer, Explanation};
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::id::UserId;
use crate::domain::port::{CheckOutcome, LastCheck};
use crate::domain::sweep::Trigger;

/// Tell why a user was mailed, or was not, and what happens next.
///
/// Prints what is so and what is to come, what was last seen of each connection, what keeps mail from leaving, and all that
/// happened, oldest first: changes, incidents, what the outage guard said, notifications with their outcome. It reads what
/// is stored and asks your database whether the user is there; Composio is not asked, nothing changes, and no address is printed.
///
/// Exit code 2: nothing is known of this user; no check has looked at them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor explain user-123
  connection-auditor explain user-123 --json | jq -r .gist

--json prints an object with user, now, gist (the state in one word: mailed, waiting, held, \
suppressed, unreachable, recovered, superseded, healthy …), headline, outlook (text, mail_at, \
mail_lists, plan, looks), known (whether the app has such a user; null if that cannot be told), \
last_check, last_sweep, next_sweep, connections (app, slot, verdict, means, account, status, \
reason, since, incident), obstacles (kind, text, until) and timeline (at, event, text, and the ids \
of what it is about).")]
pub(super) struct ExplainArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn explain(args: &ExplainArgs, config: &Config) -> Outcome {
    let store = super::open_store(config).await?;
    let users = UsersSource::connect(&config.users, &config.database.url);
    let users = users.map(Arc::new).map_err(|error| show::chain(&error));
    let explainer = Explainer::new(store, users, config);
    let facts = explainer.gather(&UserId::from(args.user.as_str()), SystemClock.now()).await?;
    let explanation = facts.story();
    if args.json {
        show::json(&explanation)?;
    } else {
        say!("{}", page(&explanation));
    }
    Ok(if facts.was_never_seen() { Exit::Found } else { Exit::Done })
}

/// The story as people read it: the answer first, then what it rests on.
fn page(story: &Explanation) -> String {
    let mut lines = vec![
        story.user.to_string(),
        String::new(),
        story.headline.clone(),
        format!("Next: {}", story.outlook.text),
        String::new(),
        format!("Last check: {}", last_check(story)),
    ];
    if let Some(tick) = &story.next_sweep {
        lines.push(format!("Next sweep: {} (schedule {})", show::instant(tick.at), tick.schedule));
    }
    if !story.connections.is_empty() {
        lines.push("\nConnections".to_owned());
        lines.extend(story.connections.iter().flat_map(connection));
    }
    if !story.obstacles.is_empty() {
        lines.push("\nWhat keeps mail from leaving".to_owned());
        lines.extend(story.obstacles.iter().map(|obstacle| format!(" {}", obstacle.text)));
    }
    if !story.timeline.is_empty() {
        lines.push("\nTimeline (UTC)".to_owned());
        lines.extend(story.timeline.iter().map(|event| format!(" {}  {}", show::instant(event.at), event.text)));
    }
    // Our own breaks of lines stay, those of texts from outside do not.
    let shown = lines.iter().map(|line| match line.strip_prefix('\n') {
        Some(title) => format!("\n{title}"),
        None => show::plain(line),
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn last_check(story: &Explanation) -> String {
    let Some(LastCheck { at, observed_at, outcome }) = &story.last_check else { return "none".to_owned() };
    let at = show::instant(*at);
    let how = match (outcome, observed_at) {
        (CheckOutcome::Checked, _) => format!("{at}, all accounts were read"),
        (CheckOutcome::GivenUp(why) | CheckOutcome::Refused(why), Some(seen)) => {
            format!("{at}, it failed ({why}); what follows is as of {}", show::instant(*seen))
        }
        (CheckOutcome::GivenUp(why) | CheckOutcome::Refused(why), None) => format!("{at}, it failed ({why})"),
    };
    let Some(sweep) = &story.last_sweep else { return format!("{how}; by no sweep that is still kept") };
    let by = match sweep.trigger {
        Trigger::Tick => "by schedule",
        Trigger::CatchUp => "caught up for schedule",
        Trigger::Manual => "started by hand for",
    };
    format!("{how}; last sweep with this user: {} {by} {}", show::instant(sweep.tick), sweep.schedule)
}

/// A connection and, where it does not work, why.
fn connection(about: &Connection) -> Vec<String> {
    let alias = about.slot.alias.as_deref().map(|alias| format!(" \"{alias}\"")).unwrap_or_default();
    let name = format!("{}{alias}", about.app);
    let standing = super::sweep::standing(&about.status, about.reason.as_deref());
    let since = show::instant(about.since);
    let first = format!(" {name}: {}, {}", about.verdict.as_str().replace('_', " "), about.means);
    vec![first, format!("   {} through {}, {standing}, since {since}", about.account, about.slot.auth_config)]
}

#[cfg(test)]
mod tests;
