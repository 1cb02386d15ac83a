//! The configuration: what is refused and how it is said, where values come from, and that secrets stay secret.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use connection_auditor::config::{Config, Need};
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret;

const EXAMPLE: &str = include_str!("../../deploy/config.example.toml");
/// What no output may hold.
const SECRET: &str = "hunter2";

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (format!("CONNECTION_AUDITOR_{name}").into(), value.into())).collect()
}

fn read(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    Config::parse(Some(("auditor.toml", toml.as_bytes())), environment(env)).map_err(|errors| {
        assert!(!format!("{errors:?}").contains(SECRET), "a secret in the errors' Debug");
        errors.to_string()
    })
}

fn refused(toml: &str, env: &[(&str, &str)]) -> String {
    let text = read(toml, env).expect_err("the configuration must be refused");
    assert!(!text.contains(SECRET), "a secret in the errors: {text}");
    text
}

/// The example with every setting that is commented out set. Twins would contradict each other, so either is left out.
fn example_uncommented(leave_out: impl Fn(&str) -> bool) -> String {
    let uncomment = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        });
        match setting {
            Some(setting) if !setting.split(' ').next().is_some_and(&leave_out) => setting.to_owned(),
            _ => line.to_owned(),
        }
    };
    EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

/// All settings of a document, `section.field`.
fn settings(table: &toml::Table, within: &str) -> Vec<String> {
    let path = |key: &str| if within.is_empty() { key.to_owned() } else { format!("{within}.{key}") };
    table
        .iter()
        .flat_map(|(key, value)| match value {
            toml::Value::Table(table) => settings(table, &path(key)),
            _ => vec![path(key)],
        })
        .collect()
}

#[test]
fn the_example_equals_the_defaults() {
    let example = read(EXAMPLE, &[]).expect("the example is valid");
    let default = Config::default();
    assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
    assert_eq!(example.redacted_toml(), default.redacted_toml());
    assert_eq!(example.database.url.expose_secret(), default.database.url.expose_secret());
    assert_eq!(example.queue.url.expose_secret(), default.queue.url.expose_secret());
}

#[test]
fn the_example_holds_every_setting_and_no_other() {
    let document: toml::Table = example_uncommented(|_| false).parse().expect("TOML");
    let mut shown = settings(&document, "");
    let mut known = Config::keys();
    shown.sort();
    known.sort();
    assert_eq!(shown, known);
}

#[test]
fn what_the_example_shows_commented_out_is_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let inline = example_uncommented(|key| key.ends_with("_file") && key != "ca_file" || key == "query");
    let config = read(&inline, &[]).expect("the settings themselves are valid");
    assert_eq!(config.require_run(), Ok(()));

    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let inline_secrets = [
        "api_key",
        "password",
        "url",
        "query",
        "secret",
        "mail_events_secret",
        "token_keys",
        "webhook_secrets",
        "read_tokens",
        "write_tokens",
    ];
    let files = example_uncommented(|key| inline_secrets.contains(&key))
        .lines()
        .filter(|line| !(line.starts_with("url = \"sqlite:")))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("/run/secrets/database_url", &secret("database", "postgres://a@b/c\n"))
        .replace("/run/secrets/queue_url", &secret("queue", "redis://b"))
        .replace("/run/secrets/users_url", &secret("users", "mysql://a@b/c\r\n"))
        .replace("/run/secrets/composio_api_key", &secret("key", "ak_hunter2\n"))
        .replace("/run/secrets/smtp_password", &secret("password", " hunter2 \n"))
        .replace("/run/secrets/alerts_webhook_url", &secret("hook", "https://a.example/hook"))
        .replace("/run/secrets/alerts_webhook_secret", &secret("signing", &format!("whsec_{}", "A".repeat(32))))
        .replace("/run/secrets/alerts_slack_url", &secret("slack", "https://b.example/hook"))
        .replace("/run/secrets/mail_events_secret", &secret("events", "hunter2-hunter2-hunter2"))
        .replace("/run/secrets/api_read_tokens", &secret("readers", "# of May\nsupport:hunter2-hunter2-hunter2\n"))
        .replace("/run/secrets/api_write_tokens", &secret("writers", "app:hunter3-hunter3-hunter3"))
        .replace(
            "/run/secrets/token_keys",
            &secret("tokens", "the-newer-key-0123456789-0123456789\n\nthe-older-key-0123456789-0123456789\n"),
        )
        .replace("/run/secrets/composio_webhook_secrets", &secret("hooks", "whsec_newer\r\nwhsec_older\r\n"))
        // This one is no secret, and has no twin.
        .replace("[http.public]", "[http.public]\nurl = \"https://c.example\"");
    let config = read(&files, &[]).expect("the twins are valid");
    let text = |secret: &Option<secrecy::SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
    assert_eq!(config.database.url.expose_secret(), "postgres://a@b/c");
    assert_eq!(config.queue.url.expose_secret(), "redis://b");
    let names: Vec<_> = config.http.ops.tokens().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["support", "app"]);
    assert_eq!(text(&config.users.url).as_deref(), Some("mysql://a@b/c"));
    assert_eq!(text(&config.composio.api_key).as_deref(), Some("ak_hunter2"));
    let texts = |secrets: &[secrecy::SecretString]| {
        secrets.iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&config.composio.webhook_secrets), ["whsec_newer", "whsec_older"]);
    assert_eq!(
        texts(&config.http.public.token_keys),
        ["the-newer-key-0123456789-0123456789", "the-older-key-0123456789-0123456789"]
    );
    assert_eq!(text(&config.mail.smtp.password).as_deref(), Some(" hunter2 "), "only the newline is cut");
}

#[test]
fn what_is_printed_is_a_configuration_again() {
    let printed = Config::default().redacted_toml();
    let again = read(&printed, &[]).expect("it is valid");
    assert_eq!(again.redacted_toml(), printed);
    insta::assert_snapshot!(printed);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let broken = r#"
verbose = true

[database]
url = "mongodb://admin:hunter2@db/audit"
max_connections = 0
acquire_timeout = 10

[queue]
url = "hunter2"
key_prefix = "a b"
leese = "15s"

[users]
table = "public..users"
page_size = -5
columns = "id"

[composio]
url = "http://api.example.org/v3"
api_key = ["hunter2"]
timeout = "3 fortnights"
max_in_flight = 99999999999999999999

[composio.retry]
max_attempts = 0
base = "1m"

[schedules.nightly]
cron = "0 0 30 2 *"
time_zone = "Europe/Atlantis"
overlap = "wait"

[schedules.Weekly]
cron = "0 25 * * MONDAY"

[schedules.manual]

[policy]
attempt_failed = true
toolkits.exclude = ["slack", 3]

[notify]
from = "Acme <ann.example.org>"
reply_to = "ann@@example.org"
reconnect_url = "https://app.example.org/{app}"
only_to = ["@example.org", "bob"]
redirect_all_to = "Bob <bob@example.org>"

[mail]
transport = "pigeon"
smtp.port = 70000
smtp.host = "smtp.example.org:25"

[log]
filter = "connection_auditor=loud"
"#;
    insta::assert_snapshot!(refused(
        broken,
        &[("CHECK__CONCURRENCY", "many"), ("DATABASE_URL", "postgres://u:hunter2@h/d")]
    ));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let contradictory = r#"
[database]
acquire_timeout = "20s"

[users]
table = "people"
query = "select 1"

[composio]
max_in_flight = 4
reserved_in_flight = 4
connect_timeout = "30s"

[check.retry]
base = "1h"

[schedules.often]
cron = "*/10 * * * *"
jitter = "10m"

[sweep]
canary_interval = "1m"
give_up_after = "1m"

[policy.toolkits]
include = ["slack", "gmail"]
exclude = ["gmail"]

[mail]
transport = "folder"

[mail.smtp]
host = "smtp.example.org"
tls = "none"
username = "ann@example.org"
password = "hunter2"
ca_file = "ca.pem"

[keeper]
interval = "15s"
"#;
    insta::assert_snapshot!(refused(contradictory, &[]));
}

#[test]
fn a_user_and_a_password_go_together() {
    assert!(
        refused("mail.smtp.username = 'ann'", &[])
            .contains("auditor.toml:1: mail.smtp.username: a user needs a password")
    );
    assert!(refused("mail.smtp.password = 'hunter2'", &[]).contains("mail.smtp.password: a password needs a user"));
    for host in ["localhost", "127.0.0.1", "::1"] {
        let local = format!("mail.smtp = {{ host = '{host}', tls = 'none', username = 'a', password = 'b' }}");
        read(&local, &[]).expect("a server on this machine needs no TLS");
    }
}

#[test]
fn public_pages_need_a_key_that_signs_and_say_how_to_make_one() {
    let text = refused("http.public.url = 'https://c.example'", &[]);
    assert!(text.contains("http.public.token_keys: required by http.public.url"), "{text}");
    assert!(text.contains("openssl rand -base64 32"), "{text}");
    let short = refused("http.public = { url = 'https://c.example', token_keys = ['hunter2'] }", &[]);
    assert!(short.contains("expected keys of 32 to 1024") && !short.contains("hunter2"), "{short}");
    let lone = refused("http.public.token_keys = 'hunter2-hunter2-hunter2-hunter2-hunter2'", &[]);
    assert!(lone.contains("in brackets") && !lone.contains("hunter2"), "{lone}");
    let key = "0123456789abcdef0123456789abcdef";
    let both = [("HTTP__PUBLIC__URL", "https://c.example"), ("HTTP__PUBLIC__TOKEN_KEYS", &format!("{key}, {key}x"))];
    let config = read("", &both).expect("in a variable they are separated by commas");
    assert_eq!(config.http.public.token_keys.len(), 2);
    assert!(!format!("{config:?}{}", config.redacted_toml()).contains(key), "no key is printed");
    let mails = "notify.from = 'a@b.example'\nmail.smtp.host = 'm'\ncomposio.api_key = 'k'";
    assert!(read(mails, &[]).expect("valid").require_run().is_err(), "a button must lead somewhere");
    assert_eq!(read(mails, &both).expect("valid").require_run(), Ok(()), "to our own pages");
}

#[test]
fn webhooks_need_somewhere_to_arrive_and_proxies_are_addresses() {
    let text = refused("composio.webhook_secrets = ['whsec_hunter2']", &[]);
    assert!(text.contains("composio.webhook_secrets: webhooks are taken at http.public.url"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = refused("http.public.trusted_proxies = ['10.0.0.0/8', 'proxy.example']", &[]);
    assert!(text.contains("http.public.trusted_proxies") && text.contains("item 2"), "{text}");
    let config = read("http.public.trusted_proxies = ['10.0.0.0/8', '::1']", &[]).expect("valid");
    assert_eq!(config.http.public.trusted_proxies.len(), 2);
}

#[test]
fn what_follows_from_a_wrong_value_is_not_said_too() {
    let text = refused("[queue]\nlease = 'long'\n[keeper]\ninterval = '20s'", &[]);
    assert!(text.contains("queue.lease") && !text.contains("keeper.interval"), "{text}");
}

#[rstest]
#[case("[queue]\nleese = '1s'", "auditor.toml:2: queue.leese: no such setting; did you mean queue.lease?")]
#[case("[databse]\nurl = 'x'", "auditor.toml:1: databse: no such setting; did you mean database?")]
#[case("[composio]\napi_kye = 'hunter2'", "did you mean composio.api_key?")]
#[case("[composio]\napi-key = 'hunter2'", "did you mean composio.api_key?")]
#[case("reconnect_url = 'https://a'", "reconnect_url: no such setting; did you mean notify.reconnect_url?")]
#[case("[schedules.nightly]\ncorn = '@daily'", "did you mean schedules.nightly.cron?")]
#[case("[mail.smtp]\nzzz = 1", "auditor.toml:2: mail.smtp.zzz: no such setting\n")]
fn an_unknown_key_is_refused_with_the_nearest_known_one(#[case] toml: &str, #[case] expected: &str) {
    let text = refused(toml, &[]) + "\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_known_one() {
    let text = refused("", &[("DATABASE_URL", "postgres://u:hunter2@h/d")]);
    assert_eq!(
        text,
        "the configuration has a problem:\n  CONNECTION_AUDITOR_DATABASE_URL: database_url: no such setting; \
         did you mean database.url (CONNECTION_AUDITOR_DATABASE__URL)?"
    );
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let toml = "[queue]\nlease = '20s'\nmax_deliveries = 7\n[notify]\nonly_to = ['@example.org']";
    let env = [
        ("QUEUE__LEASE", "30s"),
        ("NOTIFY__ONLY_TO", "ann@example.org, @example.com"),
        ("COMPOSIO__MAX_IN_FLIGHT", "12"),
        ("COMPOSIO__API_KEY", "0123456789"),
        ("MAIL__SMTP__PORT", "2525"),
        ("CHECK__RETRY__MAX_ATTEMPTS", "2"),
        ("SCHEDULES__NIGHTLY__CRON", "0 3 * * *"),
        ("SCHEDULES__NIGHTLY__TIME_ZONE", "Europe/Berlin"),
        ("LOG__FILTER", ""),
    ];
    let config = read(toml, &env).expect("valid");
    assert_eq!(config.queue.lease.as_secs(), 30);
    assert_eq!(config.queue.max_deliveries, 7);
    assert_eq!(config.queue.key_prefix, "connection-auditor");
    assert_eq!(config.notify.only_to, ["ann@example.org", "@example.com"]);
    assert_eq!(config.composio.max_in_flight, 12);
    let key = config.composio.api_key.as_ref().expect("a key");
    assert_eq!(key.expose_secret(), "0123456789", "a key of digits stays a text");
    assert_eq!(config.mail.smtp.port, Some(2525));
    assert_eq!(config.check.retry.max_attempts, 2);
    assert_eq!(config.schedules.keys().collect::<Vec<_>>(), ["nightly"]);
    assert_eq!(config.schedules["nightly"].time_zone, chrono_tz::Europe::Berlin);
    assert_eq!(config.log.filter, "info", "an empty variable counts as not set");
}

#[test]
fn other_variables_are_none_of_our_business() {
    let env = [
        ("CONFIG", "/etc/auditor.toml"),
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT_HTTP", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    read("", &env).expect("what the command line and Kubernetes set is no setting");
}

#[test]
fn a_variable_cannot_be_a_section_and_a_setting_cannot_have_fields() {
    let text = refused("[queue]\nlease = '20s'", &[("QUEUE", "x"), ("QUEUE__LEASE__MAX", "1s")]);
    assert!(text.contains("CONNECTION_AUDITOR_QUEUE: queue is a section"), "{text}");
    assert!(
        text.contains("CONNECTION_AUDITOR_QUEUE__LEASE__MAX: lease is not a section there: auditor.toml:2"),
        "{text}"
    );
}

#[test]
fn a_schedule_is_there_unless_the_section_is_there_and_empty() {
    assert_eq!(read("", &[]).expect("valid").schedules.keys().collect::<Vec<_>>(), ["daily"]);
    assert!(read("[schedules]", &[]).expect("valid").schedules.is_empty());
    let two = read("[schedules.a]\n[schedules.b-2]\ncron = '@hourly'", &[]).expect("valid");
    assert_eq!(two.schedules.keys().collect::<Vec<_>>(), ["a", "b-2"]);
    assert_eq!(two.schedules["b-2"].cron, "@hourly");
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let (empty, binary, long) =
        (file("empty", b"\n"), file("binary", b"\xffhunter2"), file("long", "a".repeat(70_000).as_bytes()));
    let message = |path: &Path| {
        let toml = format!("[composio]\napi_key_file = '{}'", path.display());
        refused(&toml, &[]).replace(&folder.path().display().to_string(), "FOLDER")
    };
    let said = [message(&empty), message(&binary), message(&long), message(&folder.path().join("none"))].join("\n");
    insta::assert_snapshot!(said);
    let both = format!("[composio]\napi_key = 'hunter2'\napi_key_file = '{}'", binary.display());
    assert!(refused(&both, &[]).contains("composio.api_key is set too: set one of the two"));
    let spaced = file("spaced", b"hunter2 hunter2\n");
    assert!(message(&spaced).contains("expected a key of visible ASCII"), "what the file holds is checked, not shown");
}

#[test]
fn secrets_and_addresses_never_leave_the_configuration() {
    let toml = r#"
[database]
url = "postgres://app:hunter2@db:5433/audit?sslmode=require&password=hunter2"
[queue]
url = "rediss://:hunter2@cache.example.org/1"
[users]
url = "mysql://app:hunter2@people/app"
[composio]
api_key = "ak_hunter2"
[notify]
from = "Acme <hunter2@example.org>"
reply_to = "hunter2@example.org"
only_to = ["hunter2@example.org", "@example.com"]
redirect_all_to = "hunter2@example.org"
[mail.smtp]
username = "hunter2@example.org"
password = "hunter2"
"#;
    let config = read(toml, &[]).expect("valid");
    let printed = config.redacted_toml();
    let debug = format!("{config:?} {config:#?}");
    assert!(!printed.contains(SECRET), "{printed}");
    assert!(!debug.contains(SECRET), "{debug}");
    for kept in [
        r#"url = "postgres://[redacted]@db:5433/audit?sslmode=require&password=[redacted]""#,
        r#"url = "rediss://[redacted]@cache.example.org/1""#,
        r#"url = "mysql://[redacted]@people/app""#,
        r#"api_key = "[redacted]""#,
        r#"from = "Acme <…@example.org>""#,
        r#"only_to = ["…@example.org", "@example.com"]"#,
        r#"password = "[redacted]""#,
    ] {
        assert!(printed.contains(kept), "{kept} is missing in\n{printed}");
    }
}

#[test]
fn what_is_missing_depends_on_what_is_to_be_done() {
    let config = read("", &[]).expect("commands that neither ask nor mail need no setting");
    insta::assert_snapshot!(config.require_run().expect_err("nothing is set"));
    let audit = read("composio.api_key = 'ak_1'", &[]).expect("valid");
    assert_eq!(audit.require(&[Need::Audit]), Ok(()));
    assert!(audit.require(&[Need::Mail]).is_err());
    let folder = "composio.api_key = 'ak_1'\nmail = { transport = 'folder', folder = 'mails' }\n\
                  notify = { from = 'a@b', reconnect_url = 'https://a.example/' }";
    assert_eq!(read(folder, &[]).expect("valid").require_run(), Ok(()));
}

#[rstest]
#[case("https://app.example.org/c/{toolkit}?u={user_id}", true)]
#[case("http://localhost:3000/connections", true)]
#[case("https://{toolkit}.example.org/", false)]
#[case("https://app.example.org/{", false)]
#[case("https://app.example.org/{Toolkit}", false)]
#[case("/connections/{toolkit}", false)]
#[case("javascript:alert({toolkit})", false)]
fn a_reconnect_url_is_a_link_whose_host_is_fixed(#[case] url: &str, #[case] valid: bool) {
    assert_eq!(read(&format!("notify.reconnect_url = '{url}'"), &[]).is_ok(), valid);
}

#[test]
fn a_file_that_is_not_toml_is_refused_line_by_line_without_being_quoted() {
    let text = refused("[database]\nurl = \"postgres://u:hunter2@h/d\nqueue = = 3\n[queue\n", &[]);
    assert!(text.contains("auditor.toml:2: not TOML"), "{text}");
    assert!(text.contains("auditor.toml:3: not TOML"), "{text}");
    let latin = Config::parse(Some(("auditor.toml", b"# \n# caf\xe9")), []).expect_err("not UTF-8");
    assert_eq!(
        latin.to_string(),
        "the configuration has a problem:\n  auditor.toml:2: the file is not UTF-8 from here on"
    );
    let missing = Config::load(Some(Path::new("/nonexistent/auditor.toml"))).expect_err("no such file");
    assert!(missing.to_string().contains("the configuration file /nonexistent/auditor.toml cannot be read"));
}

/// A line of TOML that may hit a setting.
fn a_line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[-0-9.:eTZ]{1,8}",
        "\"[ -~é]{0,20}\"",
        Just("true".to_owned()),
        "\\[(\"[a-z@.]{0,9}\",?){0,3}\\]",
        Just("{}".to_owned()),
    ];
    (prop::sample::select(Config::keys()), value)
        .prop_map(|(key, value)| format!("{key} = {}", value.replace('\\', "/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(Some(("f", &bytes)), []);
    }

    #[test]
    fn no_values_make_it_panic_and_what_is_valid_prints_as_valid_toml(lines in prop::collection::btree_set(a_line(), 0..6)) {
        let toml = lines.into_iter().collect::<Vec<_>>().join("\n");
        if let Ok(config) = Config::parse(Some(("f", toml.as_bytes())), []) {
            prop_assert!(config.redacted_toml().parse::<toml::Table>().is_ok());
        }
    }
}
