//! `demo --once`: the whole product in one command, judged by the mails that it leaves behind.

use std::collections::BTreeSet;

use mail_parser::MessageParser;

use super::{Place, assert_shown};

#[test]
fn the_demo_plays_a_tick_and_leaves_one_mail_of_two_parts_for_everybody_who_is_due() {
    let place = Place::new();
    let ran = place.run(&["demo", "--once"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.contains("should be mailed: 64 users. Exactly they were, once each."), "{}", ran.out);

    let mut recipients = BTreeSet::new();
    let folder = std::fs::read_dir(place.path("connection-auditor-demo/mail")).unwrap();
    for file in folder {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let mail = MessageParser::new().parse(&bytes).unwrap();
        let to = mail.to().and_then(|to| to.first()).and_then(|to| to.address()).unwrap();
        assert!(recipients.insert(to.to_owned()), "{to} was mailed twice");
        assert_eq!(
            mail.from().and_then(|from| from.first()).and_then(|from| from.address()),
            Some("support@acme.example")
        );
        let (text, html) = (mail.body_text(0).unwrap(), mail.body_html(0).unwrap());
        assert!(mail.text_body_count() == 1 && mail.html_body_count() == 1, "both parts");
        assert!(text.contains("https://acme.example/settings/connections?app="), "{text}");
        assert!(html.contains("connections?app="), "{html}");
        assert!(!mail.subject().unwrap().is_empty());
    }
    assert_eq!(recipients.len(), 64);

    let out = ran.out.lines().map(|line| match line.split_once(", with ") {
        // How often the API was asked depends on what retries and pages overlap.
        Some((start, _)) => format!("{start}, with [n] API requests:\n"),
        None => format!("{line}\n"),
    });
    assert_shown!(out.collect::<String>());
}

#[test]
fn a_demo_in_a_folder_that_cannot_be_made_says_so() {
    let place = Place::new();
    place.write("file", "");
    let ran = place.run(&["demo", "--once", "--folder", "file/demo"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "error: cannot make the folder file/demo/mail: Not a directory (os error 20)\n");
}
