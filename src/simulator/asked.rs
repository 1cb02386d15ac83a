//! What was asked, request by request, for tests that say whose data each request named. Kept only if the options ask for it: a
//! sweep over a million users would fill the memory with it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::list;

/// One request to the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// `GET` and the like.
    pub method: String,
    /// Its path, with the version of the API.
    pub path: String,
    /// Its query, as it was sent.
    pub query: String,
    /// Its body, if it had one and that was JSON.
    pub body: Option<Value>,
}

impl Asked {
    /// The parameters of the query, in order.
    pub fn parameters(&self) -> Vec<(String, String)> {
        list::pairs(Some(&self.query))
    }

    /// The users that it names, in the query or in the body.
    pub fn users(&self) -> BTreeSet<String> {
        let listed = self.parameters().into_iter().filter(|(name, _)| name == "user_ids");
        let mut users: BTreeSet<String> =
            listed.flat_map(|(_, ids)| ids.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        users.extend(self.text_of("user_id"));
        users
    }

    /// The account that it names, in the path or in the body.
    pub fn account(&self) -> Option<String> {
        let mut parts = self.path.split('/').skip_while(|part| *part != "connected_accounts").skip(1);
        let in_path = parts.next().filter(|part| *part != "link").map(str::to_owned);
        in_path.or_else(|| self.text_of("connected_account_id"))
    }

    fn text_of(&self, field: &str) -> Option<String> {
        self.body.as_ref()?.get(field)?.as_str().map(str::to_owned)
    }
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<Vec<Asked>>);

impl Record {
    pub(super) fn note(&self, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    pub(super) fn read(&self) -> Vec<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
