//! The state of the simulated project: a population that is computed, and what has happened to it since, which is stored.

mod change;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};

use super::account::Account;
use super::list::Query;
use super::persona::{Email, IdStyle, PERMANENT, Reason, TIMED_OUT};
use super::population::Population;
use super::truth::{Due, Truth};
use crate::domain::id::UserId;

pub(super) use change::{Connect, Consent, Link};

/// What became of an account of the population.
#[derive(Debug)]
enum Fate {
    Changed(Box<Account>),
    Deleted,
}

#[derive(Debug, Default)]
struct State {
    /// Counts changes, so that what was computed from an older state can be told.
    version: u64,
    /// Accounts of the population that are not as they were, by id.
    fates: HashMap<String, Fate>,
    /// Accounts that were made since, by owner.
    added: HashMap<String, Vec<Account>>,
    /// Whose each of those is, by account id.
    owner_of: HashMap<String, String>,
    /// How many were ever made.
    births: u64,
    /// How many links were ever minted: no token comes twice.
    minted: u64,
    /// Links by token.
    links: HashMap<String, Link>,
    /// Attempts by the instant at which they time out.
    deadlines: BTreeSet<(DateTime<Utc>, String)>,
    /// What users are mailed about, where it is no longer what their persona says.
    due: HashMap<String, Vec<Due>>,
    /// Apps whose accounts have all expired, by slug, and since when: what is ACTIVE by itself is listed as EXPIRED.
    expired_apps: HashMap<String, DateTime<Utc>>,
    /// Lists of the whole project, by query: which accounts, in which order.
    lists: HashMap<String, (u64, Arc<Vec<String>>)>,
}

#[derive(Debug)]
pub(super) struct World {
    population: Population,
    state: RwLock<State>,
}

/// How many project-wide lists are remembered.
const LISTS_KEPT: usize = 8;

impl State {
    /// The account as it is now, if it still is.
    fn settle(&self, account: Account) -> Option<Account> {
        match self.fates.get(&account.id) {
            None => Some(account),
            Some(Fate::Changed(changed)) => Some((**changed).clone()),
            Some(Fate::Deleted) => None,
        }
    }

    fn find(&self, population: &Population, id: &str) -> Option<Account> {
        match self.owner_of.get(id) {
            Some(owner) => self.added.get(owner)?.iter().find(|account| account.id == id).cloned(),
            None => self.settle(population.account(id)?),
        }
    }

    fn visible_to(&self, population: &Population, user: &str) -> Vec<Account> {
        let mut rows = population.visible_to(user);
        if !self.fates.is_empty() {
            rows = rows.into_iter().filter_map(|row| self.settle(row)).collect();
        }
        rows.extend(self.added.get(user).into_iter().flatten().cloned());
        rows
    }

    /// The account as it is listed while its app may be in trouble.
    fn shown(&self, mut account: Account) -> Account {
        if account.status == "ACTIVE"
            && let Some(since) = self.expired_apps.get(account.slug())
        {
            account.status = "EXPIRED";
            account.reason = Reason::Text(PERMANENT);
            account.updated = account.updated.max(*since);
        }
        account
    }

    /// Writes an account back, wherever it is kept.
    fn put(&mut self, account: Account) {
        self.version += 1;
        let kept = self.owner_of.get(&account.id).and_then(|owner| self.added.get_mut(owner));
        match kept.and_then(|accounts| accounts.iter_mut().find(|kept| kept.id == account.id)) {
            Some(kept) => *kept = account,
            None => {
                self.fates.insert(account.id.clone(), Fate::Changed(Box::new(account)));
            }
        }
    }

    fn delete(&mut self, id: &str) {
        self.version += 1;
        match self.owner_of.remove(id).and_then(|owner| self.added.get_mut(&owner)) {
            Some(accounts) => accounts.retain(|account| account.id != id),
            None => {
                self.fates.insert(id.to_owned(), Fate::Deleted);
            }
        }
    }

    fn add(&mut self, account: Account) {
        self.version += 1;
        self.owner_of.insert(account.id.clone(), account.owner.clone());
        self.added.entry(account.owner.clone()).or_default().push(account);
    }

    fn due(&self, population: &Population, number: u64, user: &UserId) -> Vec<Due> {
        match self.due.get(user.as_str()) {
            Some(due) => due.clone(),
            None => population.due(number),
        }
    }
}

impl World {
    pub(super) fn new(population: Population) -> Self {
        Self { population, state: RwLock::new(State::default()) }
    }

    pub(super) fn population(&self) -> &Population {
        &self.population
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets attempts time out whose ten minutes are over.
    pub(super) fn tick(&self, now: DateTime<Utc>) {
        if self.read().deadlines.first().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let mut state = self.write();
        while state.deadlines.first().is_some_and(|(at, _)| *at <= now) {
            let Some((at, id)) = state.deadlines.pop_first() else { return };
            let Some(mut account) = state.find(&self.population, &id) else { continue };
            if matches!(account.status, "INITIALIZING" | "INITIATED") {
                account.status = "EXPIRED";
                account.reason = Reason::Text(TIMED_OUT);
                account.updated = at;
                account.redirect_url = None;
                state.put(account);
            }
        }
    }

    /// The newest account of a user and an app that works.
    pub(super) fn newest_of(&self, user: &str, app: &str) -> Option<Account> {
        let state = self.read();
        let rows = state.visible_to(&self.population, user).into_iter().map(|account| state.shown(account));
        rows.filter(|row| row.slug() == app && row.status == "ACTIVE" && !row.is_disabled).max_by_key(|row| row.created)
    }

    /// The first user of the population who has accounts and is none of these.
    pub(super) fn somebody_else(&self, than: &[String]) -> Option<String> {
        let users = (0..self.population.spec().users).filter_map(|number| self.population.id(number));
        let mut others = users.filter(|user| !than.iter().any(|one| one == user.as_str()));
        others.find(|user| !self.population.visible_to(user.as_str()).is_empty()).map(|user| user.as_str().to_owned())
    }

    pub(super) fn find(&self, id: &str) -> Option<Account> {
        let state = self.read();
        state.find(&self.population, id).map(|account| state.shown(account))
    }

    /// The accounts a query asks for, in its order: `page` of them and how many there are in all. `within` cuts the page
    /// out of the whole.
    pub(super) fn select(&self, query: &Query, within: std::ops::Range<usize>) -> (Vec<Account>, usize) {
        let state = self.read();
        if let Some(users) = &query.user_ids {
            let mut rows: Vec<Account> = users
                .iter()
                .flat_map(|user| state.visible_to(&self.population, user))
                .map(|account| state.shown(account))
                .filter(|account| query.wants(account))
                .collect();
            query.sort(&mut rows);
            // Somebody who shares an account may be asked for together with whom they share it with.
            rows.dedup_by(|a, b| a.id == b.id);
            let total = rows.len();
            let page = rows.into_iter().skip(within.start).take(within.len()).collect();
            return (page, total);
        }
        let version = state.version;
        let known = state.lists.get(query.key()).filter(|(made_at, _)| *made_at == version);
        if let Some((_, ids)) = known {
            return (self.pick(&state, ids, within), ids.len());
        }
        drop(state);
        let ids = Arc::new(self.whole_project(query));
        let mut state = self.write();
        if state.lists.len() >= LISTS_KEPT {
            state.lists.clear();
        }
        if state.version == version {
            state.lists.insert(query.key().to_owned(), (version, Arc::clone(&ids)));
        }
        (self.pick(&state, &ids, within), ids.len())
    }

    fn pick(&self, state: &State, ids: &[String], within: std::ops::Range<usize>) -> Vec<Account> {
        let page = ids.iter().skip(within.start).take(within.len());
        page.filter_map(|id| state.find(&self.population, id)).map(|account| state.shown(account)).collect()
    }

    /// The ids of every account of the project that a query asks for, in order. Costs a walk over the population.
    fn whole_project(&self, query: &Query) -> Vec<String> {
        let state = self.read();
        let born = state.added.values().flatten().cloned();
        let original = (0..self.population.spec().users).flat_map(|number| self.population.rows(number));
        let all = original.filter_map(|row| state.settle(row)).chain(born).map(|account| state.shown(account));
        let mut rows: Vec<Account> = all.filter(|account| query.wants(account)).collect();
        query.sort(&mut rows);
        rows.into_iter().map(|account| account.id).collect()
    }

    /// Who should be mailed now.
    pub(super) fn truth(&self) -> Truth {
        let state = self.read();
        let mut truth = Truth::default();
        for number in 0..self.population.spec().users {
            let Some(persona) = self.population.persona(number).filter(|persona| persona.in_app) else { continue };
            if persona.mailed.is_empty()
                && persona.id != IdStyle::Comma
                && persona.email == Email::Valid
                && state.due.is_empty()
            {
                continue;
            }
            let Some(user) = self.population.id(number) else { continue };
            if persona.id == IdStyle::Comma {
                truth.unaskable.insert(user);
                continue;
            }
            if persona.email != Email::Valid {
                truth.unreachable.insert(user);
                continue;
            }
            let due = state.due(&self.population, number, &user);
            if !due.is_empty() {
                truth.mailed.insert(user, due.into_iter().collect());
            }
        }
        truth
    }
}
