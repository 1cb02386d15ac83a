//! Tools of one user: run with that user's own account, after the gate, and never with another.

use connection_auditor::adapters::composio::{ComposioError, Refusal};
use connection_auditor::audit::entity::{EntityError, Executed, ToolCall};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::gate::{Decision, Denial, Overall};
use connection_auditor::domain::id::ToolSlug;
use connection_auditor::domain::tool::{ToolFilter, Which};
use connection_auditor::simulator::{FaultKind, Faults, Lie};
use serde_json::{Map, Value, json};

use super::{Bench, only, slack};

const HOUR: Freshness = Freshness::Within(std::time::Duration::from_secs(3600));

fn call(which: Which) -> ToolCall {
    ToolCall {
        tool: ToolSlug::new("SLACK_SEND_MESSAGE"),
        arguments: Map::from_iter([("text".to_owned(), json!("hello"))]),
        which,
        version: None,
        freshness: HOUR,
    }
}

fn data(executed: &Executed) -> Value {
    let Executed::Done { answer, .. } = executed else { panic!("{executed:?}") };
    serde_json::from_str(answer.get()).expect("JSON")
}

fn denied(executed: &Executed) -> Option<Denial> {
    match executed {
        Executed::Denied(gate) => match &gate.decision {
            Decision::Denied { reason, .. } => Some(*reason),
            Decision::Allowed { .. } | Decision::Unknown { .. } => None,
        },
        Executed::Done { .. } | Executed::Unknown(_) => None,
    }
}

#[tokio::test]
async fn a_tool_runs_with_the_users_own_account_and_its_answer_passes_through() {
    let bench = Bench::start().await;
    let account = bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    let done = ann.execute(&call(Which::Only)).await.expect("it ran");
    let answer = data(&done);
    assert_eq!(answer["data"]["ran_as"], "ann");
    assert_eq!(answer["data"]["connected_account_id"], account.as_str());
    assert_eq!(answer["data"]["arguments"], json!({ "text": "hello" }));
    assert!(answer["successful"] == true && answer["log_id"].is_string());
    let mut failing = call(Which::Only);
    failing.arguments.insert("fail".to_owned(), json!(true));
    let failed = data(&ann.execute(&failing).await.expect("it ran"));
    assert_eq!((&failed["successful"], &failed["error"]), (&json!(false), &json!("channel_not_found")));
}

#[tokio::test]
async fn the_gate_comes_first() {
    let bench = Bench::start().await;
    let denied_at = ann_denied(&bench).await;
    assert_eq!(denied_at, Some(Denial::NotConnected));
    assert_eq!(bench.requests("POST /tools/execute/{id}"), 0, "nothing ran");
    bench.connect("ann", "slack").await;
    bench.simulator.set_faults(Faults::outage(FaultKind::InternalError));
    let unknown = bench.entity("ann").execute(&ToolCall { freshness: Freshness::Now, ..call(Which::Only) }).await;
    assert!(matches!(unknown, Ok(Executed::Unknown(_))), "{unknown:?}");
}

async fn ann_denied(bench: &Bench) -> Option<Denial> {
    denied(&bench.entity("ann").execute(&call(Which::Only)).await.expect("answered"))
}

#[tokio::test]
async fn an_account_that_expired_at_use_is_a_denial_and_is_looked_at_again() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let other = bench.connect_as("ann", "slack", "home").await;
    let ann = bench.entity("ann");
    let first = ann.execute(&call(Which::Alias("home".to_owned()))).await.expect("it ran");
    assert_eq!(data(&first)["data"]["connected_account_id"], other.as_str());
    bench.simulator.expire_app("slack", bench.clock_now());
    bench.tick();
    let executed = ann.execute(&call(Which::Alias("home".to_owned()))).await.expect("answered");
    assert_eq!(denied(&executed), Some(Denial::Broken), "the store said yes, the account said no");
    assert_eq!(bench.requests("POST /tools/execute/{id}"), 2, "no other account was tried");
    assert!(bench.store.standing(ann.user()).await.expect("read").seen().is_doubted());
    let jobs = bench.queue.depths().await.expect("read").iter().map(|depth| depth.waiting).sum::<u64>();
    assert_eq!(jobs, 1, "a re-check waits");
    bench.tick();
    let gate = only(ann.gate(&[slack()], HOUR).await.expect("answered"));
    assert!(matches!(gate.decision, Decision::Denied { reason: Denial::Broken, .. }), "the next answer knows");
}

#[tokio::test]
async fn of_several_accounts_one_must_be_named_and_only_that_one_is_used() {
    let bench = Bench::start().await;
    let work = bench.connect_as("ann", "slack", "work").await;
    let home = bench.connect_as("ann", "slack", "home").await;
    let ann = bench.entity("ann");
    let Err(error @ EntityError::SeveralAccounts { .. }) = ann.execute(&call(Which::Only)).await else {
        panic!("it is ambiguous")
    };
    assert!(error.to_string().contains(work.as_str()) && error.to_string().contains("\"home\""), "{error}");
    let by_id = ann.execute(&call(Which::Account(work.clone()))).await.expect("it ran");
    assert_eq!(data(&by_id)["data"]["connected_account_id"], work.as_str());
    let by_name = ann.execute(&call(Which::Alias("home".to_owned()))).await.expect("it ran");
    assert_eq!(data(&by_name)["data"]["connected_account_id"], home.as_str());
    let bobs = bench.connect("bob", "slack").await;
    let stolen = ann.execute(&call(Which::Account(bobs))).await.expect("answered");
    assert_eq!(denied(&stolen), Some(Denial::NotConnected), "another user's account is no account of hers");
    assert_eq!(bench.requests("POST /tools/execute/{id}"), 2);
}

#[tokio::test]
async fn a_mismatch_of_user_and_account_is_an_error_and_no_data() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    bench.simulator.set_faults(Faults::lie(Lie::OthersTool));
    let refused = bench.entity("ann").execute(&call(Which::Only)).await;
    let Err(EntityError::Composio(ComposioError::Rejected { refusal, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal, Refusal::NotTheirs);
}

#[tokio::test]
async fn a_tool_whose_answer_was_lost_is_not_run_again() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    ann.execute(&call(Which::Only)).await.expect("it ran");
    for kind in [FaultKind::TruncatedJson, FaultKind::ResetMidBody, FaultKind::InternalError] {
        bench.simulator.reset_counters();
        bench.simulator.set_faults(Faults::outage(kind));
        let lost = ann.execute(&call(Which::Only)).await;
        assert!(matches!(lost, Err(EntityError::Composio(ComposioError::Ambiguous { .. }))), "{kind:?}: {lost:?}");
        assert_eq!(bench.requests("POST /tools/execute/{id}"), 1, "{kind:?}");
    }
    bench.simulator.reset_counters();
    bench.simulator.set_faults(Faults::outage(FaultKind::TooManyRequests));
    let limited = ann.execute(&call(Which::Only)).await;
    assert!(matches!(limited, Err(EntityError::Composio(ComposioError::RateLimited { .. }))), "{limited:?}");
}

#[tokio::test]
async fn tools_are_listed_with_the_gate_of_their_apps() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let filter =
        ToolFilter { toolkits: vec![slack()], tools: vec!["github_create_issue".into(), "COMPOSIO_SEARCH_WEB".into()] };
    let scoped = bench.entity("ann").tools(&filter, HOUR).await.expect("listed");
    let slugs: Vec<&str> = scoped.tools.iter().map(|tool| tool.slug.as_str()).collect();
    assert_eq!(
        slugs,
        ["COMPOSIO_SEARCH_WEB", "GITHUB_CREATE_ISSUE", "SLACK_CREATE_ITEM", "SLACK_LIST_ITEMS", "SLACK_SEND_MESSAGE"]
    );
    let gate = scoped.gate.expect("apps that need an account");
    assert_eq!(gate.apps.iter().map(|app| app.app.as_str()).collect::<Vec<_>>(), ["github", "slack"]);
    assert_eq!(gate.overall(), Overall::Denied);
    let definition: Value = serde_json::from_str(scoped.tools[4].definition.get()).expect("JSON");
    assert_eq!(definition["input_parameters"]["properties"]["text"]["type"], "string", "as Composio told it");
    let free = ToolCall { tool: "COMPOSIO_SEARCH_WEB".into(), ..call(Which::Only) };
    assert!(matches!(bench.entity("ann").execute(&free).await, Err(EntityError::NoAccountNeeded { .. })));
    let unknown = bench.entity("ann").execute(&ToolCall { tool: "NO_SUCH_TOOL".into(), ..call(Which::Only) }).await;
    assert!(unknown.is_err());
}
