//! Webhook, Slack and mail: what arrives, and what is said when it does not.

use std::time::{Duration, Instant};

use connection_auditor::adapters::mailer::{Mailer, Outbox, Transport};
use connection_auditor::config;
use connection_auditor::domain::alert::{Channel, Message};
use connection_auditor::pipeline::alerter::{Channels, Undelivered};
use mail_parser::MessageParser;
use tokio_util::task::TaskTracker;

use super::{ID, addresses, calling, channels, guard_message, hooks, install_tls, nobody, notify, now, over};
use crate::support::hooks::{Answer, Receiver, SECRET};
use crate::support::server::free_port;
use crate::support::smtp::{Act, At, SmtpServer};

async fn webhook(receiver: &Receiver, message: &Message) -> Result<String, Undelivered> {
    let channels = channels(hooks(&calling(receiver)), &Outbox::default());
    channels.deliver(Channel::Webhook, ID, message, &mut nobody(), now()).await
}

fn pretty(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

#[tokio::test]
async fn a_webhook_is_signed_as_the_standard_says_and_says_all_of_it() {
    let receiver = Receiver::start().await;
    assert_eq!(webhook(&receiver, &guard_message()).await.expect("it is taken"), "127.0.0.1 answered 200");
    let [got] = receiver.got().try_into().expect("one request");
    got.verify(SECRET);
    assert_eq!(got.header("webhook-timestamp"), now().timestamp().to_string());
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.path, "/webhook/s3cr3t-path?token=s3cr3t-token");
    insta::assert_snapshot!("webhook_body_of_a_guard_trip", pretty(&got.body));
}

#[tokio::test]
async fn a_webhook_that_is_tried_again_has_the_same_id_and_body_and_a_signature_of_its_own() {
    let receiver = Receiver::start().await;
    receiver.answer([Answer::status(500)]);
    let channels = channels(hooks(&calling(&receiver)), &Outbox::default());
    let first = channels.deliver(Channel::Webhook, ID, &guard_message(), &mut nobody(), now()).await;
    assert!(matches!(first, Err(Undelivered::Again { .. })), "{first:?}");
    let later = now() + chrono::TimeDelta::seconds(10);
    channels.deliver(Channel::Webhook, ID, &guard_message(), &mut nobody(), later).await.expect("it is taken");
    let [one, two] = receiver.got().try_into().expect("two requests");
    one.verify(SECRET);
    two.verify(SECRET);
    assert_eq!((one.header("webhook-id"), &one.body), (two.header("webhook-id"), &two.body));
    assert_ne!(one.header("webhook-signature"), two.header("webhook-signature"));
}

#[tokio::test]
async fn the_end_is_told_as_resolved() {
    let receiver = Receiver::start().await;
    webhook(&receiver, &over(&guard_message())).await.expect("it is taken");
    let body = receiver.got()[0].json();
    assert_eq!(body["type"], "connection_auditor.alert.resolved");
    assert_eq!(body["data"]["ended"][0]["ended_at"], "2026-11-21T05:00:00.000Z");
    assert!(body["data"]["title"].as_str().expect("a title").starts_with("Resolved: Gmail through ac_1"));
}

#[tokio::test]
async fn slack_gets_blocks_and_a_text_in_which_nothing_from_outside_is_a_mention() {
    let receiver = Receiver::start().await;
    let channels = channels(hooks(&calling(&receiver)), &Outbox::default());
    channels.deliver(Channel::Slack, ID, &guard_message(), &mut nobody(), now()).await.expect("it is taken");
    let [got] = receiver.got().try_into().expect("one request");
    assert_eq!(got.path, "/slack/s3cr3t-path?token=s3cr3t-token");
    assert!(!got.body.contains("<!channel>"), "{}", got.body);
    insta::assert_snapshot!("slack_body_of_a_guard_trip", pretty(&got.body));
}

#[tokio::test]
async fn no_error_shows_the_url_or_what_the_receiver_echoes() {
    let receiver = Receiver::start().await;
    let echo = Answer { body: receiver.url(), ..Answer::status(403) };
    let elsewhere = format!("http://127.0.0.1:{}/stolen", receiver.port);
    let redirect = Answer { headers: vec![("location", elsewhere)], ..Answer::status(307) };
    let named = Answer { body: "channel_is_archived".to_owned(), ..Answer::status(410) };
    for (answer, expected) in [
        (echo, "127.0.0.1 answered 403"),
        (redirect, "127.0.0.1 answered 307"),
        (named, "127.0.0.1 answered 410 (channel_is_archived)"),
    ] {
        receiver.answer([answer]);
        let error = webhook(&receiver, &guard_message()).await.expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
    assert_eq!(receiver.got().len(), 3, "a redirect is not followed");
    let mut settings = calling(&receiver);
    settings.webhook.url = Some(format!("http://127.0.0.1:{}/s3cr3t-path", free_port()).into());
    let channels = channels(hooks(&settings), &Outbox::default());
    let error = channels.deliver(Channel::Webhook, ID, &guard_message(), &mut nobody(), now()).await;
    let error = error.expect_err("nobody listens");
    assert!(error.to_string().starts_with("127.0.0.1: no connection"), "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_and_one_that_talks_without_end_is_cut_short() {
    let receiver = Receiver::start().await;
    receiver.answer([Answer { headers: vec![("retry-after", "120".to_owned())], ..Answer::status(429) }]);
    let error = webhook(&receiver, &guard_message()).await.expect_err("it is refused");
    let expected =
        Undelivered::Again { why: "127.0.0.1 answered 429".to_owned(), retry_after: Some(Duration::from_secs(120)) };
    assert_eq!(error, expected);
    receiver.answer([Answer { body: "x".repeat(50_000_000), ..Answer::status(200) }]);
    let began = Instant::now();
    webhook(&receiver, &guard_message()).await.expect("the status is what counts");
    assert!(began.elapsed() < Duration::from_secs(10), "it was read to its end");
}

#[tokio::test]
async fn a_mail_says_it_in_text_and_html_and_carries_an_id_of_its_own() {
    install_tls();
    let receiver = Receiver::start().await;
    let outbox = Outbox::default();
    let channels = channels(hooks(&calling(&receiver)), &outbox);
    for _ in 0..2 {
        channels.deliver(Channel::Email, ID, &guard_message(), &mut nobody(), now()).await.expect("it is taken");
    }
    let [one, two] = outbox.mails().try_into().expect("two mails");
    assert_eq!(one, two, "a copy is the same to the byte");
    let mail = MessageParser::new().parse(one.bytes()).expect("a mail");
    assert_eq!(mail.message_id(), Some(format!("alert-{}@acme.example", ID.simple()).as_str()));
    assert_eq!(mail.header("Auto-Submitted").and_then(|value| value.as_text()), Some("auto-generated"));
    let html = mail.body_html(0).expect("an HTML part");
    assert!(html.contains("&lt;!channel&gt; &amp; &lt;b&gt;other&lt;"), "{html}");
    let text =
        format!("Subject: {}\n\n{}", mail.subject().expect("a subject"), mail.body_text(0).expect("a text part"));
    insta::assert_snapshot!("mail_text_of_a_guard_trip", text.replace("\r\n", "\n"));
}

#[tokio::test]
async fn every_operator_is_mailed_once_also_when_one_of_them_cannot_be_reached_at_first() {
    let (server, receiver) = (SmtpServer::start().await, Receiver::start().await);
    let smtp = config::Smtp {
        host: Some("127.0.0.1".to_owned()),
        port: Some(server.port()),
        tls: config::SmtpTls::None,
        timeout: Duration::from_secs(5),
        ..config::Smtp::default()
    };
    let mail = config::Mail { smtp, ..config::Mail::default() };
    let mailer = Mailer::new(&notify(), &mail, &TaskTracker::new()).expect("settings that can be used");
    let operators = addresses(&["one@acme.example", "two@acme.example", "gone@acme.example"]);
    let channels = Channels { mail: Some((mailer, operators)), hooks: hooks(&calling(&receiver)) };
    server.fault_for("two@acme.example", At::Rcpt, Act::Reply(450, "4.2.0 later"));
    server.fault_for("gone@acme.example", At::Rcpt, Act::Reply(550, "5.1.1 no such user"));
    let mut reached = nobody();
    let first = channels.deliver(Channel::Email, ID, &guard_message(), &mut reached, now()).await;
    let Err(Undelivered::Again { why, .. }) = first else { panic!("{first:?}") };
    assert!(!why.contains("two@"), "{why}");
    server.heal();
    server.fault_for("gone@acme.example", At::Rcpt, Act::Reply(550, "5.1.1 no such user"));
    let second = channels.deliver(Channel::Email, ID, &guard_message(), &mut reached, now()).await;
    assert_eq!(second.expect("two of them have it"), "the mail server took it for 2 of 3 addresses");
    let mut recipients: Vec<_> = server.received().into_iter().flat_map(|mail| mail.to).collect();
    recipients.sort();
    assert_eq!(recipients, ["one@acme.example", "two@acme.example"]);
}

#[tokio::test]
async fn a_mail_that_no_operator_can_get_is_given_up() {
    let server = SmtpServer::start().await;
    let smtp = config::Smtp {
        host: Some("127.0.0.1".to_owned()),
        port: Some(server.port()),
        tls: config::SmtpTls::None,
        ..config::Smtp::default()
    };
    install_tls();
    let mail = config::Mail { smtp, ..config::Mail::default() };
    let mailer = Mailer::new(&notify(), &mail, &TaskTracker::new()).expect("settings that can be used");
    let hooks = hooks(&config::Alerts::default());
    let channels = Channels { mail: Some((mailer, addresses(&["gone@acme.example"]))), hooks };
    assert_eq!(channels.configured(), [Channel::Email]);
    server.fault(At::Rcpt, Act::Reply(550, "5.1.1 no such user"));
    let refused = channels.deliver(Channel::Email, ID, &guard_message(), &mut nobody(), now()).await;
    assert!(matches!(refused, Err(Undelivered::Never(_))), "{refused:?}");
}

#[test]
fn settings_that_cannot_be_used_are_refused_without_showing_them() {
    install_tls();
    for (url, secret, expected) in [
        ("not a url s3cr3t", SECRET, "alerts.webhook.url is not a URL"),
        ("http://127.0.0.1/", "whsec_s3cr3t!", "alerts.webhook.secret is not whsec_ and a key in base64"),
    ] {
        let webhook = config::AlertWebhook { url: Some(url.to_owned().into()), secret: Some(secret.to_owned().into()) };
        let settings = config::Alerts { webhook, ..config::Alerts::default() };
        let error = connection_auditor::adapters::hooks::Hooks::new(&settings, None).err().expect("it is refused");
        assert!(error.to_string().starts_with(expected) && !error.to_string().contains("s3cr3t"), "{error}");
    }
    assert!(Mailer::with_transport(&config::Notify::default(), Transport::Memory(Outbox::default())).is_err());
}
