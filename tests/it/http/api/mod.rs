//! `/api/v1` and the probes, asked of the real binary.

mod access;
mod document;
mod entity;
mod examples;
mod limits;
mod routes;

use std::time::Duration;

use axum::http::StatusCode;
use connection_auditor::simulator::Mix;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::server;
use crate::support::world::{On, World};

/// A token that may read, named `support`.
pub(super) const READ: &str = "read-0123456789abcdef";
/// A token that may write, named `app`.
pub(super) const WRITE: &str = "write-0123456789abcdef";

/// A worker that answers, and a client.
pub(super) struct Api {
    pub(super) world: World,
    pub(super) worker: usize,
    pub(super) url: String,
    pub(super) client: reqwest::Client,
}

impl Api {
    /// A small embedded installation whose API needs a token; nothing checks.
    pub(super) async fn open() -> Self {
        Self::of(World::mixed(On::Embedded, 3, Mix::only(&["expired_permanent"])).await, &["--roles", "http"]).await
    }

    /// The same in a world that is there, with these arguments of `run`.
    pub(super) async fn of(mut world: World, arguments: &[&str]) -> Self {
        world.set("http.ops.read_tokens", format!("support:{READ}"));
        world.set("http.ops.write_tokens", format!("app:{WRITE}"));
        Self::as_it_is(world, arguments).await
    }

    /// The same with the tokens that the world has set, if any.
    pub(super) async fn as_it_is(mut world: World, arguments: &[&str]) -> Self {
        let port = server::free_port();
        world.set("http.ops.listen", format!("127.0.0.1:{port}"));
        let worker = world.start_worker_with(arguments);
        world
            .until("it listens", Duration::from_secs(30), || async {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
            })
            .await;
        // A second installation is refused, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { world, worker, url: format!("http://127.0.0.1:{port}"), client }
    }

    pub(super) fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Asks as somebody who may read.
    pub(super) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).bearer_auth(READ).send().await.expect("it answers")
    }

    /// Sends JSON as somebody who may write.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.ask(Method::POST, path).bearer_auth(WRITE);
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().await.expect("it answers")
    }

    pub(super) async fn delete(&self, path: &str) -> Response {
        self.ask(Method::DELETE, path).bearer_auth(WRITE).send().await.expect("it answers")
    }
}

/// The JSON of an answer with this status.
pub(super) async fn json(answer: Response, status: u16) -> Value {
    let got = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("it is no JSON: {text}"))
}

/// The code of a problem with this status.
pub(super) async fn code(answer: Response, status: u16) -> String {
    let (got, body) = super::problem(answer).await;
    assert_eq!(got, StatusCode::from_u16(status).expect("a status"), "{body}");
    body["code"].as_str().unwrap_or_else(|| panic!("it has no code: {body}")).to_owned()
}

/// A user's path, whatever their id is.
pub(super) fn user(id: &str, rest: &str) -> String {
    format!("/api/v1/users/{}/{rest}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}
