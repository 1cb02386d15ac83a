//! Tools: a few of every app, and what running one with a connected account answers (`composio-api.md` §5).
//!
//! An answer says with whose account the tool ran, so that a test can tell a crossed call; the real API says nothing of that.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Inner;
use super::account::Account;
use super::answer::{Refusal, json_answer};
use super::catalog::{APPS, App};
use super::faults::Lie;
use super::gate::RequestId;
use super::list;

type Sim = State<Arc<Inner>>;
type Id = Extension<RequestId>;

/// How many tools a page has where no `limit` is given.
const PAGE: usize = 20;

/// The most a page has.
const LONGEST_PAGE: usize = 1000;

/// The version of every tool.
const VERSION: &str = "20260901_00";

/// Tools that have names of their own; every other app has a list and a create.
const NAMED: [(&str, &str, &str); 5] = [
    ("slack", "SLACK_SEND_MESSAGE", "Send a message"),
    ("gmail", "GMAIL_SEND_EMAIL", "Send an email"),
    ("github", "GITHUB_CREATE_ISSUE", "Create an issue"),
    ("github", "GITHUB_GET_THE_AUTHENTICATED_USER", "Get the authenticated user"),
    // Needs no account.
    (FREE_APP, "COMPOSIO_SEARCH_WEB", "Search the web"),
];

/// The app whose tools need no account.
const FREE_APP: &str = "composio_search";

#[derive(Debug, Clone)]
struct Tool {
    app: String,
    slug: String,
    name: String,
}

/// Every tool there is, in the order of apps.
fn all() -> impl Iterator<Item = Tool> {
    let named = NAMED.iter().map(|(app, slug, name)| Tool {
        app: (*app).to_owned(),
        slug: (*slug).to_owned(),
        name: (*name).to_owned(),
    });
    let of_app = |app: &App| {
        let prefix = app.slug.to_uppercase();
        [("LIST_ITEMS", "List items"), ("CREATE_ITEM", "Create an item")].map(|(slug, name)| Tool {
            app: app.slug.to_owned(),
            slug: format!("{prefix}_{slug}"),
            name: name.to_owned(),
        })
    };
    named.chain(APPS.iter().flat_map(of_app))
}

fn tool_json(tool: &Tool) -> Value {
    let app = APPS.iter().find(|app| app.slug == tool.app).map_or(tool.app.as_str(), |app| app.name);
    json!({
        "slug": tool.slug,
        "name": tool.name,
        "description": format!("{} in {app}.", tool.name),
        "human_description": tool.name,
        "toolkit": { "slug": tool.app, "name": app, "logo": format!("https://logos.composio.dev/api/{}", tool.app) },
        "input_parameters": { "type": "object", "title": tool.slug, "properties": { "text": { "type": "string" } } },
        "output_parameters": { "type": "object", "properties": {} },
        "no_auth": tool.app == FREE_APP,
        "version": VERSION,
        "available_versions": [VERSION],
        "scopes": [],
        "tags": [],
        "is_deprecated": false,
        "deprecated": {
            "displayName": tool.name, "version": VERSION, "available_versions": [VERSION], "is_deprecated": false,
            "toolkit": { "logo": "" },
        },
    })
}

/// `GET /tools`. `tool_slugs` overrides the other filters.
pub(super) async fn list_tools(RawQuery(query): RawQuery) -> Response<Body> {
    let pairs = list::pairs(query.as_deref());
    let (apps, slugs) = (list::values(&pairs, "toolkit_slug"), list::values(&pairs, "tool_slugs"));
    let has = |wanted: &Option<Vec<String>>, value: &str| {
        wanted.as_ref().is_none_or(|all| all.iter().any(|one| one == value))
    };
    let wanted: Vec<Value> = all()
        .filter(|tool| if slugs.is_some() { has(&slugs, &tool.slug) } else { has(&apps, &tool.app) })
        .map(|tool| tool_json(&tool))
        .collect();
    let number = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let limit = number("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE);
    let (page, limit) = number("cursor").and_then(|text| list::read_cursor(&text)).unwrap_or((1, limit));
    let limit = limit.clamp(1, LONGEST_PAGE);
    let start = (page - 1).saturating_mul(limit);
    let next = (start.saturating_add(limit) < wanted.len()).then(|| list::cursor(page + 1, limit));
    let items: Vec<&Value> = wanted.iter().skip(start).take(limit).collect();
    json_answer(
        StatusCode::OK,
        &json!({
            "items": items, "next_cursor": next, "total_pages": wanted.len().div_ceil(limit), "current_page": page,
            "total_items": wanted.len(),
        }),
    )
}

/// `GET /tools/{slug}`.
pub(super) async fn get_tool(Path(slug): Path<String>, Extension(id): Id) -> Response<Body> {
    match all().find(|tool| tool.slug == slug) {
        Some(tool) => json_answer(StatusCode::OK, &tool_json(&tool)),
        None => Refusal::no_tool(&slug).answer(&id.0),
    }
}

#[derive(Deserialize)]
struct ExecuteBody {
    connected_account_id: Option<String>,
    user_id: Option<String>,
    entity_id: Option<String>,
    arguments: Option<Map<String, Value>>,
    text: Option<String>,
}

/// `POST /tools/execute/{slug}`.
pub(super) async fn execute(
    State(inner): Sim,
    Extension(id): Id,
    Path(slug): Path<String>,
    body: Bytes,
) -> Response<Body> {
    match run(&inner, &slug, &body) {
        Ok(answer) => json_answer(StatusCode::OK, &answer),
        Err(refusal) => refusal.answer(&id.0),
    }
}

fn run(inner: &Inner, slug: &str, body: &Bytes) -> Result<Value, Refusal> {
    let body: ExecuteBody =
        serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("body: {error}")))?;
    let tool = all().find(|tool| tool.slug == slug).ok_or_else(|| Refusal::no_tool(slug))?;
    let arguments = match (body.arguments, body.text) {
        (Some(arguments), None) => Value::Object(arguments),
        (None, Some(text)) => json!({ "text": text }),
        _ => return Err(Refusal::bad_request("either arguments or text must be given")),
    };
    let user = body.user_id.or(body.entity_id);
    let account = account(inner, &tool, body.connected_account_id.as_deref(), user.as_deref())?;
    match account.status {
        "ACTIVE" if !account.is_disabled => {}
        "EXPIRED" => return Err(Refusal::account_expired(&account.id)),
        status => return Err(Refusal::invalid_state(&account.id, status)),
    }
    let fails = arguments.get("fail").and_then(Value::as_bool) == Some(true);
    inner.tally.count(|counters| *counters.executed_by_account.entry(account.id.clone()).or_default() += 1);
    Ok(json!({
        "data": {
            "tool": tool.slug, "ran_as": account.owner, "connected_account_id": account.id, "arguments": arguments,
        },
        "error": if fails { json!("channel_not_found") } else { Value::Null },
        "successful": !fails,
        "log_id": format!("log_{}", &account.id),
    }))
}

/// The account that is named, if it is the user's; else the user's newest one of the app that works.
fn account(inner: &Inner, tool: &Tool, named: Option<&str>, user: Option<&str>) -> Result<Account, Refusal> {
    if let Some(named) = named {
        let account = inner.world.find(named).ok_or_else(|| Refusal::execute_without_account(named))?;
        let is_theirs = account.is_shared || user.is_none_or(|user| user == account.owner);
        if !is_theirs || inner.faults().tells(Lie::OthersTool) {
            return Err(Refusal::not_their_account(named));
        }
        if account.slug() != tool.app {
            return Err(Refusal::bad_request(format!("{named} is no account of {}", tool.app)));
        }
        return Ok(account);
    }
    let Some(user) = user else { return Err(Refusal::bad_request("connected_account_id or user_id must be given")) };
    inner.world.newest_of(user, &tool.app).ok_or_else(|| Refusal::execute_without_account(user))
}
