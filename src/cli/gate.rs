//! `gate`: may an action use these apps on behalf of one user?

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::connections::FreshnessArgs;
use super::show::{self, Table, say};
use super::{Exit, Outcome};
use crate::config::Config;
use crate::domain::gate::{Decision, Gate, OnUnknown, Overall, Permit};
use crate::domain::id::{Toolkit, UserId};

/// Say whether an action may use these apps on behalf of one user.
///
/// Exit code 0: allowed, every app works. Exit code 2: denied, some app does not work; the prompt says what to tell the person.
/// Exit code 3: unknown, we could not look. With --on-unknown an unknown becomes one of the other two, and the answer says so.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor gate user-123 slack gmail
  connection-auditor gate user-123 slack --max-age 30s --json | jq -r '.apps[].prompt'
  connection-auditor gate user-123 slack --on-unknown deny && send-the-message

--json prints an object with overall (allowed, denied, unknown), permit (permitted, by, on_unknown; null without \
--on-unknown), as_of, stale, and apps (app, name, decision, as_of, stale, and accounts | reason, account, since, prompt, \
reconnect_url | why, detail).")]
pub(super) struct GateArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    /// The apps, as Composio names them: slack, googlecalendar
    #[arg(value_name = "APP", required = true)]
    apps: Vec<String>,
    #[command(flatten)]
    freshness: FreshnessArgs,
    /// What an unknown becomes: deny fails closed, allow fails open
    #[arg(long, value_name = "ANSWER")]
    on_unknown: Option<OnUnknownArg>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnUnknownArg {
    Deny,
    Allow,
}

impl From<OnUnknownArg> for OnUnknown {
    fn from(arg: OnUnknownArg) -> Self {
        match arg {
            OnUnknownArg::Deny => Self::Deny,
            OnUnknownArg::Allow => Self::Allow,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    overall: Overall,
    permit: Option<Permit>,
    #[serde(flatten)]
    gate: &'a Gate,
}

pub(super) async fn gate(args: &GateArgs, config: &Config) -> Outcome {
    let app = super::connect(config).await?;
    let entity = app.entities()?.of(UserId::new(args.user.as_str()));
    let apps: Vec<Toolkit> = args.apps.iter().map(|app| Toolkit::new(app.as_str())).collect();
    let gate = entity.gate(&apps, args.freshness.freshness()).await?;
    let overall = gate.overall();
    let permit = args.on_unknown.map(|on_unknown| gate.permit(on_unknown.into()));
    if args.json {
        show::json(&Told { overall, permit, gate: &gate })?;
    } else {
        page(&gate);
        if let (Overall::Unknown, Some(permit)) = (overall, permit) {
            say!("unknown, and {} as you asked", if permit.permitted { "allowed" } else { "denied" });
        }
    }
    Ok(match permit.map(|permit| permit.permitted) {
        Some(true) => Exit::Done,
        Some(false) => Exit::Found,
        None => match overall {
            Overall::Allowed => Exit::Done,
            Overall::Denied => Exit::Found,
            Overall::Unknown => Exit::Unknown,
        },
    })
}

/// One row an app.
pub(super) fn page(gate: &Gate) {
    let mut table = Table::new(["app", "answer", "why", "as of (UTC)"]);
    for app in &gate.apps {
        let (answer, why) = match &app.decision {
            Decision::Allowed { accounts } => {
                let ids: Vec<String> = accounts.iter().map(|one| one.account.to_string()).collect();
                ("allowed", ids.join(", "))
            }
            Decision::Denied { prompt, reconnect_url: Some(url), .. } => ("denied", format!("{prompt} {url}")),
            Decision::Denied { prompt, reconnect_url: None, .. } => ("denied", prompt.clone()),
            Decision::Unknown { detail, .. } => ("unknown", detail.clone()),
        };
        table.row([app.name.as_str(), answer, &why, &app.as_of.map_or_else(|| "never".to_owned(), show::instant)]);
    }
    say!("{table}");
}
