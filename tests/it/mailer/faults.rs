//! How each failure at each step is told: not sent, refused for good, or unknown.

use std::time::{Duration, Instant};

use connection_auditor::adapters::mailer::SendError;
use connection_auditor::config;
use rstest::rstest;

use super::{mail, mailer, smtp};
use crate::support::server;
use crate::support::smtp::{Act, At, SmtpServer};

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Unavailable,
    Transient,
    Permanent,
    Bounced,
    Ambiguous,
}

fn class(error: &SendError) -> Class {
    match error {
        SendError::Unavailable(_) => Class::Unavailable,
        SendError::Transient(_) => Class::Transient,
        SendError::Permanent(_) => Class::Permanent,
        SendError::Bounced(_) => Class::Bounced,
        SendError::Ambiguous(_) => Class::Ambiguous,
    }
}

const ECHO: &str = "5.1.1 <ann.lee@example.org> (ann.lee) see https://help.example/?r=ann.lee%40example.org";

/// Sends one mail into the fault, and one more after it has passed.
async fn suffer(at: At, act: Act) -> (SendError, usize) {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    server.fault(at, act);
    let error = mailer.send(&mail(&mailer, "ann.lee@example.org", 1)).await.unwrap_err();
    let text = error.to_string().to_lowercase();
    for telling in ["ann", "lee", "example.org", "no-reply"] {
        assert!(!text.contains(telling), "{telling} in: {error}");
    }
    let kept = server.count();
    server.heal();
    mailer.send(&mail(&mailer, "bob@example.org", 2)).await.expect("the next mail is not touched by it");
    assert_eq!(server.received().last().unwrap().to, ["bob@example.org"]);
    (error, kept)
}

#[rstest]
#[case::greeting_421(At::Greeting, 421, Class::Unavailable)]
#[case::greeting_554(At::Greeting, 554, Class::Unavailable)]
#[case::ehlo_550(At::Ehlo, 550, Class::Unavailable)]
#[case::mail_451(At::Mail, 451, Class::Transient)]
#[case::mail_550(At::Mail, 550, Class::Permanent)]
#[case::mail_530(At::Mail, 530, Class::Unavailable)]
#[case::mail_421(At::Mail, 421, Class::Unavailable)]
#[case::rcpt_450(At::Rcpt, 450, Class::Transient)]
#[case::rcpt_550(At::Rcpt, 550, Class::Bounced)]
#[case::rcpt_530(At::Rcpt, 530, Class::Unavailable)]
#[case::data_451(At::Data, 451, Class::Transient)]
#[case::data_554(At::Data, 554, Class::Permanent)]
#[case::content_451(At::Unkept, 451, Class::Transient)]
#[case::content_554(At::Unkept, 554, Class::Permanent)]
#[case::content_421(At::Unkept, 421, Class::Unavailable)]
#[tokio::test]
async fn an_answer_is_never_ambiguous(#[case] at: At, #[case] code: u16, #[case] expected: Class) {
    let (error, kept) = suffer(at, Act::Reply(code, ECHO)).await;
    assert_eq!(class(&error), expected, "{error}");
    assert!(error.to_string().contains(&code.to_string()), "{error}");
    assert_eq!(kept, 0);
}

#[rstest]
#[case::greeting(At::Greeting, Class::Unavailable)]
#[case::ehlo(At::Ehlo, Class::Unavailable)]
#[case::mail(At::Mail, Class::Transient)]
#[case::rcpt(At::Rcpt, Class::Transient)]
#[case::data(At::Data, Class::Transient)]
#[case::content(At::Content, Class::Ambiguous)]
#[case::unkept(At::Unkept, Class::Ambiguous)]
#[case::kept(At::Kept, Class::Ambiguous)]
#[tokio::test]
async fn silence_or_a_lost_connection_is_ambiguous_only_once_the_content_is_under_way(
    #[case] at: At,
    #[case] expected: Class,
    #[values(Act::Drop, Act::Stall)] act: Act,
) {
    let (error, kept) = suffer(at, act).await;
    assert_eq!(class(&error), expected, "{error}");
    assert_eq!(kept, usize::from(at == At::Kept));
}

#[rstest]
#[case::no_code_to_data(At::Data, 999, Class::Transient)]
#[case::ok_to_data(At::Data, 250, Class::Transient)]
#[case::no_code_to_the_content(At::Kept, 999, Class::Ambiguous)]
#[case::go_on_to_the_content(At::Kept, 354, Class::Ambiguous)]
#[tokio::test]
async fn an_answer_that_is_none_counts_as_no_answer(#[case] at: At, #[case] code: u16, #[case] expected: Class) {
    let (error, _) = suffer(at, Act::Reply(code, "what?")).await;
    assert_eq!(class(&error), expected, "{error}");
}

#[tokio::test]
async fn an_address_that_the_server_cannot_take_is_refused_for_good() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    let error = mailer.send(&mail(&mailer, "jösé@example.org", 1)).await.unwrap_err();
    assert_eq!(class(&error), Class::Permanent);
    assert_eq!(error.to_string(), "the mail server does not take addresses with letters outside ASCII");
}

#[tokio::test]
async fn a_refused_recipient_costs_no_connection() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    server.fault_for("gone@example.org", At::Rcpt, Act::Reply(550, "5.1.1 no such user"));
    server.fault_for("full@example.org", At::Unkept, Act::Reply(452, "4.2.2 mailbox full"));
    for number in 0..5 {
        let gone = mailer.send(&mail(&mailer, "gone@example.org", 3 * number)).await.unwrap_err();
        assert_eq!(class(&gone), Class::Bounced);
        let full = mailer.send(&mail(&mailer, "full@example.org", 3 * number + 1)).await.unwrap_err();
        assert_eq!(class(&full), Class::Transient);
        mailer.send(&mail(&mailer, "here@example.org", 3 * number + 2)).await.unwrap();
    }
    assert_eq!((server.count(), server.connections()), (5, 1));
    assert!(server.received().iter().all(|received| received.to == ["here@example.org"]));
}

#[tokio::test]
async fn a_recipient_refused_for_what_is_not_theirs_has_not_bounced() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    server.fault(At::Rcpt, Act::Reply(554, "5.7.1 relay access denied"));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert_eq!(class(&error), Class::Permanent);
}

#[tokio::test]
async fn a_connection_that_cannot_be_reset_is_not_used_again() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    server.fault_for("gone@example.org", At::Rcpt, Act::Reply(550, "5.1.1 no such user"));
    server.fault_times(1, At::Reset, Act::Stall);
    let gone = mailer.send(&mail(&mailer, "gone@example.org", 1)).await.unwrap_err();
    assert_eq!(class(&gone), Class::Bounced);
    mailer.send(&mail(&mailer, "here@example.org", 2)).await.unwrap();
    assert_eq!((server.count(), server.connections()), (1, 2));
}

#[tokio::test]
async fn an_ambiguous_mail_carries_the_same_message_id_when_it_comes_again() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    let composed = mail(&mailer, "ann@example.org", 1);
    server.fault_times(1, At::Kept, Act::Drop);
    assert_eq!(class(&mailer.send(&composed).await.unwrap_err()), Class::Ambiguous);
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 2, "the copy that nobody acknowledged, and the one that was");
    assert_eq!(received[0].bytes, received[1].bytes);
}

#[tokio::test]
async fn each_step_is_bounded_in_time_and_a_slow_server_is_no_failure() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    for at in [At::Greeting, At::Mail, At::Rcpt, At::Data, At::Kept] {
        server.fault(at, Act::Delay(Duration::from_millis(150)));
    }
    let start = Instant::now();
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(600), "all of it takes longer than one step may");
    server.heal();
    server.fault(At::Rcpt, Act::Stall);
    let start = Instant::now();
    let error = mailer.send(&mail(&mailer, "ann@example.org", 2)).await.unwrap_err();
    assert_eq!(error.to_string(), "the mail server did not answer RCPT within 300ms");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure_that_may_pass() {
    let mailer = mailer(smtp(server::free_port()));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert_eq!(class(&error), Class::Unavailable);
    assert!(error.to_string().starts_with("the connection to the mail server failed at connect"), "{error}");
    assert!(mailer.probe().await.is_err());
}

#[tokio::test]
async fn a_failed_connect_does_not_use_up_the_permits() {
    let server = SmtpServer::start().await;
    let mailer = mailer(config::Smtp { connections: 1, ..smtp(server.port()) });
    server.fault_times(10, At::Greeting, Act::Reply(421, "4.3.2 busy"));
    for number in 0..10 {
        mailer.send(&mail(&mailer, "ann@example.org", number)).await.unwrap_err();
    }
    mailer.send(&mail(&mailer, "ann@example.org", 10)).await.unwrap();
}
