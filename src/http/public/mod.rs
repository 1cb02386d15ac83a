//! The public listener, `[http.public]`: what the internet may reach, and nothing else.
//!
//! | route | what |
//! |---|---|
//! | `GET`, `POST /r/{token}` | the button of a mail: connect again |
//! | `GET`, `POST /c/{token}` | back from connecting: what came of it |
//! | `GET`, `POST /u/{token}` | stop mails, by one click or with a choice |
//! | `POST /webhooks/composio` | events, as Composio signs them |
//! | `POST /webhooks/mail` | bounces and complaints, as mail providers report them; with a secret |
//!
//! A `GET` changes nothing, for scanners open every link of every mail: but for the way back from Composio, which no mail holds.
//! A token is all that a visitor has; what is none of ours, has expired, or is for another purpose is told apart on the page and
//! does nothing.

mod page;
mod reconnect;
mod stop;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::http::HeaderMap;
use secrecy::SecretString;
use url::Url;

use self::page::{Frame, Language, Notice};
use self::visitor::{Bounds, TooOften};
use super::composio_events::{self, Intake};
use super::{bounded, mail_events};
use crate::audit::{Outbox, Reconnect};
use crate::domain::clock::Clock;
use crate::domain::id::NotificationId;
use crate::domain::network::Network;
use crate::domain::port::Store;
use crate::domain::token::{Grant, Refused};
use crate::http::listener::Peer;

/// What the public routes need.
#[derive(Clone)]
pub struct Public {
    /// Where what is reported is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Connects again; none: there are no pages.
    pub reconnect: Option<Reconnect>,
    /// What the app is called on pages.
    pub app_name: Option<String>,
    /// Where Composio is, to which forms may lead.
    pub composio: Url,
    /// Whose word on where a request comes from is believed.
    pub trusted_proxies: Vec<Network>,
    /// Hands checks over that events ask for.
    pub outbox: Outbox,
    /// With which Composio signs events; without one it has no route.
    pub webhook_secrets: Vec<SecretString>,
    /// What a mail provider must show; none: it has no route.
    pub mail_events_secret: Option<SecretString>,
}

/// The routes of the public listener.
pub fn router(public: Public) -> Router {
    let Public { store, clock, .. } = &public;
    let mut routes = Router::new();
    if let Some(secret) = &public.mail_events_secret {
        routes = routes.merge(mail_events::routes(Arc::clone(store), Arc::clone(clock), secret.clone()));
    }
    if !public.webhook_secrets.is_empty() {
        routes = routes.merge(composio_events::routes(Intake {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            outbox: public.outbox.clone(),
            secrets: public.webhook_secrets.clone(),
        }));
    }
    if let Some(reconnect) = public.reconnect {
        let pages = Arc::new(Pages {
            store: public.store,
            clock: public.clock,
            reconnect,
            app_name: public.app_name,
            composio: public.composio,
            trusted_proxies: public.trusted_proxies,
            bounds: Bounds::new(),
        });
        routes = routes.merge(reconnect::routes(Arc::clone(&pages))).merge(stop::routes(pages));
    }
    bounded(routes)
}

/// What pages are made from.
struct Pages {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reconnect: Reconnect,
    app_name: Option<String>,
    composio: Url,
    trusted_proxies: Vec<Network>,
    bounds: Bounds,
}

/// One request for a page.
struct Visit<'a> {
    address: std::net::IpAddr,
    frame: Frame<'a>,
}

impl Pages {
    fn visit(&self, from: Option<Extension<Peer>>, headers: &HeaderMap) -> Visit<'_> {
        Visit {
            address: visitor::address(reconnect::peer(from), headers, &self.trusted_proxies),
            frame: Frame {
                language: Language::chosen(headers, None),
                brand: self.app_name.as_deref(),
                composio: &self.composio,
            },
        }
    }

    /// The same in the language of the mail, where the browser asks for none that there is.
    async fn in_language_of<'a>(&self, visit: Visit<'a>, headers: &HeaderMap, mail: NotificationId) -> Visit<'a> {
        let template = self.store.mailed(mail).await.ok().flatten().and_then(|mailed| mailed.template);
        let language = Language::chosen(headers, template.as_deref());
        Visit { frame: Frame { language, ..visit.frame }, ..visit }
    }

    /// What a token grants, to a visitor who does not come too often.
    fn admit(&self, visit: &Visit<'_>, token: &str) -> Result<Grant, Stopped> {
        self.bounds.visit(visit.address)?;
        let grant = self.reconnect.links.keys().read(token, self.clock.now()).map_err(|refused| match refused {
            Refused::Forged => Notice::Unknown,
            Refused::Expired => Notice::Expired,
        })?;
        self.bounds.open(grant)?;
        Ok(grant)
    }

    /// Whether a form may be carried out: it is ours, and not sent too often.
    fn may_act(&self, headers: &HeaderMap, grant: Grant) -> Result<(), Stopped> {
        if !visitor::is_ours(headers, self.reconnect.links.url()) {
            return Err(Notice::Foreign.into());
        }
        Ok(self.bounds.act(grant)?)
    }
}

/// Why a visitor gets no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// This is said instead.
    Notice(Notice),
    /// They come too often.
    TooOften(TooOften),
}

impl From<Notice> for Stopped {
    fn from(notice: Notice) -> Self {
        Self::Notice(notice)
    }
}

impl From<TooOften> for Stopped {
    fn from(wait: TooOften) -> Self {
        Self::TooOften(wait)
    }
}
