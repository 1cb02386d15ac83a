//! The sections of the configuration and their defaults: the one place where a default stands. Those about mail are in
//! `mailing.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use url::Url;

use crate::domain::retry::Retry;
use crate::domain::sweep::Overlap;

use super::mailing::{GuardRules, Mail, Notify, Policy};
use super::outside::{Alerts, Http};
use super::print;

/// The whole configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// The auditor's own database.
    pub database: Database,
    /// The queue between the stages.
    pub queue: Queue,
    /// Where the app's users are.
    pub users: Users,
    /// The API that is audited.
    pub composio: Composio,
    /// When sweeps run, by name; if nothing is said of schedules, one named `daily` with the defaults.
    pub schedules: BTreeMap<String, Schedule>,
    /// How a sweep pages.
    pub sweep: Sweep,
    /// How users are checked.
    pub check: Check,
    /// Who is mailed.
    pub policy: Policy,
    /// How notifications leave.
    pub notify: Notify,
    /// How mail is transported.
    pub mail: Mail,
    /// When mails are held back because too much breaks at once.
    pub guard: GuardRules,
    /// What the operator is told, and how.
    pub alerts: Alerts,
    /// What is answered over HTTP.
    pub http: Http,
    /// How long things are kept.
    pub retention: Retention,
    /// Housekeeping.
    pub keeper: Keeper,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: Database::default(),
            queue: Queue::default(),
            users: Users::default(),
            composio: Composio::default(),
            schedules: BTreeMap::from([("daily".to_owned(), Schedule::default())]),
            sweep: Sweep::default(),
            check: Check::default(),
            policy: Policy::default(),
            notify: Notify::default(),
            mail: Mail::default(),
            guard: GuardRules::default(),
            alerts: Alerts::default(),
            http: Http::default(),
            retention: Retention::default(),
            keeper: Keeper::default(),
            shutdown: Shutdown::default(),
            log: Log::default(),
        }
    }
}

/// `[database]`
#[derive(Debug, Clone, Serialize)]
pub struct Database {
    /// `postgres://…` or `sqlite:PATH`; may hold a password.
    #[serde(serialize_with = "print::address")]
    pub url: SecretString,
    /// Connections in the pool (PostgreSQL; SQLite has one writer and as many readers).
    pub max_connections: u32,
    /// How long to wait for a connection.
    #[serde(serialize_with = "print::duration")]
    pub acquire_timeout: Duration,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "sqlite:connection-auditor.sqlite".into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(10),
        }
    }
}

/// `[queue]`
#[derive(Debug, Clone, Serialize)]
pub struct Queue {
    /// `redis://…`, `rediss://…` or `sqlite:PATH`; may hold a password.
    #[serde(serialize_with = "print::address")]
    pub url: SecretString,
    /// What every key begins with; two installations may share one Redis.
    pub key_prefix: String,
    /// How long a worker may be silent before its jobs go to another.
    #[serde(serialize_with = "print::duration")]
    pub lease: Duration,
    /// How often a job may be delivered before it is given up as poison.
    pub max_deliveries: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            url: "sqlite:connection-auditor-queue.sqlite".into(),
            key_prefix: "connection-auditor".into(),
            lease: Duration::from_secs(15),
            max_deliveries: 5,
        }
    }
}

/// `[users]`: the app's own database, read only.
#[derive(Debug, Clone, Serialize)]
pub struct Users {
    /// `postgres://…`, `mysql://…` (MariaDB too) or `sqlite:PATH`; unset means the auditor's own database, with its `auditor_users` table.
    #[serde(serialize_with = "print::optional_address")]
    pub url: Option<SecretString>,
    /// A table or view, optionally with its schema: `public.users`.
    pub table: String,
    /// A query instead of a table; its columns carry the names in `columns`.
    pub query: Option<String>,
    /// Which columns hold what.
    pub columns: UserColumns,
    /// How many user ids are read at a time.
    pub page_size: u32,
    /// How long one statement may take.
    #[serde(serialize_with = "print::duration")]
    pub statement_timeout: Duration,
    /// Connections in the pool.
    pub max_connections: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            url: None,
            table: "auditor_users".into(),
            query: None,
            columns: UserColumns::default(),
            page_size: 5_000,
            statement_timeout: Duration::from_secs(30),
            max_connections: 4,
        }
    }
}

/// `[users.columns]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserColumns {
    /// The user's id, as Composio knows it; text, integer or uuid. Unique and indexed.
    pub id: String,
    /// The email address.
    pub email: String,
    /// The name to greet with.
    pub name: Option<String>,
    /// A BCP 47 language tag.
    pub locale: Option<String>,
    /// An IANA time zone.
    pub time_zone: Option<String>,
}

impl Default for UserColumns {
    fn default() -> Self {
        Self { id: "id".into(), email: "email".into(), name: None, locale: None, time_zone: None }
    }
}

/// `[composio]`
#[derive(Debug, Clone, Serialize)]
pub struct Composio {
    /// The origin, without a path.
    pub url: Url,
    /// The project's key, `ak_…`, with *Connected accounts: Read* and *Toolkits: Read*.
    #[serde(serialize_with = "print::secret")]
    pub api_key: Option<SecretString>,
    /// The secrets with which Composio signs webhooks, the newest first; unset: none are taken.
    #[serde(serialize_with = "print::secrets")]
    pub webhook_secrets: Vec<SecretString>,
    /// Requests under way at once, over all stages of this process.
    pub max_in_flight: usize,
    /// How many of those only re-audits and notifications may use, so that sweeps never keep them waiting.
    pub reserved_in_flight: usize,
    /// How long to wait for a connection.
    #[serde(serialize_with = "print::duration")]
    pub connect_timeout: Duration,
    /// How long one request may take, its body included.
    #[serde(serialize_with = "print::duration")]
    pub timeout: Duration,
    /// How long running a tool may take; what it does may take longer than any list.
    #[serde(serialize_with = "print::duration")]
    pub execute_timeout: Duration,
    /// Rows asked for in one page; the server may give fewer.
    pub page_limit: u32,
    /// Pages of one user, at most: a bound against a server that never ends.
    pub max_pages: u32,
    /// The largest answer that is read, in bytes.
    pub max_body: usize,
    /// How one request is tried again at once, before its user leaves in a retry.
    #[serde(serialize_with = "print::retry")]
    pub retry: Retry,
}

impl Default for Composio {
    fn default() -> Self {
        Self {
            url: Url::parse("https://backend.composio.dev").expect("a constant URL is valid"),
            api_key: None,
            webhook_secrets: Vec::new(),
            max_in_flight: 64,
            reserved_in_flight: 8,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            execute_timeout: Duration::from_secs(60),
            page_limit: 100,
            max_pages: 100,
            max_body: 8 * 1024 * 1024,
            retry: Retry { max_attempts: 3, base: Duration::from_millis(500), max: Duration::from_secs(4) },
        }
    }
}

/// `[schedules.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// Five fields (minute hour day month weekday), or six with seconds first.
    pub cron: String,
    /// The IANA time zone in which the fields are meant.
    pub time_zone: chrono_tz::Tz,
    /// What happens to a tick that comes while the last sweep still runs.
    pub overlap: Overlap,
    /// How long after its time a tick that was missed is still made up.
    #[serde(serialize_with = "print::duration")]
    pub catch_up: Duration,
    /// Sweeps begin up to this much after their tick, so that many installations do not begin together.
    #[serde(serialize_with = "print::duration")]
    pub jitter: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cron: "0 9 * * *".into(),
            time_zone: chrono_tz::UTC,
            overlap: Overlap::Skip,
            catch_up: Duration::from_secs(3600),
            jitter: Duration::ZERO,
        }
    }
}

/// `[sweep]`
#[derive(Debug, Clone, Serialize)]
pub struct Sweep {
    /// How many chunks of a sweep may be outstanding before the next page is read.
    pub max_queued_chunks: u32,
    /// How long a sweep stays paused (the key is refused, the API does not answer) before it fails.
    #[serde(serialize_with = "print::duration")]
    pub give_up_after: Duration,
    /// How long a paused sweep waits between two looks at the canary, at first; doubled up to ten times this.
    #[serde(serialize_with = "print::duration")]
    pub canary_interval: Duration,
    /// How long the sweeper holds a sweep without renewing it.
    #[serde(serialize_with = "print::duration")]
    pub lease: Duration,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            max_queued_chunks: 200,
            give_up_after: Duration::from_secs(6 * 3600),
            canary_interval: Duration::from_secs(5),
            lease: Duration::from_secs(15),
        }
    }
}

/// `[check]`
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Users in one chunk.
    pub users_per_job: u32,
    /// Chunks checked at once by one process.
    pub concurrency: usize,
    /// How users that could not be read are tried again.
    #[serde(serialize_with = "print::retry")]
    pub retry: Retry,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            users_per_job: 100,
            concurrency: 8,
            retry: Retry { max_attempts: 6, base: Duration::from_secs(5), max: Duration::from_secs(120) },
        }
    }
}

/// `[keeper]`
#[derive(Debug, Clone, Serialize)]
pub struct Keeper {
    /// How often the keeper looks.
    #[serde(serialize_with = "print::duration")]
    pub interval: Duration,
}

impl Default for Keeper {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2) }
    }
}

/// `[retention]`: how long what has ended is kept.
#[derive(Debug, Clone, Serialize)]
pub struct Retention {
    /// Sweeps, their checks, and what a dry run found.
    #[serde(serialize_with = "print::duration")]
    pub sweeps: Duration,
    /// Incidents that ended, settled notifications, and trips of the guard.
    #[serde(serialize_with = "print::duration")]
    pub incidents: Duration,
    /// What was observed, change by change, and what events told.
    #[serde(serialize_with = "print::duration")]
    pub observations: Duration,
    /// Accounts that are gone, and users who are checked no more.
    #[serde(serialize_with = "print::duration")]
    pub users: Duration,
    /// Alerts that ended, messages to the operator, and suppressions whose time is over.
    #[serde(serialize_with = "print::duration")]
    pub alerts: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { sweeps: 90 * DAY, incidents: 365 * DAY, observations: 90 * DAY, users: 90 * DAY, alerts: 90 * DAY }
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, Serialize)]
pub struct Shutdown {
    /// How long work in flight may go on after SIGTERM.
    #[serde(serialize_with = "print::duration")]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(25) }
    }
}

/// `[log]`
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A tracing filter: `info`, `connection_auditor=debug,warn`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
