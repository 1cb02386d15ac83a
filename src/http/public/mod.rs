//! The public listener, `[http.public]`: what the internet may reach, and nothing else.
//!
//! | route | what |
//! |---|---|
//! | `POST /webhooks/mail` | bounces and complaints, as mail providers report them; with a secret |

use std::sync::Arc;

use axum::Router;
use secrecy::SecretString;

use super::{bounded, mail_events};
use crate::domain::clock::Clock;
use crate::domain::port::Store;

/// What the public routes need.
#[derive(Clone)]
pub struct Public {
    /// Where what is reported is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What a mail provider must show; none: it has no route.
    pub mail_events_secret: Option<SecretString>,
}

/// The routes of the public listener.
pub fn router(public: &Public) -> Router {
    let mut routes = Router::new();
    if let Some(secret) = &public.mail_events_secret {
        routes =
            routes.merge(mail_events::routes(Arc::clone(&public.store), Arc::clone(&public.clock), secret.clone()));
    }
    bounded(routes)
}
