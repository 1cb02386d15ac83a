//! The users and their truth, what heals and breaks, what is counted, and control from another process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection_auditor::domain::id::UserId;
use connection_auditor::simulator::{Kind, Latency, Population, PopulationSpec, SimulatorOptions, personas, serve};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Bench, client};

#[tokio::test]
async fn every_persona_lives_in_a_default_population_with_the_truth_of_its_table() {
    let bench = Bench::start().await;
    let truth = bench.simulator.truth();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for user in bench.simulator.users() {
        let persona = bench.simulator.population().persona_of(&user.id).unwrap();
        *seen.entry(persona.name).or_default() += 1;
        let due: Vec<Kind> = truth.mailed.get(&user.id).into_iter().flatten().map(|due| due.kind).collect();
        let mut expected: Vec<Kind> = persona.mailed().collect();
        let mut found = due.clone();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{}", persona.name);
        for due in truth.mailed.get(&user.id).into_iter().flatten() {
            let row = bench.get(&format!("/api/v3.1/connected_accounts/{}", due.account)).await.json();
            assert_eq!(row["toolkit"]["slug"], due.toolkit.as_str(), "{}", persona.name);
            assert!(["EXPIRED", "FAILED"].contains(&row["status"].as_str().unwrap()), "{}", persona.name);
        }
    }
    let outside = personas().filter(|persona| !seen.contains_key(persona.name)).map(|persona| persona.name);
    assert_eq!(outside.collect::<Vec<_>>(), ["not_in_the_app"]);
    assert!(seen.len() >= 25);
    assert_eq!(truth.unreachable.len(), bench.users("no_address").len() + bench.users("invalid_address").len());
    assert_eq!(truth.unaskable.len(), bench.users("id_with_comma").len());
}

#[tokio::test]
async fn healing_adds_an_active_row_breaking_expires_one_in_place_and_the_truth_follows() {
    let bench = Bench::start().await;
    let before = bench.simulator.truth().mailed;
    let healed = bench.simulator.heal(5);
    assert_eq!(healed.len(), 5);
    for user in &healed {
        let old = before[user].first().unwrap();
        let rows = bench.pages(&[("user_ids", user.as_str()), ("account_type", "ALL")]).await.concat();
        let slot: Vec<_> = rows.iter().filter(|row| row["toolkit"]["slug"] == old.toolkit.as_str()).collect();
        assert_eq!(slot[0]["status"], "ACTIVE", "the newest of the app's rows");
        assert!(
            slot.iter().any(|row| row["id"] == old.account.as_str() && row["status"] != "ACTIVE"),
            "the old row stays"
        );
    }
    let broken = bench.simulator.break_some(5);
    assert_eq!(broken.len(), 5);
    let after = bench.simulator.truth().mailed;
    for user in &broken {
        let due = after[user].first().unwrap();
        let row = bench.get(&format!("/api/v3.1/connected_accounts/{}", due.account)).await.json();
        assert_eq!((&row["status"], &row["user_id"]), (&json!("EXPIRED"), &json!(user)));
        assert_eq!(row["status_reason"], "Permanent auth error during token refresh");
    }
    let expected: BTreeSet<_> = before.keys().filter(|user| !healed.contains(user)).chain(&broken).cloned().collect();
    assert_eq!(after.keys().cloned().collect::<BTreeSet<_>>(), expected);
    // Whoever was healed can break again.
    assert!(bench.simulator.break_user(&healed[0]));
    assert!(!bench.simulator.break_user(&healed[0]), "there is nothing left to break");
    assert!(bench.simulator.truth().mailed.contains_key(&healed[0]));
}

#[tokio::test]
async fn an_account_with_a_twin_breaks_only_once_both_were_seen() {
    let bench = Bench::of(&["two_auth_configs_active"], 1).await;
    let user = bench.user("two_auth_configs_active");
    assert!(bench.simulator.break_some(1).is_empty());
    bench.list(&[("user_ids", &user)]).await;
    assert_eq!(bench.simulator.break_some(1), [UserId::new(user)]);
}

#[tokio::test]
async fn it_counts_who_was_asked_for_and_how_many_requests_were_in_flight() {
    let bench = Bench::with(SimulatorOptions {
        latency: Latency { from: Duration::from_millis(100), to: Duration::from_millis(120) },
        ..SimulatorOptions::default()
    })
    .await;
    let both = [("user_ids", "user-000000,user-000001")];
    tokio::join!(bench.list(&both), bench.list(&both), bench.list(&[("user_ids", "user-000001")]));
    let counters = bench.simulator.counters();
    assert_eq!((counters.requests, counters.users_asked()), (3, 2));
    assert_eq!(counters.lists_by_user[&UserId::new("user-000001")], 3);
    assert_eq!(counters.max_in_flight, 3);
    assert_eq!((counters.by_endpoint["GET /connected_accounts"], counters.by_status[&200]), (3, 3));
    bench.simulator.reset_counters();
    assert_eq!(bench.simulator.counters().requests, 0);
}

#[tokio::test]
async fn another_process_can_control_it_over_http() {
    let stop = CancellationToken::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    let serving =
        serve(SimulatorOptions::default(), Arc::new(|| PopulationSpec::default().anchor), stop.clone(), |simulator| {
            tell.send((simulator.url().to_owned(), simulator.instructions())).unwrap();
        });
    let using = async {
        let (url, instructions) = told.await.unwrap();
        assert!(instructions.contains(&format!("COMPOSIO_BASE_URL={url}")));
        let http = client();
        let get = async |path: &str| http.get(format!("{url}{path}")).send().await.unwrap().text().await.unwrap();
        let post = async |path: &str, body: &str| {
            let response = http.post(format!("{url}{path}")).body(body.to_owned()).send().await.unwrap();
            (response.status(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
        };
        let truth: Value = serde_json::from_str(&get("/__sim/truth").await).unwrap();
        let due = truth["mailed"].as_object().unwrap().len();
        assert_eq!(post("/__sim/heal?n=2", "").await.1["users"].as_array().unwrap().len(), 2);
        assert_eq!(post("/__sim/break?n=3", "").await.1["users"].as_array().unwrap().len(), 3);
        let truth: Value = serde_json::from_str(&get("/__sim/truth").await).unwrap();
        assert_eq!(truth["mailed"].as_object().unwrap().len(), due + 1);
        assert_eq!(post("/__sim/heal", "").await.0, 400);
        assert_eq!(post("/__sim/faults", r#"{"outage":"unavailable","lies":["drop_user_id"]}"#).await.0, 200);
        assert_eq!(http.get(format!("{url}/api/v3.1/toolkits")).send().await.unwrap().status(), 503);
        assert_eq!(post("/__sim/faults", r#"{"outrage":"unavailable"}"#).await.0, 400);
        let counters: Value = serde_json::from_str(&get("/__sim/counters").await).unwrap();
        assert_eq!(counters["by_status"]["503"], 1);
        let csv = get("/__sim/users.csv").await;
        assert!(csv.starts_with("id,email,name,locale,time_zone\n"));
        assert!(csv.contains("\"user,0000"), "an id with a comma is quoted");
        assert_eq!(csv.lines().count(), 1 + Population::new(PopulationSpec::default()).users().count());
        let all: Value = serde_json::from_str(&get("/__sim/personas").await).unwrap();
        assert_eq!(all.as_array().unwrap().len(), personas().count());
        stop.cancel();
    };
    let (served, ()) = tokio::join!(serving, using);
    served.unwrap();
}

#[tokio::test]
async fn twenty_thousand_users_are_there_at_once_and_their_truth_soon_after() {
    let population = PopulationSpec { users: 20_000, ..PopulationSpec::default() };
    let started = Instant::now();
    let bench = Bench::with(SimulatorOptions { population, ..SimulatorOptions::default() }).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let truth = bench.simulator.truth();
    let (users, mailed) = (bench.simulator.users().count(), truth.mailed.len());
    assert!(users > 19_900 && (1_000..3_000).contains(&mailed), "{mailed} of {users}");
    assert_eq!(bench.simulator.heal(500).len(), 500);
    assert_eq!(bench.simulator.break_some(500).len(), 500);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
