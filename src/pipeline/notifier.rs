//! The notifier works off notifications: it reads the user's accounts again, and mails what is still broken.
//!
//! The order of steps is the promise: *claim* the row; find the recipient; look again, so that who has reconnected is left
//! alone; write the digest; commit *sending* with the fencing token; only then speak SMTP; settle. Whoever dies before
//! *sending* leaves a claim that lapses and is taken again; who dies after it leaves a mail of which nobody knows whether it
//! went out, and `notify.on_ambiguous` decides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use crate::adapters::composio::{ComposioError, Urgency};
use crate::adapters::mailer::{Mailer, SendError};
use crate::adapters::users::UsersSource;
use crate::audit::{Auditor, Desk, Look, Mode, Names, Outbox};
use crate::config::OnAmbiguous;
use crate::domain::clock::Clock;
use crate::domain::digest;
use crate::domain::history::History;
use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, Resolution};
use crate::domain::job::Job;
use crate::domain::lease::{Claim, Lease};
use crate::domain::notification::{Digest, EmailAddress, Notification, Recipient, hold};
use crate::domain::policy::Policy;
use crate::domain::port::{Carried, Entry, Handled, JobHandler, Settlement, Store, UserRecord};
use crate::domain::retry::{Next, Retry};

/// How often it is tried to note that a mail went out.
const NOTE_AGAIN: Duration = Duration::from_millis(500);

/// Works notifications off.
pub struct Notifier {
    /// Looks again and records what it saw.
    pub auditor: Auditor,
    /// How apps are called.
    pub names: Names,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// Where recipients are found.
    pub users: Arc<UsersSource>,
    /// Writes and sends.
    pub mailer: Mailer,
    /// Hands over what the second look opened.
    pub outbox: Outbox,
    /// Opens entries and holds leases.
    pub desk: Desk,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// About which trouble people are mailed.
    pub policy: Policy,
    /// What applies to every mail.
    pub rules: MailRules,
}

/// What applies to every mail.
#[derive(Debug, Clone)]
pub struct MailRules {
    /// The app's own page, with `{toolkit}` and `{user_id}`.
    pub reconnect_url: String,
    /// The domain of message ids.
    pub domain: String,
    /// Only these addresses, or domains as `@example.org`; empty: all.
    pub only_to: Vec<String>,
    /// Every mail goes there instead.
    pub redirect_all_to: Option<EmailAddress>,
    /// What happens to a mail of which nobody knows whether it went out.
    pub on_ambiguous: OnAmbiguous,
    /// How a mail that could not be sent is tried again.
    pub retry: Retry,
}

/// What is to become of a notification: the end of a try, or a mail to send.
enum Outcome {
    Settle(Settlement),
    Send { digest: Box<Digest>, own: Vec<IncidentId> },
}

#[async_trait]
impl JobHandler for Notifier {
    async fn handle(&self, entry: Entry) -> Handled {
        match self.work(&entry).await {
            Ok(handled) | Err(handled) => handled,
        }
    }
}

impl Notifier {
    async fn work(&self, entry: &Entry) -> Result<Handled, Handled> {
        let Job::Notify(id) = self.desk.open(entry).await? else { return Ok(Handled::Done) };
        let lease = self.desk.lease();
        let notification = match self.desk.answer(self.store.claim_notification(id, lease, self.clock.now()).await)? {
            Claim::Won(notification) => notification,
            Claim::Held(until) | Claim::NotDue(until) => return Ok(self.desk.until(until)),
            Claim::Over | Claim::Missing => return Ok(Handled::Done),
        };
        let renew = |lease: Lease| self.store.renew_notification(id, lease);
        let work = self.notify(&notification, lease);
        self.desk.while_leased(lease, renew, work).await.unwrap_or_else(|| {
            tracing::warn!(event = "notification.lease_lost", notification = %id, "another worker does it");
            Ok(Handled::Done)
        })
    }

    async fn notify(&self, notification: &Notification, lease: Lease) -> Result<Handled, Handled> {
        let settlement = match self.prepare(notification).await? {
            Outcome::Settle(settlement) => settlement,
            Outcome::Send { digest, own } => match self.mailer.compose(&digest) {
                Err(error) => Settlement::Failed(format!("the mail could not be written: {error}")),
                Ok(mail) => {
                    let sending = Lease::new(lease.token, self.clock.now(), self.desk.length());
                    let ours = self.store.begin_sending(notification.id, sending, &own).await;
                    if !self.desk.answer(ours)? {
                        return Ok(Handled::Done);
                    }
                    self.after_sending(notification, self.mailer.send(&mail).await)
                }
            },
        };
        self.settle(notification, lease, settlement).await
    }

    async fn settle(
        &self,
        notification: &Notification,
        lease: Lease,
        settlement: Settlement,
    ) -> Result<Handled, Handled> {
        let now = self.clock.now();
        let mut written = self.store.settle(notification.id, lease.token, &settlement, now).await;
        // That a mail went out is known here and nowhere else: it is noted however long the database is away. Until then
        // nobody can claim the row either, and whoever does later fences this worker.
        while settlement == Settlement::Sent && written.as_ref().is_err_and(|error| !error.is_permanent()) {
            tokio::time::sleep(NOTE_AGAIN).await;
            written = self.store.settle(notification.id, lease.token, &settlement, now).await;
        }
        if !self.desk.answer(written)? {
            tracing::warn!(event = "notification.fenced", notification = %notification.id, "another worker took it over");
            return Ok(Handled::Done);
        }
        tracing::info!(event = "notification.settled", notification = %notification.id, user = ?notification.user,
            outcome = outcome_name(&settlement), detail = detail(&settlement));
        if let Settlement::Again { due_at, .. } = settlement {
            self.outbox.hand_over(&[(Job::Notify(notification.id), Some(due_at))]).await;
        }
        Ok(Handled::Done)
    }

    /// Everything up to the mail; nothing has left the house yet.
    async fn prepare(&self, notification: &Notification) -> Result<Outcome, Handled> {
        if notification.unclear && self.rules.on_ambiguous == OnAmbiguous::Hold {
            return Ok(Outcome::Settle(ambiguous_hold("a worker died while it handed the mail over")));
        }
        let recipient = match self.users.find(&notification.user).await {
            Ok(Some(recipient)) => recipient,
            Ok(None) => {
                let gone = self.store.close_incidents_of(&notification.user, Resolution::UserDeleted, self.clock.now());
                self.desk.answer(gone.await)?;
                return Ok(Outcome::Settle(Settlement::Skipped("deleted".to_owned())));
            }
            Err(error) => return Ok(Outcome::Settle(self.wait(format!("the user could not be read: {error}")))),
        };
        let to = match self.address_of(&recipient) {
            Ok(to) => to,
            Err(settlement) => return Ok(Outcome::Settle(settlement)),
        };
        let seen = match self.auditor.look(&notification.user, Urgency::Now).await {
            Ok(seen) => seen,
            Err(error @ (ComposioError::Rejected { .. } | ComposioError::Unfilterable)) => {
                return Ok(Outcome::Settle(self.again_or_failed(notification, &error.to_string(), false)));
            }
            Err(error) => {
                return Ok(Outcome::Settle(self.wait(format!("the accounts could not be read again: {error}"))));
            }
        };
        let mode = Mode { join: Some(notification.id), ..Mode::default() };
        let looks = [(notification.user.clone(), Look::Seen(seen))];
        let records = match self.auditor.record(&looks, &mode).await {
            Ok((_, _, records)) => records,
            Err(error) => {
                return Ok(Outcome::Settle(self.wait(format!("what was seen could not be recorded: {error}"))));
            }
        };
        self.write(notification, &recipient, to, &records).await
    }

    /// Lists what is open now, and decides whether that is worth a mail.
    async fn write(
        &self,
        notification: &Notification,
        recipient: &Recipient,
        to: EmailAddress,
        records: &[UserRecord],
    ) -> Result<Outcome, Handled> {
        let user = &notification.user;
        let history = self.desk.answer(self.store.history(std::slice::from_ref(user)).await)?.remove(user);
        let carried = self.desk.answer(self.store.carried_incidents(user, notification.id).await)?;
        let open: Vec<Incident> = history
            .iter()
            .flat_map(History::open_incidents)
            .filter(|incident| self.policy.lists(incident))
            // What is held back, or may have gone out under another name, must not leave by another door; what was mailed is
            // mentioned again, and is no reason to mail.
            .filter(|incident| !matches!(carried.get(&incident.id), Some(Carried::Held | Carried::Ambiguous)))
            .cloned()
            .collect();
        let own: Vec<IncidentId> =
            open.iter().map(|incident| incident.id).filter(|id| !carried.contains_key(id)).collect();
        if own.is_empty() {
            let why = if open.is_empty() { why_nothing_is_left(records) } else { "mailed already" };
            return Ok(Outcome::Settle(Settlement::Skipped(why.to_owned())));
        }
        let slugs = open.iter().map(|incident| incident.slot.toolkit.clone()).collect();
        let names = self.desk.answer(self.names.of(slugs).await)?;
        let digest = Digest {
            notification: notification.id,
            to,
            user: user.clone(),
            name: recipient.name.clone(),
            locale: recipient.locale.clone(),
            time_zone: recipient.time_zone,
            message_id: notification.message_id(&self.rules.domain),
            now: self.clock.now(),
            items: digest::items(user, &open, &names, &self.rules.reconnect_url),
        };
        Ok(Outcome::Send { digest: Box::new(digest), own })
    }

    fn address_of(&self, recipient: &Recipient) -> Result<EmailAddress, Settlement> {
        let own = recipient.email.clone().map_err(|why| Settlement::Unreachable(why.to_string()))?;
        let admitted = self.rules.only_to.is_empty()
            || self.rules.only_to.iter().any(|only| match only.strip_prefix('@') {
                Some(domain) => own.domain().eq_ignore_ascii_case(domain),
                None => own.as_str().eq_ignore_ascii_case(only),
            });
        if !admitted {
            return Err(Settlement::Skipped("not in notify.only_to".to_owned()));
        }
        Ok(self.rules.redirect_all_to.clone().unwrap_or(own))
    }

    fn after_sending(&self, notification: &Notification, sent: Result<(), SendError>) -> Settlement {
        match sent {
            Ok(()) => Settlement::Sent,
            Err(SendError::Permanent(why)) => Settlement::Failed(why),
            Err(SendError::Unavailable(why)) => self.wait(why),
            Err(SendError::Transient(why)) => self.again_or_failed(notification, &why, false),
            Err(SendError::Ambiguous(why)) if self.rules.on_ambiguous == OnAmbiguous::Hold => ambiguous_hold(&why),
            Err(SendError::Ambiguous(why)) => self.again_or_failed(notification, &why, true),
        }
    }

    fn again_or_failed(&self, notification: &Notification, why: &str, ambiguous: bool) -> Settlement {
        match self.rules.retry.after(notification.attempts + 1, rand::random(), None) {
            Next::Again(wait) => {
                Settlement::Again { due_at: self.after(wait), error: why.to_owned(), counted: true, ambiguous }
            }
            Next::GiveUp => Settlement::Failed(format!("{why} (given up after {} tries)", notification.attempts + 1)),
        }
    }

    fn after(&self, wait: Duration) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::hours(1))
    }

    /// Something that every mail needs is away: that is nobody's attempt.
    fn wait(&self, why: String) -> Settlement {
        Settlement::Again { due_at: self.after(self.rules.retry.base), error: why, counted: false, ambiguous: false }
    }
}

fn ambiguous_hold(why: &str) -> Settlement {
    Settlement::Held { hold: hold::AMBIGUOUS.to_owned(), error: format!("it may have gone out: {why}") }
}

/// Why a notification has nothing left to say: `recovered` unless all that ended just now ended otherwise.
fn why_nothing_is_left(records: &[UserRecord]) -> &'static str {
    let mut ends = records.iter().flat_map(|record| &record.close).map(|(_, resolution)| *resolution);
    match ends.next() {
        None | Some(Resolution::Reconnected) => "recovered",
        Some(_) if ends.any(|end| end == Resolution::Reconnected) => "recovered",
        Some(other) => other.as_str(),
    }
}

fn outcome_name(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Sent => "sent",
        Settlement::Skipped(_) => "skipped",
        Settlement::Unreachable(_) => "unreachable",
        Settlement::Failed(_) => "failed",
        Settlement::Again { .. } => "again",
        Settlement::Held { .. } => "held",
    }
}

fn detail(settlement: &Settlement) -> Option<&str> {
    match settlement {
        Settlement::Sent => None,
        Settlement::Skipped(why) | Settlement::Unreachable(why) | Settlement::Failed(why) => Some(why),
        Settlement::Again { error, .. } | Settlement::Held { error, .. } => Some(error),
    }
}
