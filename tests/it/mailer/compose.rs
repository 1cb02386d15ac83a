//! What a mail says, and that nothing from outside can make it say something else.

use connection_auditor::adapters::mailer::{MailError, Mailer, Outbox, Transport};
use connection_auditor::config;
use connection_auditor::domain::id::NotificationId;
use connection_auditor::domain::incident::IncidentKind::{AttemptFailed, Broken, Unfinished};
use connection_auditor::domain::notification::Digest;
use mail_parser::{HeaderValue, Message, MessageParser};
use uuid::Uuid;

use super::html::Html;
use super::{digest, item, mixed_kinds, notify, now, slack};

fn composer(notify: &config::Notify) -> Mailer {
    Mailer::with_transport(notify, Transport::Memory(Outbox::default())).unwrap()
}

/// A mail as a receiver's parser reads it.
struct Read(Vec<u8>);

impl Read {
    fn message(&self) -> Message<'_> {
        MessageParser::new().parse(&self.0).unwrap()
    }

    fn text(&self) -> String {
        self.message().body_text(0).unwrap().replace("\r\n", "\n")
    }

    fn html(&self) -> String {
        self.message().body_html(0).unwrap().into_owned()
    }

    fn subject(&self) -> String {
        self.message().subject().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> Option<String> {
        let message = self.message();
        message.header_raw(name).map(|raw| raw.trim().to_owned())
    }
}

fn read(digest: &Digest) -> Read {
    Read(composer(&notify()).compose(digest).unwrap().bytes().to_vec())
}

fn shown(read: &Read) -> String {
    format!("Subject: {}\n\n{}", read.subject(), read.text())
}

fn mixed() -> Digest {
    digest(mixed_kinds())
}

#[test]
fn a_broken_connection_is_told_in_its_words() {
    insta::assert_snapshot!(shown(&read(&digest(vec![slack()]))));
}

#[test]
fn a_failed_attempt_is_told_in_its_words() {
    insta::assert_snapshot!(shown(&read(&digest(vec![item(AttemptFailed, "slack", "Slack", 18)]))));
}

#[test]
fn an_unfinished_attempt_is_told_in_its_words() {
    insta::assert_snapshot!(shown(&read(&digest(vec![item(Unfinished, "slack", "Slack", 18)]))));
}

#[test]
fn a_mixed_digest_is_told_kind_by_kind() {
    insta::assert_snapshot!(shown(&read(&mixed())));
}

#[test]
fn the_html_of_a_mixed_digest_is_as_reviewed() {
    insta::assert_snapshot!(read(&mixed()).html());
}

#[test]
fn without_an_app_name_the_words_still_make_sense() {
    let plain = config::Notify { app_name: None, reply_to: None, ..notify() };
    let mut digest = digest(vec![slack(), item(Broken, "notion", "Notion", 1)]);
    digest.name = None;
    let mail = composer(&plain).compose(&digest).unwrap();
    insta::assert_snapshot!(shown(&Read(mail.bytes().to_vec())));
}

#[test]
fn the_subject_counts_what_it_cannot_list() {
    let notion = item(Broken, "notion", "Notion", 1);
    let failed = item(AttemptFailed, "github", "GitHub", 1);
    let subject = |items| read(&digest(items)).subject();
    let mut work = slack();
    work.alias = Some("work".to_owned());
    assert_eq!(subject(vec![work.clone()]), "Your Slack (work) connection has stopped working");
    assert_eq!(subject(vec![slack(), notion.clone()]), "Your Slack and Notion connections have stopped working");
    assert_eq!(subject(vec![slack(), work]), "Your Slack and Slack (work) connections have stopped working");
    assert_eq!(subject(vec![slack(), slack()]), "2 of your Slack connections have stopped working");
    assert_eq!(subject(vec![slack(), failed.clone()]), "Your Slack and GitHub connections need your attention");
    assert_eq!(subject(vec![slack(), slack(), notion.clone()]), "3 of your connections have stopped working");
    assert_eq!(subject(vec![slack(), notion, failed]), "3 of your connections need your attention");
}

#[test]
fn the_day_is_that_of_the_users_time_zone() {
    let mut late = slack();
    late.since = "2026-11-02T23:30:00Z".parse().unwrap();
    let mut digest = digest(vec![late]);
    assert!(read(&digest).text().contains("Not working since 3 November 2026"));
    digest.time_zone = None;
    assert!(read(&digest).text().contains("Not working since 2 November 2026"));
}

#[test]
fn headers_are_those_of_an_automatic_mail() {
    let read = read(&digest(vec![slack()]));
    let message = read.message();
    assert_eq!(message.message_id(), Some("00000000000000000000000000000007@acme.example"));
    assert_eq!(read.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert_eq!(read.header("X-Auto-Response-Suppress").as_deref(), Some("All"));
    assert_eq!(read.header("From").as_deref(), Some("Acme <no-reply@acme.example>"));
    assert_eq!(read.header("Reply-To").as_deref(), Some("\"Acme Support\" <help@acme.example>"));
    assert_eq!(read.header("To").as_deref(), Some("Ann <ann@example.org>"));
    assert_eq!(message.date().unwrap().to_timestamp(), now().timestamp());
    assert_eq!(read.header("List-Unsubscribe"), None);
    assert_eq!(message.text_body_count(), 1);
    assert_eq!(message.html_body_count(), 1);
    assert!(
        matches!(message.header("Content-Type"), Some(HeaderValue::ContentType(kind)) if kind.subtype() == Some("alternative"))
    );
    assert!(read.0.is_ascii(), "no server needs 8BITMIME for it");
    assert!(read.0.split(|byte| *byte == b'\n').all(|line| line.len() < 998));
}

#[test]
fn a_digest_composed_again_is_the_same_mail() {
    assert_eq!(read(&mixed()).0, read(&mixed()).0);
}

#[test]
fn a_mail_is_named_by_its_language_and_by_a_print_of_its_templates() {
    let composer = composer(&notify());
    let of = |locale: Option<&str>| {
        let digest = Digest { locale: locale.map(str::to_owned), ..digest(vec![slack()]) };
        composer.compose(&digest).unwrap().template().to_owned()
    };
    let (english, german) = (of(None), of(Some("de-AT")));
    assert!(english.starts_with("en-") && german.starts_with("de-") && english.len() == 11, "{english} {german}");
    assert_eq!(of(Some("fr")), english);
    assert_ne!(english[3..], german[3..], "other words are another print");
}

#[test]
fn an_unsubscribe_link_brings_its_headers_and_its_words() {
    let url = "https://audit.acme.example/stop/abc".parse().unwrap();
    let composer = composer(&notify());
    let read = Read(composer.compose_with(&digest(vec![slack()]), Some(&url)).unwrap().bytes().to_vec());
    assert_eq!(read.header("List-Unsubscribe").as_deref(), Some("<https://audit.acme.example/stop/abc>"));
    assert_eq!(read.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert!(read.text().contains("Stop these emails: https://audit.acme.example/stop/abc"));
    assert!(links(&read.html()).contains(&"https://audit.acme.example/stop/abc".to_owned()));
    // Whoever tries it out on their own machine has the link, and no mail provider is told to go there.
    let near = "http://127.0.0.1:8640/u/abc".parse().unwrap();
    let tried = Read(composer.compose_with(&digest(vec![slack()]), Some(&near)).unwrap().bytes().to_vec());
    assert_eq!(tried.header("List-Unsubscribe"), None);
    assert!(links(&tried.html()).contains(&"http://127.0.0.1:8640/u/abc".to_owned()));
    let plain = "http://audit.acme.example/stop".parse().unwrap();
    assert!(matches!(composer.compose_with(&digest(vec![slack()]), Some(&plain)), Err(MailError::Unsubscribe)));
}

#[test]
fn no_name_can_add_a_header() {
    let evil = "Eve\r\nBcc: victim@example.org\r\n\r\n<html>";
    let mut one = slack();
    one.app = evil.to_owned();
    one.alias = Some(evil.to_owned());
    let mut digest = digest(vec![one]);
    digest.name = Some(evil.to_owned());
    digest.message_id = "x>\r\nBcc: victim@example.org".to_owned();
    let evil_sender = config::Notify { app_name: Some(evil.to_owned()), ..notify() };
    let mail = composer(&evil_sender).compose(&digest).unwrap();
    let read = Read(mail.bytes().to_vec());
    assert_eq!(read.header("Bcc"), None);
    assert_eq!(read.message().headers().len(), 10, "{:?}", read.message().headers());
    assert_eq!(read.header("To").as_deref(), Some("ann@example.org"), "such a name is not used");
    assert!(!read.text().lines().any(|line| line.starts_with("Bcc:")));
    assert!(!read.html().contains("<html>"), "the name stays text");
}

#[test]
fn names_in_any_script_survive_and_markup_stays_text() {
    let mut one = slack();
    one.app = "<script>alert(1)</script>".to_owned();
    one.alias = Some("работа \u{202e}evil\u{202c} 👩\u{200d}💻 & \"co\"".to_owned());
    let mut digest = digest(vec![one]);
    digest.name = Some("Zoë 李小龍".to_owned());
    let read = read(&digest);
    assert!(!read.html().contains("<script"));
    assert!(read.html().contains("&lt;script&gt;"));
    assert!(read.text().contains("<script>alert(1)</script> (работа evil 👩\u{200d}💻 & \"co\")"));
    assert!(read.text().starts_with("Hello Zoë 李小龍,"));
    assert_eq!(read.message().to().unwrap().first().unwrap().name(), Some("Zoë 李小龍"));
    assert!(read.subject().contains("работа evil 👩\u{200d}💻"));
    valid(&read.html());
}

#[test]
fn a_very_long_name_is_cut_and_a_very_long_greeting_left_out() {
    let mut one = slack();
    one.app = "Ä".repeat(10_000);
    let mut digest = digest(vec![one]);
    digest.name = Some("Ann ".repeat(500));
    let read = read(&digest);
    assert!(read.subject().chars().count() < 100, "{}", read.subject());
    assert!(read.text().starts_with("Hello,\n"));
    assert!(read.0.len() < 20_000);
}

#[test]
fn a_link_that_is_none_is_refused() {
    for url in ["javascript:alert(1)", "", "/relative", "data:text/html,x"] {
        let mut one = slack();
        one.reconnect_url = url.to_owned();
        let error = composer(&notify()).compose(&digest(vec![one])).unwrap_err();
        assert!(matches!(error, MailError::Link) && error.to_string().contains("notify.reconnect_url"));
    }
    assert!(matches!(composer(&notify()).compose(&digest(vec![])), Err(MailError::Empty)));
}

#[test]
fn a_quote_in_a_link_cannot_leave_its_attribute() {
    let mut one = slack();
    one.reconnect_url = "https://acme.example/?a=\"><script>&b='x'".to_owned();
    let html = read(&digest(vec![one])).html();
    assert!(!html.contains("<script"));
    valid(&html);
}

#[test]
fn a_domain_outside_ascii_is_written_as_dns_has_it() {
    let mail = composer(&notify()).compose(&super::digest_to("ann@bücher.example", 1, vec![slack()])).unwrap();
    assert_eq!(mail.recipient(), "ann@xn--bcher-kva.example");
}

#[test]
fn a_test_mail_says_that_it_is_one() {
    let to = "op@acme.example".parse().unwrap();
    let id = NotificationId(Uuid::from_u128(9));
    let linked =
        config::Notify { reconnect_url: Some("https://app.acme.example/c/{toolkit}?u={user_id}".into()), ..notify() };
    let mail = composer(&linked).compose_test(&to, id, now()).unwrap();
    let read = Read(mail.bytes().to_vec());
    assert!(read.subject().starts_with("Test: "));
    assert!(read.text().starts_with("This is a test."));
    assert!(read.text().contains("https://app.acme.example/c/slack?u=test"));
    assert!(read.html().contains("This is a test."));
    assert_eq!(mail.recipient(), "op@acme.example");
}

#[test]
fn neither_a_mail_nor_its_debug_output_tells_the_address() {
    let mail = composer(&notify()).compose(&digest(vec![slack()])).unwrap();
    assert!(!format!("{mail:?}").contains("ann"));
}

/// The targets of all links.
fn links(html: &str) -> Vec<String> {
    Html::parse(html).links().into_iter().map(|link| link.url).collect()
}

fn valid(html: &str) {
    assert_eq!(Html::parse(html).errors(), Vec::<String>::new(), "{html}");
}
