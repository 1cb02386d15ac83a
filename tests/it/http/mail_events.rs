//! `POST /webhooks/mail`, from the request to the row.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use connection_auditor::config::Database;
use connection_auditor::domain::notification::EmailAddress;
use connection_auditor::domain::suppression::{AddressHash, SuppressionKind, Whom};
use connection_auditor::simulator::Mix;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{Door, SECRET, problem};
use crate::support::postgres::Postgres;
use crate::support::server;
use crate::support::world::{On, World};

fn hash(address: &str) -> Whom {
    Whom::Address(AddressHash::of(&address.parse::<EmailAddress>().expect("an address")))
}

fn bounce(address: &str) -> String {
    json!([{"event": "bounce", "type": "bounce", "email": address, "reason": format!("550 5.1.1 <{address}> unknown")}])
        .to_string()
}

async fn tally(answer: reqwest::Response) -> Value {
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn without_the_secret_nothing_is_taken() {
    let door = Door::open().await;
    let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    for (authorization, status) in [
        (None, 401),
        (Some("Bearer wrong".to_owned()), 401),
        (Some(basic("postmark:wrong")), 401),
        (Some(format!("Bearer {SECRET}")), 200),
        (Some(basic(&format!("postmark:{SECRET}"))), 200),
    ] {
        let mut request = door.client.post(door.mail()).body(bounce("ann@example.org"));
        if let Some(value) = &authorization {
            request = request.header("authorization", value);
        }
        let answer = request.send().await.expect("it answers");
        assert_eq!(answer.status().as_u16(), status, "{authorization:?}");
        if status == 401 {
            let ways: Vec<_> = answer.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(ways, ["Basic realm=\"connection-auditor\"", "Bearer"]);
            problem(answer).await;
            assert!(door.suppressions().await.is_empty());
        }
    }
    assert_eq!(door.suppressions().await.len(), 1);
}

#[tokio::test]
async fn without_a_secret_in_the_settings_there_is_no_such_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
    let door = Door::on(Database { url: url.into(), ..Database::default() }, None, folder).await;
    for secret in ["", SECRET] {
        let answer = door.client.post(door.mail()).bearer_auth(secret).body("[]").send().await.expect("it answers");
        assert_eq!(problem(answer).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_same_event_twice_is_one_suppression_and_no_address_is_kept() {
    let door = Door::open().await;
    let first = tally(door.report(bounce("Ann.Lee@example.org")).await).await;
    assert_eq!(first, json!({"suppressed": 1, "known": 0, "transient": 0, "other": 0, "unusable": 0}));
    let again = tally(door.report(bounce("ann.lee@EXAMPLE.org")).await).await;
    assert_eq!((&again["suppressed"], &again["known"]), (&0.into(), &1.into()), "case does not matter");
    let complaint = json!({"RecordType": "SpamComplaint", "Email": "ann.lee@example.org"}).to_string();
    assert_eq!(tally(door.report(complaint).await).await["suppressed"], 1);

    let kept = door.suppressions().await;
    assert!(kept.iter().all(|one| one.whom == hash("ann.lee@example.org") && one.until.is_none()));
    let mut kinds: Vec<_> = kept.iter().map(|one| one.kind).collect();
    kinds.sort();
    assert_eq!(kinds, [SuppressionKind::Bounce, SuppressionKind::Complaint]);
    let all = format!("{kept:?}").to_lowercase();
    assert!(!all.contains("lee") && all.contains("550 5.1.1 <redacted> unknown"), "{all}");
}

#[tokio::test]
async fn what_is_not_for_good_is_counted_and_let_go() {
    let door = Door::open().await;
    let body = json!({"events": [
        {"type": "bounce", "email": "a@example.org", "permanent": false},
        {"type": "opened", "email": "b@example.org"},
        {"type": "complaint", "email": "not an address"},
        {"type": "complaint", "email": "Cy <c@example.org>"},
        {"type": "complaint", "email": "c@example.org"},
    ]});
    let told = tally(door.report(body.to_string()).await).await;
    assert_eq!(told, json!({"suppressed": 1, "known": 0, "transient": 1, "other": 1, "unusable": 1}));
    assert_eq!(door.suppressions().await.iter().map(|one| &one.whom).collect::<Vec<_>>(), [&hash("c@example.org")]);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_what_was_expected() {
    let door = Door::open().await;
    for (body, told) in [
        ("email=ann%40example.org", "not JSON"),
        (r#"{"address": "ann@example.org"}"#, "\"events\""),
        (r#"{"events": [{"type": "bounce", "email": "ann@example.org"}]}"#, "events[0].permanent"),
    ] {
        let (status, body) = problem(door.report(body).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            body["detail"].as_str().is_some_and(|detail| detail.contains(told) && !detail.contains("ann")),
            "{body}"
        );
    }
    let (status, _) = problem(door.report(vec![b' '; 1024 * 1024 + 1]).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(door.suppressions().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_the_provider_is_asked_to_come_again() {
    let mut server = tokio::task::spawn_blocking(Postgres::start).await.expect("PostgreSQL starts");
    let url = server.database().await;
    let database = Database { url: url.into(), acquire_timeout: Duration::from_secs(2), ..Database::default() };
    let door = Door::on(database, Some(SECRET), tempfile::tempdir().expect("a folder")).await;
    server.kill();
    let answer = door.report(bounce("ann@example.org")).await;
    assert_eq!(answer.headers()["retry-after"], "30");
    assert_eq!(problem(answer).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let nothing = door.report(r#"[{"event": "delivered"}]"#).await;
    assert_eq!(nothing.status(), StatusCode::OK, "what needs no store is taken");

    let _server = tokio::task::spawn_blocking(move || {
        server.run();
        server
    })
    .await
    .expect("PostgreSQL starts again");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while door.report(bounce("ann@example.org")).await.status() != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "it does not recover");
    }
    assert_eq!(door.suppressions().await.len(), 1);
}

/// Events in the forms of providers, with texts that nobody would send.
fn any_report() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![".*", "[a-z]{1,8}@[a-z]{1,8}\\.example", "\\PC{0,9}<[a-z]{1,4}@x\\.example>"];
    let at = prop_oneof![any::<f64>().prop_map(Value::from), ".*".prop_map(Value::from)];
    let said = prop_oneof![".*".boxed(), Just("\u{0}\u{202e}\n550".to_owned()).boxed()];
    let form = (0..6_u8, address, said, at).prop_map(|(form, address, said, at)| {
        let body = match form {
            0 => json!({"events": [{"type": "bounce", "email": address, "permanent": true, "reason": said, "at": at}]}),
            1 => json!([{"event": "bounce", "email": address, "reason": said, "timestamp": at}]),
            2 => json!({"RecordType": "Bounce", "Type": "HardBounce", "Email": address, "Details": said, "BouncedAt": at}),
            3 => json!({"event-data": {"event": "complained", "recipient": address, "reason": said, "timestamp": at}}),
            4 => json!({"Type": said, "Message": address, "SubscribeURL": said}),
            _ => json!({"notificationType": "Bounce", "bounce": {"bounceType": "Permanent", "timestamp": at,
                "bouncedRecipients": [{"emailAddress": address, "diagnosticCode": said}]}}),
        };
        body.to_string().into_bytes()
    });
    prop_oneof![3 => form, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

#[test]
fn whatever_is_sent_it_is_taken_or_refused_and_never_our_fault() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let door = runtime.block_on(Door::open());
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&any_report(), |body| {
        let status = runtime.block_on(door.report(body)).status();
        prop_assert!(matches!(status.as_u16(), 200 | 400), "{status}");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_reports_logs_no_address_and_ends_well() {
    let mut world = World::mixed(On::Embedded, 3, Mix::only(&["expired_permanent"])).await;
    let port = server::free_port();
    world.set("http.public.url", "https://connections.acme.example");
    world.set("http.public.listen", format!("127.0.0.1:{port}"));
    world.set("http.public.token_keys", "a-key-of-the-tests-that-is-long-enough");
    world.set("http.public.mail_events_secret", SECRET);
    world.set("log.filter", "trace");
    let worker = world.start_worker_with(&["--roles", "http"]);
    world
        .until("it listens", Duration::from_secs(30), || async {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        })
        .await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://provider:{SECRET}@127.0.0.1:{port}/webhooks/mail?for=hunter2@example.org");
    let sns = json!({"Type": "SubscriptionConfirmation", "Message": "You have chosen",
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=hunter2"});
    for (body, status) in [
        (bounce("hunter2@example.org"), 200),
        (bounce("hunter2 is no address"), 200),
        (json!({"email": "hunter2@example.org"}).to_string(), 400),
        ("hunter2@example.org".to_owned(), 400),
        (sns.to_string(), 200),
    ] {
        let answer = client.post(&url).body(body).send().await.expect("it answers");
        assert_eq!(answer.status().as_u16(), status);
        assert!(!answer.text().await.expect("a body").contains("hunter2"));
    }
    assert_eq!(client.post(format!("http://127.0.0.1:{port}/hunter2")).send().await.expect("it answers").status(), 404);
    world.signal(worker, nix::sys::signal::Signal::SIGTERM);
    let logs = world.logs();
    assert_eq!(world.wait_for_exit(worker, Duration::from_secs(20)), Some(0), "{logs}");
    assert!(logs.contains("mail_events.taken") && logs.contains("sns.eu-west-1.amazonaws.com"), "{logs}");
    assert!(logs.contains("http.answered") && logs.contains("/webhooks/mail"), "{logs}");
    assert!(!logs.contains("hunter2") && !logs.contains(SECRET), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_http_alone_needs_somewhere_to_be_reached() {
    let world = World::mixed(On::Embedded, 1, Mix::only(&["expired_permanent"])).await;
    let ran = world.command(&["run", "--roles", "http"]);
    assert_eq!(ran.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("http.public.url"), "{ran:?}");
}
