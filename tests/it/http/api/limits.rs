//! How much, how often, and what is no request at all.

use std::time::Duration;

use connection_auditor::simulator::Mix;
use reqwest::Method;
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let mut world = World::mixed(On::Embedded, 1, Mix::only(&["expired_permanent"])).await;
    world.set("http.ops.rate_limit", 5);
    let api = Api::of(world, &["--roles", "http"]).await;
    let first = api.get("/api/v1/status").await;
    assert_eq!(first.headers()["ratelimit-policy"], "\"default\";q=10;w=2");
    assert_eq!(first.headers()["ratelimit"], "\"default\";r=9;t=1");
    let asked = futures::future::join_all((0..60).map(|_| api.get("/api/v1/status"))).await;
    let (mut let_in, mut refused) = (0, 0);
    for answer in asked {
        if answer.status() == 200 {
            let_in += 1;
            continue;
        }
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(answer.headers()["ratelimit"].to_str().expect("text").starts_with("\"default\";r=0;t="));
        assert_eq!(code(answer, 429).await, "rate_limited");
        refused += 1;
    }
    assert!(let_in >= 9 && refused >= 20, "{let_in} let in, {refused} refused");
    let other = api.ask(Method::GET, "/api/v1/status").bearer_auth(WRITE).send().await.expect("it answers");
    assert_eq!(other.status(), 200, "another token is another count");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(api.get("/api/v1/status").await.status(), 200);
    let strangers = futures::future::join_all((0..60).map(|_| api.ask(Method::GET, "/api/v1/status").send())).await;
    let refused = strangers.into_iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 429));
    assert!(refused.count() >= 20, "those without a token are counted by address");
    assert_eq!(api.ask(Method::GET, "/livez").send().await.expect("it answers").status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_refused_with_the_field_that_is_wrong() {
    let api = Api::open().await;
    let path = "/api/v1/users/ann/suppressions";
    for (body, status, code_of, field) in [
        ("{", 400, "invalid_json", None),
        ("", 400, "invalid_json", None),
        ("[]", 422, "invalid_field", Some("body")),
        (r#"{"toolkits": "slack"}"#, 422, "invalid_field", Some("toolkits")),
        (r#"{"until": "tomorrow"}"#, 422, "invalid_field", Some("until")),
        (r#"{"until": "2020-01-01T00:00:00Z"}"#, 422, "invalid_field", Some("until")),
        (r#"{"toolkit": "Google Calendar"}"#, 422, "invalid_field", Some("toolkit")),
        (r#"{"reason": 7}"#, 422, "invalid_field", Some("reason")),
    ] {
        let request = api.ask(Method::POST, path).bearer_auth(WRITE).header("content-type", "application/json");
        let (got, problem) = super::super::problem(request.body(body).send().await.expect("it answers")).await;
        assert_eq!((got.as_u16(), &problem["code"]), (status, &code_of.into()), "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"].as_str(), field, "{body}: {problem}");
        if let Some(field) = field {
            assert!(problem["detail"].as_str().expect("text").starts_with(field), "{problem}");
        }
    }
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(1024 * 1024));
    let request = api.ask(Method::POST, path).bearer_auth(WRITE).header("content-type", "application/json");
    assert_eq!(code(request.body(large).send().await.expect("it answers"), 413).await, "too_large");
    let text = api.ask(Method::POST, path).bearer_auth(WRITE).body("{}").send().await.expect("it answers");
    assert_eq!(code(text, 415).await, "unsupported_media_type");
    for (query, field) in
        [("sweeps=0", "sweeps"), ("sweeps=x", "sweeps"), ("sweep=1", "sweep"), ("sweeps=1001", "sweeps")]
    {
        let (status, problem) = super::super::problem(api.get(&format!("/api/v1/status?{query}")).await).await;
        assert_eq!((status.as_u16(), problem["errors"][0]["field"].as_str()), (422, Some(field)), "{problem}");
    }
    assert_eq!(json(api.post(path, &json!({})).await, 201).await["suppressions"][0]["kind"], "opt_out");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_a_user_id_and_what_is_none_is_refused() {
    let api = Api::open().await;
    let long = "x".repeat(1_024);
    let odd = [
        "a/b",
        "a b",
        "ü",
        "😀",
        "%2F",
        "a?b#c",
        "a@b.example",
        "a,b",
        "...",
        "\u{202e}\u{7}\n",
        "'; --",
        "a+b",
        "%",
        &long,
    ];
    for id in odd {
        let added = json(api.post(&user(id, "suppressions"), &json!({"reason": "asked"})).await, 201).await;
        assert_eq!(added["suppressions"][0]["whom"]["user"], id);
        let listed = json(api.get(&user(id, "suppressions")).await, 200).await;
        assert_eq!(listed["suppressions"].as_array().map(Vec::len), Some(1), "{id:?}: {listed}");
        let told = json(api.get(&user(id, "explain")).await, 200).await;
        assert_eq!(told["user"], id);
    }
    let all = api.world.store.suppressions(1_000, chrono::DateTime::UNIX_EPOCH).await.expect("they are listed");
    assert_eq!(all.len(), odd.len(), "each is a user of their own");
    for (id, status) in [("", 422), ("%00", 422), ("%FF", 400), (format!("{long}x").as_str(), 422)] {
        let answer = api.get(&format!("/api/v1/users/{id}/explain")).await;
        assert_eq!(super::super::problem(answer).await.0.as_u16(), status, "{id}");
    }
}
