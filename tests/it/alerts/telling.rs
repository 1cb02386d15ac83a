//! One message for trouble of one kind, none again until it is time, one when it is over; whatever dies in between.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connection_auditor::adapters::mailer::Outbox;
use connection_auditor::adapters::store;
use connection_auditor::config::{self, Database};
use connection_auditor::domain::alert::{Telling, kind};
use connection_auditor::domain::clock::{Clock, ManualClock};
use connection_auditor::domain::guard::{GuardRules, Scope, Tripped};
use connection_auditor::domain::id::{Toolkit, TripId};
use connection_auditor::domain::port::{NewTrip, Pause, Store};
use connection_auditor::pipeline::alerter::conditions::{Expected, Patience};
use connection_auditor::pipeline::alerter::{Alerter, Channels, Postman};
use uuid::Uuid;

use super::{calling, channels, gmail, hooks, now};
use crate::support::hooks::{Answer, Receiver, SECRET};
use crate::support::postgres;
use crate::support::smtp::SmtpServer;
use crate::support::world::{On, World};

/// A store, a clock that the test moves, and a receiver.
struct Place {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    receiver: Receiver,
    outbox: Outbox,
    _folder: tempfile::TempDir,
}

/// One on each engine.
async fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for is_server in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let url = if is_server {
            postgres::database().await
        } else {
            format!("sqlite:{}", folder.path().join("store.sqlite").display())
        };
        let settings = Database { url: url.into(), ..Database::default() };
        store::migrate(&settings).await.expect("an empty database can be migrated");
        places.push(Place {
            store: store::connect(&settings).await.expect("a migrated database opens"),
            clock: Arc::new(ManualClock::at(now())),
            receiver: Receiver::start().await,
            outbox: Outbox::default(),
            _folder: folder,
        });
    }
    places
}

/// A replica, with what it remembers.
struct Replica {
    alerter: Alerter,
    token: Uuid,
    patience: Patience,
}

impl Replica {
    fn of(place: &Place, channels: Channels) -> Self {
        let alerter = Alerter {
            store: Arc::clone(&place.store),
            clock: place.clock.clone(),
            channels,
            telling: Telling { group_wait: Duration::from_secs(30), repeat_interval: Duration::from_secs(12 * 3_600) },
            expected: Expected { within: Duration::from_secs(26 * 3_600), has_schedules: true },
            guard: GuardRules::default(),
            interval: Duration::from_secs(1),
        };
        Self { alerter, token: Uuid::new_v4(), patience: Patience::default() }
    }

    async fn look(&mut self) {
        self.alerter.round(self.token, &mut self.patience).await.expect("the store answers");
    }

    async fn deliver(&self) {
        let mut postman = Postman::new(&self.alerter);
        while postman.deliver_one().await.expect("the store answers") {}
    }
}

impl Place {
    fn replica(&self) -> Replica {
        Replica::of(self, channels(hooks(&calling(&self.receiver)), &self.outbox))
    }

    async fn trip(&self, scope: Scope) -> TripId {
        let id = TripId(Uuid::now_v7());
        let tripped = Tripped { scope, broken: 400, healthy: 600 };
        let trip = NewTrip { id, tripped, window: TimeDelta::days(1) };
        assert!(self.store.trip(&trip, self.clock.now()).await.expect("it is stored"));
        id
    }

    async fn discard(&self, id: TripId) {
        let ended = self.store.discard_trip(id, "test", self.clock.now()).await;
        ended.expect("the store answers").expect("it was tripped");
    }

    /// Moves the clock on, then looks and delivers.
    async fn after(&self, seconds: i64, replica: &mut Replica) {
        self.clock.advance(TimeDelta::seconds(seconds));
        replica.look().await;
        replica.deliver().await;
    }

    /// The webhooks that came: type, how many alerts fire, how many have ended.
    fn told(&self) -> Vec<(String, usize, usize)> {
        let came = self.receiver.got();
        let hooks = came.iter().filter(|got| got.path.starts_with("/webhook/"));
        hooks
            .map(|got| {
                got.verify(SECRET);
                let body = got.json();
                let of = |list: &str| body["data"][list].as_array().expect("a list").len();
                (body["type"].as_str().expect("a type").to_owned(), of("firing"), of("ended"))
            })
            .collect()
    }

    /// How many messages came by each channel: webhook, Slack, mail.
    fn counts(&self) -> (usize, usize, usize) {
        let came = self.receiver.got();
        let of = |path: &str| came.iter().filter(|got| got.path.starts_with(path)).count();
        (of("/webhook/"), of("/slack/"), self.outbox.mails().len())
    }
}

fn told(tone: &str, firing: usize, ended: usize) -> (String, usize, usize) {
    (format!("connection_auditor.alert.{tone}"), firing, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_that_trip_one_after_the_other_are_one_message_by_each_channel() {
    for place in places().await {
        let mut replica = place.replica();
        let first = place.trip(gmail()).await;
        place.after(0, &mut replica).await;
        let second = place.trip(Scope::Toolkit { toolkit: Toolkit::new("notion") }).await;
        place.after(10, &mut replica).await;
        let third = place.trip(Scope::Backlog { toolkit: Toolkit::new("slack") }).await;
        place.after(10, &mut replica).await;
        assert_eq!(place.counts(), (0, 0, 0), "they are waited for");
        place.after(10, &mut replica).await;
        assert_eq!(place.told(), [told("firing", 3, 0)]);
        assert_eq!(place.counts(), (1, 1, 1));
        for seconds in [60, 3_600, 38_000] {
            place.after(seconds, &mut replica).await;
        }
        assert_eq!(place.counts(), (1, 1, 1), "nothing is repeated before its time");
        place.after(3_600, &mut replica).await;
        assert_eq!(place.told()[1..], [told("firing", 3, 0)], "twelve hours are over");
        place.discard(first).await;
        place.after(1, &mut replica).await;
        assert_eq!(place.told()[2..], [told("firing", 2, 1)], "one is over, the others are named again");
        place.discard(second).await;
        place.discard(third).await;
        place.after(1, &mut replica).await;
        assert_eq!(place.told()[3..], [told("resolved", 0, 2)]);
        place.after(100_000, &mut replica).await;
        assert_eq!(place.told().len(), 4, "what is over stays over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_before_it_was_told_of_is_never_told() {
    for place in places().await {
        let mut replica = place.replica();
        let id = place.trip(gmail()).await;
        place.after(0, &mut replica).await;
        place.discard(id).await;
        for _ in 0..5 {
            place.after(20, &mut replica).await;
        }
        assert_eq!(place.counts(), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_taken_is_tried_again_with_the_same_id_and_the_others_do_not_wait_for_it() {
    for place in places().await {
        let mut replica = place.replica();
        let settings = config::Alerts { slack: config::AlertSlack::default(), ..calling(&place.receiver) };
        replica.alerter.channels = channels(hooks(&settings), &place.outbox);
        place.trip(gmail()).await;
        place.after(0, &mut replica).await;
        place.receiver.answer([Answer::status(500), Answer::status(503)]);
        place.after(30, &mut replica).await;
        assert_eq!(place.counts(), (1, 0, 1));
        place.after(1, &mut replica).await;
        assert_eq!(place.counts(), (1, 0, 1), "it waits before it tries again");
        place.after(10, &mut replica).await;
        place.after(20, &mut replica).await;
        place.after(3_600, &mut replica).await;
        assert_eq!(place.counts(), (3, 0, 1), "the third was taken");
        let ids: Vec<_> = place.receiver.got().iter().map(|got| got.header("webhook-id").to_owned()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_given_up_after_about_a_day() {
    for place in places().await {
        let mut replica = place.replica();
        let settings = config::Alerts { slack: config::AlertSlack::default(), ..calling(&place.receiver) };
        replica.alerter.channels = Channels { mail: None, hooks: hooks(&settings) };
        replica.alerter.telling.repeat_interval = Duration::from_secs(30 * 86_400);
        place.trip(gmail()).await;
        place.after(0, &mut replica).await;
        place.receiver.answer((0..100).map(|_| Answer::status(500)));
        place.after(30, &mut replica).await;
        let began = place.clock.now();
        let mut last = (1, began);
        while place.clock.now() - began < TimeDelta::days(2) {
            place.clock.advance(TimeDelta::minutes(20));
            replica.deliver().await;
            let tries = place.counts().0;
            if tries > last.0 {
                last = (tries, place.clock.now());
            }
        }
        let lasted = last.1 - began;
        assert_eq!(last.0, 40);
        assert!((TimeDelta::hours(16)..TimeDelta::hours(44)).contains(&lasted), "{lasted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_tell_once_and_the_other_goes_on_when_one_is_gone() {
    for place in places().await {
        let (mut one, mut other) = (place.replica(), place.replica());
        place.trip(gmail()).await;
        for _ in 0..20 {
            place.clock.advance(TimeDelta::seconds(5));
            tokio::join!(one.look(), other.look());
            tokio::join!(one.deliver(), other.deliver());
        }
        assert_eq!(place.counts(), (1, 1, 1));
        drop(one);
        place.after(12 * 3_600, &mut other).await;
        assert_eq!(place.told()[1..], [told("firing", 1, 0)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_channel_alerts_are_kept_to_be_read() {
    for place in places().await {
        let hooks = hooks(&config::Alerts::default());
        let mut replica = Replica::of(&place, Channels { mail: None, hooks });
        let pause = Pause { since: place.clock.now() - TimeDelta::hours(2), note: None };
        place.store.pause(&pause).await.expect("the switch is thrown");
        place.after(0, &mut replica).await;
        place.after(30, &mut replica).await;
        let [alert] = place.store.alerts(10).await.expect("they are read").try_into().expect("one alert");
        assert_eq!((alert.condition.kind.as_str(), alert.ended_at), (kind::PAUSED, None));
        assert!(alert.told_at.is_some(), "the log has it");
        place.store.resume(place.clock.now()).await.expect("the switch is turned back");
        place.after(5, &mut replica).await;
        let [alert] = place.store.alerts(10).await.expect("they are read").try_into().expect("one alert");
        assert!(alert.ended_at.is_some() && alert.end_told);
    }
}

/// The whole way, through the real worker: the canary is refused, every channel tells, the webhook at its second try.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_reaches_the_operator_by_every_channel_and_so_does_its_end() {
    let mut world = World::new(On::Servers, 20).await;
    let (receiver, operators) = (Receiver::start().await, SmtpServer::start().await);
    world.impatient();
    for (key, value) in [
        ("keeper.interval", "200ms".to_owned()),
        ("alerts.group_wait", "0s".to_owned()),
        ("alerts.email", "ops@acme.example".to_owned()),
        ("alerts.webhook.url", receiver.url().replace("/hooks/", "/webhook/")),
        ("alerts.webhook.secret", SECRET.to_owned()),
        ("alerts.slack.url", receiver.url().replace("/hooks/", "/slack/")),
        ("mail.smtp.port", operators.port().to_string()),
    ] {
        world.set(key, value);
    }
    let key = world.setting("composio.api_key").to_owned();
    world.set("composio.api_key", "ak_of_another_project");
    let worker = world.start_worker();
    world.sweep_now().await;
    let limit = Duration::from_secs(60);
    operators.wait_for(1, limit).await;
    let firing = receiver.wait_for(2, limit).await;
    let mail = operators.received().pop().expect("a mail");
    assert_eq!(mail.to, ["ops@acme.example"]);
    let mail = mail_parser::MessageParser::default().parse(&mail.bytes).expect("a mail").body_text(0).map(String::from);
    let mail = mail.expect("a text part");
    assert!(
        mail.contains("Composio refuses the API key") && mail.contains("connection-auditor check-config"),
        "{mail}"
    );
    for got in &firing {
        assert!(got.body.contains("Composio refuses the API key"), "{}", got.body);
    }
    world.kill_worker(worker);
    world.set("composio.api_key", key);
    receiver.answer([Answer::status(500), Answer::status(500)]);
    world.start_worker();
    operators.wait_for(2, limit).await;
    let resolved = world
        .until("the webhook takes the end at its second try", limit, || async {
            let all = receiver.got();
            let resolved: Vec<_> = all.into_iter().filter(|got| got.body.contains("alert.resolved")).collect();
            (resolved.len() >= 2).then_some(resolved)
        })
        .await;
    assert_eq!(resolved[0].header("webhook-id"), resolved[1].header("webhook-id"));
    for got in &resolved {
        got.verify(SECRET);
    }
    let logs = world.logs();
    assert!(logs.contains("alert.raised") && logs.contains("alert.ended"), "{logs}");
    for secret in ["s3cr3t", "ops@acme.example", "ak_of_another_project"] {
        assert!(!logs.contains(secret), "{secret} is in the log");
    }
}
