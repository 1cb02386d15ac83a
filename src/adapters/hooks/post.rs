//! One POST of JSON. The URL is a secret: errors and answers name its host alone.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use url::Url;

use super::HookSetupError;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of it may take; the receiver should take a message in and work on it later.
const WHOLE: Duration = Duration::from_secs(15);
/// How much of an answer is read.
const ANSWER: usize = 4_096;
/// The longest wait that a receiver is granted when it asks for one.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// A message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No answer.
    #[error("{host}: {what}")]
    Unreachable {
        /// Who.
        host: String,
        /// What happened.
        what: String,
    },
    /// An answer other than 2xx.
    #[error("{host} answered {status}{said}")]
    Refused {
        /// Who.
        host: String,
        /// The status.
        status: u16,
        /// The name of the error, where the answer is nothing but one.
        said: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// There is no URL any more.
    #[error("its URL is not set any more")]
    Unconfigured,
}

impl HookError {
    /// How long the receiver asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Posts to one URL.
pub(super) struct Poster {
    client: Client,
    url: Url,
    host: String,
}

impl Poster {
    pub(super) fn new(url: &str, setting: &'static str) -> Result<Self, HookSetupError> {
        let url = Url::parse(url.trim()).map_err(|_| HookSetupError::Url(setting))?;
        let host = url.host_str().ok_or(HookSetupError::Url(setting))?.to_owned();
        let client = Client::builder()
            .user_agent(concat!("connection-auditor/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            // A redirect would carry the message to somebody who was never named.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(HookSetupError::Client)?;
        Ok(Self { client, url, host })
    }

    /// Posts a body. Returns what answered, for people.
    pub(super) async fn post(&self, body: &str, headers: &[(&'static str, String)]) -> Result<String, HookError> {
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_owned()).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let said = said(response).await;
        if status.is_success() {
            return Ok(format!("{} answered {}", self.host, status.as_u16()));
        }
        Err(HookError::Refused { host: self.host.clone(), status: status.as_u16(), said, retry_after })
    }

    fn unreachable(&self, error: &reqwest::Error) -> HookError {
        let what = if error.is_timeout() {
            format!("no answer within {}", humantime::format_duration(WHOLE))
        } else if error.is_connect() {
            format!("no connection{}", cause(error))
        } else {
            "the connection broke".to_owned()
        };
        HookError::Unreachable { host: self.host.clone(), what }
    }
}

/// The innermost cause, which speaks of sockets, names and certificates, never of a URL.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error.source();
    while let Some(next) = innermost.and_then(std::error::Error::source) {
        innermost = Some(next);
    }
    innermost.map(|cause| format!(": {cause}")).filter(|text| !text.contains("://")).unwrap_or_default()
}

/// What the answer says if it is a single word (Slack: `invalid_payload`, `no_service`); whatever else it holds is not shown, as
/// it may repeat the request.
async fn said(mut response: Response) -> String {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER {
            return String::new();
        }
    }
    let word = str::from_utf8(&answer).unwrap_or_default().trim();
    let is_name = (1..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_name { format!(" ({word})") } else { String::new() }
}

/// In seconds; a date is left alone, the own wait is as good.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}
