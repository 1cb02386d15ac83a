//! The gate before an action: may it use this app on behalf of this user? Pure; what is decided upon are the verdicts of an audit,
//! so that a gate and a mail never contradict each other.
//!
//! There are three answers, not two. *Unknown* means that we could not look, and is never turned into another answer by itself: a
//! caller that wants a yes or a no says which way an unknown shall go ([`Gate::permit`]), and the answer repeats it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::connection::{AppNames, ReconnectPage, name_of};
use super::id::{AccountId, Toolkit, UserId};
use super::tool::Which;
use super::verdict::{SlotVerdict, Verdict};

/// The answer for all apps that were asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// One answer an app, in the order in which they were asked about.
    pub apps: Vec<AppGate>,
    /// When the accounts were read; none if they never were.
    pub as_of: Option<DateTime<Utc>>,
    /// It is older than was asked for, or something has happened since.
    pub stale: bool,
}

/// The answer for one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppGate {
    /// The app, as Composio names it.
    pub app: Toolkit,
    /// The app as people write it.
    pub name: String,
    /// The answer.
    #[serde(flatten)]
    pub decision: Decision,
    /// When the accounts were read; none if they never were.
    pub as_of: Option<DateTime<Utc>>,
    /// It is older than was asked for, or something has happened since.
    pub stale: bool,
}

/// Whether an action may use an app on behalf of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// There is an account that works.
    Allowed {
        /// The accounts that work, one a connection.
        accounts: Vec<Usable>,
    },
    /// There is none.
    Denied {
        /// Why.
        reason: Denial,
        /// The account that decided, if there is one.
        account: Option<AccountId>,
        /// Since when, as far as Composio tells.
        since: Option<DateTime<Utc>>,
        /// What to tell the person.
        prompt: String,
        /// Where the person can do something about it, if they can.
        reconnect_url: Option<String>,
    },
    /// We could not look, or cannot tell.
    Unknown {
        /// Why.
        why: Unseen,
        /// The same for people; no address, no token.
        detail: String,
    },
}

/// An account that may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usable {
    /// `ca_…`.
    pub account: AccountId,
    /// The name of the connection.
    pub alias: Option<String>,
}

/// Why an action may not use an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// It worked, and does no more.
    Broken,
    /// Connecting was tried and did not succeed.
    AttemptFailed,
    /// It was switched off or revoked on purpose.
    ByChoice,
    /// The auth config is switched off: only the operator can help.
    OperatorFault,
    /// Connecting was begun and not finished.
    Unfinished,
    /// The user never connected it, or removed it.
    NotConnected,
}

/// Why we cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// Composio's rate limit is reached.
    RateLimited,
    /// Composio does not answer, or not in full.
    Unavailable,
    /// Composio refuses the key.
    KeyRefused,
    /// Rows of somebody else came back, or filters are being ignored: nothing of it was used.
    Foreign,
    /// Composio refuses to be asked for this user.
    Refused,
    /// Nobody has looked yet, and nobody was to look now.
    NeverSeen,
    /// Something has happened since somebody looked, and nobody was to look now.
    Doubted,
    /// Composio says something that this version does not know.
    UnknownStatus,
    /// The auditor's own database cannot be read or written.
    StoreUnavailable,
}

/// Which way an unknown goes, for who must have a yes or a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// An unknown is a no: fail closed.
    Deny,
    /// An unknown is a yes: fail open.
    Allow,
}

/// A yes or a no, and what made it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Permit {
    /// The action may go ahead.
    pub permitted: bool,
    /// What made it so.
    pub by: DecidedBy,
    /// Which way an unknown was to go.
    pub on_unknown: OnUnknown,
}

/// What made a permit a yes or a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// What was seen.
    Verdict,
    /// It is not known, and the caller chose to go ahead.
    FailOpen,
    /// It is not known, and the caller chose not to.
    FailClosed,
}

impl Gate {
    /// A yes or a no for all apps together: a denied app makes it a no, whatever is not known of others.
    #[must_use]
    pub fn permit(&self, on_unknown: OnUnknown) -> Permit {
        let by = |permitted, by| Permit { permitted, by, on_unknown };
        match self.overall() {
            Overall::Allowed => by(true, DecidedBy::Verdict),
            Overall::Denied => by(false, DecidedBy::Verdict),
            Overall::Unknown => match on_unknown {
                OnUnknown::Allow => by(true, DecidedBy::FailOpen),
                OnUnknown::Deny => by(false, DecidedBy::FailClosed),
            },
        }
    }

    /// The three answers, for all apps together.
    #[must_use]
    pub fn overall(&self) -> Overall {
        let is_denied = |app: &AppGate| matches!(app.decision, Decision::Denied { .. });
        let is_unknown = |app: &AppGate| matches!(app.decision, Decision::Unknown { .. });
        if self.apps.iter().any(is_denied) {
            Overall::Denied
        } else if self.apps.iter().any(is_unknown) {
            Overall::Unknown
        } else {
            Overall::Allowed
        }
    }
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Every app works.
    Allowed,
    /// Some app does not.
    Denied,
    /// No app is known not to work, but not all are known to.
    Unknown,
}

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whose connections these are.
    pub user: &'a UserId,
    /// The verdicts on all of the user's connections.
    pub verdicts: &'a [SlotVerdict],
    /// What the apps are called.
    pub names: &'a AppNames,
    /// Where the user reconnects.
    pub page: &'a ReconnectPage,
}

/// Decides for one app, from the whole list of the user's connections.
#[must_use]
pub fn decide(facts: Facts<'_>, toolkit: &Toolkit) -> Decision {
    let of_app: Vec<&SlotVerdict> = facts.verdicts.iter().filter(|about| about.slot.toolkit == *toolkit).collect();
    let usable: Vec<Usable> =
        of_app.iter().filter(|about| about.verdict == Verdict::Healthy).map(|about| usable(about)).collect();
    if !usable.is_empty() {
        return Decision::Allowed { accounts: usable };
    }
    if let Some(about) = of_app.iter().find(|about| about.verdict == Verdict::Unknown) {
        let detail = format!("composio says that account {} is {}", about.deciding.id, about.deciding.status);
        return Decision::Unknown { why: Unseen::UnknownStatus, detail };
    }
    // Of several, the one that says most: what worked once comes before what never did.
    let worst =
        of_app.iter().filter_map(|about| Some((denial(about.verdict)?, *about))).min_by_key(|(why, _)| rank(*why));
    let (reason, about) = worst.map_or((Denial::NotConnected, None), |(why, about)| (why, Some(about)));
    deny(facts, toolkit, reason, about.map(|about| &about.deciding))
}

/// A denial with its words, and with the page on which the person can do something about it.
#[must_use]
pub fn deny(facts: Facts<'_>, toolkit: &Toolkit, reason: Denial, about: Option<&Account>) -> Decision {
    let url = (reason != Denial::OperatorFault).then(|| facts.page.url(facts.user, toolkit)).flatten();
    Decision::Denied {
        reason,
        account: about.map(|account| account.id.clone()),
        since: about.map(Account::changed_at),
        prompt: prompt(reason, &name_of(facts.names, toolkit)),
        reconnect_url: url,
    }
}

fn usable(about: &SlotVerdict) -> Usable {
    Usable { account: about.deciding.id.clone(), alias: about.slot.alias.clone() }
}

/// Why a verdict denies; none if it does not, or does not by itself.
fn denial(verdict: Verdict) -> Option<Denial> {
    match verdict {
        Verdict::Broken => Some(Denial::Broken),
        Verdict::AttemptFailed => Some(Denial::AttemptFailed),
        Verdict::ByChoice => Some(Denial::ByChoice),
        Verdict::OperatorFault => Some(Denial::OperatorFault),
        Verdict::Unfinished => Some(Denial::Unfinished),
        // What is superseded has a healthy one beside it.
        Verdict::Healthy | Verdict::Superseded | Verdict::Unknown => None,
    }
}

fn rank(reason: Denial) -> u8 {
    match reason {
        Denial::Broken => 0,
        Denial::AttemptFailed => 1,
        Denial::ByChoice => 2,
        Denial::OperatorFault => 3,
        Denial::Unfinished => 4,
        Denial::NotConnected => 5,
    }
}

/// What to tell the person.
fn prompt(reason: Denial, app: &str) -> String {
    match reason {
        Denial::Broken => format!("Your {app} connection has expired. Please reconnect {app}."),
        Denial::AttemptFailed => format!("Connecting {app} did not succeed. Please try again."),
        Denial::ByChoice => format!("Your {app} connection is switched off. Please connect {app} again."),
        Denial::OperatorFault => format!("{app} is not available at the moment."),
        Denial::Unfinished => format!("Connecting {app} was not finished. Please connect {app}."),
        Denial::NotConnected => format!("Please connect {app} first."),
    }
}

/// The account that a tool is to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    One(AccountId),
    /// The app works, but in several connections, and none was named.
    Several(Vec<Usable>),
    /// It may not be used.
    No(Decision),
}

/// Chooses among a user's accounts of one app: the gate, and then the account that was named. Never another one in its place.
#[must_use]
pub fn choose(facts: Facts<'_>, toolkit: &Toolkit, which: &Which, accounts: &[Account]) -> Choice {
    match which {
        Which::Only => match decide(facts, toolkit) {
            Decision::Allowed { accounts } => match <[Usable; 1]>::try_from(accounts) {
                Ok([only]) => Choice::One(only.account),
                Err(several) => Choice::Several(several),
            },
            other => Choice::No(other),
        },
        Which::Alias(alias) => {
            let named: Vec<SlotVerdict> =
                facts.verdicts.iter().filter(|about| about.slot.alias.as_ref() == Some(alias)).cloned().collect();
            choose(Facts { verdicts: &named, ..facts }, toolkit, &Which::Only, accounts)
        }
        Which::Account(id) => {
            let listed = accounts.iter().find(|account| account.id == *id && account.toolkit() == toolkit);
            match listed {
                Some(account) if account.works() => Choice::One(account.id.clone()),
                Some(account) => {
                    let of_slot: Vec<SlotVerdict> =
                        facts.verdicts.iter().filter(|about| about.slot == account.slot).cloned().collect();
                    // The slot may work by another account; this one does not, and no other is used in its place.
                    let reason = of_slot.iter().find_map(|about| denial(about.verdict)).unwrap_or(Denial::Broken);
                    Choice::No(deny(facts, toolkit, reason, Some(account)))
                }
                None => Choice::No(deny(facts, toolkit, Denial::NotConnected, None)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
