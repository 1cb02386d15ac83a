//! `mail`: previews of samples and of the next mail to a user, and templates of one's own.

use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::token::{Keyring, Refused};

use super::{Composio, Place, assert_shown};

fn files(place: &Place, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(place.path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn samples_need_no_configuration_and_are_listed_printed_or_written() {
    let place = Place::new();
    let listed = place.run(&["mail", "preview"]);
    assert_eq!(listed.code, 0);
    assert_shown!("samples", listed.shown());

    let german = place.run(&["mail", "preview", "--sample", "reminder", "--locale", "de-AT"]);
    assert_eq!((german.code, german.err.as_str()), (0, ""));
    assert!(german.out.starts_with("Subject: Erinnerung: "), "{german:?}");
    let french = place.run(&["mail", "preview", "--sample", "reminder", "--locale", "fr"]);
    assert!(french.out.starts_with("Subject: Reminder: ") && french.err.contains("\"fr\""), "{french:?}");

    let written = place.run(&["mail", "preview", "--sample", "compact", "--out", "previews/one"]);
    assert_eq!((written.code, written.out.as_str()), (0, "1 mail written to previews/one\n"));
    assert_eq!(files(&place, "previews/one"), ["compact.eml", "compact.html", "compact.txt"]);
    let all = place.run(&["mail", "preview", "--out", "previews"]);
    assert_eq!(all.code, 0);
    let samples = listed.out.lines().filter(|line| line.starts_with(' ')).count() - 1;
    assert_eq!(files(&place, "previews").len(), 3 * samples + 1);
    let eml = std::fs::read_to_string(place.path("previews/broken.eml")).unwrap();
    assert!(eml.contains("Subject: Your Slack connection") && eml.contains("To: Ann <user@example.org>"), "{eml}");

    let wrong = place.run(&["mail", "preview", "--sample", "remainder"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (64, ""));
    assert!(wrong.err.contains("reminder-several"), "{}", wrong.err);
    assert!(!place.path("connection-auditor.sqlite").exists(), "nothing is stored");
}

#[test]
fn with_public_pages_a_preview_shows_their_links_which_nobody_can_use() {
    let place = Place::new();
    let key = "a-key-of-the-tests-that-is-long-enough";
    let settings = [("HTTP__PUBLIC__URL", "https://connections.acme.example"), ("HTTP__PUBLIC__TOKEN_KEYS", key)];
    let shown = place.run_with(&settings, &["mail", "preview", "--sample", "two", "--out", "previews"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let text = std::fs::read_to_string(place.path("previews/two.txt")).unwrap();
    let tokens: Vec<&str> =
        text.split_whitespace().filter_map(|word| word.strip_prefix("https://connections.acme.example/")).collect();
    assert_eq!(tokens.iter().filter(|token| token.starts_with("r/")).count(), 2, "{text}");
    assert_eq!(tokens.iter().filter(|token| token.starts_with("u/")).count(), 1, "{text}");
    let keys = Keyring::new(&[key.into()]).unwrap();
    for token in tokens {
        let read = keys.read(token.get(2..).unwrap(), SystemClock.now());
        assert_eq!(read, Err(Refused::Expired), "it looks like a real one, and is over");
    }
    let eml = std::fs::read_to_string(place.path("previews/two.eml")).unwrap();
    assert!(eml.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{eml}");
}

#[test]
fn the_built_in_templates_are_models_that_can_be_changed_and_are_checked() {
    let place = Place::new();
    assert_eq!(place.run(&["mail", "templates", "own"]).code, 0);
    assert_eq!(files(&place, "own"), ["de", "digest.html", "digest.txt", "en"]);
    let again = place.run(&["mail", "templates", "own"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("is there already"), "{again:?}");

    let preview =
        |sample: &[&str]| place.run_with(&[("MAIL__TEMPLATES", "own")], &[&["mail", "preview"], sample].concat());
    let same = preview(&["--sample", "mixed"]);
    assert_eq!(same.out, place.run(&["mail", "preview", "--sample", "mixed"]).out);
    place.write("own/en/subject.txt", "{{ mail.count }} to mend");
    assert!(preview(&["--sample", "mixed"]).out.starts_with("Subject: 4 to mend\n"));
    place.write("own/en/subject.txt", "{{ mail.count }}\n{{ mail.cuont }} to mend");
    let wrong = preview(&[]);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    let expected = "error: mail.templates: undefined value: `mail.cuont` is undefined (in own/en/subject.txt:2)";
    assert!(wrong.err.starts_with(expected), "{}", wrong.err);
}

#[tokio::test]
async fn the_next_mail_to_a_user_is_shown_before_it_leaves_and_then_the_reminder() {
    let place = Place::new();
    let composio = Composio::start(&place, 120);
    place.configure(&composio.url(), "notify.mode = \"hold\"");
    assert_eq!(place.run(&["users", "import", "users.csv"]).code, 2);
    let truth = composio.truth().await;
    let mailed = truth["mailed"].as_object().unwrap();
    let broken = |(user, due): &(&String, &serde_json::Value)| {
        user.starts_with("user-") && due.as_array().unwrap().len() == 1 && due[0]["kind"] == "broken"
    };
    let user = mailed.iter().find(broken).unwrap().0;

    let early = place.run(&["mail", "preview", "--user", user]);
    assert_eq!((early.code, early.out.as_str()), (0, "no mail is due: the user was not checked yet\n"));
    let _worker = place.worker();
    assert_eq!(place.run(&["sweep", "--wait"]).code, 0);

    let due = place.run(&["mail", "preview", "--user", user]);
    assert_eq!(due.code, 0, "{due:?}");
    assert!(due.out.starts_with("Subject: ") && due.out.contains(&format!("&user={user}")), "{due:?}");
    assert!(due.err.contains("held"), "{due:?}");
    let users = std::fs::read_to_string(place.path("users.csv")).unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{user},"))).unwrap();
    let address = line.split(',').nth(1).unwrap();
    assert!(address.contains('@') && !due.shown().contains(address));
    assert_eq!(place.run(&["mail", "preview", "--user", user, "--out", "next"]).code, 0);
    assert_eq!(files(&place, "next"), ["user.eml", "user.html", "user.txt"]);
    assert!(!std::fs::read_to_string(place.path("next/user.eml")).unwrap().contains(address));

    assert_eq!(place.run(&["notifications", "release"]).code, 0);
    super::until("the mails leave", std::time::Duration::from_secs(60), || {
        let next = place.run(&["mail", "preview", "--user", user]);
        let is_reminder = ["Subject: Reminder", "Subject: Erinnerung"].iter().any(|start| next.out.starts_with(start));
        is_reminder && next.err.starts_with("it would leave on ")
    });
    let nobody = place.run(&["mail", "preview", "--user", "nobody"]);
    assert_eq!((nobody.code, nobody.err.as_str()), (1, "error: the app has no user \"nobody\"\n"));
}
