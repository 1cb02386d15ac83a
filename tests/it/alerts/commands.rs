//! `alerts list` and `alerts test`, as they are typed.

use connection_auditor::domain::alert::{Condition, kind};
use connection_auditor::domain::clock::{Clock, SystemClock};

use crate::support::hooks::{Answer, Receiver, SECRET};
use crate::support::world::{On, World};

fn output(output: &std::process::Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_goes_by_every_channel_and_each_says_how_it_went() {
    let mut world = World::new(On::Embedded, 1).await;
    let (code, _, error) = output(&world.command(&["alerts", "test"]));
    assert_eq!(code, Some(64));
    assert!(error.contains("set alerts.email, alerts.webhook.url or alerts.slack.url"), "{error}");

    let receiver = Receiver::start().await;
    world.set("alerts.email", "ops@acme.example,second@acme.example");
    world.set("alerts.webhook.url", receiver.url());
    world.set("alerts.webhook.secret", SECRET);
    world.set("alerts.slack.url", receiver.url());
    let (code, out, error) = output(&world.command(&["alerts", "test"]));
    assert_eq!(
        out,
        "email: the mail server took it for 2 of 2 addresses\n\
         webhook: 127.0.0.1 answered 200\n\
         slack: 127.0.0.1 answered 200\n"
    );
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(world.smtp.count(), 2);
    let hook = &receiver.got()[0];
    hook.verify(SECRET);
    assert_eq!(hook.json()["type"], "connection_auditor.alert.test");

    receiver.answer([Answer::status(200), Answer { body: "no_service".to_owned(), ..Answer::status(404) }]);
    let (code, out, error) = output(&world.command(&["alerts", "test"]));
    assert_eq!(code, Some(1));
    assert!(out.ends_with("slack: failed: 127.0.0.1 answered 404 (no_service)\n"), "{out}");
    assert_eq!(error, "error: 1 way did not take it\n");
    assert!(!out.contains("s3cr3t") && !out.contains("ops@"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fires_is_listed_in_full_and_what_is_over_in_a_line() {
    let world = World::new(On::Embedded, 1).await;
    let (code, out, _) = output(&world.command(&["alerts", "list"]));
    assert_eq!((code, out.as_str()), (Some(0), "no alerts\n"));
    let condition = |subject: &str, summary: &str| Condition {
        kind: kind::SWEEP.to_owned(),
        subject: subject.to_owned(),
        summary: summary.to_owned(),
        detail: "It goes on by itself.\n\n    connection-auditor status".to_owned(),
    };
    let judged = [kind::SWEEP];
    let now = SystemClock.now();
    let both = [condition("daily", "The sweep daily is paused"), condition("hourly", "The sweep hourly is paused")];
    world.store.set_conditions(&judged, &both, now).await.expect("they are stored");
    world.store.set_conditions(&judged, &both[..1], now).await.expect("one ends");
    let (code, out, error) = output(&world.command(&["alerts", "list"]));
    assert_eq!(code, Some(2), "{error}");
    for expected in
        ["The sweep daily is paused  (since ", "    connection-auditor status", "Over\n", "The sweep hourly"]
    {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    let (code, out, _) = output(&world.command(&["alerts", "list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, listed.as_array().map(Vec::len)), (Some(2), Some(2)));
    assert_eq!(listed[0]["kind"], "sweep_troubled");
}
