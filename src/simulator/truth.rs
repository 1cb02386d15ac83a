//! Who should be mailed: what the personas say by hand, followed through what was healed, broken and reconnected since.
//!
//! This is not the product's policy. It knows of a user what the table says, and of a change what that change was made
//! for: what breaks is due, what heals is not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::persona::Kind;
use crate::domain::id::{AccountId, Toolkit, UserId};

/// One item of the one digest that a user should get.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Due {
    /// The app, by slug.
    pub toolkit: Toolkit,
    /// The account whose row says so.
    pub account: AccountId,
    /// What the mail says of it.
    pub kind: Kind,
}

/// Who should be mailed, and who cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Exactly these users get exactly one digest each, with these items.
    pub mailed: BTreeMap<UserId, BTreeSet<Due>>,
    /// Users of the app with something broken and no usable address: recorded as unreachable, not mailed.
    pub unreachable: BTreeSet<UserId>,
    /// Users of the app whose ids the API's filter cannot carry: reported, not audited.
    pub unaskable: BTreeSet<UserId>,
}
