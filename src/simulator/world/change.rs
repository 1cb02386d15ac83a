//! What can happen to the project: accounts break and heal, links are minted and followed, statuses are set.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use super::World;
use crate::domain::id::UserId;
use crate::simulator::account::{Account, SignedIn};
use crate::simulator::persona::{Breaks, CALLBACK_FAILED, Email, IdStyle, Kind, PERMANENT, Reason};
use crate::simulator::population::{account_id, due};
use crate::simulator::{catalog, chance};

/// How long an attempt may take.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Beyond any user's number: accounts made later count from here.
const BORN: u64 = 1 << 47;

/// A request to connect an account.
#[derive(Debug)]
pub(in crate::simulator) struct Connect {
    pub(in crate::simulator) user: String,
    pub(in crate::simulator) app: usize,
    pub(in crate::simulator) config: u8,
    pub(in crate::simulator) alias: Option<String>,
    pub(in crate::simulator) callback_url: Option<String>,
}

/// A hosted page on which a user may complete an attempt.
#[derive(Debug, Clone)]
pub(in crate::simulator) struct Link {
    pub(in crate::simulator) token: String,
    pub(in crate::simulator) url: String,
    pub(in crate::simulator) account: String,
    pub(in crate::simulator) callback_url: Option<String>,
    pub(in crate::simulator) expires_at: DateTime<Utc>,
}

/// What the user decided on the hosted page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulator) enum Consent {
    /// Access, with the account at the app that they always had.
    Granted,
    /// Access, with another account at the app.
    Another,
    /// No access.
    Denied,
}

impl World {
    /// Makes an INITIALIZING account and the link to complete it; `base` is where the simulator is reached.
    pub(in crate::simulator) fn connect(&self, connect: Connect, base: &str, now: DateTime<Utc>) -> (Account, Link) {
        let mut state = self.write();
        let account = Account {
            id: self.next_id(&mut state.births),
            owner: connect.user,
            shows_user_id: true,
            app: connect.app,
            config: connect.config,
            alias: connect.alias.map(Cow::Owned),
            status: "INITIALIZING",
            reason: Reason::Null,
            scheme: "OAUTH2",
            created: now,
            updated: now,
            is_disabled: false,
            is_shared: false,
            signed_in: SignedIn::AsUsual,
            redirect_url: None,
        };
        let (account, link) = self.give_link(&mut state, account, base, connect.callback_url, now);
        state.add(account.clone());
        (account, link)
    }

    fn next_id(&self, births: &mut u64) -> String {
        *births += 1;
        account_id(self.population.spec().seed, BORN + *births, 0, None)
    }

    fn give_link(
        &self,
        state: &mut super::State,
        mut account: Account,
        base: &str,
        callback_url: Option<String>,
        now: DateTime<Utc>,
    ) -> (Account, Link) {
        // Links that were followed are gone; their tokens must not come again.
        state.minted += 1;
        let token = format!("lk_{}", chance::nano_id(chance::mix(self.population.spec().seed, state.minted, 61)));
        let link = Link {
            url: format!("{base}/link/{token}"),
            account: account.id.clone(),
            callback_url,
            expires_at: now + PATIENCE,
            token: token.clone(),
        };
        account.redirect_url = Some(link.url.clone());
        state.deadlines.insert((link.expires_at, account.id.clone()));
        state.links.insert(token, link.clone());
        (account, link)
    }

    /// The link of a token, while it lives.
    pub(in crate::simulator) fn link(&self, token: &str, now: DateTime<Utc>) -> Option<Link> {
        self.read().links.get(token).filter(|link| link.expires_at > now).cloned()
    }

    /// The user opened the hosted page.
    pub(in crate::simulator) fn open(&self, link: &Link, now: DateTime<Utc>) {
        self.set_status(&link.account, "INITIATED", Reason::Null, now);
    }

    /// The user came to the end of the hosted page: the account becomes ACTIVE, or FAILED. The link is used up. What the
    /// user was to be mailed about is settled where the new account takes the place of the old: same app, and not under
    /// another alias.
    pub(in crate::simulator) fn complete(&self, link: &Link, consent: Consent, now: DateTime<Utc>) {
        let is_granted = consent != Consent::Denied;
        let mut state = self.write();
        state.links.remove(&link.token);
        let Some(mut account) = state.find(&self.population, &link.account) else { return };
        account.redirect_url = None;
        account.signed_in = if consent == Consent::Another { SignedIn::AsAnother } else { SignedIn::AsUsual };
        account.updated = now;
        (account.status, account.reason) =
            if is_granted { ("ACTIVE", Reason::Null) } else { ("FAILED", Reason::Text(CALLBACK_FAILED)) };
        let user = UserId::new(account.owner.as_str());
        if is_granted && let Some(number) = self.population.number(&user) {
            let mut left = state.due(&self.population, number, &user);
            left.retain(|due| {
                let old = state.find(&self.population, due.account.as_str());
                let is_other =
                    old.is_some_and(|old| old.alias.is_some() && account.alias.is_some() && old.alias != account.alias);
                due.toolkit.as_str() != account.slug() || is_other
            });
            state.due.insert(account.owner.clone(), left);
        }
        state.put(account);
    }

    /// `POST …/refresh`: authentication starts over, whatever the account was. `None`: there is no such account.
    pub(in crate::simulator) fn refresh(
        &self,
        id: &str,
        base: &str,
        callback_url: Option<String>,
        now: DateTime<Utc>,
    ) -> Option<Account> {
        let mut state = self.write();
        let mut account = state.find(&self.population, id)?;
        account.status = "INITIATED";
        account.reason = Reason::Null;
        account.updated = now;
        let (account, _) = self.give_link(&mut state, account, base, callback_url, now);
        state.put(account.clone());
        Some(account)
    }

    /// Sets a status. `false`: there is no such account. Nobody is to be mailed about an account that was set by hand.
    pub(in crate::simulator) fn set_status(
        &self,
        id: &str,
        status: &'static str,
        reason: Reason,
        now: DateTime<Utc>,
    ) -> bool {
        let mut state = self.write();
        let Some(mut account) = state.find(&self.population, id) else { return false };
        account.status = status;
        account.reason = reason;
        account.updated = now;
        self.forget(&mut state, &account);
        state.put(account);
        true
    }

    /// Deletes an account; its row vanishes. `false`: there is none.
    pub(in crate::simulator) fn delete(&self, id: &str) -> bool {
        let mut state = self.write();
        let Some(account) = state.find(&self.population, id) else { return false };
        self.forget(&mut state, &account);
        state.delete(id);
        true
    }

    /// Nobody is mailed about this account any more.
    fn forget(&self, state: &mut super::State, account: &Account) {
        let user = UserId::new(account.owner.as_str());
        let Some(number) = self.population.number(&user) else { return };
        let mut due = state.due(&self.population, number, &user);
        due.retain(|due| due.account.as_str() != account.id);
        state.due.insert(account.owner.clone(), due);
    }

    /// All accounts of an app expire at once: its provider is away, or its secret was rotated. That is nobody's to be mailed
    /// about, so the truth stays as it is. `false`: no app has this slug.
    pub(in crate::simulator) fn expire_app(&self, slug: &str, now: DateTime<Utc>) -> bool {
        let known = catalog::position(slug).is_some();
        if known {
            let mut state = self.write();
            state.version += 1;
            state.expired_apps.insert(slug.to_owned(), now);
        }
        known
    }

    /// What [`Self::expire_app`] did is over: the accounts are as they were. `false`: it had not been done.
    pub(in crate::simulator) fn revive_app(&self, slug: &str) -> bool {
        let mut state = self.write();
        state.version += 1;
        state.expired_apps.remove(slug).is_some()
    }

    /// Heals the first `count` users who are to be mailed about exactly one broken connection, by number; returns them.
    pub(in crate::simulator) fn heal(&self, count: usize, now: DateTime<Utc>) -> Vec<UserId> {
        let candidates = self
            .truth()
            .mailed
            .into_iter()
            .filter(|(_, due)| due.len() == 1 && due.iter().all(|due| due.kind == Kind::Broken));
        candidates.map(|(user, _)| user).take(count).filter(|user| self.heal_user(user, now)).collect()
    }

    /// Gives a user a new ACTIVE account in each slot they are to be mailed about; the old rows stay as they are.
    /// `false`: there was nothing to heal.
    pub(in crate::simulator) fn heal_user(&self, user: &UserId, now: DateTime<Utc>) -> bool {
        let mut state = self.write();
        let Some(number) = self.population.number(user) else { return false };
        let due = state.due(&self.population, number, user);
        if due.is_empty() {
            return false;
        }
        let newest = state.visible_to(&self.population, user.as_str()).iter().map(|account| account.created).max();
        // Nothing in the slot may look newer than what replaces it, whatever the clock says.
        let created = newest.map_or(now, |newest| now.max(newest + TimeDelta::seconds(1)));
        for due in due {
            let Some(old) = state.find(&self.population, due.account.as_str()) else { continue };
            let id = self.next_id(&mut state.births);
            let fresh = Account {
                id,
                status: "ACTIVE",
                reason: Reason::Null,
                created,
                updated: created,
                is_disabled: false,
                redirect_url: None,
                ..old
            };
            state.add(fresh);
        }
        state.due.insert(user.as_str().to_owned(), Vec::new());
        true
    }

    /// Breaks one account of each of the first `count` users, by number, who were healthy so far; returns them.
    pub(in crate::simulator) fn break_some(
        &self,
        count: usize,
        now: DateTime<Utc>,
        seen: impl Fn(&UserId) -> bool,
    ) -> Vec<(UserId, Account)> {
        let healthy = (0..self.population.spec().users).filter_map(|number| {
            let persona = self.population.persona(number)?;
            let user = self.population.id(number)?;
            let is_fresh = !self.read().due.contains_key(user.as_str());
            (persona.breaks != Breaks::Never && is_fresh).then_some(user)
        });
        healthy.filter_map(|user| Some((user.clone(), self.break_user(&user, now, &seen)?))).take(count).collect()
    }

    /// Makes one ACTIVE account of a healthy user EXPIRED in place, such that its owner is to be mailed about it: what was
    /// healed last, else the row that the persona names. `seen` says whether a sweep has seen the user's accounts.
    /// None: the user has no such account.
    pub(in crate::simulator) fn break_user(
        &self,
        user: &UserId,
        now: DateTime<Utc>,
        seen: impl Fn(&UserId) -> bool,
    ) -> Option<Account> {
        let mut state = self.write();
        let number = self.population.number(user)?;
        let persona = self.population.persona(number)?;
        if !persona.in_app || persona.email != Email::Valid || persona.id == IdStyle::Comma {
            return None;
        }
        let mut items = state.due(&self.population, number, user);
        let healed = state.added.get(user.as_str()).and_then(|accounts| {
            accounts.iter().rev().find(|account| account.status == "ACTIVE").map(|account| account.id.clone())
        });
        let named = match persona.breaks {
            Breaks::Never => None,
            Breaks::Row(index) => Some(index),
            Breaks::OnceSeen(index) => seen(user).then_some(index),
        };
        let named = named.and_then(|index| self.population.rows(number).into_iter().nth(index));
        let id = healed.or(named.map(|account| account.id))?;
        let mut account = state.find(&self.population, &id)?;
        if account.status != "ACTIVE" {
            return None;
        }
        account.status = "EXPIRED";
        account.reason = Reason::Text(PERMANENT);
        account.updated = now.max(account.created);
        items.push(due(&account, Kind::Broken));
        state.due.insert(user.as_str().to_owned(), items);
        state.put(account.clone());
        Some(account)
    }
}
