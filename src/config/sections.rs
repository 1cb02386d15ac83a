//! The sections of the configuration and their defaults: the one place where a default stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::retry::Retry;
use crate::domain::sweep::Overlap;

/// The whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The auditor's own database.
    pub database: Database,
    /// The queue between the stages.
    pub queue: Queue,
    /// Where the app's users are.
    pub users: Users,
    /// The API that is audited.
    pub composio: Composio,
    /// When sweeps run, by name.
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
    /// Housekeeping.
    pub keeper: Keeper,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What is logged.
    pub log: Log,
}

/// `[database]`
#[derive(Debug, Clone)]
pub struct Database {
    /// `postgres://…` or `sqlite:PATH`; may hold a password.
    pub url: SecretString,
    /// Connections in the pool (PostgreSQL; SQLite has one writer and as many readers).
    pub max_connections: u32,
    /// How long to wait for a connection.
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
#[derive(Debug, Clone)]
pub struct Queue {
    /// `redis://…`, `rediss://…` or `sqlite:PATH`; may hold a password.
    pub url: SecretString,
    /// What every key begins with; two installations may share one Redis.
    pub key_prefix: String,
    /// How long a worker may be silent before its jobs go to another.
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
#[derive(Debug, Clone)]
pub struct Users {
    /// `postgres://…`, `mysql://…` (MariaDB too) or `sqlite:PATH`; unset means the auditor's own database, with its `users` table.
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
    pub statement_timeout: Duration,
    /// Connections in the pool.
    pub max_connections: u32,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            url: None,
            table: "users".into(),
            query: None,
            columns: UserColumns::default(),
            page_size: 5_000,
            statement_timeout: Duration::from_secs(30),
            max_connections: 4,
        }
    }
}

/// `[users.columns]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone)]
pub struct Composio {
    /// The origin, without a path.
    pub url: Url,
    /// The project's key, `ak_…`, with *Connected accounts: Read* and *Toolkits: Read*.
    pub api_key: Option<SecretString>,
    /// Requests under way at once, over all stages of this process.
    pub max_in_flight: usize,
    /// How many of those only re-audits and notifications may use, so that sweeps never keep them waiting.
    pub reserved_in_flight: usize,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long one request may take, its body included.
    pub timeout: Duration,
    /// Rows asked for in one page; the server may give fewer.
    pub page_limit: u32,
    /// Pages of one user, at most: a bound against a server that never ends.
    pub max_pages: u32,
    /// The largest answer that is read, in bytes.
    pub max_body: usize,
    /// How one request is tried again at once, before its user leaves in a retry.
    pub retry: Retry,
}

impl Default for Composio {
    fn default() -> Self {
        Self {
            url: Url::parse("https://backend.composio.dev").expect("a constant URL is valid"),
            api_key: None,
            max_in_flight: 64,
            reserved_in_flight: 8,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            page_limit: 100,
            max_pages: 100,
            max_body: 8 * 1024 * 1024,
            retry: Retry { max_attempts: 3, base: Duration::from_millis(500), max: Duration::from_secs(4) },
        }
    }
}

/// `[schedules.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields (minute hour day month weekday), or six with seconds first.
    pub cron: String,
    /// The IANA time zone in which the fields are meant.
    pub time_zone: chrono_tz::Tz,
    /// What happens to a tick that comes while the last sweep still runs.
    pub overlap: Overlap,
    /// How long after its time a tick that was missed is still made up.
    pub catch_up: Duration,
    /// Sweeps begin up to this much after their tick, so that many installations do not begin together.
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
#[derive(Debug, Clone)]
pub struct Sweep {
    /// How many chunks of a sweep may be outstanding before the next page is read.
    pub max_queued_chunks: u32,
    /// How long a sweep stays paused (the key is refused, the API does not answer) before it fails.
    pub give_up_after: Duration,
    /// How long a paused sweep waits between two looks at the canary, at first; doubled up to ten times this.
    pub canary_interval: Duration,
    /// How long the sweeper holds a sweep without renewing it.
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
#[derive(Debug, Clone)]
pub struct Check {
    /// Users in one chunk.
    pub users_per_job: u32,
    /// Chunks checked at once by one process.
    pub concurrency: usize,
    /// How users that could not be read are tried again.
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

/// `[policy]`
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether a failed attempt to connect is mailed about.
    pub attempt_failed: AttemptFailed,
    /// Whether an attempt that was never finished is mailed about.
    pub unfinished: Unfinished,
    /// Breakage older than this, when it is first seen, is dropped; unset: everything counts.
    pub ignore_older_than: Option<Duration>,
    /// Apps that mails are about.
    pub toolkits: Filter,
    /// Auth configs that mails are about.
    pub auth_configs: Filter,
}

/// `policy.attempt_failed`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptFailed {
    /// One mail, with words of its own.
    #[default]
    Mail,
    /// No mail.
    Ignore,
}

/// `policy.unfinished`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfinished {
    /// No mail.
    #[default]
    Ignore,
    /// One "finish connecting" mail a slot, ever.
    Nudge,
}

/// Which names count: all but the excluded, or, if any are included, only those.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// If not empty, only these.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

/// `[notify]`
#[derive(Debug, Clone)]
pub struct Notify {
    /// Whether notifications leave, or are held until the operator releases them.
    pub mode: NotifyMode,
    /// `Name <address>` or an address.
    pub from: Option<String>,
    /// Where answers go; unset: to `from`.
    pub reply_to: Option<String>,
    /// What the mail calls the app: "Acme".
    pub app_name: Option<String>,
    /// Where the button leads: a page of the app, with `{toolkit}` and `{user_id}`.
    pub reconnect_url: Option<String>,
    /// Only these addresses (or domains, as `@example.org`) are mailed; empty: all.
    pub only_to: Vec<String>,
    /// Every mail goes to this address instead: for staging.
    pub redirect_all_to: Option<String>,
    /// What happens to a mail of which nobody knows whether it went out.
    pub on_ambiguous: OnAmbiguous,
    /// Notifications prepared at once by one process.
    pub concurrency: usize,
    /// How a mail that could not be sent is tried again.
    pub retry: Retry,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            mode: NotifyMode::Send,
            from: None,
            reply_to: None,
            app_name: None,
            reconnect_url: None,
            only_to: Vec::new(),
            redirect_all_to: None,
            on_ambiguous: OnAmbiguous::Retry,
            concurrency: 16,
            retry: Retry { max_attempts: 10, base: Duration::from_secs(10), max: Duration::from_secs(1800) },
        }
    }
}

/// `notify.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyMode {
    /// Mails leave.
    #[default]
    Send,
    /// Mails are held under the name `go-live`.
    Hold,
}

/// `notify.on_ambiguous`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAmbiguous {
    /// Sent again with the same Message-ID: nobody is left out, somebody may get a copy.
    #[default]
    Retry,
    /// Held for the operator: nobody gets a copy, somebody may be left out.
    Hold,
}

/// `[mail]`
#[derive(Debug, Clone, Default)]
pub struct Mail {
    /// How mail leaves.
    pub transport: MailTransport,
    /// `[mail.smtp]`
    pub smtp: Smtp,
    /// Where `folder` writes its `.eml` files.
    pub folder: Option<PathBuf>,
}

/// `mail.transport`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTransport {
    /// To a mail server.
    #[default]
    Smtp,
    /// Into a folder, one `.eml` file a mail.
    Folder,
}

/// `[mail.smtp]`
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The mail server.
    pub host: Option<String>,
    /// Its port; unset: 465 for `implicit`, 587 for `starttls`, 25 for `none`.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Who logs in; unset: nobody.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// A PEM file with certificates to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Connections at once.
    pub connections: usize,
    /// How long each step of the protocol may take.
    pub timeout: Duration,
    /// How long a connection is kept open unused.
    pub idle: Duration,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            tls: SmtpTls::Starttls,
            username: None,
            password: None,
            ca_file: None,
            connections: 4,
            timeout: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        }
    }
}

/// `mail.smtp.tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Plain at first, then upgraded; a server that cannot is an error.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None: for a server on the same machine only.
    None,
}

/// `[keeper]`
#[derive(Debug, Clone)]
pub struct Keeper {
    /// How often the keeper looks.
    pub interval: Duration,
    /// How long finished work, resolved incidents and settled notifications are kept.
    pub retention: Duration,
}

impl Default for Keeper {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), retention: Duration::from_secs(90 * 86_400) }
    }
}

/// `[shutdown]`
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long work in flight may go on after SIGTERM.
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(25) }
    }
}

/// `[log]`
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
