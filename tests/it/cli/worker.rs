//! Commands with a worker, and without one: sweeps, dry runs, checks, held notifications, dead jobs.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

use chrono::DateTime;
use connection_auditor::adapters::store;
use connection_auditor::config;
use connection_auditor::domain::job::Lane;
use connection_auditor::domain::port::DeadJob;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Composio, Place, Server, assert_shown, ended, keys, until};

/// A simulated Composio, its users imported, and a worker.
struct World {
    place: Place,
    composio: Composio,
    worker: Option<Server>,
}

impl World {
    fn without_worker(settings: &str) -> Self {
        let place = Place::new();
        let composio = Composio::start(&place, 120);
        place.configure(&composio.url(), settings);
        assert_eq!(place.run(&["users", "import", "users.csv"]).code, 2);
        Self { place, composio, worker: None }
    }

    fn new(settings: &str) -> Self {
        let mut world = Self::without_worker(settings);
        world.worker = Some(world.place.worker());
        world
    }
}

fn names(users: &Value) -> BTreeSet<String> {
    match users {
        Value::Object(users) => users.keys().cloned().collect(),
        users => users.as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect(),
    }
}

fn total(counts: &Value, state: &str) -> u64 {
    let of_state = counts.as_array().unwrap().iter().filter(|count| count["state"] == state);
    of_state.map(|count| count["count"].as_u64().unwrap()).sum()
}

/// Every key is a word of the command's help.
fn assert_documented(place: &Place, command: &[&str], json: &Value) {
    let help = place.run(&[command, &["--help"]].concat()).out;
    let object = json.as_array().map_or(json, |all| &all[0]);
    for key in keys(object) {
        let is_told = help.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        assert!(is_told, "{key} is not told in the help of {command:?}");
    }
}

#[tokio::test]
async fn a_dry_run_says_who_would_be_mailed_and_leaves_nothing_and_the_sweep_after_it_mails_them() {
    let world = World::new("");
    let place = &world.place;
    let truth = world.composio.truth().await;

    let dry = place.run(&["sweep", "--dry-run", "--json"]);
    assert_eq!((dry.code, dry.err.as_str()), (2, ""), "somebody would be mailed");
    let report = dry.json();
    assert_eq!(keys(&report), ["notifications", "sweep", "would_be_mailed"]);
    assert_documented(place, &["sweep"], &report);
    assert_documented(
        place,
        &["sweep"],
        &report["would_be_mailed"][0].as_object().map_or(Value::Null, |finding| {
            let told = ["user", "slot", "kind", "account", "status", "reason", "broke_at"];
            finding
                .iter()
                .filter(|(key, _)| told.contains(&key.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        }),
    );
    let findings = report["would_be_mailed"].as_array().unwrap();
    let named: BTreeSet<String> = findings.iter().map(|finding| finding["user"].as_str().unwrap().to_owned()).collect();
    let due = names(&truth["mailed"]);
    assert_eq!(due.difference(&named).next(), None, "everybody who is due is told of");
    assert!(named.difference(&due).all(|user| names(&truth["unreachable"]).contains(user)), "and nobody else");
    let status = place.run(&["status", "--json"]).json();
    assert_eq!(
        keys(&status),
        [
            "alerts",
            "dead_jobs",
            "guard",
            "notifications",
            "open_incidents",
            "paused",
            "queue",
            "suppressions",
            "sweeps"
        ]
    );
    assert_documented(place, &["status"], &status);
    for nothing in ["notifications", "open_incidents", "dead_jobs"] {
        assert_eq!(status[nothing], Value::Array(Vec::new()), "{nothing}");
    }
    assert_eq!(place.mails(), 0);
    let shown = place.run(&["sweep", "--dry-run"]);
    assert_eq!(shown.code, 2);
    assert_shown!("a_dry_run", shown.shown());

    let swept = place.run(&["sweep", "--wait"]);
    assert_eq!(swept.code, 0);
    assert_shown!("a_sweep", swept.shown());
    assert_eq!(place.mails(), names(&truth["mailed"]).len());
    let status = place.run(&["status"]);
    assert_eq!(status.code, 0);
    assert!(status.out.lines().all(|line| line.chars().count() <= 120), "{}", status.out);
    assert!(status.out.contains("manual, dry run   completed"), "{}", status.out);

    let sent = place.run(&["notifications", "list", "--state", "sent", "--json", "--limit", "1000"]).json();
    assert_eq!(sent.as_array().unwrap().len(), place.mails());
    assert_documented(place, &["notifications", "list"], &sent);
    let unreachable = place.run(&["notifications", "list", "--state", "unreachable"]);
    assert!(unreachable.out.contains("no email address"), "{}", unreachable.out);
    assert_eq!(place.run(&["notifications", "list"]).out, "no failed notifications\n");

    let again = place.run(&["sweep", "--wait", "--json"]);
    assert_eq!((again.code, again.json()["notifications"].as_array().map(Vec::len)), (0, Some(0)), "nobody twice");
    assert!(!world.worker.as_ref().unwrap().log().contains(" ERROR "), "{}", world.worker.as_ref().unwrap().log());
}

#[tokio::test]
async fn a_check_prints_the_verdict_of_each_connection_and_exits_with_2_for_what_is_broken() {
    let world = World::new("");
    let place = &world.place;
    let truth = world.composio.truth().await;
    let (broken, due) = truth["mailed"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(user, due)| {
            user.starts_with("user-") && due.as_array().unwrap().iter().all(|item| item["kind"] == "broken")
        })
        .unwrap();

    let well = place.run(&["check", "user-000001", "--wait", "--json"]);
    assert_eq!((well.code, well.err.as_str()), (0, ""), "{well:?}");
    let reports = well.json();
    assert_eq!(keys(&reports[0]), ["check", "connections", "known", "user"]);
    assert_documented(place, &["check"], &reports);
    assert_eq!(reports[0]["check"]["outcome"], "checked");
    assert!(reports[0]["connections"].as_array().unwrap().iter().all(|slot| slot["verdict"] == "healthy"));

    let found = place.run(&["check", broken, "--wait", "--json"]);
    assert_eq!(found.code, 2, "{found:?}");
    let found = found.json();
    let verdicts = found[0]["connections"].as_array().unwrap().iter().filter(|slot| slot["verdict"] == "broken");
    let accounts: BTreeSet<&str> = verdicts.map(|slot| slot["deciding"]["id"].as_str().unwrap()).collect();
    assert_eq!(accounts, due.as_array().unwrap().iter().map(|item| item["account"].as_str().unwrap()).collect());

    let input = format!("user-000001\r\n{broken}\n\nuser-000001\n");
    let fed = place.run_fed(&input, &["check", "-", "--wait", "--json"]);
    assert_eq!((fed.code, fed.json().as_array().map(Vec::len)), (2, Some(2)), "each once");
    place.write("users.txt", "user-000002\n");
    let of_file = place.run(&["check", "--file", "users.txt", "user-000003", "--json"]);
    assert_eq!((of_file.code, of_file.json()["users"].as_u64()), (0, Some(2)));
    assert_documented(place, &["check"], &of_file.json());

    let odd = place.run(&["check", "user-000001", "user-99", "a,b", "--wait"]);
    assert_eq!(odd.code, 2);
    assert_shown!("odd_users_are_told_apart", odd.shown());
    assert_eq!(place.run_fed("\n\n", &["check", "-"]).code, 1);
}

#[tokio::test]
async fn what_is_held_leaves_when_it_is_released_and_is_dropped_when_it_is_discarded() {
    let world = World::new("notify.mode = \"hold\"");
    let place = &world.place;
    let due = names(&world.composio.truth().await["mailed"]).len();

    let swept = place.run(&["sweep", "--wait", "--json"]).json();
    let held = total(&swept["notifications"], "held");
    assert!(held > 0 && place.mails() == 0, "{swept}");
    assert!(place.run(&["notifications", "list", "--state", "held"]).out.contains("go-live"));
    let none = place.run(&["notifications", "discard", "--older-than", "1d"]);
    assert_eq!((none.code, none.out.as_str()), (0, "nothing is held under go-live for 1day\n"));
    let released = place.run(&["notifications", "release"]);
    assert_eq!(
        (released.code, released.out),
        (0, format!("{held} notifications released; each user is checked again before the mail\n"))
    );
    until("everybody is mailed", Duration::from_secs(20), || place.mails() == due);

    world.composio.break_some(3).await;
    let swept = place.run(&["sweep", "--wait", "--json"]).json();
    assert_eq!(total(&swept["notifications"], "held"), 3, "{swept}");
    let discarded = place.run(&["notifications", "discard"]);
    assert_eq!((discarded.code, discarded.out.as_str()), (0, "3 notifications discarded\n"));
    assert_eq!(place.run(&["notifications", "release"]).out, "nothing is held under go-live\n");
    assert_eq!(place.mails(), due);
}

#[test]
fn without_a_worker_waiting_says_so_and_ctrl_c_leaves_the_work_to_be_done() {
    let world = World::without_worker("");
    let place = &world.place;
    let sweep = place.command(&["sweep", "--wait"]).spawn().unwrap();
    let began = Instant::now();
    let check = place.run(&["check", "user-000001", "--wait", "--timeout", "8s"]);
    assert_eq!(check.code, 1);
    assert_shown!("a_check_without_a_worker", check.shown());
    assert!(began.elapsed() < Duration::from_secs(20), "it does not wait longer than it was told to");

    kill(Pid::from_raw(sweep.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let sweep = ended(sweep);
    assert_eq!(sweep.code, 1);
    assert_shown!("a_sweep_without_a_worker", sweep.shown());

    let second = place.run(&["sweep"]);
    assert_eq!(second.code, 1);
    assert_eq!(
        second.err,
        "error: not started: another sweep that was started by hand waits already; `connection-auditor status` shows it\n"
    );
    let _worker = place.worker();
    until("a worker does both", Duration::from_secs(20), || {
        let status = place.run(&["status", "--json"]).json();
        status["sweeps"][1]["state"] == "completed"
    });
}

#[tokio::test]
async fn dead_jobs_are_listed_tried_again_and_forgotten() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "");
    assert_eq!(place.run(&["migrate"]).code, 0);
    assert_eq!(place.run(&["queue", "dead", "list"]).out, "no dead jobs\n");
    let ids: Vec<uuid::Uuid> = (1..=2)
        .map(|user| {
            let asked = place.run(&["check", &format!("user-{user}"), "--json"]).json();
            asked["checks"][0].as_str().unwrap().parse().unwrap()
        })
        .collect();
    let url = format!("sqlite:{}", place.path("auditor.sqlite").display());
    let store = store::connect(&config::Database { url: url.into(), ..config::Database::default() }).await.unwrap();
    for id in &ids {
        let died_at = DateTime::UNIX_EPOCH;
        let reason = "delivered 5 times, and no worker came to an end with it".to_owned();
        store.bury(&DeadJob { id: *id, lane: Lane::CheckNow, reason, deliveries: 5, died_at }).await.unwrap();
    }

    let list = place.run(&["queue", "dead", "list"]);
    assert_eq!(list.code, 2, "there are some");
    assert!(ids.iter().all(|id| list.out.contains(&id.to_string())), "{}", list.out);
    assert_shown!("dead_jobs", list.shown());
    let json = place.run(&["queue", "dead", "list", "--json"]).json();
    assert_eq!(keys(&json[0]), ["deliveries", "died_at", "id", "lane", "reason"]);
    assert_documented(&place, &["queue", "dead", "list"], &json);
    assert!(place.run(&["status"]).out.contains("2 dead jobs: see `connection-auditor queue dead list`"));

    let first = ids[0].to_string();
    assert_eq!(place.run(&["queue", "dead", "retry", &first]).out, "1 job will be tried again\n");
    let gone = place.run(&["queue", "dead", "retry", &first]);
    assert_eq!((gone.code, gone.err), (1, format!("error: there is no dead job {first}; nothing was changed\n")));
    assert_eq!(place.run(&["queue", "dead", "drop", "--all"]).out, "1 job forgotten\n");
    assert_eq!(place.run(&["queue", "dead", "list"]).code, 0);
}

#[test]
fn the_demo_leaves_cleanly_when_it_is_interrupted() {
    let place = Place::new();
    let mut demo = place.command(&["demo"]).spawn().unwrap();
    let mut first = [0; 1];
    demo.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    kill(Pid::from_raw(demo.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ran = ended(demo);
    assert_eq!(ran.code, 1);
    assert!(ran.err.ends_with("error: interrupted before the tick was over\n"), "{}", ran.err);
}
