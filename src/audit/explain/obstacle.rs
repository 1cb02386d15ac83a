//! What keeps mail from leaving, whatever breaks.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::words::{self, on};
use super::{Facts, Presence, Reach};
use crate::config::NotifyMode;
use crate::domain::notification::hold;
use crate::domain::plan::FLAPPING_INCIDENTS;

/// Something that keeps mail from leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Obstacle {
    /// `paused`, `unreachable`, `suppressed`, `flapping`, …
    pub kind: &'static str,
    /// In words.
    pub text: String,
    /// Until when; none where nobody knows.
    pub until: Option<DateTime<Utc>>,
}

impl Facts {
    pub(super) fn obstacles(&self) -> Vec<Obstacle> {
        let mut found = Vec::new();
        let mut add = |kind, text: String, until| found.push(Obstacle { kind, text, until });
        if let Some(pause) = &self.paused {
            let note = pause.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
            add("paused", format!("all mails are paused since {}{note}", on(pause.since)), None);
        }
        match &self.presence {
            Presence::Known { reach: Reach::Address, .. } => {}
            Presence::Known { reach: Reach::NotAdmitted, .. } => {
                add("only_to", "notify.only_to does not admit the user's address".to_owned(), None);
            }
            Presence::Known { reach: Reach::None(why), .. } => {
                add("unreachable", format!("the user cannot be reached: {why}"), None);
            }
            Presence::Gone => add("deleted", "the app has no such user".to_owned(), None),
            Presence::Unasked(why) => {
                let why = format!("the app's database could not be asked, and no mail leaves until it answers: {why}");
                add("users_unavailable", why, None);
            }
        }
        for one in self.situation.suppressions.iter().filter(|one| one.until.is_none_or(|until| until > self.now)) {
            let app = one.toolkit.as_ref().map(|app| format!(" (about {} only)", self.app(app))).unwrap_or_default();
            add("suppressed", format!("{}{app}", words::because(one)), one.until);
        }
        for fate in self.fates() {
            let incident = &fate.standing.incident;
            let name = self.connection_name(&incident.slot);
            if let Some(until) = fate.standing.flapping_until(self.now) {
                let text = format!(
                    "{name} broke {} times lately; from {FLAPPING_INCIDENTS} times on its owner is left alone, until {}",
                    fate.standing.openings.len(),
                    on(until)
                );
                add("flapping", text, Some(until));
            }
            if fate.standing.hold.is_some()
                && let Some(why) = self.why_not(&fate)
            {
                add("held", format!("{name}: {why}"), None);
            }
            if !self.rules.policy.lists(incident) {
                add(
                    "policy",
                    format!("{name}: {}", super::fate::filtered(&self.rules.policy, &incident.slot, incident.kind)),
                    None,
                );
            }
        }
        if self.rules.mode == NotifyMode::Hold {
            let text = format!("notify.mode is \"hold\": new notifications are held under the name {}", hold::GO_LIVE);
            add("mode", text, None);
        }
        if self.rules.redirected {
            add("redirected", "notify.redirect_all_to: every mail goes there instead".to_owned(), None);
        }
        for job in &self.trail.dead_jobs {
            let text = format!(
                "a job that concerns this user was given up as poison: `queue dead retry {job}` tries it again"
            );
            add("dead_job", text, None);
        }
        found
    }
}
