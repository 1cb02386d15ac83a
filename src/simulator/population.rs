//! The users of a simulated app and their accounts, all computed on demand from a seed: nothing of a population is stored,
//! so a million users cost no memory, and any of them is the same in every process that has the seed.
//!
//! An id can be turned back into the user or the account it belongs to: a user id holds the user's number, an account id
//! the user's number and the account's, scrambled.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::account::{Account, SignedIn};
use super::chance::{self, mix};
use super::persona::{Email, IdStyle, Kind, Owner, Persona, TIMED_OUT, personas, row};
use super::truth::Due;
use crate::domain::id::{AccountId, Toolkit, UserId};

/// How often each persona occurs, relative to the others.
#[derive(Debug, Clone)]
pub struct Mix {
    weights: Vec<(&'static Persona, u32)>,
}

impl Default for Mix {
    /// The weights of the table: nearly nine in ten users are healthy, one in thirteen is to be mailed.
    fn default() -> Self {
        Self { weights: personas().map(|persona| (persona, persona.weight)).collect() }
    }
}

impl Mix {
    /// Only these personas, equally often. Names that no persona has are left out.
    #[must_use]
    pub fn only(names: &[&str]) -> Self {
        Self {
            weights: personas().filter(|persona| names.contains(&persona.name)).map(|persona| (persona, 1)).collect(),
        }
    }

    /// The same mix with another weight for one persona.
    #[must_use]
    pub fn with(mut self, name: &str, weight: u32) -> Self {
        for (persona, old) in &mut self.weights {
            if persona.name == name {
                *old = weight;
            }
        }
        self
    }
}

/// What a population is computed from.
#[derive(Debug, Clone)]
pub struct PopulationSpec {
    /// Two populations with the same seed, size and mix are the same.
    pub seed: u64,
    /// How many users there are, those included that only Composio knows.
    pub users: u64,
    /// How often each persona occurs. The first users are one of each persona of the mix.
    pub mix: Mix,
    /// The instant that the accounts' ages count back from; a sensible one is not after the simulator's clock.
    pub anchor: DateTime<Utc>,
    /// An app that more users begin with than chance would have.
    pub favourite: Option<Favourite>,
}

/// An app that many users have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Favourite {
    /// Its slug.
    pub app: &'static str,
    /// So many of a hundred users have it for their first app; the others come by it as by any other.
    pub percent_of_users: u8,
}

impl Default for PopulationSpec {
    fn default() -> Self {
        let anchor = DateTime::from_timestamp(1_793_491_200, 0).unwrap_or_default();
        Self { seed: 1, users: 300, mix: Mix::default(), anchor, favourite: None }
    }
}

/// A user as the app's own database has it: a row to be inserted, or a line of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppUser {
    /// The id the app gave, which is Composio's `user_id`.
    pub id: UserId,
    /// The address; may be missing, or be no address at all.
    pub email: Option<String>,
    /// The name to greet by.
    pub name: Option<String>,
    /// `en`, `de`, …
    pub locale: Option<String>,
    /// An IANA time zone.
    pub time_zone: Option<String>,
}

/// The users of a simulated app; see [`PopulationSpec`].
#[derive(Debug, Clone)]
pub struct Population {
    spec: PopulationSpec,
    /// Running sums of the weights, with the persona each step belongs to.
    steps: Vec<(u64, &'static Persona)>,
}

impl Population {
    /// Prepares the population; takes no time, whatever its size.
    #[must_use]
    pub fn new(spec: PopulationSpec) -> Self {
        let mut sum = 0;
        let steps = spec
            .mix
            .weights
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(persona, weight)| {
                sum += u64::from(*weight);
                (sum, *persona)
            })
            .collect();
        Self { spec, steps }
    }

    /// What it is computed from.
    pub fn spec(&self) -> &PopulationSpec {
        &self.spec
    }

    /// The rows of the app's users table.
    pub fn users(&self) -> impl Iterator<Item = AppUser> + '_ {
        (0..self.spec.users).filter_map(|number| {
            let persona = self.persona(number)?;
            persona.in_app.then(|| self.app_user(number, persona))
        })
    }

    /// The same rows as CSV: `id,email,name,locale,time_zone`, missing values empty.
    pub fn write_users_csv<W: std::io::Write>(&self, out: W) -> Result<(), csv::Error> {
        let mut writer = csv::Writer::from_writer(out);
        for user in self.users() {
            writer.serialize(user)?;
        }
        writer.flush()?;
        Ok(())
    }

    /// The persona of a user, by the user's id; of somebody who only shares accounts, none.
    pub fn persona_of(&self, user: &UserId) -> Option<&'static Persona> {
        self.persona(self.number_of(user.as_str())?)
    }

    pub(super) fn persona(&self, number: u64) -> Option<&'static Persona> {
        if number >= self.spec.users {
            return None;
        }
        if let Some((_, persona)) = usize::try_from(number).ok().and_then(|number| self.steps.get(number)) {
            return Some(persona);
        }
        let draw = chance::below(mix(self.spec.seed, number, 21), self.steps.last()?.0);
        let step = self.steps.partition_point(|(sum, _)| *sum <= draw);
        self.steps.get(step).map(|(_, persona)| *persona)
    }

    fn app_user(&self, number: u64, persona: &Persona) -> AppUser {
        const NAMES: [&str; 8] = ["Ada", "Bénédicte", "Chidi", "Dörte", "Emre", "Fumiko", "Gül <b>", "O'Hara, Ian"];
        const LOCALES: [Option<&str>; 4] = [Some("en"), Some("de"), Some("fr"), None];
        const ZONES: [Option<&str>; 5] =
            [Some("Europe/Berlin"), Some("America/New_York"), Some("Asia/Kolkata"), None, Some("Australia/Lord_Howe")];
        let draw = |salt: u64, n: usize| {
            usize::try_from(chance::below(mix(self.spec.seed, number, salt), n as u64)).unwrap_or(0)
        };
        AppUser {
            id: UserId::new(user_id(number, persona.id)),
            email: match persona.email {
                Email::Valid => Some(format!("person.{number:06}@people.example")),
                Email::Missing => None,
                Email::Invalid => Some(format!("person {number:06} at people")),
            },
            name: NAMES.get(draw(31, NAMES.len() + 1)).map(|name| format!("{name} {number}")),
            locale: LOCALES[draw(32, LOCALES.len())].map(str::to_owned),
            time_zone: ZONES[draw(33, ZONES.len())].map(str::to_owned),
        }
    }

    /// A user's number, by id.
    fn number_of(&self, user: &str) -> Option<u64> {
        let number = last_number(user)?;
        (user_id(number, self.persona(number)?.id) == user).then_some(number)
    }

    /// All rows that list under one user's id when SHARED ones are asked for as well.
    pub(super) fn visible_to(&self, user: &str) -> Vec<Account> {
        if let Some(number) = self.number_of(user) {
            return self.rows(number);
        }
        // Somebody who shares an account with a user: only that account is theirs.
        match user.strip_prefix(SHARER).and_then(|number| number.parse().ok()) {
            Some(number) => {
                let mut rows = self.rows(number);
                rows.retain(|account| account.owner == user);
                rows
            }
            None => Vec::new(),
        }
    }

    /// The account behind an id, as it was at first.
    pub(super) fn account(&self, id: &str) -> Option<Account> {
        let packed = chance::unscramble(self.spec.seed, id.strip_prefix("ca_")?)?;
        self.rows(packed >> 16).into_iter().find(|account| account.id == id)
    }

    /// All rows that a user's persona brings along.
    pub(super) fn rows(&self, number: u64) -> Vec<Account> {
        let Some(persona) = self.persona(number) else { return Vec::new() };
        let user = user_id(number, persona.id);
        let mut rows = Vec::with_capacity(persona.rows.len() + persona.attempts);
        for (index, template) in persona.rows.iter().enumerate() {
            rows.push(self.make(number, index, &user, persona, template));
        }
        for index in 0..persona.attempts {
            // One a day from the third day back: between the oldest rows and the newest.
            let days = u32::try_from(index).unwrap_or(0) + 3;
            let attempt = row(7, "EXPIRED").because(TIMED_OUT).days(days);
            rows.push(self.make(number, persona.rows.len() + index, &user, persona, &attempt));
        }
        rows
    }

    fn make(
        &self,
        number: u64,
        index: usize,
        user: &str,
        persona: &Persona,
        template: &super::persona::Row,
    ) -> Account {
        let seed = self.spec.seed;
        let jitter = TimeDelta::seconds(i64::try_from(chance::below(mix(seed, number, 41), 6 * 3600)).unwrap_or(0));
        let created = self.spec.anchor - TimeDelta::days(i64::from(template.days)) - jitter;
        let is_attempt = template.reason == super::persona::Reason::Text(TIMED_OUT);
        let updated = match template.status {
            "ACTIVE" | "INITIALIZING" | "INITIATED" => created,
            _ if is_attempt => created + TimeDelta::minutes(10),
            // What broke did so two days before the anchor, or half its life ago if it is younger than that.
            _ => created
                .max(created + (self.spec.anchor - created) / 2)
                .max(self.spec.anchor - TimeDelta::days(2) - jitter),
        };
        let start = self.first_app(number);
        Account {
            id: account_id(seed, number, index, template.lead),
            owner: match template.owner {
                Owner::SomebodyElse => format!("{SHARER}{number:06}"),
                Owner::Me | Owner::MeShared => user.to_owned(),
            },
            shows_user_id: persona.shows_user_id,
            app: start + template.app,
            config: template.config,
            alias: template.alias.map(Into::into),
            status: template.status,
            reason: template.reason,
            scheme: template.scheme,
            created,
            updated,
            is_disabled: template.is_disabled,
            is_shared: template.owner != Owner::Me,
            signed_in: SignedIn::AsUsual,
            redirect_url: None,
        }
    }

    /// Where a user's count of apps begins.
    fn first_app(&self, number: u64) -> usize {
        let seed = self.spec.seed;
        let by_chance = usize::try_from(mix(seed, number, 42) % 14).unwrap_or(0);
        let favourite = self
            .spec
            .favourite
            .filter(|favourite| chance::below(mix(seed, number, 43), 100) < u64::from(favourite.percent_of_users));
        favourite.and_then(|favourite| super::catalog::position(favourite.app)).unwrap_or(by_chance)
    }

    /// What a user's persona says they are mailed about.
    pub(super) fn due(&self, number: u64) -> Vec<Due> {
        let Some(persona) = self.persona(number) else { return Vec::new() };
        if persona.mailed.is_empty() {
            return Vec::new();
        }
        let rows = self.rows(number);
        persona.mailed.iter().filter_map(|(index, kind)| rows.get(*index).map(|row| due(row, *kind))).collect()
    }

    /// A user's id by number.
    pub(super) fn id(&self, number: u64) -> Option<UserId> {
        self.persona(number).map(|persona| UserId::new(user_id(number, persona.id)))
    }

    pub(super) fn number(&self, user: &UserId) -> Option<u64> {
        self.number_of(user.as_str())
    }
}

/// An item of a mail about `account`.
pub(super) fn due(account: &Account, kind: Kind) -> Due {
    Due { toolkit: Toolkit::from(account.slug()), account: AccountId::new(account.id.as_str()), kind }
}

/// The id of a user's account, or, for a number beyond any user's, of one that was made later.
pub(super) fn account_id(seed: u64, number: u64, index: usize, lead: Option<char>) -> String {
    let packed = (number << 16) | (u64::try_from(index).unwrap_or(0) & 0xFFFF);
    format!("ca_{}", chance::scramble(seed, packed, lead))
}

/// What the ids of people begin with who share an account with a user and are not the app's users themselves.
const SHARER: &str = "colleague-";

fn user_id(number: u64, style: IdStyle) -> String {
    match style {
        IdStyle::Plain => format!("user-{number:06}"),
        IdStyle::Comma => format!("user,{number:06}"),
        IdStyle::Spaces => format!(" user  {number:06} "),
        IdStyle::Unicode => format!("bénützer-名前-{number:06}"),
        IdStyle::LeadingZeros => format!("{number:010}"),
        IdStyle::MixedCase => format!("User-MiXeD-{number:06}"),
        IdStyle::Reserved => format!("a+b&c=%2C/{number:06}?#"),
        IdStyle::Address => format!("u{number:06}@users.example"),
    }
}

/// The last run of digits in a text.
fn last_number(text: &str) -> Option<u64> {
    let end = text.rfind(|letter: char| letter.is_ascii_digit())? + 1;
    let start = text[..end]
        .rfind(|letter: char| !letter.is_ascii_digit())
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    text.get(start..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population(users: u64) -> Population {
        Population::new(PopulationSpec { users, ..PopulationSpec::default() })
    }

    #[test]
    fn every_user_and_account_is_found_by_its_id() {
        let population = population(400);
        for number in 0..400 {
            let id = population.id(number).unwrap();
            assert_eq!(population.number(&id), Some(number), "{id:?}");
            for account in population.rows(number) {
                assert_eq!(population.account(&account.id).unwrap().created, account.created);
            }
        }
        assert_eq!(population.number(&UserId::new("user-000400")), None, "beyond the population");
        assert_eq!(population.number(&UserId::new("user-1")), None, "written otherwise");
        assert_eq!(population.number(&UserId::new("nobody")), None);
        assert!(population.account("ca_AAAAAAAAAAAA").is_none());
    }

    #[test]
    fn the_first_users_are_one_of_each_persona() {
        let population = population(200);
        let names: Vec<_> =
            (0..personas().count()).filter_map(|n| population.persona(n as u64)).map(|persona| persona.name).collect();
        assert_eq!(names, personas().map(|persona| persona.name).collect::<Vec<_>>());
    }

    #[test]
    fn another_seed_is_another_population_and_the_same_seed_the_same() {
        let ids = |seed| {
            let population = Population::new(PopulationSpec { seed, users: 300, ..PopulationSpec::default() });
            (0..300).flat_map(|n| population.rows(n)).map(|account| account.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(5), ids(5));
        assert_ne!(ids(5), ids(6));
    }

    #[test]
    fn no_account_is_younger_than_the_anchor_or_changed_before_it_was_made() {
        let population = population(1000);
        let anchor = population.spec().anchor;
        for account in (0..1000).flat_map(|number| population.rows(number)) {
            assert!(account.created <= account.updated, "{account:?}");
            assert!(account.updated <= anchor + TimeDelta::minutes(10), "{account:?}");
        }
    }
}
