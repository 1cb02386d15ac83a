//! What the operator is told, by which way, and how often.

mod channels;
mod commands;
mod telling;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use connection_auditor::adapters::hooks::Hooks;
use connection_auditor::adapters::mailer::{Mailer, Outbox, Transport};
use connection_auditor::config;
use connection_auditor::domain::alert::{Alert, Message};
use connection_auditor::domain::guard::{GuardRules, Scope, Trip, TripState, Tripped};
use connection_auditor::domain::id::{AlertId, Toolkit, TripId};
use connection_auditor::domain::notification::EmailAddress;
use connection_auditor::domain::port::TripDetail;
use connection_auditor::pipeline::alerter::Channels;
use connection_auditor::pipeline::alerter::conditions::{AppNames, Suspicion, of_trips};
use uuid::Uuid;

use crate::support::hooks::{Receiver, SECRET};

/// An id as messages have it: UUID version 7, of a known instant.
const ID: Uuid = Uuid::from_u128(0x019a_a4c5_ad00_7000_8000_0000_0000_0001);

fn now() -> DateTime<Utc> {
    "2026-11-21T03:00:00Z".parse().expect("an instant")
}

fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Settings that call this receiver by both hooks.
fn calling(receiver: &Receiver) -> config::Alerts {
    let url = |hook: &str| Some(receiver.url().replace("/hooks/", &format!("/{hook}/")).into());
    config::Alerts {
        webhook: config::AlertWebhook { url: url("webhook"), secret: Some(SECRET.to_owned().into()) },
        slack: config::AlertSlack { url: url("slack") },
        ..config::Alerts::default()
    }
}

fn hooks(settings: &config::Alerts) -> Hooks {
    install_tls();
    Hooks::new(settings, Some("Acme")).expect("settings that can be used")
}

fn notify() -> config::Notify {
    config::Notify {
        from: Some("Acme <no-reply@acme.example>".to_owned()),
        app_name: Some("Acme".to_owned()),
        ..config::Notify::default()
    }
}

fn addresses(texts: &[&str]) -> Vec<EmailAddress> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn nobody() -> HashSet<EmailAddress> {
    HashSet::new()
}

/// Channels that keep their mails.
fn channels(hooks: Hooks, outbox: &Outbox) -> Channels {
    let mailer =
        Mailer::with_transport(&notify(), Transport::Memory(outbox.clone())).expect("settings that can be used");
    Channels { mail: Some((mailer, addresses(&["ops@acme.example"]))), hooks }
}

fn trip(n: u128, scope: Scope) -> TripDetail {
    TripDetail {
        trip: Trip {
            id: TripId(Uuid::from_u128(n)),
            tripped: Tripped { scope, broken: 1_204, healthy: 1_806 },
            state: TripState::Tripped,
            tripped_at: now(),
            ended: None,
            ramp_at: None,
            slots: 1_204,
            still_broken: 1_204,
            held: 1_204,
            users: 1_190,
        },
        reasons: vec![
            ("EXPIRED".to_owned(), Some("Permanent auth error during token refresh".to_owned()), 1_150),
            ("EXPIRED".to_owned(), Some("<!channel> & <b>other</b>".to_owned()), 54),
        ],
        sample: vec![("user-17".into(), "ca_17".into()), ("user-23".into(), "ca_23".into())],
    }
}

fn gmail() -> Scope {
    Scope::AuthConfig { toolkit: Toolkit::new("gmail"), auth_config: "ac_1".into() }
}

fn alert(n: u128, suspicion: &Suspicion) -> Alert {
    Alert {
        id: AlertId(Uuid::from_u128(n)),
        condition: suspicion.condition.clone(),
        since: now(),
        told_at: None,
        ended_at: None,
        end_told: false,
    }
}

/// The message about a trip of the guard, as the alerter words it.
fn guard_message() -> Message {
    let names = AppNames::from([(Toolkit::new("gmail"), "Gmail".to_owned())]);
    let seen = of_trips(&[trip(7, gmail())], &GuardRules::default(), &names);
    Message { kind: seen[0].condition.kind.clone(), firing: vec![alert(1, &seen[0])], ended: Vec::new() }
}

/// The same, over.
fn over(message: &Message) -> Message {
    let ended = message.firing.iter().map(|alert| Alert {
        told_at: Some(alert.since),
        ended_at: Some(alert.since + chrono::TimeDelta::hours(2)),
        ..alert.clone()
    });
    Message { firing: Vec::new(), ended: ended.collect(), ..message.clone() }
}
