//! The project at the simulated Composio: its toolkits and auth configs.

use serde_json::{Value, json};

use super::chance;

/// A toolkit as `GET /toolkits/{slug}` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct App {
    pub(super) slug: &'static str,
    pub(super) name: &'static str,
}

const fn app(slug: &'static str, name: &'static str) -> App {
    App { slug, name }
}

/// Toolkits whose name is not their slug with a capital are among them on purpose.
pub(super) const APPS: [App; 14] = [
    app("gmail", "Gmail"),
    app("googlecalendar", "Google Calendar"),
    app("slack", "Slack"),
    app("github", "GitHub"),
    app("notion", "Notion"),
    app("hubspot", "HubSpot"),
    app("googledrive", "Google Drive"),
    app("linear", "Linear"),
    app("asana", "Asana"),
    app("salesforce", "Salesforce"),
    app("outlook", "Outlook"),
    app("jira", "Jira"),
    app("airtable", "Airtable"),
    app("one_drive", "OneDrive"),
];

/// The auth configs of every toolkit: one that Composio manages, one of the customer's own, and one that is disabled.
pub(super) const CONFIGS: u8 = 3;

/// The auth config of every toolkit that the operator has switched off.
pub(super) const DISABLED_CONFIG: u8 = 2;

/// Which of its auth configs the project has of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shelf {
    /// All: one that Composio manages, one of its own, and one that is disabled.
    #[default]
    All,
    /// The one that Composio manages.
    One,
    /// The one that is disabled.
    Disabled,
    /// None.
    Empty,
}

impl Shelf {
    /// The configs that are there.
    pub(super) fn configs(self) -> &'static [u8] {
        match self {
            Self::All => &[0, 1, DISABLED_CONFIG],
            Self::One => &[0],
            Self::Disabled => &[DISABLED_CONFIG],
            Self::Empty => &[],
        }
    }
}

/// The app a row stands for. Rows count apps from zero per user; each user's count starts somewhere else.
pub(super) fn app_at(position: usize) -> App {
    APPS[position % APPS.len()]
}

/// The id of one of an app's auth configs: `ac_` and twelve characters, the same in every run.
pub(super) fn auth_config_id(slug: &str, config: u8) -> String {
    let seed = slug.bytes().fold(u64::from(config), |seed, byte| chance::mix(seed, u64::from(byte), 1));
    format!("ac_{}", chance::nano_id(seed))
}

/// Which app and which of its configs an id belongs to.
pub(super) fn auth_config(id: &str) -> Option<(usize, u8)> {
    (0..APPS.len())
        .flat_map(|position| (0..CONFIGS).map(move |config| (position, config)))
        .find(|&(position, config)| auth_config_id(app_at(position).slug, config) == id)
}

/// The position of a slug among the apps.
pub(super) fn position(slug: &str) -> Option<usize> {
    APPS.iter().position(|app| app.slug == slug)
}

/// Whether Composio owns the OAuth app behind a config.
pub(super) fn is_managed(config: u8) -> bool {
    config == 0
}

/// The body of `GET /toolkits/{slug}`.
pub(super) fn toolkit_json(app: App) -> Value {
    json!({
        "slug": app.slug,
        "name": app.name,
        "enabled": true,
        "is_local_toolkit": false,
        "composio_managed_auth_schemes": ["OAUTH2"],
        "auth_config_details": [],
        "auth_guide_url": null,
        "base_url": null,
        "meta": {
            "created_at": "2025-01-15T09:30:00.000Z",
            "updated_at": "2026-05-20T14:45:00.000Z",
            "description": format!("Act in {} on behalf of a user.", app.name),
            "logo": format!("https://logos.composio.dev/api/{}", app.slug),
            "app_url": null,
            "categories": [{ "name": "Productivity", "slug": "productivity" }],
            "triggers_count": 0,
            "tools_count": 12,
            "version": "20260901_00",
            "available_versions": ["20260901_00"],
        },
        "deprecated": { "toolkitId": app.slug, "getCurrentUserEndpoint": "", "rawProxyInfoByAuthSchemes": [] },
    })
}

/// One item of `GET /toolkits`, whose shape is a little flatter.
pub(super) fn toolkit_item_json(app: App) -> Value {
    json!({
        "slug": app.slug,
        "name": app.name,
        "auth_schemes": ["OAUTH2"],
        "composio_managed_auth_schemes": ["OAUTH2"],
        "is_local_toolkit": false,
        "no_auth": false,
        "meta": {
            "created_at": "2025-01-15T09:30:00.000Z",
            "updated_at": "2026-05-20T14:45:00.000Z",
            "description": format!("Act in {} on behalf of a user.", app.name),
            "logo": format!("https://logos.composio.dev/api/{}", app.slug),
            "categories": [{ "name": "Productivity", "id": "productivity" }],
            "triggers_count": 0,
            "tools_count": 12,
            "version": "20260901_00",
        },
        "deprecated": { "toolkitId": app.slug },
    })
}

/// One item of `GET /auth_configs`.
pub(super) fn auth_config_json(app: App, config: u8) -> Value {
    let id = auth_config_id(app.slug, config);
    json!({
        "id": id,
        "uuid": chance::uuid(u64::from(config), &id).to_string(),
        "type": if is_managed(config) { "default" } else { "custom" },
        "name": format!("{}-{}", app.slug, ["managed", "custom", "retired"][usize::from(config % CONFIGS)]),
        "toolkit": { "slug": app.slug, "logo": format!("https://logos.composio.dev/api/{}", app.slug) },
        "auth_scheme": "OAUTH2",
        "is_composio_managed": is_managed(config),
        "status": if config == DISABLED_CONFIG { "DISABLED" } else { "ENABLED" },
        "no_of_connections": 0,
        "credentials": {},
        "expected_input_fields": [],
        "created_at": "2025-06-01T08:00:00.000Z",
        "last_updated_at": "2026-06-01T08:00:00.000Z",
        "created_by": null,
        "restrict_to_following_tools": [],
        "tool_access_config": { "tools_for_connected_account_creation": [], "tools_available_for_execution": [] },
        "deprecated_params": { "default_connector_id": null, "member_uuid": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_auth_config_has_an_id_of_its_own_and_is_found_by_it() {
        let mut seen = std::collections::BTreeSet::new();
        for (position, app) in APPS.iter().enumerate() {
            for config in 0..CONFIGS {
                let id = auth_config_id(app.slug, config);
                assert_eq!(auth_config(&id), Some((position, config)));
                assert!(seen.insert(id));
            }
        }
    }
}
