//! What is answered over HTTP: the listener's bounds, and what mail providers report, on real sockets and stores.

mod api;
mod mail_events;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use connection_auditor::adapters::{queue, store};
use connection_auditor::audit::Outbox;
use connection_auditor::config::{Database, Queue};
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::port::Store;
use connection_auditor::domain::suppression::Suppression;
use connection_auditor::http::{Listener, public};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "correct-horse-battery-staple";
const LIMIT: Duration = Duration::from_secs(10);

/// A public listener on a store of its own.
struct Door {
    url: String,
    store: Arc<dyn Store>,
    client: reqwest::Client,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        Self::on(Database { url: url.into(), ..Database::default() }, Some(SECRET), folder).await
    }

    async fn on(database: Database, secret: Option<&str>, folder: tempfile::TempDir) -> Self {
        store::migrate(&database).await.expect("an empty database can be migrated");
        let store = store::connect(&database).await.expect("a migrated database opens");
        let queue =
            Queue { url: format!("sqlite:{}", folder.path().join("queue").display()).into(), ..Queue::default() };
        let queue = queue::connect(&queue).await.expect("the queue opens");
        let router = public::router(public::Public {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            reconnect: None,
            app_name: None,
            composio: "https://backend.composio.dev".parse().expect("a URL"),
            trusted_proxies: Vec::new(),
            outbox: Outbox::new(Arc::clone(&store), queue),
            webhook_secrets: Vec::new(),
            mail_events_secret: secret.map(Into::into),
        });
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(anywhere, "http.public.listen", router).await.expect("a port is free");
        let url = format!("http://{}", listener.address().expect("it listens"));
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "a test waits for it by itself")]
        let serving = tokio::task::spawn(listener.serve(stop.clone()));
        // A second installation is refused, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url, store, client, stop, serving, _folder: folder }
    }

    fn mail(&self) -> String {
        format!("{}/webhooks/mail", self.url)
    }

    /// Reports with the right secret.
    async fn report(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.client.post(self.mail()).bearer_auth(SECRET).body(body).send().await.expect("it answers")
    }

    async fn suppressions(&self) -> Vec<Suppression> {
        self.store.suppressions(1_000, SystemClock.now()).await.expect("they are listed")
    }

    fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

/// The problem of a refusal; it is one.
async fn problem(answer: reqwest::Response) -> (StatusCode, Value) {
    let status = answer.status();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
    assert_eq!((&body["status"], &body["type"]), (&status.as_u16().into(), &"about:blank".into()), "{body}");
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    (status, body)
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_and_every_answer_has_an_id() {
    let door = Door::open().await;
    let mut ids = Vec::new();
    for path in ["/", "/webhooks", "/webhooks/mail/", "/.env", "/index.html?email=ann@example.org"] {
        let answer = door.client.get(format!("{}{path}", door.url)).send().await.expect("it answers");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        ids.push(answer.headers()["x-request-id"].to_str().expect("text").to_owned());
        let (status, body) = problem(answer).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(!body.to_string().contains("ann@"), "{body}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    let answer = door.client.get(door.mail()).send().await.expect("it answers");
    assert_eq!(answer.headers()["allow"], "POST");
    assert_eq!(problem(answer).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_setting() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = taken.local_addr().expect("it listens");
    let error = Listener::bind(address, "http.public.listen", axum::Router::new()).await.expect_err("it is taken");
    assert_eq!(error.to_string(), format!("cannot listen on {address} (http.public.listen)"));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_nothing_new_is_accepted() {
    let door = Door::open().await;
    let body = r#"[{"event": "bounce", "email": "ann@example.org"}]"#;
    let head = format!(
        "POST /webhooks/mail HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    );
    let mut slow = TcpStream::connect(door.host()).await.expect("it accepts");
    slow.write_all(head.as_bytes()).await.expect("it reads");
    let idle = TcpStream::connect(door.host()).await.expect("it accepts");
    // An answer on a third connection shows that the two before it were accepted.
    let answer = door.client.get(&door.url).header("connection", "close").send().await.expect("it answers");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    door.stop.cancel();
    tokio::time::timeout(LIMIT, async { while TcpStream::connect(door.host()).await.is_ok() {} })
        .await
        .expect("nothing new is accepted");
    assert!(!door.serving.is_finished());
    slow.write_all(&body.as_bytes()[10..]).await.expect("it still reads");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("it answers, and closes");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""suppressed":1"#), "{answer}");
    tokio::time::timeout(LIMIT, door.serving)
        .await
        .expect("an idle connection holds nothing up")
        .expect("it ends well");
    drop(idle);
}
