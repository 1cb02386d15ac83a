//! `GET /metrics`: what came of mails and of events, for Prometheus (in its text format, `OpenMetrics`).
//!
//! Everything is counted from the store, over the last thirty days: every replica says the same, and a restart loses nothing.
//! Labels name apps, stages and templates, never users.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::TimeDelta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ops::Ops;
use super::problem::Problem;
use crate::audit::Report;
use crate::domain::port::Reconnects;

/// Over how many days everything is counted.
const DAYS: i64 = 30;
/// How long an answer is given again without counting anew.
const FRESH: Duration = Duration::from_secs(15);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The newest answer, and when it was made.
type Made = Arc<Mutex<Option<(Instant, String)>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mail {
    app: String,
    stage: String,
    template: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MailWithin {
    app: String,
    stage: String,
    template: String,
    within_days: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct App {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Its route.
pub(super) fn routes(ops: &Arc<Ops>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state((Arc::clone(ops), Made::default()))
}

async fn metrics(State((ops, made)): State<(Arc<Ops>, Made)>) -> Result<Response, Problem> {
    // One counts, the others wait for the answer.
    let mut made = made.lock().await;
    let text = match &*made {
        Some((at, text)) if at.elapsed() < FRESH => text.clone(),
        _ => {
            let now = ops.clock.now();
            let counted = Report::read(ops.store.as_ref(), now - TimeDelta::days(DAYS), now).await;
            let report = counted.map_err(|error| {
                tracing::warn!(event = "metrics.unavailable", %error);
                Problem::unavailable("the database does not answer")
            })?;
            let text = written(&report);
            *made = Some((Instant::now(), text.clone()));
            text
        }
    };
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn written(report: &Report) -> String {
    let mut registry = Registry::with_prefix("connection_auditor");
    registry.register("build", "The version that runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    of_mails(&mut registry, &report.reconnects);
    of_events(&mut registry, report);
    let mut text = String::new();
    // Writing into a text cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn of_mails(registry: &mut Registry, reconnects: &[Reconnects]) {
    let (mailed, clicked) = (Family::<Mail, Gauge>::default(), Family::<Mail, Gauge>::default());
    let (told, mended) = (Family::<MailWithin, Gauge>::default(), Family::<MailWithin, Gauge>::default());
    for row in reconnects {
        let (app, stage) = (row.toolkit.to_string(), row.stage.to_string());
        let mail = Mail { app, stage, template: row.template.clone().unwrap_or_default() };
        mailed.get_or_create(&mail).set(number(row.mailed));
        clicked.get_or_create(&mail).set(number(row.clicked));
        for within in row.within {
            let Mail { app, stage, template } = mail.clone();
            let mail = MailWithin { app, stage, template, within_days: within.days };
            told.get_or_create(&mail).set(number(within.of));
            mended.get_or_create(&mail).set(number(within.reconnected));
        }
    }
    registry.register("mailed_connections", "Broken connections that were mailed about in 30 days", mailed);
    registry.register("clicked_connections", "Those of which the button of the reconnect page was pressed", clicked);
    registry.register("mailed_connections_old_enough", "Those that were mailed about so many days ago", told);
    registry.register("reconnected_connections", "Those of these that worked again within so many days", mended);
}

fn of_events(registry: &mut Registry, report: &Report) {
    let [broke, told, missed] = [(); 3].map(|()| Family::<App, Gauge>::default());
    for row in &report.coverage {
        let app = App { app: row.toolkit.to_string() };
        broke.get_or_create(&app).set(number(row.broke));
        told.get_or_create(&app).set(number(row.told));
        missed.get_or_create(&app).set(number(row.missed));
    }
    registry.register("broken_connections", "Connections that broke in 30 days", broke);
    registry.register("told_connections", "Those of which an event of Composio told", told);
    registry.register("missed_connections", "Those that a sweep found and no event told of", missed);
    let events = Family::<Kind, Gauge>::default();
    for (kind, count) in &report.events {
        events.get_or_create(&Kind { kind: kind.clone() }).set(number(*count));
    }
    registry.register("events", "Events of Composio that were taken in 30 days, each once", events);
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Toolkit;
    use crate::domain::port::{Coverage, Within};
    use crate::domain::stage::Stage;

    #[test]
    fn what_came_of_mails_and_events_is_told_by_app_stage_and_template() {
        let within = |days, of, reconnected| Within { days, of, reconnected };
        let report = Report {
            since: chrono::DateTime::UNIX_EPOCH,
            reconnects: vec![Reconnects {
                toolkit: Toolkit::new("slack"),
                stage: Stage::FIRST,
                template: Some("en 1a\"2b".to_owned()),
                mailed: 40,
                clicked: 31,
                within: [within(1, 39, 20), within(3, 30, 22), within(7, 20, 18)],
            }],
            coverage: vec![Coverage { toolkit: Toolkit::new("slack"), broke: 44, told: 40, missed: 4 }],
            events: vec![("composio.connected_account.expired".to_owned(), 41)],
        };
        let text = written(&report);
        let mail = r#"app="slack",stage="first mail",template="en 1a\"2b""#;
        for line in [
            format!("connection_auditor_mailed_connections{{{mail}}} 40"),
            format!("connection_auditor_clicked_connections{{{mail}}} 31"),
            format!("connection_auditor_mailed_connections_old_enough{{{mail},within_days=\"7\"}} 20"),
            format!("connection_auditor_reconnected_connections{{{mail},within_days=\"7\"}} 18"),
            r#"connection_auditor_missed_connections{app="slack"} 4"#.to_owned(),
            r#"connection_auditor_events{kind="composio.connected_account.expired"} 41"#.to_owned(),
            format!("connection_auditor_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
