//! Everything up to the mail; nothing has left the house yet.
//!
//! What can be decided from what is stored is decided first: most notifications that wait, are held, or have nothing left to
//! say cost no request and no look into the users' database.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::end::{ambiguous_hold, recovered_how};
use super::{Letter, Notifier, Outcome};
use crate::adapters::composio::{ComposioError, Urgency};
use crate::audit::{Look, Mode};
use crate::config::OnAmbiguous;
use crate::domain::digest;
use crate::domain::incident::{Incident, Resolution};
use crate::domain::mail_links::Written;
use crate::domain::notification::{Digest, EmailAddress, Notification, Recipient, hold};
use crate::domain::plan::{Hold, Idle, Listed, Next, Situation};
use crate::domain::policy::Policy;
use crate::domain::port::{Handled, Settlement, UserRecord};
use crate::domain::suppression::AddressHash;

/// Whoever is to read the mail.
struct Reader {
    recipient: Recipient,
    own: EmailAddress,
    address: AddressHash,
    /// By whose clock mails leave.
    zone: Tz,
}

impl Notifier {
    pub(super) async fn prepare(&self, notification: &Notification) -> Result<Outcome, Handled> {
        if notification.unclear && self.rules.on_ambiguous == OnAmbiguous::Hold {
            let settlement = ambiguous_hold("a worker died while it handed the mail over");
            return Ok(Outcome::Settle(settlement, Situation::default()));
        }
        let now = self.clock.now();
        let known = self.situation(notification, None).await?;
        // Whether the hour is right is for the clock of the user to say, which is not known yet.
        let at_any_hour = Policy { send_window: None, ..self.policy.clone() };
        let judged_from = match known.next(&at_any_hour, Tz::UTC, now) {
            // The row is due once its group is complete: by then all that its sweep opened is stored.
            Next::Send { judged_from, .. } => judged_from.max(notification.due_at).min(now),
            next => return Ok(Outcome::Settle(self.not_now(&next, &[]), known)),
        };
        let recipient = match self.users.find(&notification.user).await {
            Ok(Some(recipient)) => recipient,
            Ok(None) => {
                self.desk
                    .answer(self.store.close_incidents_of(&notification.user, Resolution::UserDeleted, now).await)?;
                return Ok(Outcome::Settle(Settlement::Skipped("deleted".to_owned()), Situation::default()));
            }
            Err(error) => {
                return Ok(Outcome::Settle(self.wait(format!("the user could not be read: {error}")), known));
            }
        };
        let own = match self.address_of(&recipient) {
            Ok(own) => own,
            Err(settlement) => return Ok(Outcome::Settle(settlement, known)),
        };
        let reader = Reader {
            address: AddressHash::of(&own),
            zone: recipient.time_zone.unwrap_or_else(|| known.zone(&self.rules.zones)),
            own,
            recipient,
        };
        if self.desk.answer(self.store.paused().await)?.is_some() {
            return Ok(Outcome::Settle(self.paused(), known));
        }
        self.judge(judged_from).await?;
        let known = self.situation(notification, Some(&reader.address)).await?;
        match known.next(&self.policy, reader.zone, self.clock.now()) {
            Next::Send { .. } => {}
            next => return Ok(Outcome::Settle(self.not_now(&next, &[]), known)),
        }
        match self.look_again(notification).await {
            Ok(records) => self.write(notification, reader, &records).await,
            Err(settlement) => Ok(Outcome::Settle(settlement, known)),
        }
    }

    async fn situation(
        &self,
        notification: &Notification,
        address: Option<&AddressHash>,
    ) -> Result<Situation, Handled> {
        let known = self.store.situation(&notification.user, address, Some(notification.id), self.clock.now());
        self.desk.answer(known.await)
    }

    /// The outage guard must have looked at everything that was open then, before any of it leaves.
    async fn judge(&self, from: DateTime<Utc>) -> Result<(), Handled> {
        self.desk.answer(self.guard.judged_since(from).await)
    }

    /// How a try ends with which no mail leaves.
    fn not_now(&self, next: &Next, records: &[UserRecord]) -> Settlement {
        let skipped = |why: &str| Settlement::Skipped(why.to_owned());
        match next {
            Next::Send { .. } => self.wait("it was not its turn".to_owned()),
            Next::Wait { until, why } => Settlement::Again {
                due_at: *until,
                error: format!("waits for {}", why.as_str()),
                counted: false,
                ambiguous: false,
            },
            Next::Hold(Hold::Guard(trip)) => Settlement::Held {
                hold: hold::GUARD.to_owned(),
                error: format!("the outage guard holds it: trip {trip}"),
            },
            Next::Hold(Hold::Named(name)) => skipped(&format!("held already: {name}")),
            Next::Hold(Hold::Ambiguous) => skipped("another mail may have told of it"),
            Next::Hold(Hold::Discarded(_)) => skipped(Idle::Discarded.as_str()),
            Next::Nothing { why: Idle::Recovered } => skipped(recovered_how(records)),
            Next::Nothing { why } => skipped(why.as_str()),
        }
    }

    /// Reads the accounts again and records what is so.
    async fn look_again(&self, notification: &Notification) -> Result<Vec<UserRecord>, Settlement> {
        let seen = match self.auditor.look(&notification.user, Urgency::Now).await {
            Ok(seen) => seen,
            Err(error @ (ComposioError::Rejected { .. } | ComposioError::Unfilterable)) => {
                return Err(self.again_or_failed(notification, &error.to_string(), false));
            }
            Err(error) => return Err(self.wait(format!("the accounts could not be read again: {error}"))),
        };
        let mode = Mode { join: Some(notification.id), ..Mode::default() };
        let looks = [(notification.user.clone(), Look::Seen(seen))];
        match self.auditor.record(&looks, &mode).await {
            Ok((_, _, records)) => Ok(records),
            Err(error) => Err(self.wait(format!("what was seen could not be recorded: {error}"))),
        }
    }

    /// Asks once more, now that the accounts were seen, and writes the mail.
    async fn write(
        &self,
        notification: &Notification,
        reader: Reader,
        records: &[UserRecord],
    ) -> Result<Outcome, Handled> {
        let situation = self.situation(notification, Some(&reader.address)).await?;
        let list = match situation.next(&self.policy, reader.zone, self.clock.now()) {
            Next::Send { list, judged_from } => {
                self.judge(judged_from).await?;
                list
            }
            next => return Ok(Outcome::Settle(self.not_now(&next, records), situation)),
        };
        let address = self.rules.redirect_all_to.is_none().then(|| reader.address.clone());
        let digest = self.digest(notification, reader, &situation, &list).await?;
        let stop = self.rules.buttons.unsubscribe(written(notification, &digest));
        Ok(match self.mailer.compose_with(&digest, stop.as_ref()) {
            Ok(mail) => Outcome::Send(Box::new(Letter { mail, address, list, situation })),
            Err(error) => {
                Outcome::Settle(Settlement::Failed(format!("the mail could not be written: {error}")), situation)
            }
        })
    }

    async fn digest(
        &self,
        notification: &Notification,
        reader: Reader,
        situation: &Situation,
        list: &[Listed],
    ) -> Result<Digest, Handled> {
        let listed = situation.listed(list);
        let slugs = listed.iter().map(|(incident, _)| incident.slot.toolkit.clone()).collect();
        let names = self.desk.answer(self.names.of(slugs).await)?;
        let mut digest = Digest {
            notification: notification.id,
            to: self.rules.redirect_all_to.clone().unwrap_or(reader.own),
            user: notification.user.clone(),
            name: reader.recipient.name,
            locale: reader.recipient.locale,
            time_zone: reader.recipient.time_zone,
            message_id: notification.message_id(&self.rules.domain),
            now: self.clock.now(),
            items: Vec::new(),
        };
        let written = written(notification, &digest);
        let button = |incident: &Incident| self.rules.buttons.button(written, &notification.user, incident);
        digest.items = digest::items(&listed, &names, button);
        Ok(digest)
    }

    fn address_of(&self, recipient: &Recipient) -> Result<EmailAddress, Settlement> {
        let own = recipient.email.clone().map_err(|why| Settlement::Unreachable(why.to_string()))?;
        if own.is_admitted_by(&self.rules.only_to) {
            Ok(own)
        } else {
            Err(Settlement::Skipped("not in notify.only_to".to_owned()))
        }
    }
}

fn written(notification: &Notification, digest: &Digest) -> Written {
    Written { mail: notification.id, made_at: notification.created_at, now: digest.now }
}
