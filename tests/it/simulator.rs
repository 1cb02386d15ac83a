//! The simulator answers as the documented API does, traps included, and its faults are visible to a plain client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use connection_auditor::domain::clock::{Clock, ManualClock};
use connection_auditor::domain::id::UserId;
use connection_auditor::simulator::{
    FaultKind, Faults, KeyState, Kind, Lie, Masking, Mix, PLANTED, Population, PopulationSpec, RateLimit, Simulator,
    SimulatorOptions, personas, serve,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A simulator with a clock that stands at its population's anchor, and a client without any cleverness.
struct Bench {
    simulator: Simulator,
    clock: Arc<ManualClock>,
    http: reqwest::Client,
}

struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is a header {name}")).to_str().unwrap()
    }

    fn items(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["items"].as_array().unwrap().clone()
    }
}

fn client() -> reqwest::Client {
    // A second installation is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .unwrap()
}

impl Bench {
    async fn with(options: SimulatorOptions) -> Self {
        let clock = Arc::new(ManualClock::at(options.population.anchor));
        let now = Arc::clone(&clock);
        let simulator = Simulator::start(options, Arc::new(move || now.now())).await.unwrap();
        Self { simulator, clock, http: client() }
    }

    async fn start() -> Self {
        Self::with(SimulatorOptions::default()).await
    }

    async fn of(personas: &[&str], users: u64) -> Self {
        let population = PopulationSpec { users, mix: Mix::only(personas), ..PopulationSpec::default() };
        Self::with(SimulatorOptions { population, ..SimulatorOptions::default() }).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.simulator.url());
        self.http.request(method, url).header("x-api-key", self.simulator.api_key())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// A list with these pairs, encoded.
    async fn list(&self, pairs: &[(&str, &str)]) -> Answer {
        self.send(self.request(Method::GET, "/api/v3.1/connected_accounts").query(pairs)).await
    }

    /// The first user of a persona.
    fn user(&self, persona: &str) -> String {
        self.users(persona).remove(0)
    }

    fn users(&self, persona: &str) -> Vec<String> {
        let all = self.simulator.users().map(|user| user.id);
        let theirs = all.filter(|id| self.simulator.population().persona_of(id).unwrap().name == persona);
        theirs.map(|id| id.as_str().to_owned()).collect()
    }

    /// Every page of a list.
    async fn pages(&self, pairs: &[(&str, &str)]) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut pairs = pairs.to_vec();
            if let Some(cursor) = &cursor {
                pairs.push(("cursor", cursor));
            }
            let answer = self.list(&pairs).await;
            pages.push(answer.items());
            match answer.json()["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return pages,
            }
            assert!(pages.len() < 100, "a list that ends");
        }
    }
}

fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}

fn first_connected(items: &[Value], status: &str) -> Value {
    items.iter().find(|item| item["status"] == status).unwrap_or_else(|| panic!("a row that is {status}")).clone()
}

#[tokio::test]
async fn an_item_has_every_field_of_the_published_schema() {
    let bench = Bench::start().await;
    let user = bench.user("expired_permanent");
    for version in ["v3", "v3.1"] {
        let answer = bench.get(&format!("/api/{version}/connected_accounts?user_ids={user}")).await;
        let body = answer.json();
        assert_eq!(
            (&body["total_items"], &body["total_pages"], &body["current_page"], &body["next_cursor"]),
            (&json!(1), &json!(1), &json!(1), &Value::Null)
        );
        let item = &body["items"][0];
        let fields: BTreeSet<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = "toolkit auth_config id authScheme word_id alias user_id status experimental created_at updated_at \
                        state data status_reason is_disabled";
        assert_eq!(fields, expected.split_whitespace().collect());
        assert_eq!(item["user_id"], user.as_str());
        assert_eq!(item["status"], "EXPIRED");
        assert_eq!(item["status_reason"], "Permanent auth error during token refresh");
        assert_eq!(item["experimental"]["account_type"], "PRIVATE");
        assert_eq!(item["state"]["val"]["status"], "EXPIRED");
        assert_eq!(item["auth_config"]["auth_scheme"], "OAUTH2");
        assert_eq!(item["auth_config"]["is_disabled"], false);
        assert!(item["id"].as_str().unwrap().starts_with("ca_") && item["id"].as_str().unwrap().len() == 15);
        let created = item["created_at"].as_str().unwrap();
        assert!(created.ends_with('Z') && created.len() == 24, "{created}");
        assert!(DateTime::parse_from_rfc3339(created).is_ok());
    }
}

#[tokio::test]
async fn filters_may_be_comma_joined_or_repeated_and_unknown_parameters_are_ignored() {
    let bench = Bench::start().await;
    let (one, two) = (bench.user("healthy_one"), bench.user("expired_permanent"));
    let joined = format!("{one},{two}");
    let by_comma = bench.list(&[("user_ids", &joined)]).await.items();
    let repeated = bench.list(&[("user_ids", &one), ("user_ids", &two), ("user_id", "nobody")]).await.items();
    assert_eq!(by_comma.len(), 2);
    assert_eq!(by_comma, repeated);
    let expired = bench.list(&[("user_ids", &joined), ("statuses", "EXPIRED,FAILED")]).await.items();
    assert_eq!(texts(&expired, "user_id"), [&two]);
    let item = &expired[0];
    for (name, value) in [
        ("toolkit_slugs", &item["toolkit"]["slug"]),
        ("auth_config_ids", &item["auth_config"]["id"]),
        ("connected_account_ids", &item["id"]),
    ] {
        let found = bench.list(&[("user_ids", &joined), (name, value.as_str().unwrap())]).await.items();
        assert!(found.contains(item), "{name}");
        assert!(bench.list(&[("user_ids", &joined), (name, "nothing")]).await.items().is_empty(), "{name}");
    }
    let everything = bench.list(&[("user_id", &one), ("status", "EXPIRED")]).await.json();
    assert!(everything["total_items"].as_u64().unwrap() > 300, "misspelt filters let everything through");
}

#[tokio::test]
async fn somebody_nobody_knows_has_an_empty_list() {
    let bench = Bench::start().await;
    let answer = bench.list(&[("user_ids", "canary-who-cannot-exist"), ("account_type", "ALL")]).await;
    assert!(answer.items().is_empty());
    assert_eq!(answer.json()["total_items"], 0);
}

#[tokio::test]
async fn ids_come_through_whatever_is_in_them_except_a_comma() {
    let bench = Bench::start().await;
    for persona in [
        "id_with_spaces",
        "id_unicode",
        "id_leading_zeros",
        "id_mixed_case",
        "id_reserved_characters",
        "id_is_an_address",
    ] {
        let user = bench.user(persona);
        let items = bench.list(&[("user_ids", &user)]).await.items();
        assert_eq!(texts(&items, "user_id"), [&user, &user], "{persona}");
    }
    let user = bench.user("id_with_comma");
    assert!(user.contains(','));
    assert!(bench.list(&[("user_ids", &user)]).await.items().is_empty(), "read as two users, neither of whom exists");
    let shown = bench.user("account_id_starts_with_a_dash");
    let items = bench.list(&[("user_ids", &shown)]).await.items();
    assert!(items.iter().any(|item| item["id"].as_str().unwrap().starts_with("ca_-")));
    assert!(items.iter().any(|item| item["id"].as_str().unwrap().starts_with("ca__")));
}

#[tokio::test]
async fn the_newest_come_first_unless_asked_otherwise() {
    let bench = Bench::start().await;
    let user = bench.user("expired_then_abandoned_attempt");
    let newest = bench.list(&[("user_ids", &user)]).await.items();
    let oldest =
        bench.list(&[("user_ids", &user), ("order_by", "created_at"), ("order_direction", "asc")]).await.items();
    assert_eq!(newest.iter().rev().cloned().collect::<Vec<_>>(), oldest);
    assert!(newest[0]["created_at"].as_str() > newest[1]["created_at"].as_str());
    for pair in
        [("order_by", "id"), ("order_direction", "up"), ("account_type", "OURS"), ("limit", "0"), ("cursor", "x")]
    {
        let answer = bench.list(&[pair]).await;
        assert_eq!(answer.status, 400, "{pair:?}");
        assert_eq!(answer.json()["error"]["status"], 400);
    }
}

#[tokio::test]
async fn pages_are_clamped_counted_and_walked_by_an_opaque_cursor() {
    let bench = Bench::of(&["many_accounts"], 1).await;
    let user = bench.user("many_accounts");
    let pairs = [("user_ids", user.as_str()), ("limit", "1000"), ("order_direction", "asc")];
    let first = bench.list(&pairs).await;
    assert_eq!(first.items().len(), 50, "a larger limit is cut down");
    assert_eq!((&first.json()["total_items"], &first.json()["total_pages"]), (&json!(130), &json!(3)));
    let pages = bench.pages(&pairs).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 30]);
    let ids: BTreeSet<String> = pages.concat().iter().map(|item| item["id"].to_string()).collect();
    assert_eq!(ids.len(), 130, "no row twice, none left out");
    assert_eq!(bench.list(&[("user_ids", &user)]).await.items().len(), 20, "the default page");
    // The old row of what was reconnected is on the first page, the reconnect on the last: one page alone misleads.
    let toolkit = |status: &str, page: &[Value]| {
        let rows = page.iter().filter(|item| {
            item["status"] == status
                && item["status_reason"] != json!("Connection initiation did not complete within 10 minutes")
        });
        rows.map(|item| item["toolkit"]["slug"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert!(toolkit("EXPIRED", &pages[0]).len() == 2 && toolkit("ACTIVE", &pages[0]).is_empty());
    assert!(toolkit("EXPIRED", &pages[0]).is_superset(&toolkit("ACTIVE", &pages[2])));
}

#[tokio::test]
async fn the_whole_project_can_be_walked_and_every_row_is_seen_once() {
    let bench = Bench::start().await;
    let rows = bench.pages(&[("account_type", "ALL"), ("order_direction", "asc"), ("limit", "50")]).await.concat();
    let ids: BTreeSet<&str> = texts(&rows, "id").into_iter().collect();
    assert_eq!(ids.len(), rows.len());
    let private = bench.list(&[]).await.json()["total_items"].as_u64().unwrap();
    let shared = bench.list(&[("account_type", "SHARED")]).await.json()["total_items"].as_u64().unwrap();
    assert!(shared > 0);
    assert_eq!(private + shared, rows.len() as u64);
    let broken = bench.pages(&[("statuses", "EXPIRED,FAILED"), ("account_type", "ALL")]).await.concat();
    let expected = rows.iter().filter(|row| ["EXPIRED", "FAILED"].contains(&row["status"].as_str().unwrap())).count();
    assert_eq!(broken.len(), expected);
    // A mutation is seen at once, though project-wide lists are remembered.
    bench.simulator.heal(3);
    assert_eq!(bench.list(&[]).await.json()["total_items"].as_u64().unwrap(), private + 3);
}

#[tokio::test]
async fn shared_accounts_are_listed_only_when_asked_for_and_under_their_owners_id() {
    let bench = Bench::start().await;
    let user = bench.user("foreign_shared_broken");
    assert_eq!(bench.list(&[("user_ids", &user)]).await.items().len(), 1);
    let all = bench.list(&[("user_ids", &user), ("account_type", "ALL")]).await.items();
    let foreign = all.iter().find(|item| item["experimental"]["account_type"] == "SHARED").unwrap();
    let owner = foreign["user_id"].as_str().unwrap();
    assert_ne!(owner, user);
    let theirs = bench.list(&[("user_ids", owner), ("account_type", "ALL")]).await.items();
    assert_eq!(theirs, std::slice::from_ref(foreign));
    let own = bench.user("own_shared_broken");
    let shared = bench.list(&[("user_ids", &own), ("account_type", "SHARED")]).await.items();
    assert_eq!(texts(&shared, "user_id"), [&own]);
}

#[tokio::test]
async fn what_is_missing_from_rows_is_missing_and_what_is_unknown_is_there() {
    let bench = Bench::start().await;
    let row = |persona: &'static str| {
        let user = bench.user(persona);
        let bench = &bench;
        async move { bench.list(&[("user_ids", &user)]).await.items().remove(0) }
    };
    assert!(row("rows_without_user_id").await.get("user_id").is_none());
    assert!(row("expired_reason_absent").await.get("status_reason").is_none());
    assert_eq!(row("expired_without_reason").await.get("status_reason"), Some(&Value::Null));
    assert_eq!(row("unknown_status").await["status"], "SUSPENDED");
    assert_eq!(row("unknown_scheme").await["auth_config"]["auth_scheme"], "QUANTUM_OAUTH");
    assert_eq!(row("auth_config_disabled").await["auth_config"]["is_disabled"], true);
    assert_eq!(row("disabled_while_active").await["is_disabled"], true);
}

#[tokio::test]
async fn one_account_is_found_by_its_id_and_another_is_not() {
    let bench = Bench::start().await;
    let user = bench.user("account_id_starts_with_a_dash");
    let item = bench.list(&[("user_ids", &user)]).await.items().remove(0);
    let mut one = bench.get(&format!("/api/v3/connected_accounts/{}", item["id"].as_str().unwrap())).await.json();
    assert_eq!(one.as_object_mut().unwrap().remove("params"), Some(json!({})));
    assert_eq!(one, item);
    let answer = bench.get("/api/v3.1/connected_accounts/ca_gone").await;
    assert_eq!(answer.status, 404);
    let error = &answer.json()["error"];
    assert_eq!(error["message"], "Connected account \"ca_gone\" not found");
    assert_eq!((&error["code"], &error["slug"]), (&json!(606), &json!("ConnectedAccount_ResourceNotFound")));
    assert_eq!(error["request_id"], answer.header("x-request-id"));
    assert_eq!(bench.get("/api/v3.1/nothing_here").await.json()["error"]["code"], 404);
}

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
        latency: connection_auditor::simulator::Latency {
            from: Duration::from_millis(100),
            to: Duration::from_millis(120),
        },
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
            tell.send((simulator.url().to_owned(), simulator.instructions())).unwrap()
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
