//! What a user has connected, as a settings page shows it (the article's *connection*; Composio's *connected account*).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::account::Status;
use super::digest::fill;
use super::id::{AccountId, AuthConfigId, Toolkit, UserId};
use super::notice;
use super::port::ToolkitName;
use super::verdict::{SlotVerdict, Verdict};

/// One connection of a user: a slot, told through the account that decides on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Connection {
    /// The app, as Composio names it.
    pub app: Toolkit,
    /// The app as people write it.
    pub name: String,
    /// Where its logo is.
    pub logo: Option<String>,
    /// The name of the connection, where a user has several of one app.
    pub alias: Option<String>,
    /// The auth config through which it was made.
    pub auth_config: AuthConfigId,
    /// What Composio says of the account.
    #[schema(value_type = String)]
    pub status: Status,
    /// Why, in Composio's words.
    pub reason: Option<String>,
    /// What we say of the connection; the same as an audit says.
    pub verdict: Verdict,
    /// Since when it is as it is, as far as Composio tells.
    pub since: DateTime<Utc>,
    /// The account, for direct reference.
    pub account_id: AccountId,
    /// Where its owner reconnects it; none if there is nothing that its owner could do, or no page is configured.
    pub reconnect_url: Option<String>,
    /// When the accounts were read.
    pub as_of: DateTime<Utc>,
}

/// All of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Connections {
    /// In the order of apps.
    pub connections: Vec<Connection>,
    /// When the accounts were read.
    pub as_of: DateTime<Utc>,
    /// It is older than was asked for, or something has happened since, and Composio could not be asked: see `why_stale`.
    pub stale: bool,
    /// Why Composio could not be asked.
    pub why_stale: Option<String>,
}

/// Where a user reconnects: the template of the app's own page, with `{toolkit}` and `{user_id}` to be filled in.
#[derive(Debug, Clone, Default)]
pub struct ReconnectPage(pub Option<String>);

impl ReconnectPage {
    /// The page for this user and app.
    #[must_use]
    pub fn url(&self, user: &UserId, toolkit: &Toolkit) -> Option<String> {
        self.0.as_deref().map(|template| fill(template, user, toolkit))
    }
}

/// What is known of the apps' names.
pub type AppNames = HashMap<Toolkit, ToolkitName>;

/// The name of an app; one that nobody ever told is made from what the API calls it.
#[must_use]
pub fn name_of(names: &AppNames, toolkit: &Toolkit) -> String {
    names.get(toolkit).map_or_else(|| name_of_slug(toolkit), |known| known.name.clone())
}

/// The best that can be made of `googlecalendar` without knowing better.
#[must_use]
pub fn name_of_slug(slug: &Toolkit) -> String {
    notice::capitalized(slug.as_str())
}

/// Tells verdicts as connections.
#[must_use]
pub fn connections(
    user: &UserId,
    verdicts: &[SlotVerdict],
    names: &AppNames,
    page: &ReconnectPage,
    as_of: DateTime<Utc>,
) -> Vec<Connection> {
    let tell = |slot: &SlotVerdict| {
        let toolkit = &slot.slot.toolkit;
        Connection {
            app: toolkit.clone(),
            name: name_of(names, toolkit),
            logo: names.get(toolkit).and_then(|known| known.logo.clone()),
            alias: slot.slot.alias.clone(),
            auth_config: slot.slot.auth_config.clone(),
            status: slot.deciding.status.clone(),
            reason: slot.deciding.reason.clone(),
            verdict: slot.verdict,
            since: slot.deciding.changed_at(),
            account_id: slot.deciding.id.clone(),
            reconnect_url: is_for_its_owner(slot.verdict).then(|| page.url(user, toolkit)).flatten(),
            as_of,
        }
    };
    verdicts.iter().map(tell).collect()
}

/// Whether reconnecting is what helps: not where it works, not where only the operator can help, not where nobody knows.
fn is_for_its_owner(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Broken | Verdict::AttemptFailed | Verdict::Unfinished | Verdict::ByChoice => true,
        Verdict::Healthy | Verdict::Superseded | Verdict::OperatorFault | Verdict::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::History;
    use crate::domain::sample;
    use crate::domain::verdict::assess;

    #[test]
    fn who_can_do_something_is_told_where() {
        let page = ReconnectPage(Some("https://app.example/connect/{toolkit}?u={user_id}".to_owned()));
        let ann = UserId::new("a b");
        let told = |status: &str| {
            let verdicts = assess(&[sample::account("ca_1", status)], &History::default());
            connections(&ann, &verdicts, &AppNames::new(), &page, sample::day(1))
        };
        let broken = told("EXPIRED");
        assert_eq!(broken[0].reconnect_url.as_deref(), Some("https://app.example/connect/slack?u=a%20b"));
        assert_eq!((broken[0].name.as_str(), broken[0].verdict), ("Slack", Verdict::Broken));
        assert_eq!(told("ACTIVE")[0].reconnect_url, None, "nothing is to be done");
        assert_eq!(told("NOVEL")[0].reconnect_url, None, "nobody knows what is to be done");
    }
}
