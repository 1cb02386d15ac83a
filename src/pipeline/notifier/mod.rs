//! The notifier works off notifications: it looks at everything that is known of a user, and mails what is still broken.
//!
//! The order of steps is the promise: *claim* the row; ask the [plan](crate::domain::plan) what is to happen; find the
//! recipient; ask the outage guard; look again at the accounts, so that who has reconnected is left alone; ask the plan once
//! more; write the digest; commit *sending* with the fencing token, which is the last word on whether it may leave; only then
//! speak SMTP; settle. Whoever dies before *sending* leaves a claim that lapses and is taken again; who dies after it leaves a
//! mail of which nobody knows whether it went out, and `notify.on_ambiguous` decides.
//!
//! | file | what |
//! |---|---|
//! | `prepare` | everything up to the mail |
//! | `end` | how a try ends, and what the ledger is told |

mod end;
mod prepare;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::adapters::mailer::{Mail, Mailer, SendError};
use crate::adapters::users::UsersSource;
use crate::audit::{Auditor, Desk, Guard, Names, Outbox};
use crate::config::OnAmbiguous;
use crate::domain::clock::Clock;
use crate::domain::id::{IncidentId, SuppressionId};
use crate::domain::job::Job;
use crate::domain::lease::{Claim, Lease};
use crate::domain::mail_links::Buttons;
use crate::domain::notification::{EmailAddress, Notification};
use crate::domain::plan::{Listed, Situation};
use crate::domain::policy::Policy;
use crate::domain::port::{Begun, Entry, Handled, JobHandler, Sending, Settled, Settlement, Store};
use crate::domain::retry::Retry;
use crate::domain::stage::Stage;
use crate::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};
use end::{detail, outcome_name};

/// How often it is tried to note that a mail went out.
const NOTE_AGAIN: Duration = Duration::from_millis(500);
/// How long a mail waits before it is asked again whether the kill switch is thrown; `resume` does not wait for it.
const PAUSED_WAIT: Duration = Duration::from_secs(60);

/// Works notifications off.
pub struct Notifier {
    /// Looks again and records what it saw.
    pub auditor: Auditor,
    /// Holds back what is not the users' fault.
    pub guard: Guard,
    /// How apps are called.
    pub names: Names,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// Where recipients are found.
    pub users: Arc<UsersSource>,
    /// Writes and sends.
    pub mailer: Mailer,
    /// Hands over what is due again.
    pub outbox: Outbox,
    /// Opens entries and holds leases.
    pub desk: Desk,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// About which trouble people are mailed, and how often.
    pub policy: Policy,
    /// What applies to every mail.
    pub rules: MailRules,
}

/// What applies to every mail.
#[derive(Debug, Clone)]
pub struct MailRules {
    /// Where buttons lead.
    pub buttons: Buttons,
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
    /// So many mails leave within an hour at most.
    pub max_per_hour: Option<u32>,
    /// The time zones of the schedules, for users whose own is not known.
    pub zones: BTreeMap<String, Tz>,
}

/// What is to become of a notification.
enum Outcome {
    /// The try ends here; open incidents are looked at again as this situation says.
    Settle(Settlement, Situation),
    /// A mail leaves.
    Send(Box<Letter>),
}

/// A mail, and what it means for the ledger.
struct Letter {
    mail: Mail,
    /// Whose address it goes to; none while mails are redirected.
    address: Option<AddressHash>,
    list: Vec<Listed>,
    situation: Situation,
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
        match self.prepare(notification).await? {
            Outcome::Settle(settlement, situation) => self.settle(notification, lease, settlement, &situation).await,
            Outcome::Send(letter) => self.send(notification, lease, *letter).await,
        }
    }

    async fn send(&self, notification: &Notification, lease: Lease, letter: Letter) -> Result<Handled, Handled> {
        let now = self.clock.now();
        let stages: Vec<(IncidentId, Stage)> =
            letter.list.iter().flat_map(|listed| listed.stages.iter().map(|stage| (listed.incident, *stage))).collect();
        let sending = Sending {
            lease: Lease::new(lease.token, now, self.desk.length()),
            stages: &stages,
            quiet_since: now - TimeDelta::from_std(self.policy.min_interval).unwrap_or(TimeDelta::days(36_500)),
            max_per_hour: self.rules.max_per_hour,
            template: Some(letter.mail.template()),
            now,
        };
        let settlement = match self.desk.answer(self.store.begin_sending(notification.id, &sending).await)? {
            Begun::Yes => {
                let sent = self.mailer.send(&letter.mail).await;
                if let Err(SendError::Bounced(why)) = &sent {
                    self.suppress(letter.address, why).await;
                }
                self.after_sending(notification, sent)
            }
            Begun::Fenced => return Ok(Handled::Done),
            Begun::Refused => self.wait("something changed just before it was sent".to_owned()),
            Begun::Full(until) => Settlement::Again {
                due_at: until,
                error: "guard.max_mails_per_hour is reached".to_owned(),
                counted: false,
                ambiguous: false,
            },
            Begun::Paused => self.paused(),
        };
        let situation = match settlement {
            Settlement::Sent => letter.situation.mailed(&letter.list, now),
            _ => letter.situation,
        };
        self.settle(notification, lease, settlement, &situation).await
    }

    /// Nobody tries an address again that does not work, until the user gets another one or the operator says so.
    async fn suppress(&self, address: Option<AddressHash>, why: &str) {
        let Some(address) = address else { return };
        let bounce = Suppression {
            id: SuppressionId(Uuid::now_v7()),
            whom: Whom::Address(address),
            kind: SuppressionKind::Bounce,
            toolkit: None,
            until: None,
            source: "smtp".to_owned(),
            detail: Some(why.to_owned()),
            created_at: self.clock.now(),
        };
        if let Err(error) = self.store.suppress(&bounce).await {
            tracing::warn!(event = "suppression.not_stored", %error, "the mail failed all the same");
        }
    }

    async fn settle(
        &self,
        notification: &Notification,
        lease: Lease,
        settlement: Settlement,
        situation: &Situation,
    ) -> Result<Handled, Handled> {
        let now = self.clock.now();
        let looks = match settlement {
            Settlement::Again { .. } => Vec::new(),
            _ => situation.looks(&self.policy, now),
        };
        let settled = Settled { settlement: &settlement, looks: &looks };
        let mut written = self.store.settle(notification.id, lease.token, &settled, now).await;
        // That a mail went out is known here and nowhere else: it is noted however long the database is away. Until then
        // nobody can claim the row either, and whoever does later fences this worker.
        while settlement == Settlement::Sent && written.as_ref().is_err_and(|error| !error.is_permanent()) {
            tokio::time::sleep(NOTE_AGAIN).await;
            written = self.store.settle(notification.id, lease.token, &settled, now).await;
        }
        if !self.desk.answer(written)? {
            tracing::warn!(event = "notification.fenced", notification = %notification.id, "another worker took it over");
            return Ok(Handled::Done);
        }
        tracing::info!(event = "notification.settled", notification = %notification.id, user = ?notification.user,
            outcome = outcome_name(&settlement), detail = detail(&settlement));
        match settlement {
            // What waits for long is left to the keeper, so that the queue stays small.
            Settlement::Again { due_at, .. } if due_at - now <= TimeDelta::minutes(1) => {
                self.outbox.hand_over(&[(Job::Notify(notification.id), Some(due_at))]).await;
            }
            _ => {}
        }
        Ok(Handled::Done)
    }

    fn after(&self, wait: Duration) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::hours(1))
    }
}
