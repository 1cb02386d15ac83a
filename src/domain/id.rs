//! Typed identifiers, so that a toolkit can never be passed where a user is meant.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An identifier that another system chose; any text, kept exactly as it came.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is: case, spaces and leading zeros are kept.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it came.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

/// An identifier that we make; time-ordered (UUID version 7), so that indexes stay dense.
macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

text_id!(
    /// One of the app's users; Composio's `user_id` (its older word is *entity*).
    UserId
);
text_id!(
    /// One connected account at Composio, `ca_…`.
    AccountId
);
text_id!(
    /// An app as Composio names it, in lower case: `gmail`, `googlecalendar`.
    Toolkit
);
text_id!(
    /// An auth config at Composio, `ac_…`: through which OAuth app a connection was made.
    AuthConfigId
);

text_id!(
    /// A tool at Composio, in capitals: `SLACK_SEND_MESSAGE` (its older word is *action*).
    ToolSlug
);

row_id!(
    /// One link that was asked for.
    LinkId
);
row_id!(
    /// One time that the guard tripped.
    TripId
);
row_id!(
    /// One reason not to mail somebody.
    SuppressionId
);
row_id!(
    /// One thing that the operator is told of.
    AlertId
);
row_id!(
    /// One pass over all users.
    SweepId
);
row_id!(
    /// One unit of checking work: a chunk of a sweep, a retry of some of its users, or a re-audit somebody asked for.
    CheckId
);
row_id!(
    /// The life of one broken slot.
    IncidentId
);
row_id!(
    /// One email to one user.
    NotificationId
);

impl UserId {
    /// Whether Composio's `user_ids` filter can carry this id: values are joined by commas without escaping, so an id
    /// that contains one would be read as two users (`composio-api.md` §2), and an empty one would filter on nothing.
    #[must_use]
    pub fn is_filterable(&self) -> bool {
        !self.0.trim().is_empty() && !self.0.contains(',')
    }
}

/// Ids are safe to log, except where an app uses email addresses as user ids: those are masked.
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('@') {
            Some((local, _)) => write!(f, "{}…@…", local.chars().next().unwrap_or('?')),
            None => f.write_str(&self.0),
        }
    }
}

macro_rules! plain_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
plain_debug!(AccountId, Toolkit, AuthConfigId, ToolSlug);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_with_a_comma_cannot_be_filtered_on() {
        assert!(UserId::new("user 007").is_filterable());
        assert!(!UserId::new("a,b").is_filterable());
        assert!(!UserId::new("  ").is_filterable());
    }

    #[test]
    fn an_address_used_as_a_user_id_is_masked_in_logs() {
        assert_eq!(format!("{:?}", UserId::new("ann@example.org")), "a…@…");
        assert_eq!(format!("{:?}", UserId::new("user-1")), "user-1");
    }
}
