//! Events of Composio: who may send them, that each is acted on once, and that a mail follows within seconds.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use connection_auditor::adapters::{queue, store};
use connection_auditor::audit::Outbox;
use connection_auditor::config;
use connection_auditor::domain::id::AccountId;
use connection_auditor::domain::port::Store;
use connection_auditor::http::{Listener, public};
use connection_auditor::simulator::{Faults, Lie};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::postgres;

const SECRET: &str = "whsec_c2VjcmV0cyBvZiB0aGUgdGVzdHM";
const OLD_SECRET: &str = "an-older-secret-of-the-tests";

/// A public listener that takes events, on a store of its own, with nobody who works them off.
struct Door {
    url: String,
    store: Arc<dyn Store>,
    client: reqwest::Client,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Door {
    async fn on(database: Option<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        let database = config::Database {
            url: database.unwrap_or_else(|| file("store.sqlite")).into(),
            ..config::Database::default()
        };
        store::migrate(&database).await.expect("an empty database can be migrated");
        let store = store::connect(&database).await.expect("a migrated database opens");
        let queue = config::Queue { url: file("queue.sqlite").into(), ..config::Queue::default() };
        let queue = queue::connect(&queue).await.expect("the queue opens");
        let router = public::router(public::Public {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            reconnect: None,
            app_name: None,
            composio: "https://backend.composio.dev".parse().expect("a URL"),
            trusted_proxies: Vec::new(),
            outbox: Outbox::new(Arc::clone(&store), queue),
            webhook_secrets: vec![SECRET.into(), OLD_SECRET.into()],
            mail_events_secret: None,
        });
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(anywhere, "http.public.listen", router).await.expect("a port is free");
        let url = format!("http://{}", listener.address().expect("it listens"));
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the guard of the door ends it")]
        tokio::task::spawn(listener.serve(stop.clone()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url, store, client, stop, _folder: folder }
    }

    async fn send(&self, id: &str, seconds: i64, secret: &str, body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        let body = body.into();
        let signature = sign(secret, id, seconds, &body);
        self.raw(
            &[("webhook-id", id), ("webhook-timestamp", &seconds.to_string()), ("webhook-signature", &signature)],
            body,
        )
        .await
    }

    async fn raw(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, Value) {
        let mut request = self.client.post(format!("{}/webhooks/composio", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.expect("it answers");
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
    }

    /// The checks that were asked for.
    async fn checks(&self) -> usize {
        let late = SystemClock.now() + chrono::TimeDelta::hours(1);
        self.store.unqueued("a queue of nobody", late, late, 10_000).await.expect("read").len()
    }
}

fn sign(secret: &str, id: &str, seconds: i64, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    let signed = mac.chain_update(format!("{id}.{seconds}.")).chain_update(body).finalize().into_bytes();
    format!("v1,{}", BASE64_STANDARD.encode(signed))
}

fn expired(user: Option<&str>, account: &str) -> String {
    json!({"id": "evt_1", "timestamp": "2026-11-21T10:00:00Z", "type": "composio.connected_account.expired",
        "metadata": {"project_id": "pr_1", "org_id": "ok_1"},
        "data": {"id": account, "user_id": user, "status": "EXPIRED", "toolkit": {"slug": "slack"},
            "state": {"val": {"access_token": "PLANTED"}}}})
    .to_string()
}

fn now() -> i64 {
    SystemClock.now().timestamp()
}

async fn one_event_makes_one_check(door: Door) {
    let body = expired(Some("ann"), "ca_1");
    assert_eq!(door.send("msg_1", now(), SECRET, body.clone()).await, (StatusCode::OK, json!({"outcome": "checking"})));
    for _ in 0..20 {
        let fifty = (0..50).map(|_| door.send("msg_1", now(), SECRET, body.clone()));
        for answer in futures::future::join_all(fifty).await {
            assert_eq!(answer, (StatusCode::OK, json!({"outcome": "known"})));
        }
    }
    assert_eq!(door.checks().await, 1);
    // Fifty at once, of which none was first seen before.
    let fifty = (0..50).map(|_| door.send("msg_2", now(), OLD_SECRET, body.clone()));
    let answers = futures::future::join_all(fifty).await;
    let first = answers.iter().filter(|(_, answer)| answer["outcome"] == "checking").count();
    assert_eq!((first, door.checks().await), (1, 2));
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK));
    let told = door.store.trail(&UserId::new("ann"), 9).await.expect("read").deliveries;
    let ids: Vec<&str> = told.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["msg_1", "msg_2"]);
    assert!(told.iter().all(|one| one.check.is_some() && one.account == Some(AccountId::new("ca_1"))));
    let standing = door.store.standing(&UserId::new("ann")).await.expect("read");
    assert!(standing.doubted_at.is_some(), "what was known is not fresh any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_a_thousand_times_and_fifty_at_once_makes_one_check_on_sqlite() {
    one_event_makes_one_check(Door::on(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_a_thousand_times_and_fifty_at_once_makes_one_check_on_postgresql() {
    one_event_makes_one_check(Door::on(Some(postgres::database().await)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_composio_did_not_sign_just_now_is_refused_and_leaves_nothing() {
    let door = Door::on(None).await;
    let body = expired(Some("ann"), "ca_1");
    for (apart, status) in [(-299, StatusCode::OK), (-302, StatusCode::UNAUTHORIZED), (302, StatusCode::UNAUTHORIZED)] {
        let id = format!("msg_{apart}");
        assert_eq!(door.send(&id, now() + apart, SECRET, body.clone()).await.0, status, "{apart}");
    }
    assert_eq!(door.checks().await, 1);
    // Taken once, and sent again when its time is over.
    let (seconds, signature) = (now() - 299, sign(SECRET, "msg_-299", now() - 302, body.as_bytes()));
    for headers in [
        [
            ("webhook-id", "msg_-299"),
            ("webhook-timestamp", (now() - 302).to_string().as_str()),
            ("webhook-signature", signature.as_str()),
        ],
        [("webhook-id", "msg_7"), ("webhook-timestamp", &seconds.to_string()), ("webhook-signature", "v1,AAAA")],
        [
            ("webhook-id", "msg_7"),
            ("webhook-timestamp", &seconds.to_string()),
            ("webhook-signature", &sign("another secret", "msg_7", seconds, body.as_bytes())),
        ],
        [
            ("webhook-id", "msg_8"),
            ("webhook-timestamp", &seconds.to_string()),
            ("webhook-signature", &sign(SECRET, "msg_7", seconds, body.as_bytes())),
        ],
        [
            ("webhook-id", "msg_7"),
            ("webhook-timestamp", &seconds.to_string()),
            ("webhook-signature", &sign(SECRET, "msg_7", seconds, b"{}")),
        ],
    ] {
        assert_eq!(door.raw(&headers, body.clone().into_bytes()).await.0, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    for headers in [&[][..], &[("webhook-id", "msg_7")], &[("webhook-id", "msg_7"), ("webhook-timestamp", "soon")]] {
        assert_eq!(door.raw(headers, body.clone().into_bytes()).await.0, StatusCode::BAD_REQUEST, "{headers:?}");
    }
    for (size, status) in [(1_000_000, 413), (1024 * 1024, 413), (2 * 1024 * 1024, 413), (400_000, 200)] {
        let large = json!({"type": "composio.connected_account.expired", "filler": "x".repeat(size)}).to_string();
        assert_eq!(door.send("msg_large", now(), SECRET, large).await.0.as_u16(), status, "{size}");
    }
    assert_eq!(door.send("msg_9", now(), SECRET, "no JSON").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(door.checks().await, 1, "nothing else was kept");
    let since = SystemClock.now() - chrono::TimeDelta::hours(1);
    let kept = door.store.deliveries(since).await.expect("counted");
    assert_eq!(kept, [("composio.connected_account.expired".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_sort_or_about_nobody_is_kept_and_counted_and_starts_no_check() {
    let door = Door::on(None).await;
    for (id, body, outcome) in [
        ("msg_1", json!({"type": "composio.something.new", "data": {"id": "x", "user_id": "ann"}}), "kept"),
        ("msg_2", json!({"type": "composio.trigger.message", "data": {"user_id": "ann"}}), "kept"),
        ("msg_3", json!({"type": "composio.connected_account.expired", "data": {"id": "ca_unknown"}}), "kept"),
        ("msg_4", json!({"type": 7}), "kept"),
        (
            "msg_5",
            json!({"type": "composio.trigger.disabled", "data": {"id": "ti_1", "user_id": "ann",
            "connected_account_id": "ca_1", "disabled_reason": "connection_expired"}}),
            "checking",
        ),
    ] {
        let answer = door.send(id, now(), SECRET, body.to_string()).await;
        assert_eq!(answer, (StatusCode::OK, json!({"outcome": outcome})), "{body}");
    }
    assert_eq!(door.checks().await, 1);
    let since = SystemClock.now() - chrono::TimeDelta::hours(1);
    assert_eq!(door.store.deliveries(since).await.expect("counted").iter().map(|(_, count)| count).sum::<u64>(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_mailed_about_within_seconds_with_no_sweep() {
    let site = Site::set_up(4, &["healthy_one"], |world| {
        let file = std::env::temp_dir().join(format!("auditor-webhook-secret-{}", uuid::Uuid::now_v7()));
        let path = file.to_str().expect("a plain path").to_owned();
        let shown = world.command(&["webhooks", "show"]);
        assert_eq!(shown.status.code(), Some(2), "there is none yet: {shown:?}");
        let subscribed = world.command(&["webhooks", "subscribe", "--secret-file", &path]);
        assert_eq!(subscribed.status.code(), Some(0), "{subscribed:?}");
        let secret = std::fs::read_to_string(&file).expect("the secret").trim().to_owned();
        let said = format!("{subscribed:?}");
        assert!(secret.starts_with("whsec_") && !said.contains(&secret), "{said}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("it is there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        world.set("composio.webhook_secrets_file", &path);
        let again = world.command(&["webhooks", "subscribe", "--secret-file", &format!("{path}-2")]);
        assert_eq!(again.status.code(), Some(2), "a project has one: {again:?}");
        assert!(String::from_utf8_lossy(&again.stdout).contains("/webhooks/composio"), "it is shown: {again:?}");
        assert_eq!(world.command(&["webhooks", "show"]).status.code(), Some(0));
    })
    .await;
    // Who they are must be known: an event says whom to look at, and a look says what was so before.
    site.world.swept().await;
    assert_eq!(site.world.smtp.count(), 0);
    let users: Vec<UserId> = site.world.simulator.users().map(|user| user.id).collect();
    let broke = std::time::Instant::now();
    assert!(site.world.simulator.break_user(&users[0]));
    site.world.smtp.wait_for(1, Duration::from_secs(10)).await;
    assert!(broke.elapsed() < Duration::from_secs(10), "{:?}", broke.elapsed());
    assert_eq!(site.mails().into_keys().collect::<Vec<_>>(), [users[0].clone()]);

    // An event that does not say whose account it is: the account is known.
    site.world.simulator.set_faults(Faults { lies: [Lie::DropUserId].into(), ..Faults::default() });
    assert!(site.world.simulator.break_user(&users[1]));
    site.world.smtp.wait_for(2, Duration::from_secs(10)).await;
    assert!(site.mails().contains_key(&users[1]));
    let coverage = site.world.store.coverage(SystemClock.now() - chrono::TimeDelta::hours(1)).await.expect("counted");
    assert_eq!(
        coverage.iter().map(|one| (one.broke, one.told, one.missed)).fold((0, 0, 0), |a, b| (
            a.0 + b.0,
            a.1 + b.1,
            a.2 + b.2
        )),
        (2, 2, 0)
    );
    let logs = site.world.logs();
    assert!(!logs.contains("whsec_"), "no secret is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_replaced_only_when_asked_to_and_its_secret_can_be_changed() {
    let site = Site::quiet(1, &["healthy_one"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("a secret");
    assert_eq!(site.world.command(&["webhooks", "rotate", "--secret-file", &file("none")]).status.code(), Some(1));
    assert_eq!(site.world.command(&["webhooks", "subscribe", "--secret-file", &file("a")]).status.code(), Some(0));
    let taken = site.world.command(&["webhooks", "subscribe", "--replace", "--secret-file", &file("a")]);
    assert_eq!(taken.status.code(), Some(1), "a file is never written over: {taken:?}");
    let replaced = site.world.command(&["webhooks", "subscribe", "--replace", "--secret-file", &file("b")]);
    assert_eq!(replaced.status.code(), Some(0), "{replaced:?}");
    let rotated = site.world.command(&["webhooks", "rotate", "--secret-file", &file("c")]);
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    let secrets = ["a", "b", "c"].map(read);
    assert!(secrets.iter().all(|secret| secret.starts_with("whsec_")));
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2]);
    let shown = site.world.command(&["webhooks", "show", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["url"], format!("{}/webhooks/composio", site.url));
    assert_eq!((&shown["ours"], shown.get("secret")), (&json!(true), None));
}
