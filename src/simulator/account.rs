//! One connected account as the simulated Composio keeps it, and how it looks in an answer.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::catalog;
use super::chance;
use super::faults::Masking;
use super::persona::Reason;

/// What every planted secret contains; a log that contains it has leaked a body.
pub const PLANTED: &str = "PLANTED-0c4f9e21";

/// As whom a user signed in at the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedIn {
    /// As they always did.
    AsUsual,
    /// As somebody else.
    AsAnother,
}

/// One connected account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) shows_user_id: bool,
    pub(super) app: usize,
    pub(super) config: u8,
    pub(super) alias: Option<Cow<'static, str>>,
    pub(super) status: &'static str,
    pub(super) reason: Reason,
    pub(super) scheme: &'static str,
    pub(super) created: DateTime<Utc>,
    pub(super) updated: DateTime<Utc>,
    pub(super) is_disabled: bool,
    pub(super) is_shared: bool,
    pub(super) signed_in: SignedIn,
    /// Where the consent page is, while there is one.
    pub(super) redirect_url: Option<String>,
}

/// An instant as the API writes it: UTC with milliseconds and a `Z`.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[derive(Serialize)]
struct Item<'a> {
    toolkit: Slug,
    auth_config: AuthConfig<'a>,
    id: &'a str,
    #[serde(rename = "authScheme")]
    auth_scheme: &'a str,
    word_id: String,
    alias: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    status: &'a str,
    experimental: Experimental,
    created_at: String,
    updated_at: String,
    state: State<'a>,
    data: Value,
    #[serde(skip_serializing_if = "Reason::is_absent")]
    status_reason: Reason,
    is_disabled: bool,
}

#[derive(Serialize)]
struct Slug {
    slug: &'static str,
}

#[derive(Serialize)]
struct AuthConfig<'a> {
    id: String,
    auth_scheme: &'a str,
    is_composio_managed: bool,
    is_disabled: bool,
}

#[derive(Serialize)]
struct Experimental {
    account_type: &'static str,
}

#[derive(Serialize)]
struct State<'a> {
    #[serde(rename = "authScheme")]
    auth_scheme: &'a str,
    val: Value,
}

/// What an answer shows of the rows it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) masking: Masking,
    pub(super) user_id: bool,
}

impl Account {
    pub(super) fn slug(&self) -> &'static str {
        catalog::app_at(self.app).slug
    }

    pub(super) fn auth_config_id(&self) -> String {
        catalog::auth_config_id(self.slug(), self.config)
    }

    /// The item as the API lists it, its secrets masked as the project's setting says.
    pub(super) fn json(&self, look: Look) -> impl Serialize + '_ {
        let state = self.val(look.masking);
        // `data` is the deprecated copy of the state's fields.
        let data = match self.status {
            "ACTIVE" | "EXPIRED" => state.clone(),
            _ => json!({}),
        };
        Item {
            toolkit: Slug { slug: self.slug() },
            auth_config: AuthConfig {
                id: self.auth_config_id(),
                auth_scheme: self.scheme,
                is_composio_managed: catalog::is_managed(self.config),
                is_disabled: self.config == catalog::DISABLED_CONFIG,
            },
            id: &self.id,
            auth_scheme: self.scheme,
            word_id: format!("{}_{}", self.slug(), word(&self.id)),
            alias: self.alias.as_deref(),
            user_id: (look.user_id && self.shows_user_id).then_some(self.owner.as_str()),
            status: self.status,
            experimental: Experimental { account_type: if self.is_shared { "SHARED" } else { "PRIVATE" } },
            created_at: instant(self.created),
            updated_at: instant(self.updated),
            state: State { auth_scheme: self.scheme, val: state },
            data,
            status_reason: self.reason,
            is_disabled: self.is_disabled,
        }
    }

    /// "Connected as…": as whom the user signed in at the app.
    fn display_name(&self) -> String {
        let who: String = self.owner.chars().filter(char::is_ascii_alphanumeric).collect();
        format!(
            "{}{}@{}.example",
            who.to_lowercase(),
            if self.signed_in == SignedIn::AsAnother { "+other" } else { "" },
            self.slug()
        )
    }

    /// `state.val`: what it holds depends on the status; secrets are planted wherever there ever was a credential.
    pub(super) fn val(&self, masking: Masking) -> Value {
        let mut val = json!({ "status": self.status, "base_url": "https://api.example.com" });
        let Some(fields) = val.as_object_mut() else { return val };
        if matches!(self.status, "ACTIVE" | "EXPIRED") {
            let secret = |name: &str, prefix: &str| {
                json!(masking.apply(&format!("{prefix}{PLANTED}-{name}-{}", self.id), catalog::is_managed(self.config)))
            };
            if self.scheme == "API_KEY" {
                fields.insert("generic_api_key".to_owned(), secret("key", "sk-"));
            } else {
                fields.insert("displayName".to_owned(), json!(self.display_name()));
                fields.insert("access_token".to_owned(), secret("access", "ya29."));
                fields.insert("refresh_token".to_owned(), secret("refresh", "1//0"));
                fields.insert("token_type".to_owned(), json!("Bearer"));
                fields.insert("expires_in".to_owned(), json!(3599));
                fields.insert("scope".to_owned(), json!("read write offline_access"));
            }
        }
        match self.status {
            "EXPIRED" => fields.insert("expired_at".to_owned(), json!(instant(self.updated))),
            "REVOKED" => fields.insert("revoked_at".to_owned(), json!(instant(self.updated))),
            "FAILED" => {
                fields.insert("error_description".to_owned(), json!("The user denied the request"));
                fields.insert("error".to_owned(), json!("access_denied"))
            }
            "INITIATED" | "INITIALIZING" => {
                let url = self.redirect_url.as_deref().unwrap_or("https://connect.composio.dev/link/lk_gone");
                fields.insert("redirectUrl".to_owned(), json!(url))
            }
            _ => None,
        };
        val
    }
}

/// The words that Composio names accounts by besides their ids.
fn word(id: &str) -> String {
    const COLOURS: [&str; 8] = ["red", "blue", "green", "amber", "violet", "grey", "white", "black"];
    const THINGS: [&str; 8] = ["castle", "river", "falcon", "maple", "harbor", "comet", "lantern", "meadow"];
    let draw = id.bytes().fold(0, |seed, byte| chance::mix(seed, u64::from(byte), 0));
    let pick = |words: [&'static str; 8], draw: u64| words[usize::try_from(draw % 8).unwrap_or(0)];
    format!("{}-{}", pick(COLOURS, draw), pick(THINGS, draw >> 8))
}
