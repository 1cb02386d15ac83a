//! From what was written to what is valid: one function a section, every bound in its place.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use url::Host;

use crate::domain::retry::Retry;
use crate::domain::sweep::Overlap;
use crate::domain::tick::Ticks;
use crate::domain::window::{InvalidWindow, SendWindow};

use super::mailing::{
    AttemptFailed, Filter, GuardRules, Mail, MailTransport, Notify, NotifyMode, OnAmbiguous, Policy, Smtp, SmtpTls,
    Unfinished,
};
use super::rule::{
    address, choice, database_url, duration, is_address_or_domain, link_template, list, mailbox, origin, parsed, path,
    rising_durations, share, text, whole,
};
use super::section::{Section, Show};
use super::sections::{
    Check, Composio, Config, Database, Keeper, Log, LogFormat, Queue, Retention, Schedule, Shutdown, Sweep,
    UserColumns, Users,
};

mod outside;

const INSTANT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Shorter leases lapse while their holder is alive.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(600);

/// The whole tree.
pub(super) fn config(root: &mut Section<'_>) -> Config {
    Config {
        database: root.section("database", database),
        queue: root.section("queue", queue),
        users: root.section("users", users),
        composio: root.section("composio", composio),
        schedules: schedules(root),
        sweep: root.section("sweep", sweep),
        check: root.section("check", check),
        policy: root.section("policy", policy),
        notify: root.section("notify", notify),
        mail: root.section("mail", mail),
        guard: root.section("guard", guard),
        alerts: root.section("alerts", outside::alerts),
        http: root.section("http", outside::http),
        retention: root.section("retention", retention),
        keeper: root.section("keeper", keeper),
        shutdown: root.section("shutdown", shutdown),
        log: root.section("log", log),
    }
}

fn database(s: &mut Section<'_>) -> Database {
    let d = Database::default();
    Database {
        url: s.secret("url", database_url(&["postgres", "postgresql"])).unwrap_or(d.url),
        max_connections: s.value("max_connections", d.max_connections, whole(1..=1_000)),
        acquire_timeout: s.value("acquire_timeout", d.acquire_timeout, duration(INSTANT..=5 * MINUTE)),
    }
}

fn queue(s: &mut Section<'_>) -> Queue {
    let d = Queue::default();
    Queue {
        url: s.secret("url", database_url(&["redis", "rediss"])).unwrap_or(d.url),
        key_prefix: s.value(
            "key_prefix",
            d.key_prefix,
            parsed("letters, digits and any of ._:-, at most 64", key_prefix),
        ),
        lease: s.value("lease", d.lease, duration(LEASE)),
        max_deliveries: s.value("max_deliveries", d.max_deliveries, whole(1..=100)),
    }
}

fn key_prefix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    match text {
        "" => Err("it is empty".to_owned()),
        _ if text.len() > 64 => Err("it is longer".to_owned()),
        _ if text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err("it holds something else".to_owned()),
    }
}

fn users(s: &mut Section<'_>) -> Users {
    let d = Users::default();
    let schemes = ["postgres", "postgresql", "mysql", "mariadb"];
    Users {
        url: s.secret("url", database_url(&schemes)),
        table: s.value("table", d.table, parsed("a table's name, optionally after its schema's and a dot", table_name)),
        query: s.optional("query", text()),
        columns: s.section("columns", user_columns),
        page_size: s.value("page_size", d.page_size, whole(1..=100_000)),
        statement_timeout: s.value("statement_timeout", d.statement_timeout, duration(INSTANT..=10 * MINUTE)),
        max_connections: s.value("max_connections", d.max_connections, whole(1..=100)),
    }
}

fn user_columns(s: &mut Section<'_>) -> UserColumns {
    let d = UserColumns::default();
    let column = || parsed("a column's name", sql_name);
    UserColumns {
        id: s.value("id", d.id, column()),
        email: s.value("email", d.email, column()),
        name: s.optional("name", column()),
        locale: s.optional("locale", column()),
        time_zone: s.optional("time_zone", column()),
    }
}

fn table_name(name: &str) -> Result<String, String> {
    name.split('.').try_for_each(|part| sql_name(part).map(drop))?;
    Ok(name.to_owned())
}

/// Names are quoted where they are used; a quote within one is refused.
fn sql_name(name: &str) -> Result<String, String> {
    match name {
        _ if name.trim().is_empty() => Err("it is blank".to_owned()),
        _ if name.chars().any(|c| c.is_control() || "\"`'[];".contains(c)) => {
            Err("it holds a quote, a bracket or a semicolon".to_owned())
        }
        _ => Ok(name.to_owned()),
    }
}

fn composio(s: &mut Section<'_>) -> Composio {
    let d = Composio::default();
    Composio {
        url: s.value("url", d.url, origin()),
        api_key: s.secret("api_key", header_text),
        webhook_secrets: s.secrets("webhook_secrets", |text| match text.len() {
            8..=1_024 => Ok(()),
            _ => Err("expected secrets of 8 to 1024 bytes, as `webhooks subscribe` writes them".to_owned()),
        }),
        max_in_flight: s.value("max_in_flight", d.max_in_flight, whole(1..=1_024)),
        reserved_in_flight: s.value("reserved_in_flight", d.reserved_in_flight, whole(0..=1_023)),
        connect_timeout: s.value("connect_timeout", d.connect_timeout, duration(INSTANT..=MINUTE)),
        timeout: s.value("timeout", d.timeout, duration(INSTANT..=5 * MINUTE)),
        execute_timeout: s.value("execute_timeout", d.execute_timeout, duration(INSTANT..=10 * MINUTE)),
        page_limit: s.value("page_limit", d.page_limit, whole(1..=1_000)),
        max_pages: s.value("max_pages", d.max_pages, whole(1..=10_000)),
        max_body: s.value("max_body", d.max_body, whole(64 * 1_024..=256 * 1_024 * 1_024)),
        retry: s.section("retry", |s| retry(s, d.retry)),
    }
}

/// A key travels in a header.
fn header_text(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("expected a key of visible ASCII characters, without spaces".to_owned())
    }
}

fn retry(s: &mut Section<'_>, d: Retry) -> Retry {
    Retry {
        max_attempts: s.value("max_attempts", d.max_attempts, whole(1..=100)),
        base: s.value("base", d.base, duration(Duration::from_millis(1)..=HOUR)),
        max: s.value("max", d.max, duration(Duration::from_millis(1)..=DAY)),
    }
}

/// Schedules by name. If the section is not there at all, there is one, `daily`; if it is there and empty, there is none.
fn schedules(root: &mut Section<'_>) -> BTreeMap<String, Schedule> {
    let names = root.names("schedules");
    root.section("schedules", |s| {
        let names = names.unwrap_or_else(|| Config::default().schedules.into_keys().collect());
        let mut schedules = BTreeMap::new();
        for name in names {
            let schedule = s.section(&name, schedule);
            if name == "manual" {
                s.complain(&name, "this name is taken by sweeps that are started by hand".to_owned());
            } else if !is_schedule_name(&name) {
                s.complain(&name, "a schedule's name is at most 64 of a-z, 0-9, _ and -".to_owned());
            }
            schedules.insert(name, schedule);
        }
        schedules
    })
}

fn is_schedule_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

fn schedule(s: &mut Section<'_>) -> Schedule {
    let d = Schedule::default();
    let expected = "a cron text such as \"0 9 * * *\" (minute hour day month weekday)";
    let cron = |text: &str| match Ticks::parse(text, chrono_tz::UTC) {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let zone = |text: &str| text.parse().map_err(|_| "this version knows no such zone".to_owned());
    Schedule {
        cron: s.value("cron", d.cron, parsed(expected, cron)),
        time_zone: s.value("time_zone", d.time_zone, parsed("an IANA time zone such as \"Europe/Berlin\"", zone)),
        overlap: s.value("overlap", d.overlap, choice(&[("skip", Overlap::Skip), ("queue", Overlap::Queue)])),
        catch_up: s.value("catch_up", d.catch_up, duration(Duration::ZERO..=30 * DAY)),
        jitter: s.value("jitter", d.jitter, duration(Duration::ZERO..=DAY)),
    }
}

fn sweep(s: &mut Section<'_>) -> Sweep {
    let d = Sweep::default();
    Sweep {
        max_queued_chunks: s.value("max_queued_chunks", d.max_queued_chunks, whole(1..=100_000)),
        give_up_after: s.value("give_up_after", d.give_up_after, duration(SECOND..=30 * DAY)),
        canary_interval: s.value("canary_interval", d.canary_interval, duration(INSTANT..=HOUR)),
        lease: s.value("lease", d.lease, duration(LEASE)),
    }
}

fn check(s: &mut Section<'_>) -> Check {
    let d = Check::default();
    Check {
        users_per_job: s.value("users_per_job", d.users_per_job, whole(1..=1_000)),
        concurrency: s.value("concurrency", d.concurrency, whole(1..=512)),
        retry: s.section("retry", |s| retry(s, d.retry)),
    }
}

fn policy(s: &mut Section<'_>) -> Policy {
    let d = Policy::default();
    let attempt_failed = [("mail", AttemptFailed::Mail), ("ignore", AttemptFailed::Ignore)];
    let unfinished = [("ignore", Unfinished::Ignore), ("nudge", Unfinished::Nudge)];
    Policy {
        attempt_failed: s.value("attempt_failed", d.attempt_failed, choice(&attempt_failed)),
        unfinished: s.value("unfinished", d.unfinished, choice(&unfinished)),
        ignore_older_than: s.optional("ignore_older_than", duration(MINUTE..=10 * YEAR)),
        reminders: s.value("reminders", d.reminders, rising_durations(SECOND..=YEAR, 10)),
        min_interval: s.value("min_interval", d.min_interval, duration(Duration::ZERO..=YEAR)),
        group_wait: s.value("group_wait", d.group_wait, duration(Duration::ZERO..=DAY)),
        group_wait_single: s.value("group_wait_single", d.group_wait_single, duration(Duration::ZERO..=DAY)),
        confirm_after: s.value("confirm_after", d.confirm_after, duration(Duration::ZERO..=30 * DAY)),
        send_window: s.optional("send_window", parsed("two times of day, such as \"09:00-18:00\"", send_window)),
        toolkits: s.section("toolkits", |s| filter(s, "apps, as Composio writes them (\"googlecalendar\")")),
        auth_configs: s.section("auth_configs", |s| filter(s, "auth configs, as Composio writes them (\"ac_…\")")),
    }
}

fn send_window(text: &str) -> Result<SendWindow, String> {
    text.parse().map_err(|error: InvalidWindow| error.to_string())
}

fn guard(s: &mut Section<'_>) -> GuardRules {
    let d = GuardRules::default();
    GuardRules {
        window: s.value("window", d.window, duration(MINUTE..=30 * DAY)),
        min_incidents: s.value("min_incidents", d.min_incidents, whole(1..=1_000_000)),
        max_share: s.value("max_share", d.max_share, share()),
        max_share_first: s.value("max_share_first", d.max_share_first, share()),
        ramp_wait: s.value("ramp_wait", d.ramp_wait, duration(Duration::ZERO..=30 * DAY)),
        max_mails_per_hour: s.optional("max_mails_per_hour", whole(1..=10_000_000)),
    }
}

fn retention(s: &mut Section<'_>) -> Retention {
    let d = Retention::default();
    let kept = || duration(HOUR..=10 * YEAR);
    Retention {
        sweeps: s.value("sweeps", d.sweeps, kept()),
        incidents: s.value("incidents", d.incidents, kept()),
        observations: s.value("observations", d.observations, kept()),
        users: s.value("users", d.users, kept()),
        alerts: s.value("alerts", d.alerts, kept()),
    }
}

fn filter(s: &mut Section<'_>, expected: &str) -> Filter {
    let name = |text: &str| !text.contains(char::is_whitespace) && !text.contains(',');
    Filter {
        include: s.value("include", Vec::new(), list(expected, name)),
        exclude: s.value("exclude", Vec::new(), list(expected, name)),
    }
}

fn notify(s: &mut Section<'_>) -> Notify {
    let d = Notify::default();
    let addresses = "addresses, or domains after an @";
    let on_ambiguous = [("retry", OnAmbiguous::Retry), ("hold", OnAmbiguous::Hold)];
    Notify {
        mode: s.value("mode", d.mode, choice(&[("send", NotifyMode::Send), ("hold", NotifyMode::Hold)])),
        from: s.optional_shown("from", Show::Masked, mailbox()),
        reply_to: s.optional_shown("reply_to", Show::Masked, mailbox()),
        app_name: s.optional("app_name", parsed("the app's name, one line of at most 100 characters", app_name)),
        reconnect_url: s.optional("reconnect_url", link_template()),
        only_to: s.optional_shown("only_to", Show::Nothing, list(addresses, is_address_or_domain)).unwrap_or(d.only_to),
        redirect_all_to: s.optional_shown("redirect_all_to", Show::Masked, address()),
        on_ambiguous: s.value("on_ambiguous", d.on_ambiguous, choice(&on_ambiguous)),
        concurrency: s.value("concurrency", d.concurrency, whole(1..=512)),
        retry: s.section("retry", |s| retry(s, d.retry)),
    }
}

fn app_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is blank".to_owned()),
        name if name.chars().any(char::is_control) => Err("it has more than a line".to_owned()),
        name if name.chars().count() > 100 => Err("it is longer".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn mail(s: &mut Section<'_>) -> Mail {
    let d = Mail::default();
    let transports = [("smtp", MailTransport::Smtp), ("folder", MailTransport::Folder)];
    Mail {
        transport: s.value("transport", d.transport, choice(&transports)),
        smtp: s.section("smtp", smtp),
        folder: s.optional("folder", path()),
        templates: s.optional("templates", path()),
        locale: s.value("locale", d.locale, text()),
    }
}

fn smtp(s: &mut Section<'_>) -> Smtp {
    let d = Smtp::default();
    let tls = [("starttls", SmtpTls::Starttls), ("implicit", SmtpTls::Implicit), ("none", SmtpTls::None)];
    let host = |text: &str| {
        let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<Ipv6Addr>().is_ok() {
            return Ok(bare.to_owned());
        }
        Host::parse(bare).map(|_| bare.to_owned()).map_err(|error| error.to_string())
    };
    Smtp {
        host: s.optional("host", parsed("a host's name or IP address, without a port", host)),
        port: s.optional("port", whole(1..=u16::MAX)),
        tls: s.value("tls", d.tls, choice(&tls)),
        username: s.optional_shown("username", Show::Masked, text()),
        password: s.secret("password", |text| {
            if text.is_empty() { Err("expected a password: it is empty".to_owned()) } else { Ok(()) }
        }),
        ca_file: s.optional("ca_file", path()),
        connections: s.value("connections", d.connections, whole(1..=64)),
        timeout: s.value("timeout", d.timeout, duration(SECOND..=10 * MINUTE)),
        idle: s.value("idle", d.idle, duration(SECOND..=HOUR)),
    }
}

fn keeper(s: &mut Section<'_>) -> Keeper {
    let d = Keeper::default();
    Keeper { interval: s.value("interval", d.interval, duration(INSTANT..=MINUTE)) }
}

fn shutdown(s: &mut Section<'_>) -> Shutdown {
    let d = Shutdown::default();
    Shutdown { grace: s.value("grace", d.grace, duration(Duration::ZERO..=10 * MINUTE)) }
}

fn log(s: &mut Section<'_>) -> Log {
    let d = Log::default();
    let filter = |text: &str| match EnvFilter::builder().parse(text) {
        Ok(_) if text.trim().is_empty() => Err("it is blank".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let expected = "a filter such as \"info\" or \"connection_auditor=debug,warn\"";
    Log {
        format: s.value("format", d.format, choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)])),
        filter: s.value("filter", d.filter, parsed(expected, filter)),
    }
}
