//! `[http.ops]`: the API and the probes, and who may use them.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::print;

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// Longer ones do not fit into a header that every proxy lets through.
const LONGEST_TOKEN: usize = 1_024;
/// Longer names fill the log.
const LONGEST_NAME: usize = 64;
/// A list that is longer was made by mistake.
const MOST_TOKENS: usize = 1_000;

/// `[http.ops]`: what operators and the app's own servers may ask.
#[derive(Debug, Clone, Serialize)]
pub struct HttpOps {
    /// Where it listens; none: nowhere.
    #[serde(serialize_with = "print::listen")]
    pub listen: Option<SocketAddr>,
    /// Tokens that may read: `name:token`, one a line.
    #[serde(serialize_with = "print::secret")]
    pub read_tokens: Option<SecretString>,
    /// Tokens that may also change things.
    #[serde(serialize_with = "print::secret")]
    pub write_tokens: Option<SecretString>,
    /// Requests a second that one token may make, on average; twice as many at once.
    pub rate_limit: u32,
}

impl Default for HttpOps {
    fn default() -> Self {
        Self { listen: Some(Self::DEFAULT_LISTEN), read_tokens: None, write_tokens: None, rate_limit: 500 }
    }
}

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Asking.
    Read,
    /// Asking and changing.
    Write,
}

/// Who may come in, and how far.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// By what the log calls its bearer. Several tokens may have one name: the old one and the new one.
    pub name: String,
    /// The token.
    pub token: SecretString,
    /// What it opens.
    pub scope: Scope,
}

impl HttpOps {
    /// Where it listens unless told otherwise.
    pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8_641);

    /// Everybody who may come in. Nobody: whoever reaches it may do anything.
    pub fn tokens(&self) -> Vec<ApiToken> {
        let lists = [(&self.read_tokens, Scope::Read), (&self.write_tokens, Scope::Write)];
        let lists = lists.into_iter().filter_map(|(list, scope)| Some((list.as_ref()?, scope)));
        lists.flat_map(|(list, scope)| parse(list.expose_secret(), scope).unwrap_or_default()).collect()
    }
}

/// Checks a list of tokens. Nothing of it is repeated in what is wrong with it.
pub(super) fn token_list(text: &str) -> Result<(), String> {
    parse(text, Scope::Read).map(drop)
}

/// Entries stand on lines of their own, or between commas, as in a variable of the environment. What follows `#` at the
/// beginning of a line is a comment.
fn parse(text: &str, scope: Scope) -> Result<Vec<ApiToken>, String> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.starts_with('#'));
    let entries = lines.flat_map(|(number, line)| line.split(',').map(move |entry| (number, entry.trim())));
    let mut tokens = Vec::new();
    for (number, entry) in entries.filter(|(_, entry)| !entry.is_empty()) {
        let wrong = |what: &str| format!("line {number}: {what}; expected name:token, one a line");
        let (name, token) = entry.split_once(':').ok_or_else(|| wrong("there is no name before a colon"))?;
        let (name, token) = (name.trim_end(), token.trim_start());
        let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(named) {
            return Err(wrong("a name is at most 64 of A-Z, a-z, 0-9 and ._-"));
        }
        // What RFC 6750 lets a bearer token be made of.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if !token.chars().all(fits) {
            return Err(wrong("a token is made of A-Z, a-z, 0-9 and -._~+/="));
        }
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len()) {
            return Err(wrong("a token has 16 to 1024 characters: make one with `openssl rand -hex 32`"));
        }
        tokens.push(ApiToken { name: name.to_owned(), token: token.into(), scope });
    }
    match tokens.len() {
        0 => Err("there is no token in it; expected name:token, one a line".to_owned()),
        1..=MOST_TOKENS => Ok(tokens),
        many => Err(format!("{many} tokens are more than {MOST_TOKENS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_on_lines_or_between_commas_with_their_names() {
        let text = "# since May\napp:0123456789abcdef\n\n  app : fedcba9876543210+/==  \r\nops:aaaaaaaaaaaaaaaa,b.c-d_e:bbbbbbbbbbbbbbbb";
        let tokens = parse(text, Scope::Write).expect("they are right");
        let seen: Vec<_> = tokens.iter().map(|one| (one.name.as_str(), one.token.expose_secret())).collect();
        assert_eq!(
            seen,
            [
                ("app", "0123456789abcdef"),
                ("app", "fedcba9876543210+/=="),
                ("ops", "aaaaaaaaaaaaaaaa"),
                ("b.c-d_e", "bbbbbbbbbbbbbbbb"),
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said_without_repeating_it() {
        for (text, told) in [
            ("", "no token"),
            ("# only this", "no token"),
            ("hunter2hunter2hunter2", "line 1: there is no name"),
            ("# a\napp:hunter2", "line 2: a token has 16"),
            (":hunter2hunter2hunter2", "a name is"),
            ("hunter2 x:hunter2hunter2hunter2", "a name is"),
            ("app:hunter2 hunter2 hunter2", "a token is made of"),
            ("app:hunter2hunter2:hunter2", "a token is made of"),
        ] {
            let error = token_list(text).expect_err(text);
            assert!(error.contains(told) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn who_may_change_may_read_too_and_without_tokens_there_is_nobody() {
        let ops = HttpOps {
            read_tokens: Some("a:0123456789abcdef".into()),
            write_tokens: Some("b:fedcba9876543210".into()),
            ..HttpOps::default()
        };
        let scopes: Vec<_> = ops.tokens().into_iter().map(|one| (one.name, one.scope)).collect();
        assert_eq!(scopes, [("a".to_owned(), Scope::Read), ("b".to_owned(), Scope::Write)]);
        assert!(Scope::Read < Scope::Write);
        assert!(HttpOps::default().tokens().is_empty());
    }
}
