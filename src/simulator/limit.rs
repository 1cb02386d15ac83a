//! The rate limit: one fixed window shared by all endpoints, as Composio has one for each organization.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// How many requests are served in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a window.
    pub limit: u64,
    /// How long a window is: a minute at Composio; shorter ones make tests fast.
    pub window: Duration,
}

impl Default for RateLimit {
    /// More than anything here asks for, so that only who wants a limit meets one.
    fn default() -> Self {
        Self { limit: 10_000_000, window: Duration::from_mins(1) }
    }
}

#[derive(Debug)]
struct Window {
    started: Instant,
    served: u64,
}

#[derive(Debug)]
pub(super) struct Limiter {
    rate: RateLimit,
    window: Mutex<Window>,
}

/// What one request found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    rate: RateLimit,
    remaining: u64,
    /// Seconds until the window ends, if the request came too much.
    pub(super) retry_after: Option<u64>,
}

impl Limiter {
    pub(super) fn new(rate: RateLimit) -> Self {
        Self { rate, window: Mutex::new(Window { started: Instant::now(), served: 0 }) }
    }

    /// Counts one request.
    pub(super) fn take(&self) -> Allowance {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(window.started) >= self.rate.window {
            *window = Window { started: now, served: 0 };
        }
        let retry_after = if window.served >= self.rate.limit {
            let left = self.rate.window.saturating_sub(now.duration_since(window.started));
            Some(left.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
        } else {
            window.served += 1;
            None
        };
        Allowance { rate: self.rate, remaining: self.rate.limit.saturating_sub(window.served), retry_after }
    }
}

impl Allowance {
    /// The body of a 429, which is not the error envelope.
    pub(super) fn refusal(&self) -> String {
        let minutes = self.rate.window.as_secs().div_ceil(60).max(1);
        format!(r#"{{"message":"Rate limit exceeded. Limit: {} requests per {minutes} minutes"}}"#, self.rate.limit)
    }

    /// The headers that every answer carries.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let seconds = self.rate.window.as_secs_f64();
        let window = HeaderValue::from_str(&format!("{seconds}s"));
        headers.insert(HeaderName::from_static("x-ratelimit"), HeaderValue::from(self.rate.limit));
        headers.insert(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from(self.remaining));
        if let Ok(window) = window {
            headers.insert(HeaderName::from_static("x-ratelimit-window-size"), window);
        }
    }
}
