//! A real HTTP server that takes the operator's messages, with answers to order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A secret, and the key in it.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("the header {name}")).to_str().expect("a header of text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    /// Checks the signature as the specification tells receivers to.
    pub(crate) fn verify(&self, secret: &str) {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let signature = self.header("webhook-signature").strip_prefix("v1,").expect("version 1");
        let mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key").chain_update(signed);
        mac.verify_slice(&BASE64_STANDARD.decode(signature).expect("base64")).expect("the signature holds");
    }
}

/// What is answered instead of 200.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), delay: Duration::ZERO }
    }
}

struct Counter {
    got: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<Answer>>,
    counted: watch::Sender<usize>,
}

impl Counter {
    fn got(&self) -> MutexGuard<'_, Vec<Got>> {
        self.got.lock().expect("nobody panics with it in hand")
    }
}

/// The server; it ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    counter: Arc<Counter>,
    stop: CancellationToken,
}

impl Receiver {
    /// On a free port, on a thread of its own: a test may block, and it still answers.
    pub(crate) async fn start() -> Self {
        let counter =
            Arc::new(Counter { got: Mutex::default(), answers: Mutex::default(), counted: watch::channel(0).0 });
        let stop = CancellationToken::new();
        let (bound, port) = tokio::sync::oneshot::channel();
        let (counting, stopped) = (Arc::clone(&counter), stop.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let _ = bound.send(listener.local_addr().expect("an address").port());
                let app = Router::new().fallback(take).with_state(counting);
                stopped.run_until_cancelled(axum::serve(listener, app).into_future()).await;
            });
        });
        Self { port: port.await.expect("it starts"), counter, stop }
    }

    /// Its URL, with a secret in the path.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/s3cr3t-path?token=s3cr3t-token", self.port)
    }

    /// The next requests get these answers.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.counter.answers.lock().expect("nobody panics with it in hand").extend(answers);
    }

    /// What came so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.counter.got().clone()
    }

    /// Waits until so many requests came.
    pub(crate) async fn wait_for(&self, requests: usize, limit: Duration) -> Vec<Got> {
        let mut counted = self.counter.counted.subscribe();
        let waited = tokio::time::timeout(limit, counted.wait_for(|count| *count >= requests)).await;
        assert!(waited.is_ok(), "{} of {requests} requests came within {limit:?}", self.got().len());
        drop(waited);
        self.got()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn take(State(counter): State<Arc<Counter>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).expect("a body of text");
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let count = {
        let mut got = counter.got();
        got.push(Got { path, headers, body });
        got.len()
    };
    let answer = counter.answers.lock().expect("nobody panics with it in hand").pop_front();
    counter.counted.send_replace(count);
    let Some(answer) = answer else { return "ok".into_response() };
    tokio::time::sleep(answer.delay).await;
    let status = StatusCode::from_u16(answer.status).expect("a status");
    let mut response = (status, answer.body).into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}
