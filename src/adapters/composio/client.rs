//! HTTP: one client, bounded in time, size and number of requests under way.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use url::Url;
use uuid::Uuid;

use super::error::{ComposioError, Refusal};
use super::listing::{After, Listing, Pages};
use super::page::{ErrorBody, Page, ToolkitBody};
use crate::config;
use crate::domain::clock::Clock;
use crate::domain::id::{Toolkit, UserId};
use crate::domain::port::ToolkitName;
use crate::domain::retry::Next;

/// How long a canary that passed is believed where rows do not say whose they are.
const CANARY_FRESH: TimeDelta = TimeDelta::seconds(60);

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A person, or a mail that is about to leave: may use every slot.
    Now,
    /// A sweep: leaves the reserved slots free.
    Sweep,
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No key is set.
    #[error("composio.api_key is not set")]
    MissingKey,
    /// The key cannot be sent as a header.
    #[error("composio.api_key holds characters that an HTTP header cannot carry")]
    InvalidKey,
    /// The HTTP client refused its settings.
    #[error("cannot set up the HTTP client for composio")]
    Client(#[source] reqwest::Error),
}

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Composio {
    http: reqwest::Client,
    pub(super) settings: Arc<config::Composio>,
    pub(super) clock: Arc<dyn Clock>,
    in_flight: Arc<Semaphore>,
    sweeps_in_flight: Arc<Semaphore>,
    canary_passed: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Composio {
    /// A client with the timeouts, bounds and key of these settings.
    ///
    /// # Errors
    /// The key is missing or cannot be sent.
    pub fn new(settings: config::Composio, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let key = settings.api_key.as_ref().ok_or(SetupError::MissingKey)?;
        let mut key = HeaderValue::from_str(key.expose_secret().trim()).map_err(|_| SetupError::InvalidKey)?;
        key.set_sensitive(true);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key)]);
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("connection-auditor/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            // A redirect would carry the key to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(settings.max_in_flight)
            .tcp_nodelay(true)
            .build()
            .map_err(SetupError::Client)?;
        let for_sweeps = settings.max_in_flight.saturating_sub(settings.reserved_in_flight).max(1);
        Ok(Self {
            http,
            clock,
            in_flight: Arc::new(Semaphore::new(settings.max_in_flight.max(1))),
            sweeps_in_flight: Arc::new(Semaphore::new(for_sweeps)),
            canary_passed: Arc::default(),
            settings: Arc::new(settings),
        })
    }

    /// The whole list of one user's accounts, all pages of it.
    ///
    /// # Errors
    /// Anything that leaves a doubt whether this is the whole list, and theirs.
    pub async fn accounts_of(&self, user: &UserId, urgency: Urgency) -> Result<Listing, ComposioError> {
        self.list(user, urgency, |cursor| self.accounts_url(user, cursor)).await
    }

    /// All pages of a list of one user's accounts, each row proven to be theirs. `page_url` gives the URL of the page behind a cursor.
    pub(super) async fn list(
        &self,
        user: &UserId,
        urgency: Urgency,
        page_url: impl Fn(Option<&str>) -> Url,
    ) -> Result<Listing, ComposioError> {
        if !user.is_filterable() {
            return Err(ComposioError::Unfilterable);
        }
        let mut pages = Pages::default();
        let mut cursor = None;
        let mut first_asked = None;
        for _ in 0..self.settings.max_pages {
            let (page, asked_at): (Page, _) = self.get(&page_url(cursor.as_deref()), urgency).await?;
            let asked_at = *first_asked.get_or_insert(asked_at);
            match pages.add(user, page)? {
                After::Next(next) => cursor = Some(next),
                After::Whole => {
                    let listing = pages.finish(asked_at);
                    if listing.unattributed > 0 {
                        self.filters_must_hold().await?;
                    }
                    return Ok(listing);
                }
            }
        }
        Err(ComposioError::Incomplete { what: format!("it has more than {} pages", self.settings.max_pages) })
    }

    /// Asks for the accounts of a user who cannot exist. If rows come back, filters are being ignored (unknown query parameters
    /// are, silently: trap 9), and nothing may be audited.
    ///
    /// # Errors
    /// [`ComposioError::FiltersIgnored`], or the question could not be answered.
    pub async fn canary(&self) -> Result<(), ComposioError> {
        let mut passed = self.canary_passed.lock().await;
        self.ask_canary(&mut passed).await
    }

    /// Rows without an owner are taken for the asked user's only while a canary has just passed: the API may lose `user_id` in
    /// its answers (trap 8) and a filter (trap 9) on the same day.
    async fn filters_must_hold(&self) -> Result<(), ComposioError> {
        let mut passed = self.canary_passed.lock().await;
        match *passed {
            Some(at) if (TimeDelta::zero()..CANARY_FRESH).contains(&(self.clock.now() - at)) => Ok(()),
            _ => self.ask_canary(&mut passed).await,
        }
    }

    async fn ask_canary(&self, passed: &mut Option<DateTime<Utc>>) -> Result<(), ComposioError> {
        *passed = None;
        let nobody = UserId::new(format!("connection-auditor-canary-{}", Uuid::new_v4()));
        let (page, _): (Page, _) = self.get(&self.accounts_url(&nobody, None), Urgency::Now).await?;
        if !page.items.is_empty() {
            return Err(ComposioError::FiltersIgnored { rows: page.items.len() });
        }
        *passed = Some(self.clock.now());
        Ok(())
    }

    /// An app's name and logo.
    ///
    /// # Errors
    /// The app is unknown, or could not be asked for.
    pub async fn toolkit(&self, slug: &Toolkit) -> Result<ToolkitName, ComposioError> {
        let (body, _): (ToolkitBody, _) = self.get(&self.url(&["toolkits", slug.as_str()]), Urgency::Now).await?;
        Ok(ToolkitName { name: body.name, logo: body.meta.and_then(|meta| meta.logo), read_at: self.clock.now() })
    }

    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v3.1"]).extend(path);
        }
        url
    }

    /// Oldest first and with SHARED accounts: rows that are made while we page land at the end.
    fn accounts_url(&self, user: &UserId, cursor: Option<&str>) -> Url {
        let mut url = self.url(&["connected_accounts"]);
        url.query_pairs_mut()
            .append_pair("user_ids", user.as_str())
            .append_pair("account_type", "ALL")
            .append_pair("order_by", "created_at")
            .append_pair("order_direction", "asc")
            .append_pair("limit", &self.settings.page_limit.to_string())
            .extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
        url
    }

    /// One GET, tried again at once a few times; the slot is given back while waiting. Returns when the try that succeeded began.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &Url,
        urgency: Urgency,
    ) -> Result<(T, DateTime<Utc>), ComposioError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = {
                let _slot = self.slot(urgency).await;
                let began = self.clock.now();
                match self.exchange(self.http.get(url.clone())).await.and_then(|body| parse(&body)) {
                    Ok(body) => return Ok((body, began)),
                    Err((error, _)) => error,
                }
            };
            self.wait(attempt, error).await?;
        }
    }

    /// One POST. It is sent again only where it is certain that nothing was done: no connection was made, or the rate limit
    /// refused it. What was sent and not answered is [`ComposioError::Ambiguous`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &Url,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ComposioError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = {
                let _slot = self.slot(Urgency::Now).await;
                let request = self.http.post(url.clone()).json(body).timeout(timeout);
                match self.exchange(request).await.and_then(|body| parse(&body)) {
                    Ok(body) => return Ok(body),
                    Err(failure) => failure,
                }
            };
            let error = match failure {
                (ComposioError::Unavailable { what, .. }, Sent::Perhaps) => ComposioError::Ambiguous { what },
                (error, _) => error,
            };
            self.wait(attempt, error).await?;
        }
    }

    /// One DELETE. What was deleted stays so however often it is asked for, so it is tried again like a GET.
    pub(super) async fn delete<T: DeserializeOwned>(&self, url: &Url) -> Result<T, ComposioError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = {
                let _slot = self.slot(Urgency::Now).await;
                match self.exchange(self.http.delete(url.clone())).await.and_then(|body| parse(&body)) {
                    Ok(body) => return Ok(body),
                    Err((error, _)) => error,
                }
            };
            self.wait(attempt, error).await?;
        }
    }

    /// Waits before the next try; `Err` if there is none.
    async fn wait(&self, attempt: u32, error: ComposioError) -> Result<(), ComposioError> {
        tracing::debug!(event = "composio.request_failed", attempt, %error);
        match self.settings.retry.after(attempt, rand::random(), error.retry_after()) {
            // What must wait longer than this holds up its whole chunk: its user leaves in a retry instead.
            Next::Again(wait) if error.is_transient() && wait <= self.settings.retry.max => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            _ => Err(error),
        }
    }

    async fn slot(&self, urgency: Urgency) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        // The semaphores are never closed; if they were, going on unbounded beats not going on.
        let of_sweeps = match urgency {
            Urgency::Sweep => self.sweeps_in_flight.acquire().await.ok(),
            Urgency::Now => None,
        };
        (of_sweeps, self.in_flight.acquire().await.ok())
    }

    /// One request, and the whole body of a good answer.
    async fn exchange(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let response = request.send().await.map_err(|error| unreachable_because(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let body = self.body(response).await;
        if status.is_success() {
            return body;
        }
        let envelope: ErrorBody = body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        let code = envelope.error.code();
        let slug = envelope.error.slug.filter(|slug| is_plain(slug)).unwrap_or_else(|| "no detail".to_owned());
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ComposioError::Unauthorized { status: status.as_u16(), slug }
            }
            StatusCode::TOO_MANY_REQUESTS => ComposioError::RateLimited { retry_after },
            StatusCode::REQUEST_TIMEOUT => ComposioError::Unavailable { what: "status 408".into(), retry_after },
            status if status.is_client_error() => {
                let refusal = Refusal::of(status.as_u16(), code, &slug);
                ComposioError::Rejected { status: status.as_u16(), slug, refusal }
            }
            status => ComposioError::Unavailable { what: format!("status {}", status.as_u16()), retry_after },
        };
        Err((error, Sent::Perhaps))
    }

    /// Reads a body up to its bound.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_because(&error))? {
            if body.len() + chunk.len() > self.settings.max_body {
                let what = format!("a body of more than {} bytes", self.settings.max_body);
                return Err((ComposioError::unavailable(what), Sent::Perhaps));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Whether the server may have acted upon a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It never got there.
    No,
    /// It may have got there.
    Perhaps,
}

/// Why a request failed, and whether it may have been acted upon.
type Failure = (ComposioError, Sent);

/// Says what happened without the URL, which names the user.
fn unreachable_because(error: &reqwest::Error) -> Failure {
    let sent = if error.is_connect() { Sent::No } else { Sent::Perhaps };
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    (ComposioError::unavailable(what), sent)
}

/// Reads a good answer.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        // serde's message may quote the body, and the body may hold credentials.
        let what = format!("a body that is not the JSON we know ({:?})", error.classify());
        (ComposioError::unavailable(what), Sent::Perhaps)
    })
}

/// A slug is a name; whatever does not look like one is not shown.
fn is_plain(slug: &str) -> bool {
    slug.len() <= 80 && slug.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Seconds, or a date; at most an hour is believed.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc) - now).to_std().unwrap_or_default(),
    };
    Some(wait.min(Duration::from_secs(3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_bounded() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T10:00:00Z").expect("a valid instant").with_timezone(&Utc);
        let read = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).expect("plain text"))]), now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sat, 21 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sat, 21 Nov 2026 09:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(read("999999"), Some(Duration::from_secs(3600)));
        assert_eq!(read("soon"), None);
    }
}
