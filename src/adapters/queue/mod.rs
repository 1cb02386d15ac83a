//! The queue between the stages: apalis over a narrow job store.
//!
//! [`connect`] opens one of two stores, [`RedisStreams`] or [`SqliteQueue`], with the same guarantees; [`work`] runs a stage
//! over either. apalis is the engine (worker, layers); fetching, acknowledging, renewing, reclaiming and promoting are tasks
//! of our own, so that an outage of the queue never reaches the worker and a lease never depends on its poll loop.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::config;
use crate::domain::port::JobStore;

mod backend;
mod hold;
mod intake;
mod outage;
mod redis;
mod settle;
mod sqlite;
mod worker;

pub use redis::RedisStreams;
pub use sqlite::SqliteQueue;
pub use worker::{Stop, WorkerError, WorkerSpec, work};

/// The queue cannot be used. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names a kind of queue that there is not.
    #[error("queue.url begins with {scheme:?}; it must be redis://, rediss:// or sqlite:PATH")]
    UnknownScheme {
        /// What it begins with.
        scheme: String,
    },
    /// The URL cannot be read.
    #[error("queue.url is not a Redis URL; it looks like redis://user:password@host:6379/0")]
    Url {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answers there, or we are refused.
    #[error("cannot use Redis at {server}; check queue.url, its password and that the server runs")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server lacks what the queue needs.
    #[error("Redis at {server} is version {version}; the queue needs 6.2 or newer, or Valkey")]
    TooOld {
        /// Host and port.
        server: String,
        /// Its version.
        version: String,
    },
    /// The server deletes keys when its memory is full, and with them work.
    #[error(
        "Redis at {server} has a memory limit and the policy {policy:?}, which deletes waiting jobs when memory is full; \
         set its maxmemory-policy to noeviction, or give the queue a Redis of its own"
    )]
    Evicting {
        /// Host and port.
        server: String,
        /// Its `maxmemory-policy`.
        policy: String,
    },
    /// The file of the embedded queue cannot be opened.
    #[error("cannot open the queue file {path:?}; check queue.url and that its folder exists and can be written")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A queue in memory would be a different one for every connection.
    #[error("queue.url names a database in memory; the queue needs a file: sqlite:queue.sqlite")]
    InMemory,
}

/// Opens the queue that the URL names.
///
/// # Errors
/// It cannot be used; the text names the setting and the remedy, never the password.
pub async fn connect(settings: &config::Queue) -> Result<Arc<dyn JobStore>, ConnectError> {
    let url = settings.url.expose_secret();
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("redis" | "rediss") => {
            Ok(Arc::new(RedisStreams::connect(url, &settings.key_prefix, settings.lease).await?))
        }
        Some("sqlite") => Ok(Arc::new(SqliteQueue::connect(url, settings.lease).await?)),
        scheme => Err(ConnectError::UnknownScheme { scheme: scheme.unwrap_or_default().to_owned() }),
    }
}
