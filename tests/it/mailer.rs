//! Mails: what they say, and how they reach a server that answers as it likes.

#![expect(clippy::unwrap_used, reason = "what fails to unwrap here fails the test, in helpers too")]

mod compose;
mod delivery;
mod faults;
pub(crate) mod html;
mod samples;
mod security;
mod templates;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use connection_auditor::adapters::mailer::{Mail, Mailer};
use connection_auditor::config;
use connection_auditor::domain::id::{AccountId, IncidentId, NotificationId, Toolkit, UserId};
use connection_auditor::domain::incident::IncidentKind;
use connection_auditor::domain::notification::{Digest, DigestItem};
use connection_auditor::domain::stage::Stage;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::support::smtp::{SmtpServer, Tls};

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

fn item(kind: IncidentKind, toolkit: &str, app: &str, days_ago: i64) -> DigestItem {
    DigestItem {
        incident: IncidentId(Uuid::from_u128(1)),
        account: AccountId::new("ca_1"),
        kind,
        stage: Some(Stage::FIRST),
        toolkit: Toolkit::new(toolkit),
        app: app.to_owned(),
        alias: None,
        since: now() - TimeDelta::days(days_ago),
        reconnect_url: format!("https://app.acme.example/settings/connections?connect={toolkit}&user=user-1"),
    }
}

fn slack() -> DigestItem {
    item(IncidentKind::Broken, "slack", "Slack", 18)
}

/// One connection of each kind, and one more.
fn mixed_kinds() -> Vec<DigestItem> {
    vec![
        DigestItem { alias: Some("work".to_owned()), ..slack() },
        item(IncidentKind::Broken, "googlecalendar", "Google Calendar", 3),
        item(IncidentKind::AttemptFailed, "notion", "Notion", 1),
        item(IncidentKind::Unfinished, "github", "GitHub", 2),
    ]
}

fn digest(items: Vec<DigestItem>) -> Digest {
    digest_to("ann@example.org", 7, items)
}

fn digest_to(to: &str, number: u128, items: Vec<DigestItem>) -> Digest {
    let id = NotificationId(Uuid::from_u128(number));
    Digest {
        notification: id,
        to: to.parse().unwrap(),
        user: UserId::new("user-1"),
        name: Some("Ann".to_owned()),
        locale: None,
        time_zone: Some(chrono_tz::Europe::Berlin),
        message_id: format!("{}@acme.example", id.0.simple()),
        now: now(),
        items,
    }
}

fn notify() -> config::Notify {
    config::Notify {
        from: Some("Acme <no-reply@acme.example>".to_owned()),
        reply_to: Some("Acme Support <help@acme.example>".to_owned()),
        app_name: Some("Acme".to_owned()),
        ..config::Notify::default()
    }
}

/// Settings for a server in clear, with waits short enough to see them end.
fn smtp(port: u16) -> config::Smtp {
    config::Smtp {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        tls: config::SmtpTls::None,
        timeout: Duration::from_millis(300),
        idle: Duration::from_secs(30),
        ..config::Smtp::default()
    }
}

/// Settings for a server, with the protection that it has.
fn smtp_of(server: &SmtpServer, tls: Tls) -> config::Smtp {
    let (tls, ca_file): (_, Option<PathBuf>) = match tls {
        Tls::None => (config::SmtpTls::None, None),
        Tls::Starttls => (config::SmtpTls::Starttls, Some(server.ca_file())),
        Tls::Implicit => (config::SmtpTls::Implicit, Some(server.ca_file())),
    };
    config::Smtp { tls, ca_file, timeout: Duration::from_secs(5), ..smtp(server.port()) }
}

fn mailer(smtp: config::Smtp) -> Mailer {
    let mail = config::Mail { smtp, ..config::Mail::default() };
    Mailer::new(&notify(), &mail, &TaskTracker::new()).unwrap()
}

fn mail(mailer: &Mailer, to: &str, number: u128) -> Mail {
    mailer.compose(&digest_to(to, number, vec![slack()])).unwrap()
}

/// Waits for something that other threads bring about.
async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen within 5 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
