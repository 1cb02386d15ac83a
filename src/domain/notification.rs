//! One email to one user: its states in the ledger, and the digest it carries.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{AccountId, IncidentId, NotificationId, SweepId, Toolkit, UserId};
use super::incident::IncidentKind;
use super::stage::Stage;

/// Where a notification stands in the ledger.
///
/// `Pending → Claimed → Sending → Sent`. `Sending` is committed just before the mail is handed over: a lapsed `Claimed`
/// is simply taken again, a lapsed `Sending` is ambiguous, because SMTP cannot tell whether the mail went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// Waits until it is due.
    Pending,
    /// Waits until the operator releases it; the hold's name says why.
    Held,
    /// A notifier prepares it.
    Claimed,
    /// It is being handed to the mail server.
    Sending,
    /// The mail server took it.
    Sent,
    /// Not sent, on purpose: recovered, deleted, discarded.
    Skipped,
    /// The mail server refused it for good, or every attempt failed.
    Failed,
    /// The user has no address, or an invalid one.
    Unreachable,
}

impl NotificationState {
    /// The name used in the store, in metrics and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Claimed => "claimed",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The names of holds.
pub mod hold {
    /// `notify.mode = "hold"`: made while the operator was going live.
    pub const GO_LIVE: &str = "go-live";
    /// A lapsed *sending* under `notify.on_ambiguous = "hold"`.
    pub const AMBIGUOUS: &str = "ambiguous";
    /// All that the user has open is held by the outage guard.
    pub const GUARD: &str = "guard";
    /// Not a hold: what a notification is noted with that the kill switch put off, and that `resume` brings back.
    pub const PAUSED: &str = "paused";
}

/// A notification as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its row.
    pub id: NotificationId,
    /// To whom.
    pub user: UserId,
    /// Where it stands.
    pub state: NotificationState,
    /// The name of the hold, while it is held.
    pub hold: Option<String>,
    /// Not before this instant.
    pub due_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: u32,
    /// How often a try ended without an answer, so that the mail may have gone out.
    pub ambiguous: u32,
    /// The last try ended in *sending*, and nobody has decided yet what that means.
    pub unclear: bool,
    /// Why it was skipped, failed, or could not be sent the last time; never an address.
    pub error: Option<String>,
    /// The sweep that made it; none for a re-audit.
    pub sweep: Option<SweepId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the mail server took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// The incidents it is about.
    pub incidents: Vec<IncidentId>,
}

impl Notification {
    /// The `Message-ID` without its angle brackets: the same on every try, so that receivers can drop a copy.
    #[must_use]
    pub fn message_id(&self, domain: &str) -> String {
        format!("{}@{domain}", self.id.0.simple())
    }
}

/// An email address that was parsed once. It has no `Display`, and its `Debug` is masked, so that it cannot reach a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(email_address::EmailAddress);

impl EmailAddress {
    /// The address in clear, for the mail itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What follows the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// Whether it is one of these addresses, or of one of these domains (`@example.org`); where there are none, every address is.
    #[must_use]
    pub fn is_admitted_by(&self, only: &[String]) -> bool {
        only.is_empty()
            || only.iter().any(|only| match only.strip_prefix('@') {
                Some(domain) => self.domain().eq_ignore_ascii_case(domain),
                None => self.as_str().eq_ignore_ascii_case(only),
            })
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidEmailAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let options = email_address::Options::default().without_display_text().without_domain_literal();
        email_address::EmailAddress::parse_with_options(text.trim(), options).map(Self).map_err(|_| InvalidEmailAddress)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…@…", self.0.local_part().chars().next().unwrap_or('?'))
    }
}

/// The text is not an email address. The text itself is not shown: it may be somebody's address, misspelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid email address")]
pub struct InvalidEmailAddress;

/// A user as the app's own database knows them, read at the moment of mailing and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Whose.
    pub user: UserId,
    /// The address; `Err` says why there is none to use.
    pub email: Result<EmailAddress, NoAddress>,
    /// How to greet them.
    pub name: Option<String>,
    /// A BCP 47 language tag, as the app keeps it.
    pub locale: Option<String>,
    /// Their time zone, if the app keeps one that is known.
    pub time_zone: Option<Tz>,
}

/// Why a user cannot be reached by email.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoAddress {
    /// The column is empty.
    #[error("no email address")]
    Missing,
    /// The column holds something that is no address.
    #[error("invalid email address")]
    Invalid,
}

/// Everything one mail says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The ledger's row; names the mail.
    pub notification: NotificationId,
    /// To whom; the address was checked before.
    pub to: EmailAddress,
    /// Whose connections.
    pub user: UserId,
    /// How to greet them.
    pub name: Option<String>,
    /// A BCP 47 language tag.
    pub locale: Option<String>,
    /// In which zone dates are written.
    pub time_zone: Option<Tz>,
    /// The `Message-ID` without its angle brackets.
    pub message_id: String,
    /// When it is sent.
    pub now: DateTime<Utc>,
    /// One line and one button each; never empty.
    pub items: Vec<DigestItem>,
}

/// One connection in a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestItem {
    /// What it is about.
    pub incident: IncidentId,
    /// The account that broke.
    pub account: AccountId,
    /// In which way.
    pub kind: IncidentKind,
    /// The last stage that this mail consumes; `None` for a mention of what was mailed before.
    pub stage: Option<Stage>,
    /// The app, as the API names it.
    pub toolkit: Toolkit,
    /// The app, as people write it: "Google Calendar".
    pub app: String,
    /// The name that the user or the app gave this connection.
    pub alias: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Where the button leads.
    pub reconnect_url: String,
}
