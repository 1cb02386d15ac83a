//! Templates of the operator's own: what they replace, what they add, and what is refused before a mail leaves.

use std::path::Path;

use connection_auditor::adapters::mailer::{BUILT_IN_TEMPLATES, MailSetupError, Mailer, Page};
use connection_auditor::config;
use connection_auditor::domain::notification::{Digest, DigestItem};
use connection_auditor::domain::stage::Stage;

use super::{digest, mixed_kinds, notify, slack};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn mailer(folder: &Path) -> Result<Mailer, MailSetupError> {
    let mail = config::Mail { templates: Some(folder.to_owned()), ..config::Mail::default() };
    Mailer::for_preview(&notify(), &mail)
}

fn with(files: &[(&str, &str)]) -> Mailer {
    mailer(folder(files).path()).unwrap()
}

fn read(mailer: &Mailer, locale: Option<&str>) -> Page {
    let digest = Digest { locale: locale.map(str::to_owned), ..digest(vec![slack()]) };
    mailer.read(&digest, None).unwrap()
}

fn built_in(name: &str) -> &'static str {
    BUILT_IN_TEMPLATES.iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn a_user_is_written_to_in_the_nearest_language_there_is() {
    let mailer = with(&[]);
    for (locale, expected) in [
        (None, "en"),
        (Some("en-GB"), "en"),
        (Some("de"), "de"),
        (Some("de-AT"), "de"),
        (Some("de_CH.UTF-8"), "de"),
        (Some("DE"), "de"),
        (Some("fr-CA"), "en"),
        (Some("no language"), "en"),
        (Some(""), "en"),
    ] {
        assert_eq!(read(&mailer, locale).locale, expected, "{locale:?}");
    }
    let page = read(&mailer, Some("de-AT"));
    assert!(page.text.contains("3. November 2026") && page.html.contains("<html lang=\"de\" dir=\"ltr\">"), "{page:?}");
    assert_eq!(mailer.locales().collect::<Vec<_>>(), ["de", "en"]);
}

#[test]
fn one_phrase_of_one_language_can_be_replaced_and_the_rest_stays() {
    let before = read(&with(&[]), Some("de"));
    let mailer = with(&[("de/words.txt", "{% macro greeting() %}Moin {{ mail.name or \"zusammen\" }}!{% endmacro %}")]);
    let after = read(&mailer, Some("de"));
    assert_eq!(after.text, before.text.replace("Guten Tag Ann,", "Moin Ann!"));
    assert_eq!(after.html, before.html.replace("Guten Tag Ann,", "Moin Ann!"));
    assert_eq!(read(&mailer, None), read(&with(&[]), None), "English is as it was");
}

#[test]
fn one_file_can_be_replaced_for_one_language_or_for_all() {
    let short = "{{ subject }}\n{% for section in sections %}{% for row in section.rows %}{{ row.url }}\n{% endfor %}{% endfor %}\
                 {{ mail.unsubscribe or \"\" }}\n";
    let all = with(&[("digest.txt", short)]);
    assert!(read(&all, None).text.starts_with("Your Slack connection has stopped working\nhttps://"));
    assert!(read(&all, Some("de")).text.starts_with("Ihre Verbindung zu Slack funktioniert nicht mehr\nhttps://"));
    assert_eq!(read(&all, Some("de")).html, read(&with(&[]), Some("de")).html);
    let one = with(&[("de/digest.txt", short), ("en/subject.txt", "{{ mail.count }}x {{ mail.app or \"?\" }}")]);
    assert!(read(&one, Some("de")).text.starts_with("Ihre Verbindung"));
    assert!(read(&one, None).text.starts_with("Hello Ann,"));
    assert_eq!(read(&one, None).subject, "1x Slack");
}

#[test]
fn a_language_can_be_added_with_months_of_its_own_and_a_region_can_differ_from_it() {
    let words = built_in("en/words.txt").replace("Hello", "Bonjour");
    let subject = built_in("en/subject.txt");
    let mailer = with(&[
        ("fr/words.txt", &words),
        ("fr/subject.txt", subject),
        ("fr-CA/words.txt", "{% macro greeting() %}Allô {{ mail.name or \"\" }},{% endmacro %}"),
        ("he/words.txt", built_in("en/words.txt")),
        ("he/subject.txt", subject),
        (".git/config", "what belongs to other programs is let be"),
    ]);
    assert_eq!(mailer.locales().collect::<Vec<_>>(), ["de", "en", "fr", "fr-CA", "he"]);
    let french = read(&mailer, Some("fr-BE"));
    assert!(french.text.starts_with("Bonjour Ann,") && french.text.contains("3 novembre 2026"), "{}", french.text);
    let canadian = read(&mailer, Some("fr-CA"));
    assert_eq!((canadian.locale.as_str(), &canadian.text), ("fr-CA", &french.text.replace("Bonjour", "Allô")));
    let hebrew = read(&mailer, Some("he-IL"));
    assert!(
        hebrew.html.contains("<html lang=\"he\" dir=\"rtl\">") && hebrew.text.contains("נובמבר"),
        "{}",
        hebrew.text
    );
}

#[test]
fn everybody_else_is_written_to_in_the_language_of_the_setting() {
    let speaking = |locale: &str| {
        Mailer::for_preview(&notify(), &config::Mail { locale: locale.to_owned(), ..config::Mail::default() })
    };
    let german = speaking("de_DE").unwrap();
    assert_eq!(read(&german, None).locale, "de");
    assert_eq!(read(&german, Some("fr")).locale, "de");
    assert_eq!(read(&german, Some("en-GB")).locale, "en");
    let error = speaking("fr").err().unwrap();
    assert_eq!(error.to_string(), "mail.locale `fr`: there are no templates for it, only for de, en");
}

/// The error, with the folder's name left out.
fn refused(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let error = mailer(folder.path()).err().expect("these templates are refused");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.replace(&folder.path().display().to_string(), "[folder]")
}

#[test]
fn templates_that_cannot_be_used_are_refused_with_file_and_line_and_what_is_wrong() {
    let greeting = |body: &str| format!("\n\n{{% macro greeting() %}}\n{body}\n{{% endmacro %}}\n");
    let without = built_in("en/words.txt").replace("macro done()", "macro dine()");
    let html = built_in("digest.html").replace("{{ row.url }}", "#");
    let text = built_in("digest.txt").replace("{{ mail.unsubscribe }}", "by letter");
    let subject = built_in("en/subject.txt");
    let errors = [
        refused(&[("en/words.txt", &greeting("Hello {{ mail.nmae }}"))]),
        refused(&[("en/words.txt", &greeting("Hello {{ name }}"))]),
        refused(&[("de/subject.txt", "Hallo\n{% if mail.reminder %}\n{{ erinnerung }}\n{% endif %}")]),
        refused(&[("de/subject.txt", "{% if mail.count %}\n\n{{ mail.count }")]),
        refused(&[("digest.html", "{{ mail.count | plural }}")]),
        refused(&[("digest.html", &html)]),
        refused(&[("en/digest.txt", &text)]),
        refused(&[("en/subject.txt", "  \n")]),
        refused(&[("fr/subject.txt", subject)]),
        refused(&[("fr/words.txt", &without)]),
        refused(&[("fr/words.txt", &without), ("fr/subject.txt", subject)]),
        refused(&[("digest.htm", "")]),
        refused(&[("de/betreff.txt", "")]),
        refused(&[("deutsch_land/subject.txt", "")]),
        refused(&[("pt-BR/subject.txt", ""), ("pt_br/words.txt", "")]),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = mailer(Path::new("/no/such/folder")).err().unwrap();
    assert_eq!(error.to_string(), "mail.templates: /no/such/folder: cannot be read");
}

#[test]
fn a_name_is_text_whatever_it_looks_like() {
    let mailer = with(&[]);
    let alias = Some("{{ mail.sender }} {% raw %}".to_owned());
    let page = mailer.read(&digest(vec![DigestItem { alias, ..slack() }]), None).unwrap();
    assert!(page.subject.contains("{{ mail.sender }} {% raw %}") && page.html.contains("{{ mail.sender }} {% raw %}"));
}

#[test]
fn a_mail_is_a_reminder_if_it_repeats_something_and_tells_nothing_new() {
    let mailer = with(&[]);
    let subject = |stages: &[Option<Stage>]| {
        let items = stages.iter().map(|stage| DigestItem { stage: *stage, ..slack() }).collect();
        mailer.read(&digest(items), None).unwrap().subject
    };
    let (first, again) = (Some(Stage::FIRST), Some(Stage(2)));
    assert_eq!(subject(&[again]), "Reminder: your Slack connection is still not working");
    assert_eq!(subject(&[again, None]), "Reminder: 2 of your Slack connections are still not working");
    assert_eq!(subject(&[again, first]), "2 of your Slack connections have stopped working");
    assert_eq!(subject(&[first, None]), "2 of your Slack connections have stopped working");
    let repeated = mixed_kinds().into_iter().map(|item| DigestItem { stage: again, ..item }).collect();
    let page = mailer.read(&digest(repeated), None).unwrap();
    assert_eq!(page.subject, "Reminder: 4 of your connections still need your attention");
}
