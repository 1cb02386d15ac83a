//! `check-config` and `mail test`, on real servers: all well, and with each neighbour broken in turn.

use mail_parser::MessageParser;
use std::fmt::Write as _;

use super::{Composio, Place, Ran, SECRET, assert_shown, keys};
use crate::support::postgres;
use crate::support::redis::Redis;
use crate::support::smtp::{Act, At, Options, SmtpServer, Tls};

/// A place whose configuration names a real server for everything; each has a password in its URL or beside it.
struct Production {
    place: Place,
    smtp: SmtpServer,
    _composio: Composio,
    _redis: Redis,
}

impl Production {
    async fn new() -> Self {
        let place = Place::new();
        let composio = Composio::start(&place, 40);
        let redis = Redis::start_with(&["--requirepass", SECRET]);
        let login = Some(("auditor", SECRET));
        let smtp = SmtpServer::with(Options { tls: Tls::Starttls, login, ..Options::default() }).await;
        let database = postgres::database().await.replacen("postgres@", &format!("postgres:{SECRET}@"), 1);
        let text = format!(
            r#"
            database.url = "{database}"
            queue.url = "redis://:{SECRET}@127.0.0.1:{redis}/"
            composio.url = "{composio}"
            composio.api_key = "ak_simulator_0000000000"
            schedules.morning.cron = "30 2 * * *"
            schedules.morning.time_zone = "Europe/Berlin"
            schedules.hourly.cron = "0 * * * *"
            notify.from = "Acme <no-reply@acme.example>"
            notify.reconnect_url = "https://acme.example/connections?app={{toolkit}}&user={{user_id}}"
            mail.smtp.host = "localhost"
            mail.smtp.port = {smtp}
            mail.smtp.username = "auditor"
            mail.smtp.password = "{SECRET}"
            mail.smtp.ca_file = "{ca}"
            "#,
            redis = redis.port,
            composio = composio.url(),
            smtp = smtp.port(),
            ca = smtp.ca_file().display(),
        );
        place.write("auditor.toml", text);
        assert_eq!(place.run(&["migrate"]).code, 0);
        assert_eq!(place.run(&["users", "import", composio.users.to_str().unwrap()]).code, 0);
        Self { place, smtp, _composio: composio, _redis: redis }
    }
}

/// What was found of the neighbours.
fn connections(ran: &Ran) -> String {
    ran.shown().split("# Connections\n").nth(1).unwrap_or_else(|| panic!("{ran:?}")).to_owned()
}

#[tokio::test]
async fn what_is_in_effect_is_checked_and_printed_without_a_secret() {
    let production = Production::new().await;
    let ran = production.place.run(&["check-config"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = ran.shown();
    assert!(!shown.contains("ak_simulator") && !shown.contains("no-reply@"), "{shown}");
    assert_shown!("every_neighbour_is_well", connections(&ran));

    let ticks: Vec<&str> = shown.lines().filter(|line| line.starts_with("#     ")).collect();
    assert_eq!(ticks.len(), 10, "{ticks:?}");
    let (hourly, morning) = ticks.split_at(5);
    assert!(hourly.iter().all(|tick| tick.ends_with(":00:00 UTC")), "{hourly:?}");
    for tick in morning {
        assert!(tick.contains(" CET  = ") || tick.contains(" CEST  = "), "{tick}");
        assert!(tick.ends_with(" UTC"), "{tick}");
    }

    let again = toml::from_str::<toml::Table>(&ran.out).unwrap();
    assert_eq!(
        again["schedules"]["morning"]["time_zone"].as_str(),
        Some("Europe/Berlin"),
        "it is a configuration again"
    );

    let json = production.place.run(&["check-config", "--json"]);
    json.shown();
    let json = json.json();
    assert_eq!(keys(&json), ["config", "connections", "ticks"]);
    assert_eq!(json["config"]["composio"]["api_key"], "[redacted]");
    let names: Vec<&str> =
        json["connections"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["database", "queue", "users", "composio", "mail"]);
    assert_eq!(keys(&json["connections"][0]), ["found", "name", "ok", "warnings"]);
    assert_eq!(json["ticks"]["morning"].as_array().map(Vec::len), Some(5));

    let offline = production.place.run(&["check-config", "--offline"]);
    assert_eq!(offline.code, 0);
    assert!(!offline.out.contains("# Connections"));
}

#[tokio::test]
async fn the_neighbour_that_is_broken_is_named_with_what_to_look_at_and_the_others_are_well() {
    let production = Production::new().await;
    let nobody = format!("postgres://auditor:{SECRET}@127.0.0.1:9/app");
    let broken = [
        ("database", ("DATABASE__URL", nobody.as_str())),
        ("queue", ("QUEUE__URL", "redis://:wrong@127.0.0.1:9/")),
        ("users", ("USERS__TABLE", "public.people")),
        ("users", ("USERS__COLUMNS__EMAIL", "mail_address")),
        ("composio", ("COMPOSIO__API_KEY", "ak_wrong_key")),
        ("composio", ("COMPOSIO__URL", "http://127.0.0.1:9")),
        ("mail", ("MAIL__SMTP__PORT", "9")),
        ("mail", ("MAIL__SMTP__PASSWORD", "wrong")),
    ];
    let mut all = String::new();
    for (name, (variable, value)) in broken {
        let ran = production.place.run_with(&[(variable, value)], &["check-config"]);
        assert_eq!(ran.code, 1, "{variable}");
        let found = connections(&ran);
        let failed: Vec<&str> = found.lines().filter(|line| line.contains("FAILED")).collect();
        // The users are in the auditor's own database here.
        let expected = if name == "database" { 2 } else { 1 };
        assert!(failed.len() == expected && failed[0].contains(name), "{variable}: {found}");
        writeln!(all, "{variable}\n{}", failed.join("\n")).expect("a text can be written to");
    }
    assert_shown!(all);
}

#[tokio::test]
async fn a_test_mail_arrives_and_its_recipient_is_not_printed() {
    let production = Production::new().await;
    let ran = production.place.run(&["mail", "test", "ann@example.org"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.shown().contains("ann@"));
    let [received] = production.smtp.received().try_into().unwrap();
    assert!(received.encrypted);
    assert_eq!(received.to, ["ann@example.org"]);
    let mail = MessageParser::new().parse(&received.bytes).unwrap();
    assert_eq!(ran.out, format!("the mail server took it; its Message-ID is <{}>\n", mail.message_id().unwrap()));

    production.smtp.fault(At::Rcpt, Act::Reply(550, "5.1.1 no such mailbox: ann@example.org"));
    let refused = production.place.run(&["mail-test", "ann@example.org"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.starts_with("error: the test mail was not taken: "), "{}", refused.err);
    assert!(!refused.shown().contains("ann@"));
}

#[test]
fn a_folder_that_is_missing_is_told_before_the_worker_starts() {
    let place = Place::new();
    place.configure("http://127.0.0.1:9", "composio.retry.max_attempts = 1");
    let ran = place.run_with(&[("DATABASE__URL", "sqlite:nowhere/auditor.sqlite")], &["check-config"]);
    assert_eq!(ran.code, 1);
    assert_shown!(place.settled(&connections(&ran)));
    assert!(!place.path("queue.sqlite").exists(), "nothing comes into being by being looked at");
}
