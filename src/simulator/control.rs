//! Control over HTTP, for tests and demos that run the simulator as a process of its own: everything that [`super::Simulator`]
//! offers as methods, under `/__sim`. No key; the simulator belongs on loopback.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::Inner;
use super::answer::{json_answer, text_answer};
use super::faults::Faults;
use super::list;
use super::persona::{Kind, personas};
use crate::domain::id::UserId;

type Sim = State<Arc<Inner>>;

pub(super) fn routes(inner: &Arc<Inner>) -> Router {
    Router::new()
        .route("/__sim/truth", get(truth))
        .route("/__sim/personas", get(list_personas))
        .route("/__sim/users.csv", get(users))
        .route("/__sim/counters", get(counters).delete(reset_counters))
        .route("/__sim/faults", get(faults).post(set_faults))
        .route("/__sim/heal", post(heal))
        .route("/__sim/break", post(break_some))
        .route("/__sim/expire", post(expire))
        .route("/__sim/revive", post(revive))
        .with_state(Arc::clone(inner))
}

async fn truth(State(inner): Sim) -> Response<Body> {
    json_answer(StatusCode::OK, &inner.world.truth())
}

async fn list_personas() -> Response<Body> {
    let all: Vec<Value> = personas()
        .map(|persona| {
            let mailed: Vec<Kind> = persona.mailed().collect();
            json!({ "name": persona.name, "why": persona.why, "weight": persona.weight, "mailed": mailed })
        })
        .collect();
    json_answer(StatusCode::OK, &all)
}

async fn users(State(inner): Sim) -> Response<Body> {
    let mut csv = Vec::new();
    match inner.world.population().write_users_csv(&mut csv) {
        Ok(()) => text_answer(StatusCode::OK, "text/csv; charset=utf-8", String::from_utf8_lossy(&csv).into_owned()),
        Err(error) => wrong(&error.to_string()),
    }
}

async fn counters(State(inner): Sim) -> Response<Body> {
    json_answer(StatusCode::OK, &inner.tally.read())
}

async fn reset_counters(State(inner): Sim) -> Response<Body> {
    inner.tally.reset();
    json_answer(StatusCode::OK, &json!({ "reset": true }))
}

async fn faults(State(inner): Sim) -> Response<Body> {
    json_answer(StatusCode::OK, &inner.faults())
}

async fn set_faults(State(inner): Sim, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Faults>(&body) {
        Ok(faults) => {
            inner.set_faults(faults);
            json_answer(StatusCode::OK, &inner.faults())
        }
        Err(error) => wrong(&error.to_string()),
    }
}

fn wrong(message: &str) -> Response<Body> {
    json_answer(StatusCode::BAD_REQUEST, &json!({ "error": message }))
}

/// Whom a change is for: so many, or one by id.
enum Whom {
    Some(usize),
    One(UserId),
}

fn whom(query: Option<&str>) -> Option<Whom> {
    list::pairs(query).into_iter().find_map(|(name, value)| match name.as_str() {
        "n" => value.parse().ok().map(Whom::Some),
        "user" => Some(Whom::One(UserId::from(value))),
        _ => None,
    })
}

fn changed(users: &[UserId]) -> Response<Body> {
    json_answer(StatusCode::OK, &json!({ "users": users }))
}

async fn heal(State(inner): Sim, RawQuery(query): RawQuery) -> Response<Body> {
    match whom(query.as_deref()) {
        Some(Whom::Some(count)) => changed(&inner.heal(count)),
        Some(Whom::One(user)) => changed(inner.heal_user(&user).then_some(user).as_slice()),
        None => wrong("say how many (?n=5) or who (?user=user-000001)"),
    }
}

async fn break_some(State(inner): Sim, RawQuery(query): RawQuery) -> Response<Body> {
    match whom(query.as_deref()) {
        Some(Whom::Some(count)) => changed(&inner.break_some(count)),
        Some(Whom::One(user)) => changed(inner.break_user(&user).then_some(user).as_slice()),
        None => wrong("say how many (?n=5) or who (?user=user-000001)"),
    }
}

fn app(query: Option<&str>) -> Option<String> {
    list::pairs(query).into_iter().find_map(|(name, value)| (name == "app").then_some(value))
}

async fn expire(State(inner): Sim, RawQuery(query): RawQuery) -> Response<Body> {
    match app(query.as_deref()) {
        Some(slug) if inner.world.expire_app(&slug, (inner.now)()) => {
            json_answer(StatusCode::OK, &json!({ "expired": slug }))
        }
        _ => wrong("say which app (?app=slack)"),
    }
}

async fn revive(State(inner): Sim, RawQuery(query): RawQuery) -> Response<Body> {
    match app(query.as_deref()) {
        Some(slug) if inner.world.revive_app(&slug) => json_answer(StatusCode::OK, &json!({ "revived": slug })),
        _ => wrong("say which app has expired (?app=slack)"),
    }
}
