//! What one mail lists, and where its buttons lead.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::id::{Toolkit, UserId};
use super::incident::Incident;
use super::notification::DigestItem;
use super::stage::Stage;

/// What a URL may hold unescaped anywhere (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The lines of a digest, by app and age, so that the same incidents always make the same mail.
pub fn items(
    user: &UserId,
    incidents: &[(Incident, Option<Stage>)],
    names: &BTreeMap<Toolkit, String>,
    reconnect_url: &str,
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
                reconnect_url: fill(reconnect_url, user, toolkit),
            }
        })
        .collect();
    items.sort_by_cached_key(|item| (item.app.to_lowercase(), item.since, item.incident));
    items
}

/// Puts a user and an app into the template of the app's own page.
pub fn fill(template: &str, user: &UserId, toolkit: &Toolkit) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    template.replace("{toolkit}", &escaped(toolkit.as_str())).replace("{user_id}", &escaped(user.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::incident::IncidentKind;
    use crate::domain::sample::{account, incident};

    #[test]
    fn a_button_leads_to_the_apps_page_with_user_and_app_escaped() {
        let broken = incident(1, &account("a", "EXPIRED"), IncidentKind::Broken);
        let template = "https://app.example/connect/{toolkit}?u={user_id}";
        let items = items(&UserId::new("ann & b/ö"), &[(broken, None)], &BTreeMap::new(), template);
        assert_eq!(items[0].reconnect_url, "https://app.example/connect/slack?u=ann%20%26%20b%2F%C3%B6");
    }

    #[test]
    fn a_user_id_cannot_smuggle_a_placeholder_in() {
        let broken = incident(1, &account("a", "EXPIRED"), IncidentKind::Broken);
        let items = items(
            &UserId::new("{toolkit}"),
            &[(broken, None)],
            &BTreeMap::new(),
            "https://app.example/{toolkit}/{user_id}",
        );
        assert_eq!(items[0].reconnect_url, "https://app.example/slack/%7Btoolkit%7D");
    }

    #[test]
    fn lines_are_ordered_by_the_name_people_know() {
        let gmail = incident(1, &account("a", "EXPIRED").on("gmail", "ac", None), IncidentKind::Broken);
        let slack = incident(2, &account("b", "EXPIRED"), IncidentKind::Broken);
        let names = BTreeMap::from([("gmail".into(), "Zmail".to_owned())]);
        let items = items(&UserId::new("u"), &[(gmail, None), (slack, None)], &names, "https://app.example");
        assert_eq!(items.iter().map(|item| item.app.as_str()).collect::<Vec<_>>(), ["slack", "Zmail"]);
    }
}
