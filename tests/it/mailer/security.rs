//! TLS, logins and settings: no mail and no password leaves unprotected, and no error tells a secret.

use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use connection_auditor::adapters::mailer::{MailSetupError, Mailer, SendError};
use connection_auditor::config;
use rstest::rstest;
use tokio_util::task::TaskTracker;

use super::{mail, mailer, notify, smtp, smtp_of, until};
use crate::support::smtp::{Act, At, Options, SmtpServer, Tls};

const USER: &str = "postmaster@acme.example";
const PASSWORD: &str = "korrekt-horse-7";

fn with_login(smtp: config::Smtp, password: &str) -> config::Smtp {
    config::Smtp { username: Some(USER.to_owned()), password: Some(password.to_owned().into()), ..smtp }
}

async fn server(tls: Tls, mechanisms: Option<&'static str>) -> SmtpServer {
    SmtpServer::with(Options { tls, login: Some((USER, PASSWORD)), mechanisms, ..Options::default() }).await
}

fn tells_nothing(error: &SendError) {
    let text = error.to_string();
    for secret in [PASSWORD, "korrekt", "wrong-horse", "postmaster", "a29ycmVrdC", "ann@"] {
        assert!(!text.contains(secret), "{secret} in: {text}");
    }
}

#[rstest]
#[tokio::test]
async fn mails_go_through_tls_and_a_login(
    #[values(Tls::None, Tls::Starttls, Tls::Implicit)] tls: Tls,
    #[values("PLAIN LOGIN", "LOGIN", "PLAIN", "CRAM-MD5 LOGIN XOAUTH2")] mechanisms: &'static str,
) {
    let server = server(tls, Some(mechanisms)).await;
    let mailer = mailer(with_login(smtp_of(&server, tls), PASSWORD));
    for number in 0..3 {
        mailer.send(&mail(&mailer, "ann@example.org", number)).await.unwrap();
    }
    let received = server.received();
    assert_eq!((received.len(), server.connections()), (3, 1));
    for mail in received {
        assert_eq!(mail.login.as_deref(), Some(USER));
        assert_eq!(mail.encrypted, tls != Tls::None);
    }
}

#[rstest]
#[tokio::test]
async fn a_probe_logs_in_and_sends_nothing(#[values(Tls::None, Tls::Starttls, Tls::Implicit)] tls: Tls) {
    let server = server(tls, None).await;
    let right = mailer(with_login(smtp_of(&server, tls), PASSWORD));
    let told = right.probe().await.unwrap();
    assert!(told.starts_with(&format!("127.0.0.1:{}", server.port())) && told.ends_with("with a login"), "{told}");
    assert_eq!((server.count(), server.quits()), (0, 1));
    let wrong = mailer(with_login(smtp_of(&server, tls), "wrong-horse")).probe().await.unwrap_err();
    tells_nothing(&wrong);
}

#[rstest]
#[tokio::test]
async fn a_refused_login_is_not_the_recipients_fault_and_tells_no_password(
    #[values("PLAIN", "LOGIN")] mechanisms: &'static str,
) {
    let server = server(Tls::Starttls, Some(mechanisms)).await;
    let mailer = mailer(with_login(smtp_of(&server, Tls::Starttls), "wrong-horse"));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(matches!(error, SendError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("535") && error.to_string().contains("mail.smtp.password"), "{error}");
    tells_nothing(&error);
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_server_without_a_mechanism_of_ours_is_told_so() {
    let server = server(Tls::None, Some("CRAM-MD5")).await;
    let mailer = mailer(with_login(smtp(server.port()), PASSWORD));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert_eq!(error, SendError::Unavailable("the mail server offers neither AUTH PLAIN nor AUTH LOGIN".to_owned()));
}

#[rstest]
#[case::dropped(Act::Drop)]
#[case::stalled(Act::Stall)]
#[case::repeated(Act::Reply(454, "4.7.0 cannot check postmaster@acme.example korrekt-horse-7"))]
#[tokio::test]
async fn a_login_that_fails_otherwise_tells_no_password_either(#[case] act: Act) {
    let server = server(Tls::None, None).await;
    server.fault(At::Auth, act);
    let mailer = mailer(with_login(smtp(server.port()), PASSWORD));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(matches!(error, SendError::Unavailable(_)), "{error}");
    tells_nothing(&error);
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_the_password_nor_the_mail() {
    let server = server(Tls::None, None).await;
    let mailer = mailer(with_login(smtp_of(&server, Tls::Starttls), PASSWORD));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(error.to_string().contains("does not offer STARTTLS"), "{error}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_refused_upgrade_is_no_reason_to_go_on_in_clear() {
    let server = SmtpServer::with(Options { tls: Tls::Starttls, ..Options::default() }).await;
    server.fault(At::Starttls, Act::Reply(454, "4.7.0 TLS is not available"));
    let mailer = mailer(smtp_of(&server, Tls::Starttls));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unavailable(text) if text.contains("454 to TLS")), "{error}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn answers_slipped_in_before_the_handshake_end_the_connection() {
    let server = SmtpServer::with(Options { tls: Tls::Starttls, ..Options::default() }).await;
    server.fault(At::Starttls, Act::Reply(220, "go ahead\r\n250 forged"));
    let mailer = mailer(smtp_of(&server, Tls::Starttls));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(error.to_string().contains("spoke in clear after STARTTLS"), "{error}");
}

#[rstest]
#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused(#[values(Tls::Starttls, Tls::Implicit)] tls: Tls) {
    let server = SmtpServer::with(Options { tls, ..Options::default() }).await;
    let mailer = mailer(config::Smtp { ca_file: None, ..smtp_of(&server, tls) });
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Unavailable(text) if text.contains("at TLS: invalid peer certificate")),
        "{error}"
    );
    assert_eq!(server.count(), 0);
}

#[rstest]
#[tokio::test]
async fn a_certificate_for_another_name_is_refused(#[values(Tls::Starttls, Tls::Implicit)] tls: Tls) {
    let names = Some(vec!["mail.elsewhere.example".to_owned()]);
    let server = SmtpServer::with(Options { tls, names, ..Options::default() }).await;
    let mailer = mailer(smtp_of(&server, tls));
    let error = mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_bounded_in_time() {
    let server = SmtpServer::start().await;
    server.fault(At::Greeting, Act::Stall);
    let settings = config::Smtp { tls: config::SmtpTls::Implicit, ..smtp(server.port()) };
    let error = mailer(settings).probe().await.unwrap_err();
    assert_eq!(error.to_string(), "the mail server did not answer TLS within 300ms");
}

fn refused(notify: &config::Notify, smtp: config::Smtp) -> MailSetupError {
    let mail = config::Mail { smtp, ..config::Mail::default() };
    Mailer::new(notify, &mail, &TaskTracker::new()).err().expect("these settings are refused")
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_name_and_remedy() {
    let good = smtp(25);
    let from = |from: Option<&str>| config::Notify { from: from.map(str::to_owned), ..notify() };
    let errors = [
        refused(&from(None), good.clone()),
        refused(&from(Some("Acme")), good.clone()),
        refused(&config::Notify { reply_to: Some("x@".into()), ..notify() }, good.clone()),
        refused(&notify(), config::Smtp { host: None, ..good.clone() }),
        refused(&notify(), config::Smtp { host: Some("smtp://x".into()), ..good.clone() }),
        refused(&notify(), config::Smtp { username: Some("u".into()), ..good.clone() }),
        refused(&notify(), config::Smtp { password: Some("p".to_owned().into()), ..good.clone() }),
        refused(&notify(), with_login(config::Smtp { host: Some("mail.example.org".into()), ..good.clone() }, "p")),
        refused(
            &notify(),
            config::Smtp { tls: config::SmtpTls::Starttls, ca_file: Some("/no/such.pem".into()), ..good.clone() },
        ),
        refused(&notify(), config::Smtp { tls: config::SmtpTls::Starttls, ca_file: Some("Cargo.toml".into()), ..good }),
    ];
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"));
    let folder = config::Mail { transport: config::MailTransport::Folder, ..config::Mail::default() };
    let error = Mailer::new(&notify(), &folder, &TaskTracker::new()).err().unwrap();
    assert!(error.to_string().starts_with("mail.folder is not set"), "{error}");
}

/// Where everything that is traced is kept.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<u8>>>);

impl io::Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// lettre's own tracing writes every line of a session, password and mail included: it has to stay switched off.
#[tokio::test]
async fn nothing_of_a_mail_or_a_login_reaches_the_log_at_any_level() {
    let trace = Trace::default();
    let writer = trace.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // With a single dispatcher, tracing lets whichever thread meets a log line first decide for all whether it is wanted,
    // and the other tests' threads want none: a second dispatcher makes it ask ours.
    let _second = tracing::Dispatch::new(
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(io::sink).finish(),
    );
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = server(Tls::Starttls, None).await;
    let mailer = mailer(with_login(smtp_of(&server, Tls::Starttls), PASSWORD));
    mailer.send(&mail(&mailer, "ann@example.org", 1)).await.unwrap();
    server.end_idle("421 4.4.2 idle too long\r\n");
    until(|| server.open_connections() == 0).await;
    mailer.send(&mail(&mailer, "ann@example.org", 2)).await.unwrap();
    server.fault(At::Rcpt, Act::Reply(550, "5.1.1 ann@example.org is unknown"));
    mailer.send(&mail(&mailer, "ann@example.org", 3)).await.unwrap_err();
    mailer.close().await;
    tracing::trace!("the log is on");
    let log = String::from_utf8(trace.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is on"));
    let credentials = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    for secret in ["ann@", "example.org", "postmaster", PASSWORD, credentials.as_str(), "Slack", "Auto-Submitted"] {
        assert!(!log.contains(secret), "{secret} in:\n{log}");
    }
}
