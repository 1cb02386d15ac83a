//! Personas: the kinds of users there are, each with the rows Composio lists for it and, written by hand beside them, who
//! should be mailed about which. Nothing here asks the product's rules: where the two disagree, one of them is wrong.
//!
//! A persona's rows are templates. Apps are counted from zero and stand for different toolkits for different users; times
//! are days before the population's anchor.

mod broken;
mod names;
mod silent;
mod slots;

use serde::{Deserialize, Serialize};

pub(super) const PERMANENT: &str = "Permanent auth error during token refresh";
pub(super) const MAX_FAILURES: &str = "Max auth failures reached";
pub(super) const TIMED_OUT: &str = "Connection initiation did not complete within 10 minutes";
pub(super) const CALLBACK_FAILED: &str = "OAuth callback failed during token exchange";
pub(super) const BY_USER: &str = "Connection status updated by user";
pub(super) const CONFIG_DISABLED: &str = "Auth config is disabled";

/// What a mail says of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It worked and does not any more.
    Broken,
    /// Connecting it did not succeed, and it never worked.
    AttemptFailed,
}

/// `status_reason` of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Reason {
    /// The field is missing.
    #[serde(skip)]
    Absent,
    /// The field is null.
    Null,
    Text(&'static str),
}

impl Reason {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Whose row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The user's own, PRIVATE.
    Me,
    /// The user's own, SHARED with others.
    MeShared,
    /// Somebody else's, SHARED: listed for this user when SHARED accounts are asked for, under the owner's id.
    SomebodyElse,
}

/// One connected account of a persona.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) app: usize,
    pub(super) config: u8,
    pub(super) alias: Option<&'static str>,
    pub(super) status: &'static str,
    pub(super) reason: Reason,
    /// Created so many days before the anchor.
    pub(super) days: u32,
    pub(super) is_disabled: bool,
    pub(super) owner: Owner,
    pub(super) scheme: &'static str,
    /// A first character of the id that is asked for, instead of a drawn one.
    pub(super) lead: Option<char>,
}

/// A row of `status`, created 30 days ago, with nothing else to say.
pub(super) const fn row(app: usize, status: &'static str) -> Row {
    Row {
        app,
        config: 0,
        alias: None,
        status,
        reason: Reason::Null,
        days: 30,
        is_disabled: false,
        owner: Owner::Me,
        scheme: "OAUTH2",
        lead: None,
    }
}

pub(super) const fn active(app: usize) -> Row {
    row(app, "ACTIVE")
}

/// A connection whose refresh died: the common case.
pub(super) const fn expired(app: usize) -> Row {
    row(app, "EXPIRED").because(PERMANENT)
}

/// An attempt that nobody completed within ten minutes.
pub(super) const fn timed_out(app: usize) -> Row {
    row(app, "EXPIRED").because(TIMED_OUT)
}

pub(super) const fn failed(app: usize) -> Row {
    row(app, "FAILED")
}

impl Row {
    pub(super) const fn because(mut self, reason: &'static str) -> Self {
        self.reason = Reason::Text(reason);
        self
    }

    pub(super) const fn reason(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    pub(super) const fn days(mut self, days: u32) -> Self {
        self.days = days;
        self
    }

    pub(super) const fn config(mut self, config: u8) -> Self {
        self.config = config;
        self
    }

    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(super) const fn disabled(mut self) -> Self {
        self.is_disabled = true;
        self
    }

    pub(super) const fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    pub(super) const fn scheme(mut self, scheme: &'static str) -> Self {
        self.scheme = scheme;
        self
    }

    pub(super) const fn lead(mut self, lead: char) -> Self {
        self.lead = Some(lead);
        self
    }
}

/// How a persona's user ids are written. Each holds the user's number as its last run of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdStyle {
    /// `user-000123`
    Plain,
    /// `user,000123`: the filter cannot carry it.
    Comma,
    /// ` user  000123 `
    Spaces,
    /// `bénützer-名前-000123`
    Unicode,
    /// `0000000123`
    LeadingZeros,
    /// `User-MiXeD-000123`
    MixedCase,
    /// `a+b&c=%2C/000123?#`
    Reserved,
    /// `u000123@users.example`
    Address,
}

/// What the app knows of a persona's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Email {
    Valid,
    Missing,
    Invalid,
}

/// Which account of a healthy persona can break so that its owner is to be mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    Never,
    /// This row, at any time.
    Row(usize),
    /// This row, but only where a sweep has seen the user's accounts before: another ACTIVE account of the toolkit would
    /// supersede it if the two had not once been seen ACTIVE together.
    OnceSeen(usize),
}

/// One kind of user.
#[derive(Debug, Clone, Copy)]
pub struct Persona {
    /// Its name, the same for ever.
    pub name: &'static str,
    /// Why the truth is what it is.
    pub why: &'static str,
    /// Its weight in the default mix, beside those of the others.
    pub weight: u32,
    pub(super) rows: &'static [Row],
    /// The rows its owner is mailed about.
    pub(super) mailed: &'static [(usize, Kind)],
    /// So many timed-out attempts at app 7 besides, between the other rows in time.
    pub(super) attempts: usize,
    pub(super) id: IdStyle,
    pub(super) email: Email,
    /// Whether the app has the user; Composio may know others.
    pub(super) in_app: bool,
    /// Whether rows carry `user_id`.
    pub(super) shows_user_id: bool,
    pub(super) breaks: Breaks,
}

impl Persona {
    /// A plain user of the app; the base that the table's entries start from.
    pub(super) const PLAIN: Persona = Persona {
        name: "",
        why: "",
        weight: 2,
        rows: &[],
        mailed: &[],
        attempts: 0,
        id: IdStyle::Plain,
        email: Email::Valid,
        in_app: true,
        shows_user_id: true,
        breaks: Breaks::Never,
    };

    /// What a user of this persona is mailed about when it is first seen.
    pub fn mailed(&self) -> impl Iterator<Item = Kind> + '_ {
        self.mailed.iter().map(|(_, kind)| *kind)
    }
}

/// All personas, in the table's order, which is part of what a seed means.
pub fn personas() -> impl Iterator<Item = &'static Persona> {
    [silent::PERSONAS, broken::PERSONAS, slots::PERSONAS, names::PERSONAS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_enough_personas_each_with_a_name_of_its_own_and_a_reason() {
        let names: BTreeSet<_> = personas().map(|persona| persona.name).collect();
        assert_eq!(names.len(), personas().count());
        assert!(names.len() >= 35, "{}", names.len());
        for persona in personas() {
            assert!(persona.why.len() > 20, "{} says why", persona.name);
        }
    }

    #[test]
    fn a_truth_names_rows_that_exist_and_are_the_users_own() {
        for persona in personas() {
            for (index, kind) in persona.mailed {
                let row = &persona.rows[*index];
                assert!(matches!(row.status, "EXPIRED" | "FAILED"), "{}", persona.name);
                assert_ne!(row.owner, Owner::SomebodyElse, "{}", persona.name);
                assert!(*kind == Kind::Broken || row.status == "FAILED", "{}", persona.name);
            }
            if let Breaks::Row(index) | Breaks::OnceSeen(index) = persona.breaks {
                assert_eq!(persona.rows[index].status, "ACTIVE", "{}", persona.name);
                assert!(persona.mailed.is_empty(), "{} is healthy before it breaks", persona.name);
            }
        }
    }

    #[test]
    fn five_in_six_users_of_the_default_mix_are_plainly_healthy_and_one_in_thirteen_is_mailed() {
        let share = |wanted: fn(&Persona) -> bool| {
            let weight = |persona: &&Persona| persona.weight;
            let some: u32 = personas().filter(|persona| wanted(persona)).map(|persona| weight(&persona)).sum();
            f64::from(some) / f64::from(personas().map(|persona| weight(&persona)).sum::<u32>())
        };
        let healthy = share(|persona| persona.breaks != Breaks::Never);
        let mailed = share(|persona| !persona.mailed.is_empty());
        assert!((0.82..0.86).contains(&healthy), "{healthy}");
        assert!((0.07..0.085).contains(&mailed), "{mailed}");
    }
}
