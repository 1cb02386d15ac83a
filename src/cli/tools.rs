//! `tools` and `execute`: what an agent may do on behalf of one user, and doing it.

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::connections::FreshnessArgs;
use super::show::{self, Table, say};
use super::{Exit, Outcome, gate};
use crate::audit::entity::{Executed, ToolCall};
use crate::config::Config;
use crate::domain::gate::{AppGate, Gate};
use crate::domain::id::{AccountId, ToolSlug, Toolkit, UserId};
use crate::domain::tool::{ToolFilter, Which};

/// List tools, and whether one user may use their apps.
///
/// Tools are the same for every user; whether they can be run on behalf of this one is the gate's answer, which follows the list.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor tools user-123 --app slack
  connection-auditor tools user-123 --tool SLACK_SEND_MESSAGE --tool GITHUB_CREATE_ISSUE --json

--json prints an object with tools (as Composio describes them) and gate (see `gate --json`; null if no tool needs an account).")]
pub(super) struct ToolsArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    /// All tools of this app; may be repeated
    #[arg(long = "app", value_name = "APP", required_unless_present = "tools")]
    apps: Vec<String>,
    /// This tool; may be repeated
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    #[command(flatten)]
    freshness: FreshnessArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Run a tool on behalf of one user, with that user's own account.
///
/// The gate comes first. What Composio answers is printed as it came. A tool is sent once: if its answer is lost, it may have run
/// or not, and that is an error.
///
/// Exit code 1: it ran and failed, or something else did. Exit code 2: denied, it did not run. Exit code 3: unknown, we could not
/// look, and it did not run.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  connection-auditor execute user-123 SLACK_SEND_MESSAGE --arguments '{\"channel\": \"general\", \"text\": \"hello\"}'
  connection-auditor execute user-123 GMAIL_SEND_EMAIL --alias work --arguments - < mail.json

Standard output holds what Composio answered; if the tool did not run, the gate's answer, in JSON both.")]
pub(super) struct ExecuteArgs {
    /// The id under which Composio knows the user
    #[arg(value_name = "USER")]
    user: String,
    /// The tool
    #[arg(value_name = "TOOL")]
    tool: String,
    /// What it is given: a JSON object, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    arguments: String,
    /// With this account (ca_…), if the user has several of the app
    #[arg(long, value_name = "ID", conflicts_with = "alias")]
    account: Option<String>,
    /// With the connection of this name, if the user has several of the app
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Which version of the tool; the latest, unless one is named
    #[arg(long, value_name = "VERSION")]
    tool_version: Option<String>,
    #[command(flatten)]
    freshness: FreshnessArgs,
}

/// What `tools --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    tools: Vec<&'a RawValue>,
    gate: Option<&'a Gate>,
}

pub(super) async fn tools(args: &ToolsArgs, config: &Config) -> Outcome {
    let app = super::connect(config).await?;
    let entity = app.entities()?.of(UserId::new(args.user.as_str()));
    let filter = ToolFilter {
        toolkits: args.apps.iter().map(|app| Toolkit::new(app.as_str())).collect(),
        tools: args.tools.iter().map(|tool| ToolSlug::new(tool.as_str())).collect(),
    };
    let scoped = entity.tools(&filter, args.freshness.freshness()).await?;
    if args.json {
        let tools = scoped.tools.iter().map(|tool| tool.definition.as_ref()).collect();
        show::json(&Told { tools, gate: scoped.gate.as_ref() })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["tool", "app", "what it does"]).whole(&[0]);
    for tool in &scoped.tools {
        table.row([tool.slug.as_str(), tool.toolkit.as_str(), &tool.name]);
    }
    if table.is_empty() {
        say!("there is no such tool");
        return Ok(Exit::Done);
    }
    say!("{table}\n");
    if let Some(answer) = &scoped.gate {
        gate::page(answer);
    }
    Ok(Exit::Done)
}

pub(super) async fn execute(args: &ExecuteArgs, config: &Config) -> Outcome {
    let call = ToolCall {
        tool: ToolSlug::new(args.tool.as_str()),
        arguments: arguments(&args.arguments)?,
        which: match (&args.account, &args.alias) {
            (Some(account), _) => Which::Account(AccountId::new(account.as_str())),
            (None, Some(alias)) => Which::Alias(alias.clone()),
            (None, None) => Which::Only,
        },
        version: args.tool_version.clone(),
        freshness: args.freshness.freshness(),
    };
    let app = super::connect(config).await?;
    let entity = app.entities()?.of(UserId::new(args.user.as_str()));
    let not_run = |gate: &AppGate, exit| show::json(gate).map(|()| exit);
    match entity.execute(&call).await? {
        Executed::Done { answer, .. } => {
            say!("{}", answer.get());
            let fields: Map<String, Value> = serde_json::from_str(answer.get()).unwrap_or_default();
            let failed = fields.get("successful") == Some(&Value::Bool(false));
            Ok(if failed { Exit::Failed } else { Exit::Done })
        }
        Executed::Denied(gate) => not_run(&gate, Exit::Found),
        Executed::Unknown(gate) => not_run(&gate, Exit::Unknown),
    }
}

/// A JSON object, from the argument or from standard input.
fn arguments(text: &str) -> anyhow::Result<Map<String, Value>> {
    let mut read = String::new();
    let text = if text == "-" {
        std::io::stdin().read_to_string(&mut read).context("cannot read standard input")?;
        &read
    } else {
        text
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => bail!("--arguments must be a JSON object"),
        Err(error) => bail!("--arguments is no JSON: {error}"),
    }
}
