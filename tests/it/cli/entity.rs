//! One user at a time, on the command line: exit codes that a script can go by, and JSON.

use std::sync::Arc;

use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::UserId;
use connection_auditor::simulator::{FaultKind, Faults, PopulationSpec, Shelf, Simulator, SimulatorOptions};

use super::{Place, Ran};

async fn simulator() -> Simulator {
    let clock = SystemClock;
    let population = PopulationSpec { users: 20, anchor: clock.now(), ..PopulationSpec::default() };
    let options = SimulatorOptions { population, shelf: Shelf::One, ..SimulatorOptions::default() };
    Simulator::start(options, Arc::new(move || clock.now())).await.unwrap()
}

/// A place whose database has been made, as by a worker.
fn place(simulator: &Simulator) -> Place {
    let place = Place::new();
    place.configure(simulator.url(), "composio.retry.max_attempts = 1");
    let migrated = place.run(&["migrate"]);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    place
}

async fn run(place: &Arc<Place>, arguments: &[&str]) -> Ran {
    let (place, arguments) = (Arc::clone(place), arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_connects_is_gated_and_acts_by_commands() {
    let simulator = simulator().await;
    let place = Arc::new(place(&simulator));
    let denied = run(&place, &["gate", "user-x", "slack", "--json"]).await;
    assert_eq!(denied.code, 2, "{denied:?}");
    let told = denied.json();
    assert_eq!((&told["overall"], &told["permit"]), (&"denied".into(), &serde_json::Value::Null));
    assert_eq!(told["apps"][0]["reason"], "not_connected");
    assert_eq!(told["apps"][0]["prompt"], "Please connect Slack first.");
    let not_run = run(&place, &["execute", "user-x", "SLACK_SEND_MESSAGE"]).await;
    assert_eq!((not_run.code, not_run.json()["decision"].as_str()), (2, Some("denied")), "{not_run:?}");

    let link = run(&place, &["connect", "user-x", "slack", "--redirect", "https://app.example/back", "--json"]).await;
    assert_eq!(link.code, 0, "{link:?}");
    let link = link.json();
    assert_eq!((&link["origin"], &link["app"]), (&"made".into(), &"slack".into()));
    let again = run(&place, &["connect", "user-x", "slack", "--redirect", "https://app.example/back"]).await;
    assert_eq!(again.out.trim(), link["url"].as_str().unwrap(), "the same link");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    http.post(link["url"].as_str().unwrap()).send().await.unwrap();

    let allowed = run(&place, &["gate", "user-x", "slack", "--live"]).await;
    assert_eq!(allowed.code, 0, "{allowed:?}");
    let connections = run(&place, &["connections", "user-x", "--stored", "--json"]).await.json();
    assert_eq!(connections["connections"][0]["account_id"], link["account_id"]);
    assert_eq!(connections["connections"][0]["verdict"], "healthy");
    let ran = run(&place, &["execute", "user-x", "slack_send_message", "--arguments", r#"{"text": "hello"}"#]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["data"]["ran_as"], "user-x");
    let failed = run(&place, &["execute", "user-x", "SLACK_SEND_MESSAGE", "--arguments", r#"{"fail": true}"#]).await;
    assert_eq!((failed.code, failed.json()["error"].as_str()), (1, Some("channel_not_found")));
    let tools = run(&place, &["tools", "user-x", "--app", "slack", "--json"]).await.json();
    assert_eq!(
        (tools["tools"].as_array().unwrap().len(), &tools["gate"]["apps"][0]["decision"]),
        (3, &"allowed".into())
    );
    let page = run(&place, &["connections", "user-x"]).await;
    assert!(page.code == 0 && page.out.contains("Slack") && page.out.contains("healthy"), "{page:?}");

    simulator.set_faults(Faults::outage(FaultKind::InternalError));
    for (arguments, code) in [
        (&["gate", "user-x", "slack", "--live"][..], 3),
        (&["gate", "user-x", "slack", "--live", "--on-unknown", "deny"], 2),
        (&["gate", "user-x", "slack", "--live", "--on-unknown", "allow"], 0),
        (&["gate", "user-x", "slack", "--stored"], 0),
        (&["gate", "nobody", "slack", "--stored"], 3),
        (&["execute", "user-x", "SLACK_SEND_MESSAGE", "--live"], 1),
        (&["connections", "user-x", "--live"], 0),
        (&["connections", "nobody", "--live"], 1),
    ] {
        let ran = run(&place, arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.shown());
    }
    assert_eq!(simulator.counters().links_minted, 1);
    assert!(simulator.counters().lists_by_user.contains_key(&UserId::new("user-x")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_before_anything_is_sent() {
    let simulator = simulator().await;
    let place = Arc::new(place(&simulator));
    for (arguments, said) in [
        (&["execute", "u", "SLACK_SEND_MESSAGE", "--arguments", "[1]"][..], "--arguments must be a JSON object"),
        (&["execute", "u", "../connected_accounts"], "may hold letters, digits"),
        (&["connect", "u", "slack", "--redirect", "javascript:alert(1)"], "must be an http or https URL"),
        (&["connect", "a,b", "slack"], "comma"),
    ] {
        let ran = run(&place, arguments).await;
        assert!(ran.code == 1 && ran.err.contains(said), "{arguments:?}: {}", ran.shown());
    }
    assert_eq!(run(&place, &["gate", "u"]).await.code, 64, "no app was named");
    assert_eq!(simulator.counters().links_minted, 0);
}
