//! Mails that arrive: over connections that are used again, into folders, into another implementation's server.

use std::time::Duration;

use connection_auditor::adapters::mailer::{Mail, Mailer, Outbox, SendError, Transport};
use connection_auditor::config;
use futures::future::join_all;
use mail_parser::MessageParser;
use tokio_util::task::TaskTracker;

use super::{digest, mail, mailer, mixed_kinds, notify, slack, smtp, until};
use crate::support::server;
use crate::support::smtp::{Act, At, SmtpServer};

#[tokio::test]
async fn a_mail_arrives_as_it_was_composed() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    let composed = mailer.compose(&digest(mixed_kinds())).unwrap();
    mailer.send(&composed).await.unwrap();
    let [received] = server.received().try_into().unwrap();
    assert_eq!(received.from, "no-reply@acme.example");
    assert_eq!(received.to, ["ann@example.org"]);
    assert!(!received.encrypted && received.login.is_none());
    assert_eq!(
        String::from_utf8_lossy(&received.bytes).trim_end(),
        String::from_utf8_lossy(composed.bytes()).trim_end()
    );
    let message = MessageParser::new().parse(&received.bytes).unwrap();
    assert_eq!(message.message_id(), Some(composed.message_id()));
    assert!(message.body_text(0).unwrap().contains("https://app.acme.example/settings/connections?connect=slack"));
    assert!(message.body_html(0).unwrap().ends_with("</html>\r\n"));
}

#[tokio::test]
async fn a_line_with_a_single_dot_does_not_end_the_mail() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    let mut one = slack();
    one.alias = Some(".".to_owned());
    let mut digest = digest(vec![one]);
    digest.name = Some(".".to_owned());
    let composed = mailer.compose(&digest).unwrap();
    mailer.send(&composed).await.unwrap();
    let received = server.received();
    assert_eq!(
        String::from_utf8_lossy(&received[0].bytes).trim_end(),
        String::from_utf8_lossy(composed.bytes()).trim_end()
    );
}

#[tokio::test]
async fn one_connection_carries_many_mails() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    let mails: Vec<_> = (0..100).map(|number| mail(&mailer, "ann@example.org", number)).collect();
    for mail in &mails {
        mailer.send(mail).await.unwrap();
    }
    let received = server.received();
    assert_eq!((received.len(), server.connections()), (100, 1));
    let took = received[99].at - received[0].at;
    assert!(
        took < Duration::from_secs(3),
        "{took:?}: without TCP_NODELAY each mail waits 40 ms for an acknowledgement"
    );
}

#[tokio::test]
async fn five_hundred_mails_take_no_more_than_four_connections() {
    let server = SmtpServer::start().await;
    let mailer = mailer(config::Smtp { timeout: Duration::from_secs(20), ..smtp(server.port()) });
    let mails: Vec<_> = (0..500).map(|number| mail(&mailer, &format!("user-{number}@example.org"), number)).collect();
    for sent in join_all(mails.iter().map(|mail| mailer.send(mail))).await {
        sent.unwrap();
    }
    let mut recipients: Vec<_> = server.received().into_iter().flat_map(|received| received.to).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!(recipients.len(), 500);
    assert_eq!(server.count(), 500);
    assert!((2..=4).contains(&server.connections()), "{} connections", server.connections());
    assert!(server.peak_connections() <= 4);
    let busy = |connection| server.received().iter().filter(|received| received.connection == connection).count();
    assert!((1..=server.connections()).all(|connection| busy(connection) > 10), "each carries its share");
}

#[tokio::test]
async fn a_parked_connection_that_the_server_closed_is_opened_anew() {
    for last_words in ["", "421 4.4.2 idle too long\r\n"] {
        let server = SmtpServer::start().await;
        let mailer = mailer(smtp(server.port()));
        mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
        server.end_idle(last_words);
        until(|| server.open_connections() == 0).await;
        mailer.send(&mail(&mailer, "ann@example.org", 2)).await.unwrap();
        assert_eq!((server.count(), server.connections()), (2, 2), "last words {last_words:?}");
    }
}

#[tokio::test]
async fn a_parked_connection_that_no_longer_answers_is_opened_anew() {
    let server = SmtpServer::start().await;
    let mailer = mailer(smtp(server.port()));
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    server.fault_times(1, At::Mail, Act::Stall);
    mailer.send(&mail(&mailer, "ann@example.org", 2)).await.unwrap();
    assert_eq!((server.count(), server.connections()), (2, 2));
}

#[tokio::test]
async fn an_idle_connection_is_ended_with_quit() {
    let server = SmtpServer::start().await;
    let mailer = mailer(config::Smtp { idle: Duration::from_millis(100), ..smtp(server.port()) });
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    until(|| server.quits() == 1 && server.open_connections() == 0).await;
    mailer.send(&mail(&mailer, "ann@example.org", 2)).await.unwrap();
    assert_eq!((server.count(), server.connections()), (2, 2));
}

#[tokio::test]
async fn closing_says_goodbye_takes_no_mail_and_leaves_no_task() {
    let server = SmtpServer::start().await;
    let tasks = TaskTracker::new();
    let settings = config::Mail { smtp: smtp(server.port()), ..config::Mail::default() };
    let mailer = Mailer::new(&notify(), &settings, &tasks).unwrap();
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    mailer.close().await;
    until(|| server.quits() == 1 && server.open_connections() == 0).await;
    let refused = mailer.send(&mail(&mailer, "ann@example.org", 2)).await;
    assert!(matches!(refused, Err(SendError::Unavailable(_))), "{refused:?}");
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.expect("no task is left");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn closing_hangs_neither_on_waiting_mails_nor_on_those_under_way() {
    let server = SmtpServer::start().await;
    server.fault(At::Kept, Act::Delay(Duration::from_millis(100)));
    let mailer = mailer(config::Smtp { connections: 2, timeout: Duration::from_secs(5), ..smtp(server.port()) });
    let mails: Vec<_> = (0..6).map(|number| mail(&mailer, "ann@example.org", number)).collect();
    let sends = join_all(mails.iter().map(|mail| mailer.send(mail)));
    let close = async {
        server.wait_for(2, Duration::from_secs(5)).await;
        mailer.close().await;
    };
    let (outcomes, ()) =
        tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(sends, close) }).await.unwrap();
    let sent = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(sent, server.count(), "what is said to be sent is what arrived");
    assert!(sent >= 2 && outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(SendError::Unavailable(_)))));
    until(|| server.open_connections() == 0).await;
}

#[tokio::test]
async fn a_send_that_is_given_up_does_not_leave_its_connection_to_the_next() {
    let server = SmtpServer::start().await;
    let mailer = mailer(config::Smtp { timeout: Duration::from_secs(10), ..smtp(server.port()) });
    server.fault_times(1, At::Rcpt, Act::Stall);
    let stuck = mail(&mailer, "ann@example.org", 1);
    assert!(tokio::time::timeout(Duration::from_millis(200), mailer.send(&stuck)).await.is_err());
    mailer.send(&mail(&mailer, "bob@example.org", 2)).await.unwrap();
    assert_eq!(server.received()[0].to, ["bob@example.org"]);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_folder_gets_one_whole_file_a_mail_under_its_message_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/demand");
    let settings = config::Mail {
        transport: config::MailTransport::Folder,
        folder: Some(path.clone()),
        ..config::Mail::default()
    };
    let mailer = Mailer::new(&notify(), &settings, &TaskTracker::new()).unwrap();
    assert!(mailer.probe().await.unwrap().contains("made/on/demand"));
    let composed = mail(&mailer, "ann@example.org", 5);
    mailer.send(&composed).await.unwrap();
    mailer.send(&composed).await.unwrap();
    let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [format!("{}.eml", composed.message_id()).as_str()]);
    assert_eq!(std::fs::read(path.join(&names[0])).unwrap(), composed.bytes());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_a_failure_that_may_pass() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mailer = Mailer::with_transport(&notify(), Transport::Folder(file.path().join("below"))).unwrap();
    let outcome = mailer.send(&mail(&mailer, "ann@example.org", 1)).await;
    assert!(matches!(&outcome, Err(SendError::Unavailable(text)) if text.starts_with("mail.folder ")), "{outcome:?}");
}

#[tokio::test]
async fn memory_keeps_what_was_sent() {
    let outbox = Outbox::default();
    let mailer = Mailer::with_transport(&notify(), Transport::Memory(outbox.clone())).unwrap();
    let composed = mail(&mailer, "ann@example.org", 1);
    mailer.send(&composed).await.unwrap();
    assert_eq!(outbox.mails(), [composed]);
}

/// aiosmtpd is not of our making: it shows that what we say is SMTP, and not only what our own test server takes for it.
#[tokio::test]
async fn another_implementation_takes_the_mail() {
    let venv = std::env::var_os("AUDITOR_TEST_VENV")
        .expect("AUDITOR_TEST_VENV is not set: run tests/run, which makes the virtual environment with aiosmtpd");
    let python = std::path::Path::new(&venv).join("bin/python");
    let folder = tempfile::tempdir().unwrap();
    let (port, log) = (server::free_port(), folder.path().join("log"));
    let maildir = folder.path().join("mails");
    let listen = format!("127.0.0.1:{port}");
    let arguments = [
        "-m",
        "aiosmtpd",
        "--nosetuid",
        "--listen",
        &listen,
        "--class",
        "aiosmtpd.handlers.Mailbox",
        maildir.to_str().unwrap(),
    ];
    let mut child = server::start(&python, &arguments, None, &log);
    server::wait_for_port(port, &log);
    let mailer = mailer(config::Smtp { timeout: Duration::from_secs(10), ..smtp(port) });
    let composed: Vec<_> = (0..10).map(|number| mail(&mailer, &format!("user-{number}@example.org"), number)).collect();
    for mail in &composed {
        mailer.send(mail).await.unwrap();
    }
    mailer.close().await;
    let mut ids: Vec<String> = std::fs::read_dir(maildir.join("new"))
        .unwrap()
        .map(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let message = MessageParser::new().parse(&bytes).unwrap();
            assert_eq!((message.text_body_count(), message.html_body_count()), (1, 1));
            message.message_id().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    assert_eq!(ids, composed.iter().map(Mail::message_id).collect::<Vec<_>>());
    child.kill().unwrap();
    child.wait().unwrap();
}
