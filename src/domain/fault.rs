//! Why nothing can be audited: told apart by the words that a sweep is paused with.
//!
//! A sweep keeps the reason of its pause as a note, in words for the operator; when it is given up, the note keeps them. The
//! errors that mean more than "try again later" begin with the words below, so whoever reads a note knows which it is.

/// The API key is refused, or lacks a scope.
pub const KEY_REFUSED: &str = "composio refused the API key";
/// Filters are ignored: other people's rows would come back.
pub const FILTERS_IGNORED: &str = "composio ignores filters";

/// What keeps a sweep from going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The API key is refused, or lacks a scope: only the operator can mend it.
    Key,
    /// The API ignores filters: nothing may be concluded from any list.
    Filters,
    /// Anything else; it may pass.
    Other,
}

impl Fault {
    /// The fault that a note tells of.
    #[must_use]
    pub fn of(note: &str) -> Self {
        if note.contains(KEY_REFUSED) {
            Self::Key
        } else if note.contains(FILTERS_IGNORED) {
            Self::Filters
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_its_fault_also_after_the_sweep_was_given_up() {
        let key = format!("{KEY_REFUSED} with 401 (APIKey_InvalidAPIKey); check composio.api_key");
        assert_eq!(Fault::of(&key), Fault::Key);
        assert_eq!(Fault::of(&format!("given up after 6h: {key}")), Fault::Key);
        assert_eq!(Fault::of(&format!("{FILTERS_IGNORED}: it listed 3 accounts")), Fault::Filters);
        assert_eq!(Fault::of("the users could not be read: the database is unavailable"), Fault::Other);
    }
}
