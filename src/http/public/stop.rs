//! `/u/{token}`: stopping mails, by one click as RFC 8058 has it, or on a page with a choice.
//!
//! The click of a mail program (`POST` with `List-Unsubscribe=One-Click`) stops all of these mails, whatever app they are about:
//! to its reader they are one list, and whoever is told that they have left it must not get another mail of it tomorrow. The
//! page offers less than all: one app, or thirty days; and every choice can be undone there.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Datelike, Locale, TimeDelta, Utc};
use url::form_urlencoded;
use uuid::Uuid;

use super::page::{Language, Notice, Stop, StopApp, Until};
use super::reconnect::see_other;
use super::{Pages, Stopped, Visit};
use crate::audit::Names;
use crate::domain::clock::to_micros;
use crate::domain::id::{NotificationId, SuppressionId, Toolkit};
use crate::domain::port::{Mailed, StoreResult};
use crate::domain::suppression::{Suppression, SuppressionKind, Whom};
use crate::domain::token::Grant;
use crate::http::listener::Peer;

/// How long a pause is.
const PAUSE: TimeDelta = TimeDelta::days(30);
/// Who said so, in the list of suppressions.
const SOURCE: &str = "unsubscribe";

type From = Option<Extension<Peer>>;
type Site = State<Arc<Pages>>;

pub(super) fn routes(pages: Arc<Pages>) -> Router {
    Router::new().route("/u/{token}", get(show).post(choose)).with_state(pages)
}

/// What a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// The click of a mail program: none of these mails any more.
    OneClick,
    /// None about this app, or none at all.
    Stop(Option<Toolkit>),
    /// None for a while.
    Snooze,
    /// The pause is over.
    Wake,
    /// About this app again, or about all.
    Resume(Option<Toolkit>),
}

impl Choice {
    /// Reads a form. RFC 8058 lets a mail program send it in either way that browsers know.
    fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.trim().to_ascii_lowercase().starts_with("multipart/form-data") {
            let body = String::from_utf8_lossy(body);
            let mut parts = body.split("\r\n--");
            let says =
                |part: &str| part.contains("name=\"List-Unsubscribe\"") && part.trim_end().ends_with("One-Click");
            return parts.any(says).then_some(Self::OneClick);
        }
        let mut asked = None;
        let mut app = None;
        for (name, value) in form_urlencoded::parse(body) {
            match (name.as_ref(), value.as_ref()) {
                ("List-Unsubscribe", "One-Click") => return Some(Self::OneClick),
                ("do", what) => asked = Some(what.to_owned()),
                ("app", slug) if !slug.is_empty() => app = Some(Toolkit::new(slug)),
                _ => {}
            }
        }
        match asked?.as_str() {
            "stop" => Some(Self::Stop(app)),
            "snooze" => Some(Self::Snooze),
            "wake" => Some(Self::Wake),
            "resume" => Some(Self::Resume(app)),
            _ => None,
        }
    }
}

impl Pages {
    /// The mail of a token, and whom it went to.
    async fn mail(&self, visit: &Visit<'_>, token: &str) -> Result<(NotificationId, Mailed, Grant), Stopped> {
        let grant = self.admit(visit, token)?;
        let Grant::Unsubscribe(id) = grant else { return Err(Notice::Unknown.into()) };
        match self.store.mailed(id).await {
            Ok(Some(mailed)) => Ok((id, mailed, grant)),
            Ok(None) => Err(Notice::Forgotten.into()),
            Err(error) => {
                tracing::warn!(event = "page.unavailable", %error);
                Err(Notice::Unavailable.into())
            }
        }
    }

    async fn choices(&self, mailed: &Mailed, language: Language) -> StoreResult<Stop> {
        let now = self.clock.now();
        let wishes: Vec<Suppression> = self
            .store
            .suppressions_of(&mailed.user, None, now)
            .await?
            .into_iter()
            .filter(|one| matches!(one.kind, SuppressionKind::OptOut | SuppressionKind::Snooze))
            .collect();
        let toolkits: BTreeSet<Toolkit> = mailed.toolkits.iter().cloned().collect();
        let names = Names::stored(self.store.as_ref(), toolkits).await?;
        let stopped = |toolkit: &Toolkit| {
            wishes.iter().any(|one| one.kind == SuppressionKind::OptOut && one.toolkit.as_ref() == Some(toolkit))
        };
        let mut apps: Vec<StopApp> = names
            .iter()
            .map(|(toolkit, name)| StopApp { slug: toolkit.to_string(), name: name.clone(), stopped: stopped(toolkit) })
            .collect();
        apps.sort_by_cached_key(|app| app.name.to_lowercase());
        let snoozed = wishes.iter().filter(|one| one.toolkit.is_none() && one.kind == SuppressionKind::Snooze);
        Ok(Stop {
            apps,
            stopped_all: wishes.iter().any(|one| one.toolkit.is_none() && one.kind == SuppressionKind::OptOut),
            snoozed_until: snoozed.filter_map(|one| one.until).max().map(|until| day(until, language)),
        })
    }

    async fn carry_out(&self, mailed: &Mailed, choice: &Choice) -> StoreResult<()> {
        let now = self.clock.now();
        let whom = Whom::User(mailed.user.clone());
        let everything = Toolkit::new("");
        let (kind, toolkit, until) = match choice {
            Choice::OneClick => (SuppressionKind::OptOut, None, None),
            Choice::Stop(toolkit) => (SuppressionKind::OptOut, toolkit.clone(), None),
            Choice::Snooze => (SuppressionKind::Snooze, None, Some(to_micros(now + PAUSE))),
            Choice::Wake => return self.lift(&whom, SuppressionKind::Snooze, &everything).await,
            Choice::Resume(toolkit) => {
                return self.lift(&whom, SuppressionKind::OptOut, toolkit.as_ref().unwrap_or(&everything)).await;
            }
        };
        let suppression = Suppression {
            id: SuppressionId(Uuid::now_v7()),
            whom,
            kind,
            toolkit,
            until,
            source: SOURCE.to_owned(),
            detail: (*choice == Choice::OneClick).then(|| "by one click".to_owned()),
            created_at: now,
        };
        self.store.suppress(&suppression).await?;
        tracing::info!(event = "mails.stopped", user = ?mailed.user, kind = kind.as_str(),
            app = suppression.toolkit.as_ref().map_or("all", Toolkit::as_str));
        Ok(())
    }

    async fn lift(&self, whom: &Whom, kind: SuppressionKind, toolkit: &Toolkit) -> StoreResult<()> {
        self.store.lift(whom, Some(kind), Some(toolkit), self.clock.now()).await?;
        Ok(())
    }
}

/// The day of an instant, in UTC: what a reader is told is no promise of an hour.
fn day(at: DateTime<Utc>, language: Language) -> Until {
    let locale = match language {
        Language::English => Locale::en_GB,
        Language::German => Locale::de_DE,
    };
    Until { day: at.day(), month: at.format_localized("%B", locale).to_string(), year: at.year() }
}

async fn show(State(pages): Site, from: From, headers: HeaderMap, Path(token): Path<String>) -> Response {
    let visit = pages.visit(from, &headers);
    let (id, mailed, _) = match pages.mail(&visit, &token).await {
        Ok(mail) => mail,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    let visit = pages.in_language_of(visit, &headers, id).await;
    match pages.choices(&mailed, visit.frame.language).await {
        Ok(stop) => visit.frame.stop(&stop),
        Err(error) => {
            tracing::warn!(event = "page.unavailable", %error);
            visit.frame.notice(Notice::Unavailable)
        }
    }
}

async fn choose(
    State(pages): Site,
    from: From,
    headers: HeaderMap,
    Path(token): Path<String>,
    body: Bytes,
) -> Response {
    let visit = pages.visit(from, &headers);
    let (_, mailed, grant) = match pages.mail(&visit, &token).await {
        Ok(mail) => mail,
        Err(stopped) => return visit.frame.stopped(stopped),
    };
    let Some(choice) = Choice::read(&headers, &body) else { return see_other(&format!("./{token}")) };
    // Mail programs show their readers their own page, and send the click from wherever they are.
    if choice != Choice::OneClick
        && let Err(stopped) = pages.may_act(&headers, grant)
    {
        return visit.frame.stopped(stopped);
    }
    let about = match &choice {
        Choice::Stop(Some(app)) | Choice::Resume(Some(app)) => Some(app),
        _ => None,
    };
    if about.is_some_and(|app| !mailed.toolkits.contains(app)) {
        return see_other(&format!("./{token}"));
    }
    match pages.carry_out(&mailed, &choice).await {
        // A click is answered at once: RFC 8058 forbids to redirect it.
        Ok(()) if choice == Choice::OneClick => (StatusCode::OK, "unsubscribed\n").into_response(),
        Ok(()) => see_other(&format!("./{token}")),
        Err(error) => {
            tracing::warn!(event = "page.unavailable", %error);
            visit.frame.notice(Notice::Unavailable)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_click_is_read_in_both_ways_that_mail_programs_send_it() {
        let read = |kind: &str, body: &str| {
            let kind = HeaderValue::from_str(kind).expect("a value");
            Choice::read(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]), body.as_bytes())
        };
        let form = "application/x-www-form-urlencoded";
        assert_eq!(read(form, "List-Unsubscribe=One-Click"), Some(Choice::OneClick));
        let parts = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
        assert_eq!(read("multipart/form-data; boundary=x", parts), Some(Choice::OneClick));
        let other = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nNo\r\n--x--\r\n";
        assert_eq!(read("multipart/form-data; boundary=x", other), None);
        let slack = Some(Toolkit::new("slack"));
        for (body, choice) in [
            ("do=stop&app=slack", Some(Choice::Stop(slack.clone()))),
            ("do=resume&app=slack", Some(Choice::Resume(slack))),
            ("do=stop", Some(Choice::Stop(None))),
            ("do=stop&app=", Some(Choice::Stop(None))),
            ("do=snooze", Some(Choice::Snooze)),
            ("do=wake", Some(Choice::Wake)),
            ("do=resume", Some(Choice::Resume(None))),
            ("do=sing", None),
            ("", None),
            ("List-Unsubscribe=", None),
        ] {
            assert_eq!(read(form, body), choice, "{body}");
        }
    }
}
