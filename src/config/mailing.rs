//! The sections that say who is mailed, and how mail leaves, and their defaults.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;

pub use crate::domain::guard::GuardRules;
pub use crate::domain::policy::{AttemptFailed, Filter, Policy, Unfinished};
use crate::domain::retry::Retry;

use super::print;

/// `[notify]`
#[derive(Clone, Serialize)]
pub struct Notify {
    /// Whether notifications leave, or are held until the operator releases them.
    pub mode: NotifyMode,
    /// `Name <address>` or an address.
    #[serde(serialize_with = "print::mailbox")]
    pub from: Option<String>,
    /// Where answers go; unset: to `from`.
    #[serde(serialize_with = "print::mailbox")]
    pub reply_to: Option<String>,
    /// What the mail calls the app: "Acme".
    pub app_name: Option<String>,
    /// Where the button leads: a page of the app, with `{toolkit}` and `{user_id}`.
    pub reconnect_url: Option<String>,
    /// Only these addresses (or domains, as `@example.org`) are mailed; empty: all.
    #[serde(serialize_with = "print::mailboxes")]
    pub only_to: Vec<String>,
    /// Every mail goes to this address instead: for staging.
    #[serde(serialize_with = "print::mailbox")]
    pub redirect_all_to: Option<String>,
    /// What happens to a mail of which nobody knows whether it went out.
    pub on_ambiguous: OnAmbiguous,
    /// Notifications prepared at once by one process.
    pub concurrency: usize,
    /// How a mail that could not be sent is tried again.
    #[serde(serialize_with = "print::retry")]
    pub retry: Retry,
}

/// Addresses are masked.
impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::debug(self, f)
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyMode {
    /// Mails leave.
    #[default]
    Send,
    /// Mails are held under the name `go-live`.
    Hold,
}

/// `notify.on_ambiguous`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAmbiguous {
    /// Sent again with the same Message-ID: nobody is left out, somebody may get a copy.
    #[default]
    Retry,
    /// Held for the operator: nobody gets a copy, somebody may be left out.
    Hold,
}

/// `[mail]`
#[derive(Debug, Clone, Serialize)]
pub struct Mail {
    /// How mail leaves.
    pub transport: MailTransport,
    /// `[mail.smtp]`
    pub smtp: Smtp,
    /// Where `folder` writes its `.eml` files.
    pub folder: Option<PathBuf>,
    /// A folder with templates that replace or add to the built-in ones.
    pub templates: Option<PathBuf>,
    /// The language of users whose own is unknown, or has no templates.
    pub locale: String,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            transport: MailTransport::default(),
            smtp: Smtp::default(),
            folder: None,
            templates: None,
            locale: "en".to_owned(),
        }
    }
}

/// `mail.transport`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTransport {
    /// To a mail server.
    #[default]
    Smtp,
    /// Into a folder, one `.eml` file a mail.
    Folder,
}

/// `[mail.smtp]`
#[derive(Clone, Serialize)]
pub struct Smtp {
    /// The mail server.
    pub host: Option<String>,
    /// Its port; unset: 465 for `implicit`, 587 for `starttls`, 25 for `none`.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Who logs in; unset: nobody.
    #[serde(serialize_with = "print::mailbox")]
    pub username: Option<String>,
    /// The password.
    #[serde(serialize_with = "print::secret")]
    pub password: Option<SecretString>,
    /// A PEM file with certificates to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Connections at once.
    pub connections: usize,
    /// How long each step of the protocol may take.
    #[serde(serialize_with = "print::duration")]
    pub timeout: Duration,
    /// How long a connection is kept open unused.
    #[serde(serialize_with = "print::duration")]
    pub idle: Duration,
}

/// Addresses are masked.
impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::debug(self, f)
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
