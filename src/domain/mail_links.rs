//! The links of ours that a mail carries, and where they lead.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use url::Url;

use super::digest;
use super::id::{IncidentId, NotificationId, UserId};
use super::incident::Incident;
use super::token::{Grant, Keyring, Subject, expiry};

/// How long the link that stops mails is good: whoever opens an old mail must still be able to say so. As long as what it is
/// about is kept, by default.
const STOPS_FOR: Duration = Duration::from_secs(365 * 86_400);

/// Makes links to the public pages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Links {
    url: Url,
    keys: Keyring,
    lifetime: Duration,
}

/// Where the buttons of mails lead.
#[derive(Debug, Clone)]
pub enum Buttons {
    /// To the app's own page: a template with `{toolkit}` and `{user_id}`.
    App(String),
    /// To pages of ours, where connecting begins only once somebody asks for it.
    Ours(Box<Links>),
}

impl Buttons {
    /// Where the button of one connection leads.
    #[must_use]
    pub fn button(&self, written: Written, user: &UserId, incident: &Incident) -> String {
        match self {
            Self::App(template) => digest::fill(template, user, &incident.slot.toolkit),
            Self::Ours(links) => links.reconnect(written, incident.id).into(),
        }
    }

    /// Where one click stops mails like this one; none where nobody would listen to it.
    #[must_use]
    pub fn unsubscribe(&self, written: Written) -> Option<Url> {
        match self {
            Self::App(_) => None,
            Self::Ours(links) => Some(links.unsubscribe(written)),
        }
    }
}

/// One mail, as far as its links depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which mail.
    pub mail: NotificationId,
    /// When its notification was made; its links are counted from there.
    pub made_at: DateTime<Utc>,
    /// When it is written.
    pub now: DateTime<Utc>,
}

impl Links {
    /// Links below this address, good for `lifetime`.
    #[must_use]
    pub fn new(url: Url, keys: Keyring, lifetime: Duration) -> Self {
        Self { url, keys, lifetime }
    }

    /// The keys that sign them.
    #[must_use]
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Where the pages are.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The button of one connection.
    #[must_use]
    pub fn reconnect(&self, written: Written, incident: IncidentId) -> Url {
        let grant = Grant::Reconnect(Subject { incident, mail: written.mail });
        self.page("r", grant, expiry(written.made_at, self.lifetime, written.now))
    }

    /// What stops mails like this one.
    #[must_use]
    pub fn unsubscribe(&self, written: Written) -> Url {
        let lifetime = self.lifetime.max(STOPS_FOR);
        self.page("u", Grant::Unsubscribe(written.mail), expiry(written.made_at, lifetime, written.now))
    }

    /// Where somebody comes back to who went to connect at `now`.
    #[must_use]
    pub fn outcome(&self, subject: Subject, now: DateTime<Utc>) -> Url {
        let lifetime = TimeDelta::from_std(self.lifetime).unwrap_or(TimeDelta::days(36_500));
        self.page("c", Grant::Outcome(subject), now + lifetime)
    }

    /// The button of somebody who came back in vain at `now`.
    #[must_use]
    pub fn retry(&self, subject: Subject, now: DateTime<Utc>) -> Url {
        let lifetime = TimeDelta::from_std(self.lifetime).unwrap_or(TimeDelta::days(36_500));
        self.page("r", Grant::Reconnect(subject), now + lifetime)
    }

    fn page(&self, page: &str, grant: Grant, expires_at: DateTime<Utc>) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend([page, &self.keys.sign(grant, expires_at)]);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;
    use crate::domain::token::Refused;

    fn links(url: &str) -> Links {
        let keys = Keyring::new(&[SecretString::from("a key, of thirty-two bytes or more")]).expect("a key");
        Links::new(url.parse().expect("a URL"), keys, Duration::from_secs(14 * 86_400))
    }

    fn written(days: i64) -> Written {
        let made_at = DateTime::from_timestamp(1_795_000_000, 0).expect("an instant");
        Written { mail: NotificationId(Uuid::from_u128(1)), made_at, now: made_at + TimeDelta::days(days) }
    }

    #[test]
    fn a_link_leads_below_the_public_address_whatever_its_path() {
        let incident = IncidentId(Uuid::from_u128(2));
        for (url, begin) in [
            ("https://c.example", "https://c.example/r/"),
            ("https://c.example/", "https://c.example/r/"),
            ("https://c.example/mail", "https://c.example/mail/r/"),
            ("https://c.example/mail/", "https://c.example/mail/r/"),
        ] {
            let link = links(url).reconnect(written(0), incident);
            let token = link.as_str().strip_prefix(begin).expect("it is below");
            let grant = Grant::Reconnect(Subject { incident, mail: written(0).mail });
            assert_eq!(links(url).keys().read(token, written(0).now), Ok(grant));
        }
    }

    #[test]
    fn who_opens_an_old_mail_can_still_stop_mails_but_reconnects_from_a_new_one() {
        let links = links("https://c.example");
        let read = |url: &Url, days| {
            let token = url.path_segments().and_then(|mut parts| parts.next_back()).expect("a token").to_owned();
            links.keys().read(&token, written(days).now)
        };
        let reconnect = links.reconnect(written(0), IncidentId(Uuid::from_u128(2)));
        assert!(read(&reconnect, 13).is_ok());
        assert_eq!(read(&reconnect, 14), Err(Refused::Expired));
        let stop = links.unsubscribe(written(0));
        assert!(read(&stop, 364).is_ok());
        assert_eq!(stop, links.unsubscribe(written(1)), "another try writes the same link");
    }
}
