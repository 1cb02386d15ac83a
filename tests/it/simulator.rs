//! The simulator answers as the documented API does, traps included, and its faults are visible to a plain client.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod faults;
mod links;
mod lists;
mod population;

use std::sync::Arc;
use std::time::Duration;

use connection_auditor::domain::clock::{Clock, ManualClock};
use connection_auditor::simulator::{Mix, PopulationSpec, Simulator, SimulatorOptions};
use reqwest::{Method, StatusCode};
use serde_json::Value;

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
