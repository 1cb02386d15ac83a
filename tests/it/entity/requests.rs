//! What we ask is what the official SDK asks: path, query and body, as it was recorded, and, where it is installed, as it is.

use std::collections::BTreeMap;

use connection_auditor::audit::entity::{Initiate, ToolCall};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::id::{ToolSlug, Toolkit};
use connection_auditor::domain::tool::{ToolFilter, Which};
use connection_auditor::simulator::Asked;
use serde_json::{Map, Value, json};

use super::Bench;
use crate::python_sdk;

/// What the SDK was seen to send (Python, composio 0.29.0): the names in it are placeholders for ours.
const RECORDED: &str = include_str!("../support/sdk_requests.txt");

/// A request, with what may differ taken out: the order of parameters.
#[derive(Debug, Clone, PartialEq)]
struct Wire {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Option<Value>,
}

impl From<&Asked> for Wire {
    fn from(asked: &Asked) -> Self {
        Self {
            method: asked.method.clone(),
            path: asked.path.clone(),
            query: asked.parameters().into_iter().collect(),
            body: asked.body.clone(),
        }
    }
}

/// The recorded requests of one call of the SDK, with our names in the place of those it was recorded with.
fn recorded(call: &str, names: &[(&str, &str)]) -> Vec<Wire> {
    let section = RECORDED.split("## ").find(|section| section.starts_with(call)).expect("the call was recorded");
    let mut wires: Vec<Wire> = Vec::new();
    for line in section.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let line = names.iter().fold(line.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours));
        if line.starts_with('{') {
            let last = wires.last_mut().expect("a body follows its request");
            last.body = Some(serde_json::from_str(&line).expect("a body is JSON"));
            continue;
        }
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let url = url::Url::parse(&format!("http://composio{target}")).expect("a target");
        wires.push(Wire {
            method: method.to_owned(),
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            body: None,
        });
    }
    wires
}

fn arguments() -> Map<String, Value> {
    Map::from_iter([("text".to_owned(), json!("hello"))])
}

/// What we ask for the same calls, in the order of the calls, and the names that occur in it.
async fn ours(bench: &Bench) -> (Vec<Wire>, String, String) {
    let account = bench.connect("user_123", "slack").await;
    let user = bench.entity("user_123");
    user.execute(&ToolCall {
        tool: ToolSlug::new("SLACK_SEND_MESSAGE"),
        arguments: arguments(),
        which: Which::Only,
        version: Some("20260901_00".to_owned()),
        freshness: Freshness::Now,
    })
    .await
    .expect("it runs");
    bench.simulator.reset_counters();

    let redirect = "https://app.example.com/cb".parse().ok();
    let fresh = bench.entity("user_fresh");
    let initiated = fresh.initiate_connection(&Initiate::new(Toolkit::new("github"), redirect)).await.expect("a link");
    let config = initiated.auth_config.to_string();
    user.account(&account).await.expect("theirs");
    let toolkits = ToolFilter { toolkits: vec!["slack".into()], tools: vec![] };
    user.tools(&toolkits, Freshness::Stored).await.expect("listed");
    let named = ToolFilter { toolkits: vec![], tools: vec!["SLACK_SEND_MESSAGE".into()] };
    user.tools(&named, Freshness::Stored).await.expect("listed");
    user.execute(&ToolCall {
        tool: ToolSlug::new("SLACK_SEND_MESSAGE"),
        arguments: arguments(),
        which: Which::Only,
        version: Some("20260901_00".to_owned()),
        freshness: Freshness::Stored,
    })
    .await
    .expect("it runs");
    user.connections(Freshness::Now).await.expect("listed");
    let asked: Vec<Wire> = bench.simulator.asked().iter().map(Wire::from).collect();
    (asked, account.to_string(), config)
}

#[tokio::test]
async fn our_requests_equal_those_that_were_recorded_of_the_sdk() {
    let bench = Bench::start().await;
    let (asked, account, config) = ours(&bench).await;
    let names = [("ac_1", config.as_str()), ("ca_act", account.as_str())];
    let mut expected = recorded("auth_configs", &names);
    expected.extend(recorded("link", &names));
    // The link is proven to be the user's by the SDK's own way of looking at an account.
    expected.extend(recorded("get", &[("ca_act", asked[3].path.rsplit('/').next().expect("an id"))]));
    expected.extend(recorded("get", &names));
    expected.extend(recorded("tools of an app", &names));
    expected.extend(recorded("tools by name", &names));
    expected.extend(recorded("execute", &names));
    expected.extend(recorded("list", &names));
    assert_eq!(asked.len(), expected.len(), "{asked:#?}");
    for (ours, theirs) in asked.iter().zip(&expected) {
        assert_eq!(ours, theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_requests_equal_those_of_the_sdk_as_it_is() {
    let bench = Bench::start().await;
    let (asked, account, config) = ours(&bench).await;
    bench.simulator.reset_counters();
    let arguments = [bench.simulator.url(), bench.simulator.api_key(), &config, "user_sdk", "user_123", &account];
    python_sdk::run("connect_and_execute.py", &arguments).await;
    let theirs: Vec<Wire> = bench.simulator.asked().iter().map(Wire::from).collect();
    let as_ours = |wire: &Wire| {
        let text = serde_json::to_string(&wire.body).expect("JSON").replace("user_sdk", "user_fresh");
        let query = wire.query.iter().map(|(k, v)| (k.clone(), v.replace("user_sdk", "user_fresh"))).collect();
        Wire { body: serde_json::from_str(&text).expect("JSON"), query, ..wire.clone() }
    };
    let theirs: Vec<Wire> = theirs.iter().map(as_ours).collect();
    let missing: Vec<&Wire> = theirs.iter().filter(|wire| !asked.contains(wire)).collect();
    assert!(missing.is_empty(), "the SDK asks what we do not: {missing:#?}\nwe ask {asked:#?}");
    assert!(theirs.len() >= 6, "{theirs:#?}");
    // What we ask besides: the app of a connection, and the proof that a link is the user's.
    let besides: Vec<&Wire> = asked.iter().filter(|wire| !theirs.contains(wire)).collect();
    assert!(
        besides.iter().all(|wire| wire.method == "GET" && wire.path.contains("/connected_accounts/ca_")
            || wire.path.ends_with("/auth_configs")),
        "{besides:#?}"
    );
}
