//! `/r/{token}` and `/c/{token}`: connecting again, and coming back from it.
//!
//! | request | what happens |
//! |---|---|
//! | `GET /r/{token}` | a page that names the app and has one button; nothing else, however often scanners come |
//! | `POST /r/{token}` | the accounts are read; what works needs nothing, for what does not there is a link: 303 |
//! | `GET /c/{token}?status=…` | Composio sends the person back: a check begins, and 303 to the same without what it says |
//! | `GET /c/{token}` | what that check found, as far as it has come; comes back by itself until it is over |
//! | `POST /c/{token}` | another check, for who does not want to wait |

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret;
use url::form_urlencoded;

use super::page::{About, Connection, Frame, Notice, Refresh};
use super::{Pages, Stopped, Visit};
use crate::audit::{Begin, Names, Outcome, Stand};
use crate::domain::incident::Incident;
use crate::domain::port::StoreResult;
use crate::domain::token::{Grant, Subject};
use crate::http::listener::Peer;

/// How long a page that waits for an outcome waits before it comes back, in seconds.
const COMES_BACK: u8 = 2;
/// How often it does so by itself.
const MOST_RETURNS: u32 = 20;

type From = Option<Extension<Peer>>;
type Site = State<Arc<Pages>>;

pub(super) fn routes(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/r/{token}", get(show).post(begin))
        .route("/c/{token}", get(come_back).post(look_again))
        .with_state(pages)
}

impl Pages {
    /// The subject of a token of this purpose, if the visitor may go on.
    fn subject(&self, visit: &Visit<'_>, token: &str, purpose: Purpose) -> Result<(Subject, Grant), Stopped> {
        let grant = self.admit(visit, token)?;
        match (grant, purpose) {
            (Grant::Reconnect(subject), Purpose::Reconnect) | (Grant::Outcome(subject), Purpose::Outcome) => {
                Ok((subject, grant))
            }
            _ => Err(Notice::Unknown.into()),
        }
    }

    /// A page about the connection of an incident.
    async fn about(&self, visit: &Visit<'_>, page: About, incident: &Incident) -> Response {
        match self.connection(page, incident).await {
            Ok(connection) => visit.frame.connection(&connection),
            Err(error) => unavailable(&visit.frame, &error),
        }
    }

    async fn connection(&self, page: About, incident: &Incident) -> StoreResult<Connection> {
        let toolkit = &incident.slot.toolkit;
        let mut names = Names::stored(self.store.as_ref(), [toolkit.clone()].into()).await?;
        let app = names.remove(toolkit).unwrap_or_else(|| toolkit.to_string());
        let initial =
            app.chars().find(|c| c.is_alphanumeric()).map_or_else(|| "•".into(), |c| c.to_uppercase().collect());
        // What may be an address is nobody's business who has nothing but the link.
        let alias = incident.slot.alias.clone().filter(|alias| !alias.contains('@') && alias.chars().count() <= 60);
        Ok(Connection { page, kind: incident.kind.as_str(), app, initial, alias, refresh: None, retry: None })
    }

    async fn stand(&self, visit: &Visit<'_>, stand: Stand) -> Response {
        match stand {
            Stand::Open(incident) => self.about(visit, About::Reconnect, &incident).await,
            Stand::Works(incident) => self.about(visit, About::Works, &incident).await,
            Stand::Over(incident) => self.about(visit, About::Over, &incident).await,
            Stand::Unknown => visit.frame.notice(Notice::Forgotten),
        }
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Reconnect,
    Outcome,
}

fn unavailable(frame: &Frame<'_>, error: &dyn std::error::Error) -> Response {
    tracing::warn!(event = "page.unavailable", %error);
    frame.notice(Notice::Unavailable)
}

/// Another page; after a form, so that going back and reloading send nothing again.
pub(super) fn see_other(to: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(to) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}

async fn show(State(pages): Site, from: From, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let visit = pages.visit(from, &headers);
    let (subject, _) = match pages.subject(&visit, &token, Purpose::Reconnect) {
        Ok(subject) => subject,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    let visit = pages.in_language_of(visit, &headers, subject.mail).await;
    match pages.reconnect.stand(subject).await {
        Ok(stand) => pages.stand(&visit, stand).await,
        Err(error) => unavailable(&visit.frame, &error),
    }
}

async fn begin(State(pages): Site, from: From, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let visit = pages.visit(from, &headers);
    let (subject, grant) = match pages.subject(&visit, &token, Purpose::Reconnect) {
        Ok(subject) => subject,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    let visit = pages.in_language_of(visit, &headers, subject.mail).await;
    if let Err(stopped) = pages.may_act(&headers, grant) {
        return visit.frame.stopped(stopped);
    }
    match pages.reconnect.begin(subject).await {
        Ok(Begin::Go(url)) => see_other(url.expose_secret()),
        Ok(Begin::Not(stand)) => pages.stand(&visit, stand).await,
        Ok(Begin::Off(incident)) => pages.about(&visit, About::Off, &incident).await,
        Err(error) => unavailable(&visit.frame, &error),
    }
}

async fn come_back(
    State(pages): Site,
    from: From,
    headers: HeaderMap,
    Path(token): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let visit = pages.visit(from, &headers);
    let (subject, _) = match pages.subject(&visit, &token, Purpose::Outcome) {
        Ok(subject) => subject,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    let visit = pages.in_language_of(visit, &headers, subject.mail).await;
    let asked = Asked::read(query.as_deref());
    if asked.from_composio {
        return match pages.reconnect.returned(subject).await {
            // What Composio says stands in the address no more, and reloading the page asks for no check.
            Ok(()) => see_other(&format!("./{token}")),
            Err(error) => unavailable(&visit.frame, &error),
        };
    }
    let outcome = match pages.reconnect.outcome(subject).await {
        Ok(outcome) => outcome,
        Err(error) => return unavailable(&visit.frame, &error),
    };
    let (page, incident) = match outcome {
        Outcome::Unknown => return visit.frame.notice(Notice::Forgotten),
        Outcome::Looking(incident) if asked.returns < MOST_RETURNS => (About::Looking, incident),
        Outcome::Looking(incident) => (About::StillLooking, incident),
        Outcome::Connected { incident, another: false } => (About::Connected, incident),
        Outcome::Connected { incident, another: true } => (About::Another, incident),
        Outcome::Broken(incident) => (About::Broken, incident),
        Outcome::Over(incident) => (About::Over, incident),
    };
    let mut connection = match pages.connection(page, &incident).await {
        Ok(connection) => connection,
        Err(error) => return unavailable(&visit.frame, &error),
    };
    if page == About::Looking {
        connection.refresh = Some(Refresh { after: COMES_BACK, to: format!("?n={}", asked.returns + 1) });
    }
    if page == About::Broken {
        connection.retry = Some(pages.reconnect.retry(subject).into());
    }
    visit.frame.connection(&connection)
}

async fn look_again(State(pages): Site, from: From, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let visit = pages.visit(from, &headers);
    let (subject, grant) = match pages.subject(&visit, &token, Purpose::Outcome) {
        Ok(subject) => subject,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    if let Err(stopped) = pages.may_act(&headers, grant) {
        return visit.frame.stopped(stopped);
    }
    match pages.reconnect.returned(subject).await {
        Ok(()) => see_other(&format!("./{token}")),
        Err(error) => unavailable(&visit.frame, &error),
    }
}

/// What a request for an outcome carries besides the token; none of it is believed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    from_composio: bool,
    returns: u32,
}

impl Asked {
    fn read(query: Option<&str>) -> Self {
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).fold(Self::default(), |asked, (name, value)| {
            match name.as_ref() {
                "status" | "connected_account_id" => Self { from_composio: true, ..asked },
                "n" => Self { returns: value.parse().unwrap_or(MOST_RETURNS), ..asked },
                _ => asked,
            }
        })
    }
}

/// Where a request comes from, if the listener says so.
pub(super) fn peer(from: From) -> IpAddr {
    from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(Peer(address))| address)
}
