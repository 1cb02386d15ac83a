//! Connecting an account, and looking at one: the auth configs of an app, the ACTIVE accounts of a user, a link, an account.
//!
//! Requests are those of the official SDKs (`tests/it/entity/requests.rs` compares them). What comes back is believed only where it
//! is proven to be the user's.

use serde::{Deserialize, Serialize};
use url::Url;

use super::client::{Composio, Urgency};
use super::error::ComposioError;
use super::page::{LooseInstant, Row, storable};
use crate::domain::account::{Account, Status};
use crate::domain::id::{AccountId, AuthConfigId, Toolkit, UserId};
use crate::domain::link::{AuthConfig, Link, LinkRequest};

/// What `POST /connected_accounts/link` takes.
#[derive(Serialize)]
struct LinkBody<'a> {
    auth_config_id: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
}

/// What it answers; the token of the link is in its URL already, and not kept.
#[derive(Deserialize)]
struct LinkAnswer {
    redirect_url: String,
    #[serde(default)]
    expires_at: Option<LooseInstant>,
    connected_account_id: String,
}

#[derive(Deserialize)]
struct AuthConfigPage {
    items: Vec<AuthConfigRow>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct AuthConfigRow {
    id: String,
    #[serde(default)]
    name: Option<String>,
    toolkit: AuthConfigToolkit,
    #[serde(default)]
    auth_scheme: Option<String>,
    #[serde(default)]
    is_composio_managed: bool,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct AuthConfigToolkit {
    slug: String,
}

impl From<AuthConfigRow> for AuthConfig {
    fn from(row: AuthConfigRow) -> Self {
        Self {
            id: storable(row.id).into(),
            name: row.name.map(storable),
            toolkit: storable(row.toolkit.slug).into(),
            scheme: row.auth_scheme.map(storable),
            is_managed: row.is_composio_managed,
            // A status that is missing, or that nobody knows yet, says nothing against it.
            is_enabled: row.status.as_deref() != Some("DISABLED"),
        }
    }
}

impl Composio {
    /// The auth configs of an app, disabled ones too.
    ///
    /// # Errors
    /// They could not be read in full.
    pub async fn auth_configs(&self, toolkit: &Toolkit) -> Result<Vec<AuthConfig>, ComposioError> {
        let mut configs: Vec<AuthConfig> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..self.settings.max_pages {
            let mut url = self.url(&["auth_configs"]);
            url.query_pairs_mut()
                .append_pair("toolkit_slug", toolkit.as_str())
                .extend_pairs(cursor.iter().map(|cursor| ("cursor", cursor)));
            let (page, _): (AuthConfigPage, _) = self.get(&url, Urgency::Now).await?;
            // A filter that is ignored gives those of every app (`composio-api.md` §0 trap 9).
            configs.extend(page.items.into_iter().map(AuthConfig::from).filter(|config| config.toolkit == *toolkit));
            match page.next_cursor.filter(|next| !next.is_empty()) {
                None => return Ok(configs),
                next if next == cursor => break,
                next => cursor = next,
            }
        }
        Err(ComposioError::Incomplete { what: format!("the auth configs of {toolkit} have no last page") })
    }

    /// The ACTIVE accounts of a user on one auth config.
    ///
    /// # Errors
    /// There is a doubt whether these are all, and theirs.
    pub async fn active_accounts(
        &self,
        user: &UserId,
        auth_config: &AuthConfigId,
    ) -> Result<Vec<Account>, ComposioError> {
        let page = |cursor: Option<&str>| {
            let mut url = self.url(&["connected_accounts"]);
            url.query_pairs_mut()
                .append_pair("statuses", "ACTIVE")
                .append_pair("user_ids", user.as_str())
                .append_pair("auth_config_ids", auth_config.as_str())
                .extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
            url
        };
        let mut accounts = self.list(user, Urgency::Now, page).await?.accounts;
        accounts.retain(|account| account.status == Status::Active && account.auth_config() == auth_config);
        Ok(accounts)
    }

    /// Asks for a link. This makes a row at Composio, so it is asked once: an answer that is lost is
    /// [`ComposioError::Ambiguous`], and asking again is the caller's decision.
    ///
    /// # Errors
    /// No link, or one that leads nowhere.
    pub async fn create_link(&self, request: &LinkRequest) -> Result<Link, ComposioError> {
        if !request.user.is_filterable() {
            return Err(ComposioError::Unfilterable);
        }
        let body = LinkBody {
            auth_config_id: request.auth_config.as_str(),
            user_id: request.user.as_str(),
            callback_url: request.callback_url.as_ref().map(Url::as_str),
            alias: request.alias.as_deref(),
        };
        let url = self.url(&["connected_accounts", "link"]);
        let answer: LinkAnswer = self.post(&url, &body, self.settings.timeout).await?;
        // A person is sent there: nothing but a web page will do.
        let leads = Url::parse(&answer.redirect_url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
        if !leads {
            return Err(ComposioError::Ambiguous { what: "a link that is no web address".to_owned() });
        }
        Ok(Link {
            url: answer.redirect_url.into(),
            expires_at: answer.expires_at.and_then(|at| at.instant()),
            account: storable(answer.connected_account_id).into(),
        })
    }

    /// One account of this user, by its id. An answer that does not say whose the account is is believed only if the user's own
    /// list has it.
    ///
    /// # Errors
    /// There is none, or it is not proven to be theirs.
    pub async fn account(&self, user: &UserId, id: &AccountId) -> Result<Account, ComposioError> {
        if !user.is_filterable() {
            return Err(ComposioError::Unfilterable);
        }
        let id_in_path = in_path("an account's id", id.as_str())?;
        let (row, _): (Row, _) = self.get(&self.url(&["connected_accounts", id_in_path]), Urgency::Now).await?;
        let foreign = || ComposioError::Foreign { account: id.to_string() };
        if row.id != id.as_str() {
            return Err(foreign());
        }
        match row.user_id.as_deref() {
            Some(owner) if owner == user.as_str() => Ok(row.into_account()),
            Some(_) => Err(foreign()),
            None => {
                let listing = self.accounts_of(user, Urgency::Now).await?;
                listing.accounts.into_iter().find(|account| account.id == *id).ok_or_else(foreign)
            }
        }
    }
}

/// A text as one part of a path: what is empty, a dot or two would name another place.
pub(super) fn in_path<'a>(what: &'static str, text: &'a str) -> Result<&'a str, ComposioError> {
    let plain =
        !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if plain { Ok(text) } else { Err(ComposioError::Malformed { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_names_no_other_place() {
        assert_eq!(in_path("it", "ca_-l3FzWqTw58L"), Ok("ca_-l3FzWqTw58L"));
        for wrong in ["", ".", "..", "ca_1/refresh", "ca_1?x=y", "ca_1%2Frefresh", "ca 1", "ca_1\n"] {
            assert_eq!(in_path("it", wrong), Err(ComposioError::Malformed { what: "it" }), "{wrong:?}");
        }
    }
}
