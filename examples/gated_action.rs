//! A gated agent action: before an agent acts, is the app connected? And then it acts with this user's own account only.
//!
//! In the article: `run_slack_agent(user_id, message)`, which looks for "slack" among the connections, and
//! `ComposioToolSet(entity_id=user_id)`.

mod support;

use connection_auditor::audit::entity::{Entity, Executed, Initiate, ToolCall};
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::gate::{AppGate, Decision, OnUnknown};
use connection_auditor::domain::id::{ToolSlug, Toolkit, UserId};
use connection_auditor::domain::tool::{ToolFilter, Which};
use connection_auditor::simulator::{FaultKind, Faults};
use serde_json::{Map, json};
use support::Stage;

const MINUTE: Freshness = Freshness::Within(std::time::Duration::from_secs(60));

/// What the person reads.
async fn run_slack_agent(entity: &Entity, message: &str, freshness: Freshness) -> anyhow::Result<String> {
    let slack = Toolkit::new("slack");
    let gate = entity.gate(std::slice::from_ref(&slack), freshness).await?;
    // An outage is neither a yes nor a no. Sending on somebody's behalf can wait, so here it is a no, and that is said.
    if !gate.permit(OnUnknown::Deny).permitted {
        return Ok(gate.apps.iter().map(prompt).collect::<Vec<_>>().join(" "));
    }
    // Tools for this one user: made for each request, and never shared.
    let filter = ToolFilter { toolkits: vec![], tools: vec![ToolSlug::new("SLACK_SEND_MESSAGE")] };
    let tools = entity.tools(&filter, freshness).await?;
    // An agent would choose among them now; this one always sends.
    let call = ToolCall {
        tool: tools.tools[0].slug.clone(),
        arguments: Map::from_iter([("text".to_owned(), json!(message))]),
        which: Which::Only,
        version: None,
        freshness,
    };
    Ok(match entity.execute(&call).await? {
        Executed::Done { account, .. } => format!("sent with account {account}"),
        // The gate said yes and the account said no (410): the next gate knows, and the user is looked at again.
        Executed::Denied(gate) | Executed::Unknown(gate) => prompt(&gate),
    })
}

fn prompt(gate: &AppGate) -> String {
    match &gate.decision {
        Decision::Allowed { .. } => format!("{} works.", gate.name),
        Decision::Denied { prompt, reconnect_url: Some(url), .. } => format!("{prompt} {url}"),
        Decision::Denied { prompt, reconnect_url: None, .. } => prompt.clone(),
        Decision::Unknown { .. } => {
            format!("We cannot tell whether {} works. Please try again in a minute.", gate.name)
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let entity = stage.entities.of(UserId::new("user-123"));

    println!("not connected: {}", run_slack_agent(&entity, "hello", MINUTE).await?);

    let connection = entity.initiate_connection(&Initiate::new(Toolkit::new("slack"), None)).await?;
    stage.person_allows(&connection).await?;
    println!("connected:     {}", run_slack_agent(&entity, "hello", Freshness::Now).await?);

    if let Some(simulator) = &stage.simulator {
        simulator.expire_app("slack", SystemClock.now());
        println!("expired:       {}", run_slack_agent(&entity, "hello", MINUTE).await?);
        println!("and from now:  {}", run_slack_agent(&entity, "hello", MINUTE).await?);
        simulator.revive_app("slack");
        simulator.set_faults(Faults::outage(FaultKind::TooManyRequests));
        println!("outage:        {}", run_slack_agent(&entity, "hello", Freshness::Now).await?);
        simulator.set_faults(Faults::default());
        println!("over:          {}", run_slack_agent(&entity, "hello", Freshness::Now).await?);
    }
    Ok(())
}
