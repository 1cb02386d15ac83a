//! Every sample in every built-in language: its words, as reviewed, and what must be true of each mail.

use connection_auditor::adapters::mailer::samples::{self, Sample};
use connection_auditor::adapters::mailer::{Mailer, Outbox, Page, Transport};
use connection_auditor::domain::notification::Digest;

use super::html::Html;
use super::{notify, now};

const LANGUAGES: [&str; 2] = ["en", "de"];
/// What mail programs show in full, and then some.
const LARGEST: usize = 30_000;

fn mailer() -> Mailer {
    Mailer::with_transport(&notify(), Transport::Memory(Outbox::default())).unwrap()
}

fn all() -> Vec<Sample> {
    samples::all(now(), Some("https://app.acme.example/settings/connections?connect={toolkit}&user={user_id}"))
}

/// Every mail: the language, the sample, what it is made of, what is read.
fn every(check: impl Fn(&str, &Digest, &Page)) {
    let mailer = mailer();
    let stop = "https://audit.acme.example/stop?a=1&b=2".parse().unwrap();
    for language in LANGUAGES {
        for sample in all() {
            let digest = Digest { locale: Some(language.to_owned()), ..sample.digest };
            for unsubscribe in [None, Some(&stop)] {
                let page = mailer.read(&digest, unsubscribe).unwrap();
                assert_eq!(page.locale, language);
                check(&format!("{} in {language}", sample.name), &digest, &page);
            }
        }
    }
}

/// The words of all samples but those that are the same again and again.
fn words(language: &str) -> String {
    let mailer = mailer();
    let told = all().into_iter().filter(|sample| sample.digest.items.len() < 12).map(|sample| {
        let page = mailer.read(&Digest { locale: Some(language.to_owned()), ..sample.digest }, None).unwrap();
        format!("=== {}: {}\nSubject: {}\n\n{}", sample.name, sample.what, page.subject, page.text)
    });
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_english_words_are_as_reviewed() {
    insta::assert_snapshot!(words("en"));
}

#[test]
fn the_german_words_are_as_reviewed() {
    insta::assert_snapshot!(words("de"));
}

#[test]
fn the_html_is_valid_small_and_loads_nothing() {
    every(|name, _, page| {
        let html = Html::parse(&page.html);
        assert_eq!(html.errors(), Vec::<String>::new(), "{name}");
        assert!(page.html.len() < LARGEST, "{name}: {} bytes", page.html.len());
        for (element, attributes) in html.elements() {
            let allowed = ["html", "head", "meta", "title", "style", "body", "div", "table", "tbody", "tr", "td"];
            let shown = ["h1", "h2", "p", "span", "a"];
            assert!(allowed.contains(&element.as_str()) || shown.contains(&element.as_str()), "{name}: {element}");
            let has = |wanted: &str| attributes.iter().any(|(attribute, _)| attribute == wanted);
            assert!(element != "table" || has("role"), "{name}: a table that is read out as one");
            assert!(!has("src") && !has("background") && !attributes.iter().any(|(name, _)| name.starts_with("on")));
        }
        for loading in ["url(", "@import", "{{", "{%"] {
            let by_name = name.starts_with("markup") && loading == "{{";
            assert!(by_name || !page.html.contains(loading), "{name}: {loading}");
        }
        let style = page.html.split("<style>").nth(1).unwrap();
        assert!(style.contains("prefers-color-scheme:dark") && style.contains("max-width"), "{name}");
    });
}

#[test]
fn invalid_html_would_be_found() {
    for wrong in ["<!DOCTYPE html><p><b>a</p></b>", "<!DOCTYPE html><table><p>a</table>", "<!DOCTYPE html><p>&nosuch;"]
    {
        assert!(!Html::parse(wrong).errors().is_empty(), "{wrong}");
    }
}

#[test]
fn whoever_reads_text_alone_loses_nothing() {
    every(|name, digest, page| {
        let html = Html::parse(&page.html);
        let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut advice = 0;
        for piece in html.visible().iter().filter(|piece| **piece != page.subject) {
            if text.contains(piece.as_str()) {
                continue;
            }
            // To select a button is to open a link; what follows is the same.
            let words: Vec<&str> = piece.split(' ').collect();
            let end = words.get(words.len().saturating_sub(4)..).unwrap_or_default().join(" ");
            assert!(words.len() > 4 && text.contains(&end), "{name}: only in HTML: {piece}");
            advice += 1;
        }
        assert!((1..=3).contains(&advice), "{name}: what to do is said once for each kind");
        let links = html.links();
        assert!(links.len() >= digest.items.len(), "{name}");
        for link in links {
            assert!(page.text.contains(&link.url), "{name}: only in HTML: {}", link.url);
            let said = link.label.unwrap_or(link.text).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&said), "{name}: only in HTML: {said}");
        }
    });
}

#[test]
fn a_mail_reads_well_in_a_terminal_and_a_subject_fits_a_header() {
    every(|name, _, page| {
        assert!(
            !page.subject.contains(['\n', '\r']) && page.subject.chars().count() <= 150,
            "{name}: {}",
            page.subject
        );
        assert!(!page.text.contains("\n\n\n") && !page.text.contains("  \n"), "{name}:\n{}", page.text);
        let untidy = page.text.lines().find(|line| line.contains(" .") || line.contains(" ,") || line.ends_with(": "));
        assert_eq!(untidy, None, "{name}");
        let indented = |line: &&str| line.starts_with(' ') && !line.starts_with("  ");
        assert_eq!(page.text.lines().find(indented), None, "{name}");
    });
}
