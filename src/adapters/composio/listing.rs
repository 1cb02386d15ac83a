//! One user's whole list of accounts, put together from pages, or a refusal: a list that may be partial proves nothing.
//!
//! The cursor is page-based, not a snapshot (`composio-api.md` §1): rows that appear or vanish while we page shift the
//! others, so that one may be seen twice or not at all. Rows are deduplicated by id, and the list counts as whole only if
//! the server's total stayed the same from page to page and we hold that many.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::error::ComposioError;
use super::page::{Page, Row};
use crate::domain::account::Account;
use crate::domain::id::{AccountId, UserId};

/// A user's whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// When the first page was asked for: the list is as old as that.
    pub asked_at: DateTime<Utc>,
    /// The accounts, by id.
    pub accounts: Vec<Account>,
    /// SHARED rows of other owners, dropped.
    pub shared_dropped: u64,
    /// Rows that do not say whose they are: they are the user's only if filters hold.
    pub unattributed: u64,
    /// What tells accounts at the app apart, where it is known: a digest of the name under which the app knows whoever signed in.
    /// The name itself, often an address, is not kept.
    pub identities: BTreeMap<AccountId, [u8; 32]>,
}

/// Two accounts with the same are one and the same at the app.
pub(super) type Identity = [u8; 32];

/// A list that is being put together.
#[derive(Debug, Default)]
pub(super) struct Pages {
    accounts: BTreeMap<AccountId, Account>,
    dropped: BTreeSet<String>,
    unattributed: u64,
    identities: BTreeMap<AccountId, Identity>,
    cursors: BTreeSet<String>,
    total: Option<u64>,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Ask for the page behind this cursor.
    Next(String),
    /// The list is whole.
    Whole,
}

impl Pages {
    /// Takes one page in, each row proven to be this user's.
    pub(super) fn add(&mut self, user: &UserId, page: Page) -> Result<After, ComposioError> {
        let total = page.total_items.filter(|total| total.is_finite() && *total >= 0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite, not negative, and a count"
        )]
        let total = total.map(|total| total as u64);
        if let (Some(before), Some(now)) = (self.total, total)
            && before != now
        {
            return Err(incomplete(format!("the total changed from {before} to {now} while paging")));
        }
        self.total = total.or(self.total);
        for row in page.items {
            self.attribute(user, row)?;
        }
        match page.next_cursor.filter(|cursor| !cursor.is_empty()) {
            Some(cursor) if !self.cursors.insert(cursor.clone()) => {
                Err(incomplete("the server repeated a cursor".to_owned()))
            }
            Some(cursor) => Ok(After::Next(cursor)),
            None => {
                let seen = self.accounts.len() + self.dropped.len();
                match self.total {
                    Some(total) if (seen as u64) < total => {
                        Err(incomplete(format!("the server counts {total} accounts and listed {seen}")))
                    }
                    _ => Ok(After::Whole),
                }
            }
        }
    }

    /// Fails closed: a row that is not provably this user's is dropped if it is SHARED, and else ends the check.
    fn attribute(&mut self, user: &UserId, row: Row) -> Result<(), ComposioError> {
        let own = row.user_id.as_deref().map(|owner| owner == user.as_str());
        match own {
            // Shared by somebody else: it concerns them.
            Some(false) if row.is_shared() => {
                self.dropped.insert(row.id);
            }
            // Shared, and nobody says by whom: with it the list may be somebody else's, without it not whole.
            None if row.is_shared() => {
                return Err(incomplete(format!("the shared account {} does not say whose it is", row.id)));
            }
            // One user was asked for: the rows are theirs, provided that the filter holds, which the client makes sure of.
            Some(true) | None => {
                self.unattributed += u64::from(own.is_none());
                let identity = row.identity();
                let account = row.into_account();
                self.identities.extend(identity.map(|identity| (account.id.clone(), identity)));
                self.accounts.insert(account.id.clone(), account);
            }
            Some(false) => return Err(ComposioError::Foreign { account: row.id }),
        }
        Ok(())
    }

    /// The list as it was put together.
    pub(super) fn finish(self, asked_at: DateTime<Utc>) -> Listing {
        Listing {
            asked_at,
            accounts: self.accounts.into_values().collect(),
            shared_dropped: self.dropped.len() as u64,
            unattributed: self.unattributed,
            identities: self.identities,
        }
    }
}

fn incomplete(what: String) -> ComposioError {
    ComposioError::Incomplete { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &[(&str, Option<&str>, &str)], next: Option<&str>, total: Option<u64>) -> Page {
        let items: Vec<serde_json::Value> = rows
            .iter()
            .map(|(id, user, kind)| {
                serde_json::json!({"id": id, "user_id": user, "toolkit": {"slug": "gmail"}, "auth_config": {"id": "ac"},
                    "status": "ACTIVE", "created_at": "2025-12-01T10:00:00Z", "experimental": {"account_type": kind}})
            })
            .collect();
        serde_json::from_value(serde_json::json!({"items": items, "next_cursor": next, "total_items": total}))
            .expect("a valid page")
    }

    fn user() -> UserId {
        UserId::new("u")
    }

    #[test]
    fn pages_become_one_list_without_repetitions() {
        let mut pages = Pages::default();
        let first = page(&[("a", Some("u"), "PRIVATE"), ("b", None, "PRIVATE")], Some("2"), Some(3));
        assert_eq!(pages.add(&user(), first), Ok(After::Next("2".into())));
        let second = page(&[("b", None, "PRIVATE"), ("c", Some("u"), "PRIVATE")], None, Some(3));
        assert_eq!(pages.add(&user(), second), Ok(After::Whole));
        assert_eq!(pages.finish(DateTime::UNIX_EPOCH).accounts.len(), 3);
    }

    #[test]
    fn a_row_of_another_user_ends_the_check() {
        let mut pages = Pages::default();
        let answer = pages.add(&user(), page(&[("a", Some("v"), "PRIVATE")], None, Some(1)));
        assert_eq!(answer, Err(ComposioError::Foreign { account: "a".into() }));
    }

    #[test]
    fn a_shared_row_counts_only_for_its_owner() {
        let mut pages = Pages::default();
        let rows = [("a", Some("v"), "SHARED"), ("c", Some("u"), "SHARED")];
        assert_eq!(pages.add(&user(), page(&rows, None, Some(2))), Ok(After::Whole));
        let listing = pages.finish(DateTime::UNIX_EPOCH);
        assert_eq!((listing.accounts.len(), listing.shared_dropped), (1, 1));
    }

    #[test]
    fn a_shared_row_without_an_owner_leaves_a_doubt() {
        let answer = Pages::default().add(&user(), page(&[("b", None, "SHARED")], None, Some(1)));
        assert!(matches!(answer, Err(ComposioError::Incomplete { .. })));
    }

    #[test]
    fn a_list_that_is_shorter_than_its_total_is_incomplete() {
        let mut pages = Pages::default();
        let answer = pages.add(&user(), page(&[("a", None, "PRIVATE")], None, Some(2)));
        assert!(matches!(answer, Err(ComposioError::Incomplete { .. })));
    }

    #[test]
    fn a_total_that_moves_while_paging_is_incomplete() {
        let mut pages = Pages::default();
        assert!(pages.add(&user(), page(&[("a", None, "PRIVATE")], Some("2"), Some(2))).is_ok());
        let answer = pages.add(&user(), page(&[("b", None, "PRIVATE")], None, Some(3)));
        assert!(matches!(answer, Err(ComposioError::Incomplete { .. })));
    }

    #[test]
    fn a_repeated_cursor_is_incomplete_and_an_empty_one_is_the_end() {
        let mut pages = Pages::default();
        assert!(pages.add(&user(), page(&[("a", None, "PRIVATE")], Some("2"), None)).is_ok());
        let answer = pages.add(&user(), page(&[("b", None, "PRIVATE")], Some("2"), None));
        assert!(matches!(answer, Err(ComposioError::Incomplete { .. })));
        assert_eq!(Pages::default().add(&user(), page(&[], Some(""), None)), Ok(After::Whole));
    }
}
