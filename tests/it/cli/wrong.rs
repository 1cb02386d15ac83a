//! What is said, and with which exit code, when something is wrong: 64 for usage and configuration, 1 for the rest.

use std::fmt::Write as _;
use std::io::Read;
use std::process::Stdio;

use rstest::rstest;

use super::{Place, SECRET, assert_shown};
use crate::support::{postgres, redis::Redis};

#[test]
fn wrong_usage_is_refused_with_64_and_named() {
    let place = Place::new();
    let mut all = String::new();
    for arguments in [
        &["sweeep"][..],
        &["sweep", "--dry"],
        &["run", "--roles", "cleaner"],
        &["check"],
        &["check", "user-1", "--timeout", "5"],
        &["status", "--sweeps", "0"],
        &["queue", "dead", "retry", "12"],
        &["queue", "dead", "drop"],
        &["notifications", "release", "forever"],
        &["notifications", "list", "--state", "lost"],
        &["users", "import"],
        &["simulator", "--listen", "here"],
        &["demo", "--users", "0"],
    ] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{arguments:?}");
        writeln!(all, "$ {}\n{}", arguments.join(" "), ran.err).expect("a text can be written to");
    }
    assert_shown!(all);
}

#[test]
fn a_wrong_configuration_is_refused_with_64_and_all_that_is_wrong() {
    let place = Place::new();
    place.configure(
        "http://127.0.0.1:9",
        "queue.key_prefx = \"a\"\nschedules.daily.cron = \"61 9 * * *\"\nschedules.daily.time_zone = \"Berlin\"\nlog.format = \"xml\"",
    );
    for command in ["run", "status", "sweep", "check-config", "migrate"] {
        assert_eq!(place.run(&[command]).code, 64, "{command}");
    }
    assert_shown!(place.run(&["run"]).shown());
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder.toml")).unwrap();
    place.write("broken.toml", format!("composio.api_key = \"{SECRET}\" \"\n"));
    let mut all = String::new();
    for file in ["missing.toml", "folder.toml", "broken.toml"] {
        let ran = place.run(&["--config", file, "status"]);
        assert_eq!(ran.code, 64);
        all += &ran.shown();
    }
    assert_shown!(all);
}

#[test]
fn a_worker_without_what_it_needs_is_refused_with_64_and_told_what() {
    let place = Place::new();
    assert_shown!(place.run(&["run"]).shown());
    let ran = place.run(&["mail", "test", "ann@example.org"]);
    assert_eq!(ran.code, 64);
    assert!(!ran.err.contains("composio.api_key") && !ran.err.contains("ann@"), "{}", ran.err);
    assert!(!place.path("connection-auditor.sqlite").exists(), "nothing was done");
}

#[test]
fn an_argument_that_is_no_address_is_refused_and_not_repeated() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    let ran = place.run(&["mail", "test", "ann@@example.org"]);
    assert_eq!(ran.code, 64);
    assert_eq!(ran.err, "error: ADDRESS is not an email address: write it as name@example.org\n");
    assert_eq!(place.mails(), 0);
}

#[rstest]
fn a_database_that_is_not_there_is_not_made_by_asking_it(
    #[values("status", "sweep", "notifications list", "queue dead list", "check user-1")] command: &str,
) {
    let place = Place::new();
    let ran = place.run(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: there is no database at connection-auditor.sqlite: name the configuration of the worker with --config, or \
         start one with `connection-auditor run`\n"
    );
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let place = Place::new();
    let url = format!("postgres://auditor:{SECRET}@127.0.0.1:9/app");
    let ran = place.run_with(&[("DATABASE__URL", &url)], &["status"]);
    assert_eq!(ran.code, 1);
    assert_shown!(ran.shown());
}

#[tokio::test]
async fn a_database_that_is_not_migrated_names_the_remedy_which_works() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    let url = postgres::database().await;
    let on = [("DATABASE__URL", url.as_str())];
    let refused = place.run_with(&on, &["status"]);
    assert_eq!(refused.code, 1);
    assert_eq!(place.run_with(&on, &["run"]).code, 1);
    assert_shown!(refused.shown());
    for _ in 0..2 {
        let migrated = place.run_with(&on, &["migrate"]);
        assert_eq!((migrated.code, migrated.out.as_str()), (0, "the auditor's tables are up to date\n"));
    }
    assert_eq!(place.run_with(&on, &["status"]).code, 0);
}

#[tokio::test]
async fn a_redis_that_would_lose_work_is_refused_with_the_remedy() {
    let redis = Redis::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    let ran = place.run_with(&[("QUEUE__URL", &redis.url())], &["run"]);
    assert_eq!(ran.code, 1);
    assert_shown!(ran.shown());
}

#[test]
fn status_is_told_while_the_queue_is_away() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    assert_eq!(place.run(&["migrate"]).code, 0);
    let away = [("QUEUE__URL", "redis://127.0.0.1:9")];
    let ran = place.run_with(&away, &["status"]);
    assert_eq!(ran.code, 0);
    assert_shown!(ran.shown());
    assert!(place.run_with(&away, &["status", "--json"]).json()["queue"].is_null());
}

#[test]
fn lines_of_a_file_that_cannot_be_used_are_counted_and_the_rest_is_imported() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    let csv = "id,email,name\nuser-1,ann@example.org,Ann\n,bob@example.org,Bob\nuser-2,not an address,Cid\n\
               \"user,3\",dee@example.org,Dee\nuser-1,ann@example.org,Anna\n";
    place.write("users.csv", csv);
    let ran = place.run(&["users", "import", "users.csv"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.out.contains('@') && !ran.out.contains("not an address"), "{}", ran.out);
    assert_shown!(ran.shown());
}

#[test]
fn a_file_that_is_no_csv_of_users_is_refused_whole() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    place.write("names.csv", "name,mail\nAnn,ann@example.org\n");
    place.write("torn.csv", "id,email\nuser-1,ann@example.org\nuser-2\n");
    let mut all = String::new();
    for file in ["missing.csv", "names.csv", "torn.csv"] {
        let ran = place.run(&["users", "import", file]);
        assert_eq!(ran.code, 1, "{file}");
        all += &ran.shown();
    }
    assert_shown!(all);
    place.write("good.csv", "id,email\nuser-1,ann@example.org\n");
    let good = place.run(&["users", "import", "good.csv"]);
    assert_eq!((good.code, good.out.as_str()), (0, "1 user new, 0 updated, 0 unchanged\n"), "nothing was there before");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    assert_eq!(place.run(&["migrate"]).code, 0);

    let mut child = place.command(&["status"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["status"]).stdout(Stdio::from(full)).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: not all of the output could be written\n");
}
