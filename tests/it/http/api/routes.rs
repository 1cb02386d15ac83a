//! What the routes answer.

use std::time::Duration;

use connection_auditor::simulator::Mix;
use reqwest::Method;
use serde_json::json;

use super::*;

/// Waits until a re-audit is done.
async fn done(api: &Api, location: &str) -> Value {
    api.world
        .until("the re-audit is done", Duration::from_secs(30), || async {
            let audit = json(api.get(location).await, 200).await;
            (audit["state"] == "done").then_some(audit)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_audit_is_accepted_carried_out_elsewhere_and_told() {
    let world = World::mixed(On::Servers, 3, Mix::only(&["expired_permanent"])).await;
    let who = world.simulator.users().next().expect("somebody").id;
    // The worker that answers is not the one that checks.
    let mut api = Api::of(world, &["--roles", "http"]).await;
    let asked = api.post(&user(who.as_str(), "audits"), &json!({})).await;
    let location = asked.headers()["location"].to_str().expect("text").to_owned();
    let accepted = json(asked, 202).await;
    assert_eq!((&accepted["state"], &accepted["queued"]), (&"pending".into(), &true.into()));
    assert_eq!(location, format!("/api/v1/audits/{}", accepted["id"].as_str().expect("an id")));
    let pending = json(api.get(&location).await, 200).await;
    assert_eq!((&pending["state"], &pending["users"][0]["check"]), (&"pending".into(), &Value::Null));
    let story = json(api.get(&user(who.as_str(), "explain")).await, 200).await;
    assert_eq!((&story["seen"], &story["as_of"]), (&false.into(), &Value::Null));

    api.world.set("http.ops.listen", "off");
    api.world.start_worker();
    let audit = done(&api, &location).await;
    let told = &audit["users"][0];
    assert_eq!((&told["user"], &told["check"]["outcome"]), (&who.as_str().into(), &"checked".into()));
    assert_eq!(told["connections"][0]["verdict"], "broken", "{audit}");
    assert_eq!(told["connections"][0]["status"], "EXPIRED", "{audit}");
    let story = json(api.get(&user(who.as_str(), "explain")).await, 200).await;
    // The look before the mail may have come since.
    let [as_of, observed] = [&story["as_of"], &told["check"]["observed_at"]].map(|at| at.as_str().expect("an instant"));
    assert!(story["seen"] == true && as_of >= observed, "{as_of} {observed}");
    let status = json(api.get("/api/v1/status").await, 200).await;
    assert_eq!(status["open_incidents"][0]["count"], 1, "{status}");
    assert!(status["queue"].is_array() && status["as_of"].is_string(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_re_audit_for_the_same_asker_and_user() {
    let api = Api::open().await;
    let ask = async |id: &str, key: Option<&str>| {
        let mut request = api.ask(Method::POST, &user(id, "audits")).bearer_auth(WRITE);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        json(request.send().await.expect("it answers"), 202).await["id"].as_str().expect("an id").to_owned()
    };
    let first = ask("ann", Some("k-1")).await;
    assert_eq!(ask("ann", Some("k-1")).await, first);
    assert_eq!(ask("ann", Some("\"k-1\"")).await, first, "in quotes, as the draft has it");
    let others =
        [ask("ann", Some("k-2")).await, ask("bob", Some("k-1")).await, ask("ann", None).await, ask("ann", None).await];
    let mut all: Vec<&String> = others.iter().chain([&first]).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
    let many = futures::future::join_all((0..20).map(|_| ask("cy", Some("at-once")))).await;
    assert!(many.iter().all(|id| *id == many[0]), "{many:?}");
    let wrong = api.ask(Method::POST, &user("ann", "audits")).bearer_auth(WRITE).header("idempotency-key", "");
    assert_eq!(code(wrong.send().await.expect("it answers"), 422).await, "invalid_field");
    for id in ["0", "00000000-0000-7000-8000-000000000000"] {
        assert_eq!(code(api.get(&format!("/api/v1/audits/{id}")).await, 404).await, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opts_out_over_the_api_is_suppressed_until_it_is_lifted() {
    let api = Api::open().await;
    let someone = api.world.simulator.users().next().expect("somebody").id;
    let path = user(someone.as_str(), "suppressions");
    let until = "2301-01-31T09:00:00Z";
    let wish = json!({"toolkit": "Slack", "until": "2099-01-31T10:00:00+01:00", "reason": "asked a@b.example"});
    let added = json(api.post(&path, &wish).await, 201).await;
    let one = &added["suppressions"][0];
    assert_eq!((&one["kind"], &one["toolkit"], &one["source"]), (&"snooze".into(), &"slack".into(), &"api".into()));
    assert_eq!((&one["until"], &one["detail"]), (&"2099-01-31T09:00:00Z".into(), &"asked <redacted>".into()));
    let again = json(api.post(&path, &json!({"toolkit": "slack", "until": until})).await, 422).await;
    assert_eq!(again["errors"][0]["field"], "until", "it is further away than a hundred years");
    json(api.post(&path, &json!({})).await, 201).await;
    let listed = json(api.get(&path).await, 200).await;
    assert_eq!((listed["suppressions"].as_array().map(Vec::len), &listed["address_asked"]), (Some(2), &true.into()));
    assert_eq!(json(api.delete(&format!("{path}?toolkit=gmail&kind=snooze")).await, 200).await["lifted"], 0);
    assert_eq!(json(api.delete(&format!("{path}?toolkit=slack")).await, 200).await["lifted"], 1);
    assert_eq!(json(api.delete(&path).await, 200).await["lifted"], 1);
    assert_eq!(code(api.delete(&format!("{path}?kind=whim")).await, 422).await, "invalid_field");
    assert_eq!(json(api.get(&path).await, 200).await["suppressions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_what_is_needed_and_an_outage_is_no_wrong_answer() {
    let world = World::mixed(On::Servers, 1, Mix::only(&["expired_permanent"])).await;
    let mut api = Api::of(world, &["--roles", "http"]).await;
    let probe = async |api: &Api| {
        let answer = api.ask(Method::GET, "/readyz").send().await.expect("it answers");
        let status = answer.status().as_u16();
        (status, json(answer, status).await)
    };
    let (status, ready) = probe(&api).await;
    assert_eq!((status, ready), (200, json!({"ready": true, "database": "ok", "queue": "ok", "stopping": false})));
    assert_eq!(
        json(api.ask(Method::GET, "/livez").send().await.expect("it answers"), 200).await,
        json!({"live": true})
    );

    api.world.redis.as_mut().expect("a Redis of its own").kill();
    let unready = api
        .world
        .until("it notices", Duration::from_secs(20), || async {
            let (status, found) = probe(&api).await;
            (status == 503).then_some(found)
        })
        .await;
    assert_eq!(unready, json!({"ready": false, "database": "ok", "queue": "unavailable", "stopping": false}));
    assert_eq!(api.ask(Method::GET, "/livez").send().await.expect("it answers").status(), 200);
    let status = json(api.get("/api/v1/status").await, 200).await;
    assert_eq!(status["queue"], Value::Null, "what the database knows is told all the same");
    let asked = json(api.post(&user("ann", "audits"), &json!({})).await, 202).await;
    assert_eq!(asked["queued"], false, "it is stored, and begins when the queue is back");
}
