//! Refusals, limits, faults and lies, each as a plain client sees it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use connection_auditor::simulator::{FaultKind, Faults, KeyState, Lie, Masking, PLANTED, RateLimit, SimulatorOptions};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bench, texts};

#[tokio::test]
async fn a_missing_a_wrong_and_a_limited_key_are_each_refused_in_their_own_words() {
    let bench = Bench::start().await;
    let url = format!("{}/api/v3.1/connected_accounts", bench.simulator.url());
    let missing = bench.send(bench.http.get(&url)).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["error"]["code"]), (401, &json!(906)));
    assert_eq!(missing.json()["error"]["slug"], "Auth_NoAuthProvided");
    assert!(missing.headers.contains_key("x-ratelimit-remaining"));
    let wrong = bench.send(bench.http.get(&url).header("X-API-KEY", "ak_wrong_and_long_g7Yu")).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["error"]["code"]), (401, &json!(801)));
    assert_eq!(wrong.json()["error"]["message"], "Invalid API key: ak_**g7Yu");
    for (state, status, code) in [
        (KeyState::Unknown, 401, 801),
        (KeyState::Expired, 401, 811),
        (KeyState::Blocked, 401, 902),
        (KeyState::NoAccess, 403, 812),
    ] {
        bench.simulator.set_faults(Faults::key(state));
        let answer = bench.list(&[]).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (status, &json!(code)), "{state:?}");
    }
    bench.simulator.set_faults(Faults::key(KeyState::ReadOnly));
    assert_eq!(bench.list(&[]).await.status, 200);
    assert_eq!(bench.post("/api/v3.1/connected_accounts/link", &json!({})).await.status, 403);
    let toolkits = bench.get("/api/v3.1/toolkits/gmail").await;
    assert_eq!(toolkits.status, 200);
    bench.simulator.set_faults(Faults::key(KeyState::NoAccess));
    let refused = bench.get("/api/v3.1/toolkits").await.json();
    assert_eq!(refused["error"]["message"], "This API key does not have read access to toolkits");
}

#[tokio::test]
async fn the_rate_limit_counts_down_refuses_with_a_flat_body_and_starts_over() {
    let rate_limit = RateLimit { limit: 3, window: Duration::from_secs(2) };
    let bench = Bench::with(SimulatorOptions { rate_limit, ..SimulatorOptions::default() }).await;
    let mut remaining = Vec::new();
    for _ in 0..3 {
        let answer = bench.list(&[("limit", "1")]).await;
        assert_eq!(answer.header("x-ratelimit"), "3");
        assert_eq!(answer.header("x-ratelimit-window-size"), "2s");
        remaining.push(answer.header("x-ratelimit-remaining").to_owned());
    }
    assert_eq!(remaining, ["2", "1", "0"]);
    let refused = bench.list(&[]).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json(), json!({ "message": "Rate limit exceeded. Limit: 3 requests per 1 minutes" }));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait));
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(bench.list(&[]).await.status, 200);
}

#[tokio::test]
async fn secrets_are_planted_in_every_row_that_ever_had_any_unless_masking_is_on() {
    let bench = Bench::start().await;
    let rows = bench.pages(&[("statuses", "ACTIVE,EXPIRED"), ("limit", "50")]).await.concat();
    assert!(rows.len() > 300);
    assert!(rows.iter().all(|row| row["state"].to_string().contains(PLANTED)));
    assert!(rows.iter().all(|row| row["data"].to_string().contains(PLANTED)));
    bench.simulator.set_faults(Faults { masking: Masking::Masked, ..Faults::default() });
    let user = bench.user("healthy_five");
    let masked = bench.list(&[("user_ids", &user)]).await;
    assert!(!masked.text.contains(PLANTED));
    assert!(masked.text.contains("REDACTED") && masked.text.contains("\"ya29...\""));
}

#[tokio::test]
async fn every_kind_of_fault_is_seen_by_a_plain_client() {
    let bench = Bench::start().await;
    let list = || bench.request(Method::GET, "/api/v3.1/connected_accounts?limit=50");
    for kind in FaultKind::ALL {
        bench.simulator.set_faults(Faults { slow_ms: 300, retry_after: 7, ..Faults::outage(kind) });
        let started = Instant::now();
        match kind {
            FaultKind::InternalError | FaultKind::Unavailable => {
                let answer = bench.send(list()).await;
                let status = if kind == FaultKind::InternalError { 500 } else { 503 };
                assert_eq!(answer.status, status);
                assert_eq!(answer.json()["error"]["status"], status);
            }
            FaultKind::TooManyRequests => {
                let answer = bench.send(list()).await;
                assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "7"));
                assert!(answer.json().get("error").is_none() && answer.json()["message"].is_string());
            }
            FaultKind::HtmlBadGateway => {
                let answer = bench.send(list()).await;
                assert_eq!((answer.status.as_u16(), answer.header("content-type")), (502, "text/html"));
                assert!(answer.text.starts_with("<html>") && !answer.headers.contains_key("x-request-id"));
            }
            FaultKind::TruncatedJson => {
                let answer = bench.send(list()).await;
                assert_eq!(answer.status, 200);
                assert!(answer.text.starts_with("{\"items\":["));
                assert!(serde_json::from_str::<Value>(&answer.text).is_err());
            }
            FaultKind::ResetBeforeHeaders => assert!(list().send().await.is_err()),
            FaultKind::ResetMidBody => {
                let response = list().send().await.unwrap();
                assert_eq!(response.status(), 200);
                assert!(response.bytes().await.is_err());
            }
            FaultKind::Slow => {
                assert_eq!(bench.send(list()).await.status, 200);
                assert!(started.elapsed() >= Duration::from_millis(300));
            }
            FaultKind::Silent => {
                let error = list().timeout(Duration::from_millis(300)).send().await.unwrap_err();
                assert!(error.is_timeout());
            }
        }
    }
    bench.simulator.set_faults(Faults::default());
    assert_eq!(bench.send(list()).await.status, 200);
    assert_eq!(bench.simulator.counters().by_status[&0], 1, "one was cut before there was a status");
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_with_a_reset() {
    let bench = Bench::start().await;
    bench.simulator.set_faults(Faults::outage(FaultKind::ResetBeforeHeaders));
    let address = bench.simulator.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/v3.1/toolkits HTTP/1.1\r\nhost: composio\r\n\r\n").await.unwrap();
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_share_of_requests_fails_and_the_same_seed_fails_the_same_ones() {
    let run = async || {
        let bench = Bench::start().await;
        bench.simulator.set_faults(Faults { seed: 9, ..Faults::some(0.3, &[FaultKind::Unavailable]) });
        let mut statuses = Vec::new();
        for _ in 0..60 {
            statuses.push(bench.list(&[("limit", "1")]).await.status.as_u16());
        }
        statuses
    };
    let (one, two) = (run().await, run().await);
    assert_eq!(one, two);
    let failed = one.iter().filter(|status| **status == 503).count();
    assert!((8..30).contains(&failed), "{failed} of 60");
}

#[tokio::test]
async fn every_lie_about_a_list_is_told() {
    let bench = Bench::of(&["many_accounts", "expired_permanent"], 12).await;
    let user = bench.user("many_accounts");
    let pairs = [("user_ids", user.as_str()), ("limit", "50"), ("order_direction", "asc")];
    let honest = bench.pages(&pairs).await.concat();
    let tell = |lie| bench.simulator.set_faults(Faults::lie(lie));

    tell(Lie::IgnoreFilters);
    let rows = bench.list(&[("user_ids", "canary-who-cannot-exist")]).await.items();
    assert!(!rows.is_empty(), "rows for somebody who cannot exist");
    tell(Lie::DropUserId);
    assert!(bench.list(&pairs).await.items().iter().all(|row| row.get("user_id").is_none()));
    tell(Lie::ForeignRows);
    let foreign: Vec<Value> =
        bench.list(&pairs).await.items().into_iter().filter(|row| row["user_id"] != user.as_str()).collect();
    assert_eq!(foreign.len(), 1);
    assert_eq!(foreign[0]["experimental"]["account_type"], "PRIVATE");
    tell(Lie::RepeatCursor);
    let first = bench.list(&pairs).await.json()["next_cursor"].as_str().unwrap().to_owned();
    let again = bench.list(&[pairs[0], pairs[1], pairs[2], ("cursor", &first)]).await.json();
    assert_eq!(again["next_cursor"], first);
    tell(Lie::ShiftRows);
    let shifted = bench.pages(&pairs).await.concat();
    let ids: BTreeSet<&str> = texts(&shifted, "id").into_iter().collect();
    assert!(ids.len() < honest.len(), "a row was never seen");
    tell(Lie::DuplicateRows);
    let doubled = bench.pages(&pairs).await.concat();
    let ids: BTreeSet<&str> = texts(&doubled, "id").into_iter().collect();
    assert!(ids.len() < doubled.len(), "a row was seen twice");
    tell(Lie::WrongTotal);
    assert_eq!(bench.list(&pairs).await.json()["total_items"], 137);
    tell(Lie::TruncateList);
    let cut = bench.list(&pairs).await.json();
    assert_eq!((&cut["next_cursor"], &cut["total_pages"], &cut["total_items"]), (&Value::Null, &json!(1), &json!(130)));
    assert_eq!(cut["items"].as_array().unwrap().len(), 50);
    tell(Lie::AbsentCursor);
    let single = bench.user("expired_permanent");
    assert!(bench.list(&[("user_ids", &single)]).await.json().get("next_cursor").is_none());
}
