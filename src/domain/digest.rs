//! What one mail lists, and where its buttons lead.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::id::{Toolkit, UserId};
use super::incident::Incident;
use super::notification::DigestItem;
use super::stage::Stage;

/// What a URL may hold unescaped anywhere (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The lines of a digest, by app and age, so that the same incidents always make the same mail. `button` says where the button of
/// each leads.
pub fn items(
    incidents: &[(Incident, Option<Stage>)],
    names: &BTreeMap<Toolkit, String>,
    button: impl Fn(&Incident) -> String,
) -> Vec<DigestItem> {
    let mut items: Vec<DigestItem> = incidents
        .iter()
        .map(|(incident, stage)| {
            let toolkit = &incident.slot.toolkit;
            DigestItem {
                incident: incident.id,
                account: incident.account.clone(),
                kind: incident.kind,
                stage: *stage,
                toolkit: toolkit.clone(),
                app: names.get(toolkit).cloned().unwrap_or_else(|| toolkit.to_string()),
                alias: incident.slot.alias.clone(),
                since: incident.broke_at,
                reconnect_url: button(incident),
            }
        })
        .collect();
    items.sort_by_cached_key(|item| (item.app.to_lowercase(), item.since, item.incident));
    items
}

/// Where the app's own page is for a user and an app: its template, filled in.
#[must_use]
pub fn fill(template: &str, user: &UserId, toolkit: &Toolkit) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    template.replace("{toolkit}", &escaped(toolkit.as_str())).replace("{user_id}", &escaped(user.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::incident::IncidentKind;
    use crate::domain::sample::{account, incident};

    fn page(template: &str, user: &str) -> String {
        fill(template, &UserId::new(user), &Toolkit::new("slack"))
    }

    #[test]
    fn a_button_leads_to_the_apps_page_with_user_and_app_escaped() {
        assert_eq!(
            page("https://app.example/connect/{toolkit}?u={user_id}", "ann & b/ö"),
            "https://app.example/connect/slack?u=ann%20%26%20b%2F%C3%B6"
        );
    }

    #[test]
    fn a_user_id_cannot_smuggle_a_placeholder_in() {
        let page = page("https://app.example/{toolkit}/{user_id}", "{toolkit}");
        assert_eq!(page, "https://app.example/slack/%7Btoolkit%7D");
    }

    #[test]
    fn lines_are_ordered_by_the_name_people_know_and_each_has_its_own_button() {
        let gmail = incident(1, &account("a", "EXPIRED").on("gmail", "ac", None), IncidentKind::Broken);
        let slack = incident(2, &account("b", "EXPIRED"), IncidentKind::Broken);
        let names = BTreeMap::from([("gmail".into(), "Zmail".to_owned())]);
        let items = items(&[(gmail, None), (slack, None)], &names, |incident| incident.account.to_string());
        let lines = items.iter().map(|item| (item.app.as_str(), item.reconnect_url.as_str()));
        assert_eq!(lines.collect::<Vec<_>>(), [("slack", "b"), ("Zmail", "a")]);
    }
}
