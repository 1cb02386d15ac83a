//! What if: a small world is swept for real, and played again under other settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Composio, Place, keys};

fn users(truth: &Value, which: &str) -> BTreeSet<String> {
    match &truth[which] {
        Value::Object(users) => users.keys().cloned().collect(),
        users => users.as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect(),
    }
}

#[tokio::test]
async fn other_settings_are_compared_with_what_was_really_sent() {
    let place = Place::new();
    let composio = Composio::start(&place, 120);
    place.configure(&composio.url(), "guard.min_incidents = 10000");
    assert_eq!(place.run(&["users", "import", "users.csv"]).code, 2);
    let simulate = |other: &str, arguments: &[&str]| {
        place.write("other.toml", other);
        place.run(&[&["-c", "auditor.toml", "policy", "simulate", "--config", "other.toml"], arguments].concat())
    };
    place.run(&["migrate"]);
    let nothing = simulate("guard.min_incidents = 10000", &[]);
    assert_eq!(nothing.code, 0, "{}", nothing.shown());
    assert!(nothing.out.contains("Nothing is recorded yet"), "{}", nothing.out);

    let _worker = place.worker();
    let truth = composio.truth().await;
    assert_eq!(place.run(&["sweep", "--wait"]).code, 0);
    let (mailed, unreachable) = (users(&truth, "mailed"), users(&truth, "unreachable"));
    assert_eq!(place.mails(), mailed.len());

    let same = simulate("guard.min_incidents = 10000", &["--json"]);
    assert_eq!(same.code, 0, "{}", same.shown());
    let same = same.json();
    let told = ["changes", "lines", "not_known", "now", "only_now", "only_other", "other", "otherwise"];
    assert_eq!(
        keys(&same),
        [&told[..], &["recorded_since", "same", "sent", "since", "sweeps", "until", "users"]].concat()
    );
    assert_eq!(same["same"], true);
    assert_eq!(same["sent"]["users"], mailed.len());
    // In a replay everybody has an address, those too whose is missing; a user whose address is none is not imported.
    let replayed = usize::try_from(same["now"]["users"].as_u64().unwrap()).unwrap();
    assert!((mailed.len()..=mailed.len() + unreachable.len()).contains(&replayed), "{same}");
    let sum = |column: &str| -> u64 {
        same["lines"].as_array().unwrap().iter().map(|line| line[column].as_u64().unwrap()).sum()
    };
    assert!(sum("sent") > 0 && sum("sent") <= sum("now"), "{same}");

    let strict =
        simulate("guard.min_incidents = 1\nguard.max_share = \"1%\"\nguard.max_share_first = \"1%\"", &["--json"]);
    assert_eq!(strict.code, 2, "{}", strict.shown());
    let strict = strict.json();
    assert!(strict["other"]["trips"].as_u64().unwrap() > 0, "{strict}");
    let held = strict["only_now"]["examples"].as_array().unwrap();
    assert!(held.iter().all(|one| one["why"].as_str().unwrap().starts_with("held by the guard")), "{strict}");
    assert_eq!(held.len(), 10);

    let excluded = simulate("guard.min_incidents = 10000\npolicy.toolkits.exclude = [\"gmail\"]", &["--examples", "2"]);
    assert_eq!(excluded.code, 2, "{}", excluded.shown());
    let gmail = excluded.out.lines().find(|line| line.trim_start().starts_with("gmail")).unwrap();
    assert!(gmail.ends_with('0'), "{}", excluded.out);
    assert!(excluded.out.contains("What cannot be known"), "{}", excluded.out);
    assert!(excluded.out.lines().all(|line| line.chars().count() <= 120), "{}", excluded.out);
    assert!(!excluded.shown().contains('@'), "ids only");

    let sent = place.mails();
    assert_eq!(sent, mailed.len(), "asking mails nobody");
}

#[test]
fn settings_that_are_wrong_are_said_to_be_those_of_the_other_file() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    place.write("other.toml", "policy.min_intervall = \"1d\"");
    let ran = place.run(&["-c", "auditor.toml", "policy", "simulate", "--config", "other.toml"]);
    assert_eq!(ran.code, 64, "{}", ran.shown());
    assert!(ran.err.contains("other.toml") && ran.err.contains("min_interval"), "{}", ran.shown());
    let missing = place.run(&["policy", "simulate"]);
    assert_eq!(missing.code, 64, "{}", missing.shown());
}
