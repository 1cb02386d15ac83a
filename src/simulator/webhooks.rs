//! The webhook subscription of the project, and the events that are sent to it: one when a connection breaks, signed as the API
//! signs, delivered at least once.
//!
//! The real API takes https addresses alone; this one is for a worker on the same machine, and sends to http addresses too.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::Url;

use super::Inner;
use super::account::{Account, instant};
use super::answer::{Refusal, json_answer};
use super::chance;
use super::gate::RequestId;

/// The event of an account whose authorization died.
const EXPIRED: &str = "composio.connected_account.expired";
/// All there are.
const EVENTS: [(&str, &[&str]); 3] =
    [("composio.trigger.message", &["V1", "V2", "V3"]), (EXPIRED, &["V3"]), ("composio.trigger.disabled", &["V3"])];
/// How often an event is delivered until it is taken, and the first wait between two tries.
const TRIES: u32 = 5;
/// See [`TRIES`].
const WAIT: Duration = Duration::from_millis(200);
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);

type Sim = State<Arc<Inner>>;
type Id = Extension<RequestId>;

/// The one subscription that a project may have, and how many secrets and events there were.
#[derive(Debug, Default)]
pub(super) struct Hooks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    subscription: Option<Subscription>,
    made: u64,
    sent: u64,
}

#[derive(Debug, Clone)]
struct Subscription {
    id: String,
    url: String,
    events: Vec<String>,
    version: String,
    secret: String,
    made_at: String,
    changed_at: String,
}

impl Subscription {
    /// With the whole secret, or, as in lists, with the beginning of it.
    fn json(&self, whole: bool) -> Value {
        let start: String = self.secret.chars().take(10).collect();
        json!({
            "id": self.id,
            "webhook_url": self.url,
            "version": self.version,
            "enabled_events": self.events,
            "secret": if whole { self.secret.clone() } else { format!("{start}...") },
            "created_at": self.made_at,
            "updated_at": self.changed_at,
        })
    }
}

impl Hooks {
    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn secret(&mut self, seed: u64) -> String {
        self.made += 1;
        let part = |place| chance::nano_id(chance::mix(seed, self.made, place));
        format!("whsec_{}{}{}", part(91), part(92), part(93))
    }

    fn of(&mut self, id: &str) -> Option<&mut Subscription> {
        self.subscription.as_mut().filter(|one| one.id == id)
    }
}

pub(super) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/webhook_subscriptions", get(list).post(create))
        .route("/webhook_subscriptions/event_types", get(event_types))
        .route("/webhook_subscriptions/{id}", get(show).patch(change).delete(delete))
        .route("/webhook_subscriptions/{id}/rotate_secret", post(rotate))
}

#[derive(Deserialize)]
struct Wanted {
    webhook_url: Option<String>,
    enabled_events: Option<Vec<String>>,
    version: Option<String>,
}

fn wanted(body: &Bytes) -> Result<Wanted, Refusal> {
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("body: {error}")))?;
    if let Some(url) = &wanted.webhook_url {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        if parsed.is_none() || url.len() > 2048 {
            return Err(Refusal::bad_request("webhook_url: must be an https URL of at most 2048 characters"));
        }
    }
    if let Some(events) = &wanted.enabled_events {
        let unknown = events.iter().find(|event| !EVENTS.iter().any(|(known, _)| known == event));
        if events.is_empty() || unknown.is_some() {
            return Err(Refusal::bad_request("enabled_events: must name at least one event, and known ones"));
        }
    }
    Ok(wanted)
}

async fn list(State(inner): Sim) -> Response<Body> {
    let items: Vec<Value> = inner.hooks.with(|hooks| hooks.subscription.iter().map(|one| one.json(false)).collect());
    let body =
        json!({ "items": items, "next_cursor": null, "total_pages": 1, "current_page": 1, "total_items": items.len() });
    json_answer(StatusCode::OK, &body)
}

async fn create(State(inner): Sim, Extension(id): Id, body: Bytes) -> Response<Body> {
    let wanted = match wanted(&body) {
        Ok(Wanted { webhook_url: Some(url), enabled_events: Some(events), version }) => (url, events, version),
        Ok(_) => return Refusal::bad_request("webhook_url and enabled_events are required").answer(&id.0),
        Err(refusal) => return refusal.answer(&id.0),
    };
    let (seed, now) = (inner.options.population.seed, instant(inner.now()));
    let made = inner.hooks.with(|hooks| {
        if hooks.subscription.is_some() {
            return None;
        }
        let secret = hooks.secret(seed);
        let (url, events, version) = wanted;
        let subscription = Subscription {
            id: format!("ws_{}", chance::nano_id(chance::mix(seed, hooks.made, 94))),
            url,
            events,
            version: version.unwrap_or_else(|| "V3".to_owned()),
            secret,
            made_at: now.clone(),
            changed_at: now,
        };
        hooks.subscription = Some(subscription.clone());
        Some(subscription)
    });
    match made {
        Some(made) => json_answer(StatusCode::CREATED, &made.json(true)),
        None => Refusal::conflict("A webhook subscription already exists for this project").answer(&id.0),
    }
}

fn missing(id: &RequestId) -> Response<Body> {
    Refusal::no_route("/webhook_subscriptions").answer(&id.0)
}

async fn show(State(inner): Sim, Extension(id): Id, Path(hook): Path<String>) -> Response<Body> {
    match inner.hooks.with(|hooks| hooks.of(&hook).map(|one| one.json(false))) {
        Some(found) => json_answer(StatusCode::OK, &found),
        None => missing(&id),
    }
}

async fn change(State(inner): Sim, Extension(id): Id, Path(hook): Path<String>, body: Bytes) -> Response<Body> {
    let wanted = match wanted(&body) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.answer(&id.0),
    };
    let now = instant(inner.now());
    let changed = inner.hooks.with(|hooks| {
        hooks.of(&hook).map(|one| {
            one.url = wanted.webhook_url.unwrap_or_else(|| one.url.clone());
            one.events = wanted.enabled_events.unwrap_or_else(|| one.events.clone());
            one.version = wanted.version.unwrap_or_else(|| one.version.clone());
            one.changed_at = now;
            one.json(false)
        })
    });
    changed.map_or_else(|| missing(&id), |changed| json_answer(StatusCode::OK, &changed))
}

async fn delete(State(inner): Sim, Extension(id): Id, Path(hook): Path<String>) -> Response<Body> {
    let gone = inner.hooks.with(|hooks| {
        let is_there = hooks.of(&hook).is_some();
        hooks.subscription = hooks.subscription.take().filter(|_| !is_there);
        is_there
    });
    if gone { json_answer(StatusCode::OK, &json!({ "success": true })) } else { missing(&id) }
}

async fn rotate(State(inner): Sim, Extension(id): Id, Path(hook): Path<String>) -> Response<Body> {
    let seed = inner.options.population.seed;
    let rotated = inner.hooks.with(|hooks| {
        let secret = hooks.secret(seed);
        hooks.of(&hook).map(|one| {
            one.secret.clone_from(&secret);
            json!({ "id": one.id, "secret": secret })
        })
    });
    rotated.map_or_else(|| missing(&id), |rotated| json_answer(StatusCode::OK, &rotated))
}

async fn event_types() -> Response<Body> {
    let items: Vec<Value> = EVENTS
        .iter()
        .map(|(kind, versions)| json!({ "event_type": kind, "description": kind, "supported_versions": versions }))
        .collect();
    json_answer(StatusCode::OK, &json!({ "items": items }))
}

/// Tells the subscriber, if there is one who wants to know, that this account has expired.
pub(super) fn tell_expired(inner: &Arc<Inner>, account: &Account) {
    let seed = inner.options.population.seed;
    let told = inner.hooks.with(|hooks| {
        let to = hooks.subscription.clone().filter(|one| one.events.iter().any(|event| event == EXPIRED))?;
        hooks.sent += 1;
        Some((to, chance::uuid(chance::mix(seed, hooks.sent, 95), "event")))
    });
    let Some((to, id)) = told else { return };
    let mut data = serde_json::to_value(account.json(super::routes::look(inner))).unwrap_or_default();
    if let Some(fields) = data.as_object_mut() {
        fields.insert("params".to_owned(), json!({}));
    }
    let id = format!("msg_{id}");
    let body = json!({
        "id": id,
        "timestamp": instant(inner.now()),
        "type": EXPIRED,
        "metadata": { "project_id": "pr_simulated", "org_id": "ok_simulated" },
        "data": data,
    });
    let (inner, body) = (Arc::clone(inner), body.to_string());
    inner.tasks.clone().spawn(async move { deliver(&inner, &to, &id, &body).await });
}

async fn deliver(inner: &Inner, to: &Subscription, id: &str, body: &str) {
    for attempt in 1..=TRIES {
        let seconds = inner.now().timestamp();
        let signed = Hmac::<Sha256>::new_from_slice(to.secret.as_bytes()).map(|mac| {
            BASE64_STANDARD.encode(mac.chain_update(format!("{id}.{seconds}.{body}")).finalize().into_bytes())
        });
        let Ok(signature) = signed else { return };
        let headers = format!(
            "webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: v1,{signature}\r\n\
             x-composio-webhook-version: V3\r\nx-composio-delivery-attempt: {attempt}\r\n"
        );
        let status = tokio::time::timeout(PATIENCE, send(&to.url, &headers, body)).await;
        if matches!(status, Ok(Ok(200..=299))) || inner.stop.is_cancelled() {
            return;
        }
        inner.delay(WAIT * 2_u32.pow(attempt)).await;
    }
}

/// One POST over plain HTTP; returns the status.
async fn send(url: &str, headers: &str, body: &str) -> io::Result<u16> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http").ok_or_else(wrong)?;
    let host = url.host_str().ok_or_else(wrong)?;
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    let mut stream = BufReader::new(TcpStream::connect((host, port)).await?);
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{headers}\r\n{body}",
        url.path(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
