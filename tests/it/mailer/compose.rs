//! What a mail says, and that nothing from outside can make it say something else.

use connection_auditor::adapters::mailer::{MailError, Mailer, Outbox, Transport};
use connection_auditor::config;
use connection_auditor::domain::id::NotificationId;
use connection_auditor::domain::incident::IncidentKind::{AttemptFailed, Broken, Unfinished};
use connection_auditor::domain::notification::Digest;
use mail_parser::{HeaderValue, Message, MessageParser};
use uuid::Uuid;

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
fn the_text_part_says_all_that_the_html_part_says() {
    let read = read(&mixed());
    let text = read.text();
    let visible = visible_text(&read.html());
    for line in visible.lines().filter(|line| line.split_whitespace().count() > 3) {
        let line = line.trim_start_matches("Select the button").trim_start_matches(" of each app");
        let missing = !text.contains(line) && !text.contains(line.trim_end_matches(['.', ':']));
        let preview_or_heading = read.subject() == line || line.starts_with("One button");
        assert!(!missing || preview_or_heading, "only in HTML: {line}");
    }
    for link in links(&read.html()) {
        assert!(text.contains(&link), "only in HTML: {link}");
    }
    assert_eq!(links(&read.html()).len(), 4);
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
fn an_unsubscribe_link_brings_its_headers_and_its_words() {
    let url = "https://audit.acme.example/stop/abc".parse().unwrap();
    let composer = composer(&notify());
    let read = Read(composer.compose_with(&digest(vec![slack()]), Some(&url)).unwrap().bytes().to_vec());
    assert_eq!(read.header("List-Unsubscribe").as_deref(), Some("<https://audit.acme.example/stop/abc>"));
    assert_eq!(read.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert!(read.text().contains("Stop these emails: https://audit.acme.example/stop/abc"));
    assert!(links(&read.html()).contains(&"https://audit.acme.example/stop/abc".to_owned()));
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
    well_formed(&read.html());
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
    well_formed(&html);
}

#[test]
fn a_domain_outside_ascii_is_written_as_dns_has_it() {
    let mail = composer(&notify()).compose(&super::digest_to("ann@bücher.example", 1, vec![slack()])).unwrap();
    assert_eq!(mail.recipient(), "ann@xn--bcher-kva.example");
}

#[test]
fn forty_connections_stay_under_thirty_kilobytes() {
    let many = |item: connection_auditor::domain::notification::DigestItem| {
        (0..40)
            .map(|at| {
                let mut one = item.clone();
                one.alias = Some(format!("workspace {at}"));
                one
            })
            .collect()
    };
    let read = read(&digest(many(item(Broken, "googlecalendar", "Google Calendar", 3))));
    assert_eq!(links(&read.html()).len(), 40);
    assert!(read.html().len() < 30_000, "{} bytes of HTML", read.html().len());
    assert!(read.0.len() < 60_000, "{} bytes in all", read.0.len());
}

#[test]
fn the_html_is_well_formed_accessible_and_loads_nothing() {
    for digest in [digest(vec![slack()]), mixed()] {
        let html = read(&digest).html();
        well_formed(&html);
        assert!(html.contains("<html lang=\"en\">") && html.contains("color-scheme"));
        assert_eq!(html.matches("<table").count(), html.matches("<table role=\"presentation\"").count());
        for loading in ["<img", "<link", "<script", "<iframe", " src=", "url(", "@import", "background=\""] {
            assert!(!html.contains(loading), "{loading} in\n{html}");
        }
        assert!(links(&html).iter().all(|link| link.starts_with("https://app.acme.example/")));
    }
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

/// The targets of all links, unescaped.
fn links(html: &str) -> Vec<String> {
    let targets = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    targets.map(|target| target.replace("&#x2f;", "/").replace("&amp;", "&")).collect()
}

/// What a reader sees, one line for each piece of text.
fn visible_text(html: &str) -> String {
    let body = html.split_once("<body").unwrap().1.split_once('>').unwrap().1;
    let mut lines = Vec::new();
    for piece in body.split('<').skip(1) {
        if let Some((_, text)) = piece.split_once('>') {
            let text = text.replace("&amp;", "&").replace("&#x2f;", "/").replace('\u{a0}', " ");
            lines.push(text.trim().to_owned());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// Every element is closed in the right order, every attribute quoted, every `&` part of an entity.
fn well_formed(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        if open.last().is_none_or(|name| name != "style") {
            for (at, _) in text.match_indices('&') {
                assert!(text[at..].find(';').is_some_and(|end| end < 12), "a bare & in {text}");
            }
            assert!(!text.contains('>'), "a bare > in {text}");
        }
        rest = &rest[start..];
        if rest.starts_with("<!--") {
            rest = &rest[rest.find("-->").unwrap() + 3..];
            continue;
        }
        let end = rest.find('>').unwrap();
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "an attribute is not closed: {tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "closed in the wrong order"),
            None => open.push(tag.split_whitespace().next().unwrap().to_owned()),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}
