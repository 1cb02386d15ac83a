//! Mails of every sort, made up: what templates are checked with, and what `mail preview` shows.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::id::{AccountId, IncidentId, NotificationId, Toolkit, UserId};
use crate::domain::incident::IncidentKind::{self, AttemptFailed, Broken, Unfinished};
use crate::domain::notification::{Digest, DigestItem};
use crate::domain::stage::Stage;

/// A mail that nobody gets.
#[derive(Debug, Clone)]
pub struct Sample {
    /// As `mail preview --sample` calls it.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub what: &'static str,
    /// What it would say.
    pub digest: Digest,
}

const FIRST: Option<Stage> = Some(Stage::FIRST);
const AGAIN: Option<Stage> = Some(Stage(1));
const APPS: [(&str, &str); 8] = [
    ("slack", "Slack"),
    ("googlecalendar", "Google Calendar"),
    ("notion", "Notion"),
    ("github", "GitHub"),
    ("hubspot", "HubSpot"),
    ("gmail", "Gmail"),
    ("salesforce", "Salesforce"),
    ("jira", "Jira"),
];
/// As many connections as one person may well have broken at once.
const MANY: u32 = 40;

/// All samples, as of `now`. Buttons lead to `reconnect_url` with its `{toolkit}` and `{user_id}` filled in, or to a page that
/// does not exist.
#[must_use]
pub fn all(now: DateTime<Utc>, reconnect_url: Option<&str>) -> Vec<Sample> {
    let maker = Maker { now, reconnect_url: reconnect_url.unwrap_or("https://app.example/connections?app={toolkit}") };
    let item = |kind, toolkit: &str, app: &str, days| maker.item(kind, FIRST, toolkit, app, days);
    let again = |items: Vec<DigestItem>| items.into_iter().map(|item| DigestItem { stage: AGAIN, ..item }).collect();
    let slack = || item(Broken, "slack", "Slack", 3);
    let notion = || item(Broken, "notion", "Notion", 1);
    let three = || vec![called(slack(), "work"), item(Broken, "googlecalendar", "Google Calendar", 5), notion()];
    let three_apps = |kind| APPS.iter().take(3).map(|(toolkit, app)| item(kind, toolkit, app, 1)).collect();
    let mixed = || {
        vec![
            called(slack(), "work"),
            item(Broken, "googlecalendar", "Google Calendar", 5),
            item(AttemptFailed, "hubspot", "HubSpot", 1),
            item(Unfinished, "github", "GitHub", 2),
        ]
    };
    let of = |name, what, items| maker.sample(name, Some("Ann"), what, items);
    vec![
        of("broken", "one connection that stopped working", vec![slack()]),
        of("two", "two that stopped working", vec![called(slack(), "work"), notion()]),
        of("several", "several that stopped working", three()),
        of("one-app", "several of one app", vec![called(slack(), "work"), called(slack(), "private"), slack()]),
        of(
            "attempt-failed",
            "an attempt to connect that did not succeed",
            vec![item(AttemptFailed, "slack", "Slack", 1)],
        ),
        of("attempts-failed", "several such attempts", three_apps(AttemptFailed)),
        of("unfinished", "an attempt to connect that nobody finished", vec![item(Unfinished, "slack", "Slack", 1)]),
        of("several-unfinished", "several such attempts", three_apps(Unfinished)),
        of("mixed", "one of each kind, and one more", mixed()),
        of("reminder", "a reminder of one connection", again(vec![slack()])),
        of("reminder-several", "a reminder of several", again(three())),
        of("reminder-mixed", "a reminder that lists what it need not repeat", {
            let mut items = mixed();
            for item in &mut items {
                item.stage = (item.kind == Broken).then_some(Stage(2));
            }
            items
        }),
        of("new-and-old", "one that is new, one reminded of, one only listed", {
            let mut items = three();
            for (item, stage) in items.iter_mut().zip([FIRST, AGAIN, None]) {
                item.stage = stage;
            }
            items
        }),
        of(
            "compact",
            "so many that they are set closer",
            maker.many(|number, app| (app.to_owned(), format!("team {number}"))),
        ),
        of(
            "long-names",
            "as many, with the longest names",
            maker.many(|number, app| {
                (format!("{app} {}", "Enterprise ".repeat(5)), format!("{number} {}", "Wörk ".repeat(12)))
            }),
        ),
        maker.sample(
            "right-to-left",
            Some("מיכל"),
            "names that are written from right to left",
            vec![called(item(Broken, "slack", "سلاك", 3), "العمل"), called(notion(), "בית (2)")],
        ),
        of(
            "markup",
            "names that look like HTML and like a template",
            vec![called(item(Broken, "slack", "<script>alert(1)</script>", 3), "{{ mail }} & \"co\" <b>")],
        ),
        maker.sample(
            "nameless",
            None,
            "nothing known of the user but the address",
            vec![item(Broken, "slack", " ", 3)],
        ),
    ]
}

/// The names of all samples.
#[must_use]
pub fn names() -> Vec<&'static str> {
    all(DateTime::UNIX_EPOCH, None).iter().map(|sample| sample.name).collect()
}

/// What samples have in common.
struct Maker<'a> {
    now: DateTime<Utc>,
    reconnect_url: &'a str,
}

impl Maker<'_> {
    fn item(&self, kind: IncidentKind, stage: Option<Stage>, toolkit: &str, app: &str, days: i64) -> DigestItem {
        DigestItem {
            incident: IncidentId(Uuid::nil()),
            account: AccountId::new("ca_sample"),
            kind,
            stage,
            toolkit: Toolkit::new(toolkit),
            app: app.to_owned(),
            alias: None,
            since: self.now - TimeDelta::days(days),
            reconnect_url: self.reconnect_url.replace("{toolkit}", toolkit).replace("{user_id}", "sample"),
        }
    }

    fn many(&self, names: impl Fn(u32, &str) -> (String, String)) -> Vec<DigestItem> {
        (1..=MANY)
            .zip(APPS.iter().cycle())
            .map(|(number, (toolkit, app))| {
                let (app, alias) = names(number, app);
                called(self.item(Broken, FIRST, toolkit, &app, i64::from(number % 9)), &alias)
            })
            .collect()
    }

    fn sample(&self, name: &'static str, greeted: Option<&str>, what: &'static str, items: Vec<DigestItem>) -> Sample {
        let digest = Digest {
            notification: NotificationId(Uuid::nil()),
            to: "user@example.org".parse().expect("an address"),
            user: UserId::new("sample"),
            name: greeted.map(str::to_owned),
            locale: None,
            time_zone: None,
            message_id: format!("{name}@example.org"),
            now: self.now,
            items,
        };
        Sample { name, what, digest }
    }
}

fn called(item: DigestItem, alias: &str) -> DigestItem {
    DigestItem { alias: Some(alias.to_owned()), ..item }
}
