//! The endpoints of the API that are simulated.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{Response, StatusCode, Uri};
use axum::routing::{get, patch, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Inner;
use super::account::{Account, Look, instant};
use super::answer::{Refusal, json_answer, text_answer};
use super::catalog;
use super::faults::Lie;
use super::gate::{self, RequestId};
use super::list::{self, Query};
use super::persona::{BY_USER, Reason};
use super::tools;
use super::webhooks;
use super::world::{Connect, Link};
use crate::domain::id::UserId;

type Sim = State<Arc<Inner>>;
type Id = Extension<RequestId>;

/// Both versions of the API; they behave the same.
pub(super) fn api(inner: &Arc<Inner>) -> Router {
    let endpoints: Router<Arc<Inner>> = Router::new()
        .route("/connected_accounts", get(list_accounts).post(create_account))
        .route("/connected_accounts/link", post(create_link))
        .route("/connected_accounts/{id}", get(get_account).delete(delete_account))
        .route("/connected_accounts/{id}/refresh", post(refresh_account))
        .route("/connected_accounts/{id}/status", patch(switch_account))
        .route("/toolkits", get(list_toolkits))
        .route("/toolkits/{slug}", get(get_toolkit))
        .route("/auth_configs", get(list_auth_configs))
        .route("/tools", get(tools::list_tools))
        .route("/tools/{slug}", get(tools::get_tool))
        .route("/tools/execute/{slug}", post(tools::execute))
        .merge(webhooks::routes())
        .fallback(no_route)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(inner), gate::pass));
    Router::new()
        .nest("/api/v3", endpoints.clone())
        .nest("/api/v3.1", endpoints)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(inner), gate::note))
        .with_state(Arc::clone(inner))
}

async fn no_route(uri: Uri, Extension(id): Id) -> Response<Body> {
    Refusal::no_route(uri.path()).answer(&id.0)
}

async fn list_accounts(State(inner): Sim, Extension(id): Id, RawQuery(text): RawQuery) -> Response<Body> {
    let query = match Query::read(text.as_deref()) {
        Ok(query) => query,
        Err(refusal) => return refusal.answer(&id.0),
    };
    inner.tally.count(|counters| {
        for user in query.user_ids.iter().flatten() {
            *counters.lists_by_user.entry(UserId::new(user.as_str())).or_default() += 1;
        }
    });
    let body = list::answer(&inner.world, query, inner.options.page_size(), &inner.faults());
    text_answer(StatusCode::OK, "application/json; charset=utf-8", body)
}

pub(super) fn look(inner: &Inner) -> Look {
    let faults = inner.faults();
    Look { masking: faults.masking, user_id: !faults.tells(Lie::DropUserId) }
}

async fn get_account(State(inner): Sim, Extension(id): Id, Path(account): Path<String>) -> Response<Body> {
    let Some(mut found) = inner.world.find(&account) else { return Refusal::no_account(&account).answer(&id.0) };
    if inner.faults().tells(Lie::OthersAccount) {
        found.owner = inner.world.somebody_else(&[found.owner]).unwrap_or_default();
    }
    let mut body = serde_json::to_value(found.json(look(&inner))).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("params".to_owned(), json!({}));
    }
    json_answer(StatusCode::OK, &body)
}

async fn delete_account(State(inner): Sim, Extension(id): Id, Path(account): Path<String>) -> Response<Body> {
    if inner.world.delete(&account) {
        json_answer(StatusCode::OK, &json!({ "success": true }))
    } else {
        Refusal::no_account(&account).answer(&id.0)
    }
}

#[derive(Deserialize)]
struct LinkBody {
    auth_config_id: String,
    user_id: String,
    alias: Option<String>,
    callback_url: Option<String>,
}

fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("body: {error}")))
}

/// Makes an account for an auth config that exists and is enabled, with a link to complete it.
fn connect(inner: &Inner, mut body: LinkBody) -> Result<(Account, Link), Refusal> {
    if body.user_id.is_empty() {
        return Err(Refusal::bad_request("user_id: must not be empty"));
    }
    if inner.faults().tells(Lie::AliasTaken) && body.alias.is_some() {
        return Err(Refusal::conflict("A connected account with this alias already exists"));
    }
    let Some((app, config)) = catalog::auth_config(&body.auth_config_id) else {
        return Err(Refusal::no_auth_config(&body.auth_config_id));
    };
    if !inner.options.shelf(catalog::app_at(app).slug).configs().contains(&config) {
        return Err(Refusal::no_auth_config(&body.auth_config_id));
    }
    if inner.faults().tells(Lie::OthersLink) {
        body.user_id = inner.world.somebody_else(&[body.user_id]).unwrap_or_default();
    }
    if config == catalog::DISABLED_CONFIG {
        return Err(Refusal::bad_request("Auth config is disabled"));
    }
    let connect = Connect { user: body.user_id, app, config, alias: body.alias, callback_url: body.callback_url };
    inner.tally.count(|counters| counters.links_minted += 1);
    Ok(inner.world.connect(connect, &inner.url, inner.now()))
}

async fn create_link(State(inner): Sim, Extension(id): Id, body: Bytes) -> Response<Body> {
    match read(&body).and_then(|body| connect(&inner, body)) {
        Ok((account, link)) => json_answer(
            StatusCode::CREATED,
            &json!({
                "link_token": link.token,
                "redirect_url": link.url,
                "expires_at": instant(link.expires_at),
                "connected_account_id": account.id,
            }),
        ),
        Err(refusal) => refusal.answer(&id.0),
    }
}

#[derive(Deserialize)]
struct CreateBody {
    auth_config: CreateConfig,
    connection: CreateConnection,
}

#[derive(Deserialize)]
struct CreateConfig {
    id: String,
}

#[derive(Deserialize)]
struct CreateConnection {
    user_id: Option<String>,
    alias: Option<String>,
    callback_url: Option<String>,
}

async fn create_account(State(inner): Sim, Extension(id): Id, body: Bytes) -> Response<Body> {
    let made = read::<CreateBody>(&body).and_then(|body| {
        if catalog::auth_config(&body.auth_config.id).is_some_and(|(_, config)| catalog::is_managed(config)) {
            return Err(Refusal::retired());
        }
        let link = LinkBody {
            auth_config_id: body.auth_config.id,
            user_id: body.connection.user_id.unwrap_or_else(|| "default".to_owned()),
            alias: body.connection.alias,
            callback_url: body.connection.callback_url,
        };
        connect(&inner, link)
    });
    match made {
        Ok((account, link)) => json_answer(
            StatusCode::CREATED,
            &json!({
                "id": account.id,
                "connectionData": { "authScheme": account.scheme, "val": account.val(inner.faults().masking) },
                "status": account.status,
                "redirect_url": link.url,
                "redirect_uri": link.url,
                "deprecated": { "uuid": "", "authConfigUuid": "" },
            }),
        ),
        Err(refusal) => refusal.answer(&id.0),
    }
}

async fn refresh_account(
    State(inner): Sim,
    Extension(id): Id,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    inner.tally.count(|counters| counters.refresh_calls += 1);
    let Some(found) = inner.world.find(&account) else { return Refusal::no_account(&account).answer(&id.0) };
    if found.scheme == "API_KEY" {
        return Refusal::conflict("This connection's scheme cannot be refreshed").answer(&id.0);
    }
    let callback =
        list::pairs(query.as_deref()).into_iter().find_map(|(name, value)| (name == "redirect_url").then_some(value));
    match inner.world.refresh(&account, &inner.url, callback, inner.now()) {
        Some(account) => json_answer(
            StatusCode::OK,
            &json!({ "id": account.id, "status": account.status, "redirect_url": account.redirect_url }),
        ),
        None => Refusal::no_account(&account).answer(&id.0),
    }
}

#[derive(Deserialize)]
struct StatusBody {
    enabled: bool,
}

async fn switch_account(
    State(inner): Sim,
    Extension(id): Id,
    Path(account): Path<String>,
    body: Bytes,
) -> Response<Body> {
    let status = match read::<StatusBody>(&body) {
        Ok(StatusBody { enabled: true }) => "ACTIVE",
        Ok(StatusBody { enabled: false }) => "INACTIVE",
        Err(refusal) => return refusal.answer(&id.0),
    };
    if inner.world.set_status(&account, status, Reason::Text(BY_USER), inner.now()) {
        json_answer(StatusCode::OK, &json!({ "success": true }))
    } else {
        Refusal::no_account(&account).answer(&id.0)
    }
}

async fn get_toolkit(Path(slug): Path<String>, Extension(id): Id) -> Response<Body> {
    match catalog::position(&slug) {
        Some(position) => json_answer(StatusCode::OK, &catalog::toolkit_json(catalog::app_at(position))),
        None => Refusal::no_toolkit(&slug).answer(&id.0),
    }
}

/// All of something in one page: neither list here is longer than one.
fn page(items: &[Value]) -> Value {
    json!({ "items": items, "next_cursor": null, "total_pages": 1, "current_page": 1, "total_items": items.len() })
}

async fn list_toolkits() -> Response<Body> {
    let items: Vec<Value> = catalog::APPS.iter().map(|app| catalog::toolkit_item_json(*app)).collect();
    json_answer(StatusCode::OK, &page(&items))
}

async fn list_auth_configs(State(inner): Sim, RawQuery(query): RawQuery) -> Response<Body> {
    let slugs: Vec<String> = list::pairs(query.as_deref())
        .into_iter()
        .filter(|(name, _)| name == "toolkit_slug")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let wanted = |slug: &str| slugs.is_empty() || slugs.iter().any(|wanted| wanted == slug);
    let items: Vec<Value> = catalog::APPS
        .iter()
        .filter(|app| wanted(app.slug))
        .flat_map(|app| {
            let configs = inner.options.shelf(app.slug).configs();
            configs.iter().map(|config| catalog::auth_config_json(*app, *config))
        })
        .collect();
    json_answer(StatusCode::OK, &page(&items))
}
