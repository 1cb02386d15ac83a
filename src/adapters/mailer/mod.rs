//! How a digest becomes a mail and leaves.
//!
//! ```text
//!  Digest ─► facts ─► words ─► page (subject, text, HTML) ─► message (headers, MIME) ─► Mail ─► transport: SMTP | folder | memory
//!                     └── templates: built in, or the operator's; checked when the mailer is made
//! ```
//!
//! Composing is pure and the same on every try; sending says how it ended in the three ways that matter to the ledger: not
//! sent and worth another try, refused for good, or unknown.

mod facts;
mod harmless;
mod locale;
mod message;
mod operator;
mod page;
pub mod samples;
mod setup;
mod smtp;
mod templates;
mod transport;
mod words;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::task::TaskTracker;
use url::Url;

pub use harmless::without_addresses;
pub use message::{Mail, MailError};
pub use page::Page;
pub use setup::MailSetupError;
pub use smtp::SmtpPool;
pub use templates::{BUILT_IN as BUILT_IN_TEMPLATES, TemplateError};
pub use transport::{Outbox, SendError, Transport};

use crate::config;
use crate::domain::id::{AccountId, IncidentId, NotificationId, Toolkit, UserId};
use crate::domain::incident::IncidentKind;
use crate::domain::notification::{Digest, DigestItem, EmailAddress};
use crate::domain::stage::Stage;
use harmless::{NAME, one_line};
use message::Sender;
use templates::Templates;

/// Composes mails and sends them. Cheap to clone; the clones share the connections.
#[derive(Clone)]
pub struct Mailer {
    letterhead: Arc<Letterhead>,
    transport: Arc<Transport>,
}

/// What is the same in every mail.
struct Letterhead {
    sender: Sender,
    app_name: Option<String>,
    reconnect_url: Option<String>,
    templates: Templates,
}

impl Mailer {
    /// A mailer for these settings. Connects to nothing yet. The task that ends idle connections runs under `tasks`, until
    /// [`Mailer::close`]; so this is called within a tokio runtime.
    pub fn new(notify: &config::Notify, mail: &config::Mail, tasks: &TaskTracker) -> Result<Self, MailSetupError> {
        let transport = match mail.transport {
            config::MailTransport::Smtp => Transport::Smtp(SmtpPool::new(&mail.smtp, tasks)?),
            config::MailTransport::Folder => Transport::Folder(mail.folder.clone().ok_or(MailSetupError::NoFolder)?),
        };
        Self::assemble(notify, mail, transport)
    }

    /// A mailer with the built-in templates that sends through this transport.
    pub fn with_transport(notify: &config::Notify, transport: Transport) -> Result<Self, MailSetupError> {
        Self::assemble(notify, &config::Mail::default(), transport)
    }

    /// A mailer that writes as [`Mailer::new`] does, and sends nothing anywhere.
    pub fn for_preview(notify: &config::Notify, mail: &config::Mail) -> Result<Self, MailSetupError> {
        Self::assemble(notify, mail, Transport::Memory(Outbox::default()))
    }

    fn assemble(notify: &config::Notify, mail: &config::Mail, transport: Transport) -> Result<Self, MailSetupError> {
        let letterhead = Letterhead {
            sender: setup::sender(notify)?,
            app_name: notify.app_name.as_deref().map(|name| one_line(name, NAME)).filter(|name| !name.is_empty()),
            reconnect_url: notify.reconnect_url.clone(),
            templates: Templates::read(mail.templates.as_deref(), &mail.locale)?,
        };
        Ok(Self { letterhead: Arc::new(letterhead), transport: Arc::new(transport) })
    }

    /// The domain of `notify.from`: the right side of every `Message-ID`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.letterhead.sender.from.email.domain()
    }

    /// The mail that says what the digest holds; the same bytes for the same digest.
    pub fn compose(&self, digest: &Digest) -> Result<Mail, MailError> {
        self.compose_with(digest, None)
    }

    /// The same with a way to stop these mails by one click (RFC 8058): an https URL that answers a POST.
    pub fn compose_with(&self, digest: &Digest, unsubscribe: Option<&Url>) -> Result<Mail, MailError> {
        self.write(digest, unsubscribe, false)
    }

    /// A mail that shows what users would get, and says that it is a test.
    pub fn compose_test(&self, to: &EmailAddress, id: NotificationId, now: DateTime<Utc>) -> Result<Mail, MailError> {
        let template = self.letterhead.reconnect_url.as_deref().unwrap_or("https://example.org/connect/{toolkit}");
        let digest = Digest {
            notification: id,
            to: to.clone(),
            user: UserId::new("test"),
            name: None,
            locale: None,
            time_zone: None,
            message_id: format!("{}@{}", id.0.simple(), self.domain()),
            now,
            items: vec![DigestItem {
                incident: IncidentId(id.0),
                account: AccountId::new("ca_test"),
                kind: IncidentKind::Broken,
                stage: Some(Stage::FIRST),
                toolkit: Toolkit::new("slack"),
                app: "Slack".to_owned(),
                alias: None,
                since: now - TimeDelta::days(1),
                reconnect_url: template.replace("{toolkit}", "slack").replace("{user_id}", "test"),
            }],
        };
        self.write(&digest, None, true)
    }

    /// What the recipient of [`Mailer::compose_with`] would read.
    pub fn read(&self, digest: &Digest, unsubscribe: Option<&Url>) -> Result<Page, MailError> {
        self.fill(digest, unsubscribe, false)
    }

    /// The languages that there are templates for, by their tags.
    pub fn locales(&self) -> impl Iterator<Item = &str> {
        self.letterhead.templates.locales()
    }

    /// In which of these languages somebody with this tag is written to; `None` if there is none for them.
    #[must_use]
    pub fn locale_of(&self, tag: &str) -> Option<&str> {
        self.letterhead.templates.locale_of(tag)
    }

    fn write(&self, digest: &Digest, unsubscribe: Option<&Url>, test: bool) -> Result<Mail, MailError> {
        message::build(&self.letterhead.sender, digest, self.fill(digest, unsubscribe, test)?, unsubscribe)
    }

    fn fill(&self, digest: &Digest, unsubscribe: Option<&Url>, test: bool) -> Result<Page, MailError> {
        let Letterhead { app_name, templates, .. } = self.letterhead.as_ref();
        templates.fill(digest, app_name.as_deref(), unsubscribe, test)
    }

    /// Sends one mail; see [`Transport::send`].
    pub async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        self.transport.send(mail).await
    }

    /// Shows that mails could leave, without sending one; see [`Transport::probe`].
    pub async fn probe(&self) -> Result<String, SendError> {
        self.transport.probe().await
    }

    /// Takes no mail from now on; see [`Transport::close`].
    pub async fn close(&self) {
        self.transport.close().await;
    }
}
