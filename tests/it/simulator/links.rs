//! Writing: links and their lives, consent, direct creation, refresh, switching off, deleting; and what is read on the way.

use chrono::TimeDelta;
use connection_auditor::domain::id::UserId;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, first_connected};

#[tokio::test]
async fn a_link_makes_a_row_that_times_out_after_ten_minutes() {
    let bench = Bench::start().await;
    let config = bench.get("/api/v3.1/auth_configs?toolkit_slug=googlecalendar").await.items();
    assert_eq!(config.len(), 3);
    let body = json!({ "auth_config_id": config[0]["id"], "user_id": "somebody new", "alias": "work" });
    let answer = bench.post("/api/v3.1/connected_accounts/link", &body).await;
    assert_eq!(answer.status, 201);
    let link = answer.json();
    assert!(link["link_token"].as_str().unwrap().starts_with("lk_"));
    let row = async || bench.list(&[("user_ids", "somebody new")]).await.items().remove(0);
    let made = row().await;
    assert_eq!(made["id"], link["connected_account_id"]);
    assert_eq!((&made["status"], &made["alias"]), (&json!("INITIALIZING"), &json!("work")));
    assert_eq!(made["toolkit"]["slug"], "googlecalendar");
    bench.clock.advance(TimeDelta::minutes(9));
    assert_eq!(row().await["status"], "INITIALIZING");
    bench.clock.advance(TimeDelta::minutes(1));
    let dead = row().await;
    assert_eq!(dead["status"], "EXPIRED");
    assert_eq!(dead["status_reason"], "Connection initiation did not complete within 10 minutes");
    let page = bench.send(bench.http.get(link["redirect_url"].as_str().unwrap())).await;
    assert_eq!(page.status, 410, "the link is dead too");
    assert_eq!(bench.simulator.counters().links_minted, 1);

    let unknown = json!({ "auth_config_id": "ac_unknown", "user_id": "u" });
    assert_eq!(bench.post("/api/v3.1/connected_accounts/link", &unknown).await.status, 404);
    let disabled = json!({ "auth_config_id": config[2]["id"], "user_id": "u" });
    assert_eq!(bench.post("/api/v3.1/connected_accounts/link", &disabled).await.status, 400);
    assert_eq!(bench.post("/api/v3.1/connected_accounts/link", &json!({ "user_id": "u" })).await.status, 400);
}

#[tokio::test]
async fn consent_makes_the_account_active_and_settles_what_it_replaces() {
    let bench = Bench::start().await;
    let user = bench.user("expired_permanent");
    let old = bench.list(&[("user_ids", &user)]).await.items().remove(0);
    let body = json!({
        "auth_config_id": old["auth_config"]["id"],
        "user_id": user,
        "callback_url": "https://app.example/back?mine=1",
    });
    let mint = async || bench.post("/api/v3.1/connected_accounts/link", &body).await.json();

    let denied = mint().await;
    let url = denied["redirect_url"].as_str().unwrap();
    let page = bench.send(bench.http.get(url)).await;
    assert!(page.status == 200 && page.text.contains("<form method=\"post\""), "{}", page.text);
    let account = async |link: &Value| {
        let id = link["connected_account_id"].as_str().unwrap();
        bench.get(&format!("/api/v3.1/connected_accounts/{id}")).await.json()
    };
    assert_eq!(account(&denied).await["status"], "INITIATED", "opening the page completes nothing");
    bench.send(bench.http.post(format!("{url}?consent=denied"))).await;
    assert_eq!(account(&denied).await["status"], "FAILED");
    assert!(bench.simulator.truth().mailed.contains_key(&UserId::new(user.as_str())));

    let granted = mint().await;
    let url = granted["redirect_url"].as_str().unwrap();
    let answer = bench.send(bench.http.post(url)).await;
    assert_eq!(answer.status, 303);
    let id = granted["connected_account_id"].as_str().unwrap();
    assert_eq!(
        answer.header("location"),
        format!("https://app.example/back?mine=1&status=success&connected_account_id={id}")
    );
    assert_eq!(account(&granted).await["status"], "ACTIVE");
    assert!(!bench.simulator.truth().mailed.contains_key(&UserId::new(user.as_str())));
    assert_eq!(bench.send(bench.http.post(url)).await.status, 410, "a link works once");
    bench.clock.advance(TimeDelta::minutes(30));
    assert_eq!(account(&granted).await["status"], "ACTIVE", "what was completed does not time out");
}

#[tokio::test]
async fn creating_directly_is_retired_for_managed_oauth_only() {
    let bench = Bench::start().await;
    let configs = bench.get("/api/v3.1/auth_configs?toolkit_slug=slack").await.items();
    let create = async |config: &Value| {
        let body = json!({ "auth_config": { "id": config["id"] }, "connection": { "user_id": "u" } });
        bench.post("/api/v3.1/connected_accounts", &body).await
    };
    let refused = create(&configs[0]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("is no longer supported"));
    let made = create(&configs[1]).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["status"], "INITIALIZING");
    assert_eq!(bench.list(&[("user_ids", "u")]).await.items()[0]["id"], made.json()["id"]);
}

#[tokio::test]
async fn refresh_flips_an_active_account_and_is_counted() {
    let bench = Bench::start().await;
    let user = bench.user("healthy_five");
    let rows = bench.list(&[("user_ids", &user)]).await.items();
    let oauth = rows.iter().find(|row| row["authScheme"] == "OAUTH2").unwrap()["id"].as_str().unwrap();
    let key = rows.iter().find(|row| row["authScheme"] == "API_KEY").unwrap()["id"].as_str().unwrap();
    let answer = bench.post(&format!("/api/v3.1/connected_accounts/{oauth}/refresh"), &json!({})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("INITIATED")));
    assert!(answer.json()["redirect_url"].is_string());
    assert_eq!(bench.get(&format!("/api/v3/connected_accounts/{oauth}")).await.json()["status"], "INITIATED");
    assert_eq!(bench.post(&format!("/api/v3.1/connected_accounts/{key}/refresh"), &json!({})).await.status, 409);
    assert_eq!(bench.post("/api/v3.1/connected_accounts/ca_gone/refresh", &json!({})).await.status, 404);
    assert_eq!(bench.simulator.counters().refresh_calls, 3);
    assert_eq!(bench.simulator.counters().by_endpoint["POST /connected_accounts/{id}/refresh"], 3);
}

#[tokio::test]
async fn accounts_are_switched_off_and_on_and_deleted() {
    let bench = Bench::start().await;
    let user = bench.user("expired_permanent");
    let id = first_connected(&bench.list(&[("user_ids", &user)]).await.items(), "EXPIRED")["id"].clone();
    let path = format!("/api/v3.1/connected_accounts/{}", id.as_str().unwrap());
    let switch = async |enabled: bool| {
        let request = bench.request(Method::PATCH, &format!("{path}/status")).json(&json!({ "enabled": enabled }));
        bench.send(request).await
    };
    assert_eq!(switch(false).await.json(), json!({ "success": true }));
    let off = bench.get(&path).await.json();
    assert_eq!(
        (&off["status"], &off["status_reason"]),
        (&json!("INACTIVE"), &json!("Connection status updated by user"))
    );
    assert!(!bench.simulator.truth().mailed.contains_key(&UserId::new(user.as_str())), "by choice");
    switch(true).await;
    assert_eq!(bench.get(&path).await.json()["status"], "ACTIVE");
    assert_eq!(bench.send(bench.request(Method::DELETE, &path)).await.json(), json!({ "success": true }));
    assert_eq!(bench.get(&path).await.status, 404);
    assert!(bench.list(&[("user_ids", &user)]).await.items().is_empty());
    assert_eq!(switch(true).await.status, 404);
}

#[tokio::test]
async fn toolkits_are_named_as_people_write_them() {
    let bench = Bench::start().await;
    let one = bench.get("/api/v3.1/toolkits/googlecalendar").await.json();
    assert_eq!(one["name"], "Google Calendar");
    assert!(one["meta"]["logo"].as_str().unwrap().starts_with("https://"));
    let all = bench.get("/api/v3/toolkits").await.items();
    assert!(all.iter().any(|toolkit| toolkit["slug"] == "one_drive" && toolkit["name"] == "OneDrive"));
    assert_eq!(bench.get("/api/v3.1/toolkits/nothing").await.status, 404);
}
