//! One user's connections over HTTP: settings page, links, the gate, tools, and reports.

use std::collections::BTreeMap;
use std::time::Duration;

use connection_auditor::simulator::{FaultKind, Faults, KeyState, Lie, Mix};
use reqwest::Method;
use serde_json::json;

use super::*;

/// An installation whose worker does nothing but answer, with users of these kinds, by kind.
async fn town(kinds: &[&str], users: u64) -> (Api, BTreeMap<String, Vec<String>>) {
    let mut world = World::mixed(On::Embedded, users, Mix::only(kinds)).await;
    world.impatient();
    world.set("composio.retry.max_attempts", 2);
    world.set("http.ops.rate_limit", 100_000);
    let mut people: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for user in world.simulator.users() {
        let kind = world.simulator.population().persona_of(&user.id).expect("they are one of ours").name;
        people.entry(kind.to_owned()).or_default().push(user.id.as_str().to_owned());
    }
    (Api::of(world, &["--roles", "http"]).await, people)
}

fn tool_of(app: &str) -> String {
    format!("{}_LIST_ITEMS", app.to_uppercase())
}

/// The user's first app, by what the settings page shows.
async fn app_of(api: &Api, id: &str) -> String {
    let told = json(api.get(&user(id, "connections")).await, 200).await;
    told["connections"][0]["app"].as_str().unwrap_or_else(|| panic!("{id} has none: {told}")).to_owned()
}

async fn gate(api: &Api, id: &str, query: &str) -> Value {
    json(api.get(&user(id, &format!("gate?{query}"))).await, 200).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_page_shows_what_is_connected_and_where_to_reconnect() {
    let (api, people) = town(&["healthy_one", "expired_permanent", "no_accounts"], 40).await;
    let (well, ill, none) = (&people["healthy_one"][0], &people["expired_permanent"][0], &people["no_accounts"][0]);
    let never = api.get(&user(well, "connections?max_age=stored")).await;
    assert_eq!(code(never, 404).await, "never_seen", "nobody has looked, and nobody was to look");
    let told = json(api.get(&user(well, "connections")).await, 200).await;
    let connection = &told["connections"][0];
    assert_eq!((&connection["status"], &connection["verdict"]), (&"ACTIVE".into(), &"healthy".into()), "{told}");
    assert_eq!((&connection["reconnect_url"], &told["stale"]), (&Value::Null, &false.into()));
    assert!(connection["account_id"].as_str().is_some_and(|id| id.starts_with("ca_")), "{told}");
    let told = json(api.get(&user(ill, "connections")).await, 200).await;
    let connection = &told["connections"][0];
    assert_eq!(connection["verdict"], "broken");
    let page = connection["reconnect_url"].as_str().expect("there is something to do");
    assert!(page.starts_with("https://acme.example/connect?app="), "{page}");
    assert_eq!(json(api.get(&user(none, "connections")).await, 200).await["connections"], json!([]));

    let asked = api.world.simulator.counters().requests;
    for _ in 0..5 {
        json(api.get(&user(ill, "connections?max_age=1h")).await, 200).await;
    }
    assert_eq!(api.world.simulator.counters().requests, asked, "what is fresh enough comes from the store");
    json(api.get(&user(ill, "connections?max_age=0s")).await, 200).await;
    assert!(api.world.simulator.counters().requests > asked, "what is to be of now is asked for");
    assert_eq!(code(api.get(&user(ill, "connections?max_age=soon")).await, 422).await, "invalid_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_made_once_however_often_it_is_asked_for() {
    let (api, people) = town(&["no_accounts", "healthy_one"], 30).await;
    let path = user(&people["no_accounts"][0], "connections");
    let wish = json!({"toolkit": "slack", "redirect_url": "https://acme.example/back?u=1"});
    let first = json(api.post(&path, &wish).await, 201).await;
    assert_eq!(first["origin"], "made");
    assert!(
        first["account_id"].is_string() && first["expires_at"].is_string() && first["as_of"].is_string(),
        "{first}"
    );
    let again = futures::future::join_all((0..10).map(|_| api.post(&path, &wish))).await;
    for answer in again {
        let kept = json(answer, 200).await;
        assert_eq!((&kept["redirect_url"], &kept["origin"]), (&first["redirect_url"], &"kept".into()));
    }
    let keyed = async |key: &'static str, wish: &Value| {
        let request = api.ask(Method::POST, &path).bearer_auth(WRITE).header("idempotency-key", key);
        request.header("content-type", "application/json").body(wish.to_string()).send().await.expect("it answers")
    };
    let other = json(keyed("sign-up-1", &wish).await, 201).await;
    assert_ne!(other["account_id"], first["account_id"], "another key is another wish");
    assert_eq!(json(keyed("sign-up-1", &wish).await, 200).await["account_id"], other["account_id"]);
    let reused = keyed("sign-up-1", &json!({"toolkit": "gmail"})).await;
    assert_eq!(code(reused, 422).await, "idempotency_key_reused");

    let well = &people["healthy_one"][0];
    let app = app_of(&api, well).await;
    let second = api.post(&user(well, "connections"), &json!({"toolkit": app})).await;
    assert_eq!(code(second, 409).await, "already_connected");
    json(api.post(&user(well, "connections"), &json!({"toolkit": app, "allow_another": true})).await, 201).await;
    for (wish, status, word) in [
        (json!({"toolkit": "no-such-app"}), 409, "no_auth_config"),
        (json!({"toolkit": "slack", "redirect_url": "javascript:alert(1)"}), 422, "invalid_field"),
        (json!({"toolkit": "slack", "redirect_url": "/back"}), 422, "invalid_field"),
        (json!({"toolkit": "slack", "auth_config": "ac_nobodys"}), 422, "invalid_field"),
        (json!({"app": "slack"}), 422, "invalid_field"),
    ] {
        assert_eq!(code(api.post(&path, &wish).await, status).await, word, "{wish}");
    }
    let read_only = api.ask(Method::POST, &path).bearer_auth(READ).send().await.expect("it answers");
    assert_eq!(code(read_only, 403).await, "insufficient_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_has_three_answers_and_an_unknown_goes_the_way_that_was_said() {
    let (api, people) = town(&["healthy_one", "expired_permanent", "no_accounts"], 40).await;
    let (well, ill) = (&people["healthy_one"][0], &people["expired_permanent"][0]);
    let (fine, broken) = (app_of(&api, well).await, app_of(&api, ill).await);
    let allowed = gate(&api, well, &format!("toolkits={fine}&on_unknown=deny")).await;
    assert_eq!((&allowed["decision"], &allowed["stale"]), (&"allowed".into(), &false.into()));
    assert_eq!(allowed["permit"], json!({"permitted": true, "by": "verdict", "on_unknown": "deny"}));
    assert!(allowed["as_of"].is_string() && allowed["apps"][0]["accounts"][0]["account"].is_string(), "{allowed}");
    let denied = gate(&api, ill, &format!("toolkits={broken}")).await;
    assert_eq!((&denied["decision"], &denied["permit"]), (&"denied".into(), &Value::Null));
    assert_eq!(denied["apps"][0]["reason"], "broken");
    assert!(denied["apps"][0]["prompt"].as_str().expect("text").contains("Please reconnect"), "{denied}");
    let both = gate(&api, well, &format!("toolkits={fine},zzz")).await;
    assert_eq!((&both["decision"], &both["apps"][1]["reason"]), (&"denied".into(), &"not_connected".into()));

    let stranger = &people["no_accounts"][0];
    let unseen = gate(&api, stranger, "toolkits=slack&max_age=stored").await;
    assert_eq!((&unseen["decision"], &unseen["apps"][0]["why"]), (&"unknown".into(), &"never_seen".into()));
    for (query, field) in [
        ("", "toolkits"),
        ("toolkits=", "toolkits"),
        ("toolkits=Google%20Calendar", "toolkits"),
        ("toolkits=slack&on_unknown=maybe", "on_unknown"),
        ("toolkits=slack&max_age=1", "max_age"),
        ("toolkits=slack&app=1", "app"),
    ] {
        let (status, problem) = super::super::problem(api.get(&user(well, &format!("gate?{query}"))).await).await;
        assert_eq!(status.as_u16(), 422, "{problem}");
        let told = problem["errors"][0].to_string();
        assert!(told.contains(field), "{query}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_composio_is_away_the_gate_says_unknown_and_nothing_else() {
    let (api, people) = town(&["healthy_one", "expired_permanent"], 10).await;
    let (well, ill) = (&people["healthy_one"][0], &people["expired_permanent"][0]);
    let (fine, broken) = (app_of(&api, well).await, app_of(&api, ill).await);
    for (faults, why, problem_code, status) in [
        (Faults::outage(FaultKind::TooManyRequests), "rate_limited", "composio_rate_limited", 503),
        (Faults::outage(FaultKind::Unavailable), "unavailable", "composio_unavailable", 503),
        (Faults::outage(FaultKind::HtmlBadGateway), "unavailable", "composio_unavailable", 503),
        (Faults::outage(FaultKind::ResetMidBody), "unavailable", "composio_unavailable", 503),
        (Faults::key(KeyState::Expired), "key_refused", "composio_key_refused", 502),
        (Faults::lie(Lie::OthersList), "foreign", "composio_foreign_rows", 502),
    ] {
        api.world.simulator.set_faults(faults.clone());
        for (id, app) in [(well, &fine), (ill, &broken)] {
            let open = gate(&api, id, &format!("toolkits={app}&max_age=0s&on_unknown=allow")).await;
            assert_eq!((&open["decision"], &open["stale"]), (&"unknown".into(), &true.into()), "{why}: {open}");
            assert_eq!(open["apps"][0]["why"], why, "{open}");
            assert_eq!(open["permit"], json!({"permitted": true, "by": "fail_open", "on_unknown": "allow"}));
            let closed = gate(&api, id, &format!("toolkits={app}&max_age=0s&on_unknown=deny")).await;
            assert_eq!(closed["permit"]["permitted"], false);
            let page = json(api.get(&user(id, "connections?max_age=0s")).await, 200).await;
            assert_eq!(page["stale"], true, "what is known is told, and that it is old: {page}");
            let run = api.post(&user(id, &format!("tools/{}/execute", tool_of(app))), &json!({"max_age": "0s"})).await;
            assert!(matches!(run.status().as_u16(), 502 | 503), "{why}: {}", run.status());
        }
        let stranger = api.get(&user("never-seen", "connections")).await;
        assert_eq!(code(stranger, status).await, problem_code, "of whom nothing is known, nothing is told");
        let fresh = gate(&api, well, &format!("toolkits={fine}&max_age=1h")).await;
        assert_eq!(fresh["decision"], "allowed", "what is fresh enough needs nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_runs_with_the_users_own_account_or_not_at_all() {
    let (mut api, people) = town(&["healthy_one", "expired_permanent"], 10).await;
    let (well, ill) = (&people["healthy_one"][0], &people["expired_permanent"][0]);
    let (fine, broken) = (app_of(&api, well).await, app_of(&api, ill).await);
    let listed = json(api.get(&user(well, &format!("tools?toolkits={fine}"))).await, 200).await;
    assert_eq!(listed["gate"]["apps"][0]["decision"], "allowed", "{listed}");
    assert!(
        listed["tools"].as_array().is_some_and(|tools| tools.len() >= 2 && tools[0]["definition"]["slug"].is_string())
    );
    assert_eq!(code(api.get(&user(well, "tools")).await, 422).await, "invalid_field");

    let execute = |id: &str, app: &str| user(id, &format!("tools/{}/execute", tool_of(app)));
    let ran = json(api.post(&execute(well, &fine), &json!({"arguments": {"text": "hi"}})).await, 200).await;
    let data = &ran["result"]["data"];
    assert_eq!((&data["ran_as"], &data["arguments"]), (&well.as_str().into(), &json!({"text": "hi"})), "{ran}");
    assert_eq!(data["connected_account_id"], ran["account"]);
    let (status, denied) = super::super::problem(api.post(&execute(ill, &broken), &json!({})).await).await;
    assert_eq!(
        (status.as_u16(), &denied["code"], &denied["gate"]["reason"]),
        (409, &"denied".into(), &"broken".into())
    );
    assert!(denied["gate"]["reconnect_url"].is_string(), "{denied}");
    let foreign = json!({"account": ran["account"]});
    assert_eq!(
        code(api.post(&execute(ill, &fine), &foreign).await, 409).await,
        "denied",
        "an account of somebody else"
    );
    let both = json!({"account": "ca_1", "alias": "work"});
    assert_eq!(code(api.post(&execute(well, &fine), &both).await, 422).await, "invalid_field");
    assert_eq!(code(api.post(&user(well, "tools/NO_SUCH_TOOL/execute"), &json!({})).await, 404).await, "not_found");
    let odd = api.post(&user(well, "tools/a%2Fb/execute"), &json!({})).await;
    assert!(matches!(odd.status().as_u16(), 404 | 422), "{}", odd.status());

    // It breaks behind our back: the store still says that it works, the tool says that it does not.
    let id = connection_auditor::domain::id::UserId::new(well.as_str());
    assert!(api.world.simulator.break_user(&id));
    assert_eq!(gate(&api, well, &format!("toolkits={fine}&max_age=stored")).await["decision"], "allowed");
    let expired = api.post(&execute(well, &fine), &json!({"max_age": "stored"})).await;
    assert_eq!(code(expired, 409).await, "denied");
    let doubted = gate(&api, well, &format!("toolkits={fine}&max_age=stored")).await;
    assert_eq!(doubted["apps"][0]["why"], "doubted", "nobody takes the store's word for it any more: {doubted}");
    assert!(api.world.simulator.heal_user(&id));
    assert_eq!(gate(&api, well, &format!("toolkits={fine}")).await["decision"], "allowed", "who looks finds it well");

    let report = user(well, &format!("connections/{fine}/report"));
    let taken = api.ask(Method::POST, &report).bearer_auth(WRITE).send().await.expect("it answers");
    json(taken, 202).await;
    assert_eq!(gate(&api, well, &format!("toolkits={fine}&max_age=stored")).await["decision"], "unknown");
    let again = api.ask(Method::POST, &report).bearer_auth(WRITE).send().await.expect("it answers");
    assert_eq!(json(again, 202).await["audit"], Value::Null, "one look is enough for both");
    api.world.set("http.ops.listen", "off");
    api.world.start_worker();
    api.world
        .until("the user is looked at again", Duration::from_secs(30), || async {
            let told = gate(&api, well, &format!("toolkits={fine}&max_age=stored")).await;
            (told["decision"] == "allowed").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_cross_no_users() {
    let (api, people) = town(&["healthy_one", "expired_permanent"], 100).await;
    let healthy = people["healthy_one"].clone();
    let everybody: Vec<&String> = people.values().flatten().collect();
    let mut apps = BTreeMap::new();
    for id in &everybody {
        apps.insert((*id).clone(), app_of(&api, id).await);
    }
    let call = async |n: usize| {
        let id = everybody[n % everybody.len()];
        let app = &apps[id];
        let is_well = healthy.contains(id);
        match n / everybody.len() % 5 {
            0 => {
                let told = json(api.get(&user(id, "connections?max_age=0s")).await, 200).await;
                let told = told["connections"].as_array().expect("a list");
                assert!(told.iter().all(|one| (one["verdict"] == "healthy") == is_well), "{id}: {told:?}");
            }
            1 | 2 => {
                let age = if n.is_multiple_of(2) { "1h" } else { "0s" };
                let told = gate(&api, id, &format!("toolkits={app}&max_age={age}")).await;
                assert_eq!(told["decision"], if is_well { "allowed" } else { "denied" }, "{id}");
            }
            3 => {
                let path = user(id, &format!("tools/{}/execute", tool_of(app)));
                let answer = api.post(&path, &json!({"arguments": {"n": n}})).await;
                if is_well {
                    let ran = json(answer, 200).await;
                    assert_eq!(ran["result"]["data"]["ran_as"], id.as_str());
                    assert_eq!(ran["result"]["data"]["arguments"]["n"], n);
                } else {
                    assert_eq!(code(answer, 409).await, "denied", "{id}");
                }
            }
            _ => {
                let told = json(api.get(&user(id, "explain")).await, 200).await;
                assert_eq!(told["user"], id.as_str());
            }
        }
    };
    let calls = futures::stream::iter((0..1_000).map(call));
    let done = futures::StreamExt::buffer_unordered(calls, 64);
    assert_eq!(futures::StreamExt::count(done).await, 1_000);
}
