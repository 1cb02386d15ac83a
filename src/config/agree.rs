//! Settings that are valid each, but not together; and those that some work cannot do without.

use std::time::Duration;

use chrono::DateTime;
use secrecy::SecretString;

use crate::domain::retry::Retry;
use crate::domain::tick::Ticks;

use super::error::{ConfigErrors, Problem};
use super::mailing::{MailTransport, Smtp, SmtpTls};
use super::ops::HttpOps;
use super::print::show_duration;
use super::rule::is_loopback;
use super::section::Findings;
use super::sections::{Config, Schedule};
use super::source::env_name;

/// How many ticks are looked at to find the shortest time between two.
const TICKS_COMPARED: usize = 20;

/// What a command is going to do, which decides what must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Ask Composio: the API key.
    Audit,
    /// Send mail: who it is from, where its button leads, and the mail server.
    Mail,
    /// Answer over HTTP and do nothing else: somewhere to listen.
    Answer,
}

impl Config {
    /// Checks that everything is set that `needs` cannot do without. Commands that do neither work without any setting.
    ///
    /// # Errors
    /// All that is missing, each with its setting, its environment variable and, for a secret, its `…_file` twin.
    pub fn require(&self, needs: &[Need]) -> Result<(), ConfigErrors> {
        let mut missing = Vec::new();
        let mut demand = |set: bool, key: &str, what: &str| {
            if !set {
                missing
                    .push(Problem::of(key, format!("required, {what}: set it in the file, or as {}", env_name(key))));
            }
        };
        if needs.contains(&Need::Audit) {
            let what = format!(
                "the API key of the Composio project (or composio.api_key_file, {}, the path of a file that holds it)",
                env_name("composio.api_key_file")
            );
            demand(self.composio.api_key.is_some(), "composio.api_key", &what);
        }
        if needs.contains(&Need::Mail) {
            demand(self.notify.from.is_some(), "notify.from", "the address that mails come from");
            let what = "the page of your app to which the button of a mail leads, with {toolkit} and {user_id} (or \
                        http.public.url, where the pages of this program are reached)";
            let leads_somewhere = self.notify.reconnect_url.is_some() || self.http.public.url.is_some();
            demand(leads_somewhere, "notify.reconnect_url", what);
            if self.mail.transport == MailTransport::Smtp {
                demand(self.mail.smtp.host.is_some(), "mail.smtp.host", "the mail server");
            }
        }
        if needs.contains(&Need::Answer) {
            let listens = self.http.public.url.is_some() || self.http.ops.listen.is_some();
            let what = "where the internet reaches the role http, since http.ops.listen is \"off\"";
            demand(listens, "http.public.url", what);
        }
        ConfigErrors::unless_empty(missing)
    }

    /// Checks that everything is set that the whole pipeline needs (`run` with all roles, `sweep`).
    ///
    /// # Errors
    /// All that is missing, as [`Self::require`].
    pub fn require_run(&self) -> Result<(), ConfigErrors> {
        self.require(&[Need::Audit, Need::Mail])
    }
}

/// Notes settings that contradict each other.
pub(super) fn contradictions(config: &Config, findings: &mut Findings) {
    let doubtful = findings.problems.iter().filter_map(|problem| problem.key.clone()).collect();
    let mut judge = Judge { findings, doubtful };
    timing(config, &mut judge);
    for (section, retry) in
        [("composio", &config.composio.retry), ("check", &config.check.retry), ("notify", &config.notify.retry)]
    {
        let Retry { base, max, .. } = retry;
        let (base_key, max_key) = (format!("{section}.retry.base"), format!("{section}.retry.max"));
        judge.not_longer(&base_key, *base, &max_key, *max, "the first wait is never longer than the longest");
    }
    judge.refuse_if(
        config.composio.reserved_in_flight >= config.composio.max_in_flight,
        &["composio.reserved_in_flight", "composio.max_in_flight"],
        format!(
            "{} requests reserved of {} leave none for sweeps; reserve fewer than composio.max_in_flight",
            config.composio.reserved_in_flight, config.composio.max_in_flight
        ),
    );
    for (name, schedule) in &config.schedules {
        spacing(name, schedule, &mut judge);
    }
    for (key, filter) in
        [("policy.toolkits", &config.policy.toolkits), ("policy.auth_configs", &config.policy.auth_configs)]
    {
        let both: Vec<&str> =
            filter.include.iter().filter(|name| filter.exclude.contains(name)).map(String::as_str).collect();
        let message = format!("{} included and excluded: take it out of one list", both.join(", "));
        judge.refuse_if(!both.is_empty(), &[&format!("{key}.exclude"), &format!("{key}.include")], message);
    }
    judge.refuse_if(
        judge.is_set("users.table") && judge.is_set("users.query"),
        &["users.query", "users.table"],
        "users.table is set too: set one of the two".to_owned(),
    );
    judge.refuse_if(
        config.mail.transport == MailTransport::Folder && config.mail.folder.is_none(),
        &["mail.folder", "mail.transport"],
        "required by mail.transport = \"folder\": the folder into which mails are written".to_owned(),
    );
    smtp(&config.mail.smtp, &mut judge);
    outside(config, &mut judge);
}

fn outside(config: &Config, judge: &mut Judge<'_>) {
    let webhook = &config.alerts.webhook;
    let keys = ["alerts.webhook.secret", "alerts.webhook.secret_file", "alerts.webhook.url", "alerts.webhook.url_file"];
    judge.refuse_if(
        webhook.url.is_some() != webhook.secret.is_some(),
        &keys,
        "a webhook needs both, alerts.webhook.url and alerts.webhook.secret: its receiver checks the signature"
            .to_owned(),
    );
    let public = &config.http.public;
    judge.refuse_if(
        public.mail_events_secret.is_some() && public.url.is_none(),
        &["http.public.mail_events_secret", "http.public.mail_events_secret_file", "http.public.url"],
        "bounces are taken at http.public.url, which is unset: nothing would listen".to_owned(),
    );
    judge.refuse_if(
        !config.composio.webhook_secrets.is_empty() && public.url.is_none(),
        &["composio.webhook_secrets", "composio.webhook_secrets_file", "http.public.url"],
        "webhooks are taken at http.public.url, which is unset: nothing would listen".to_owned(),
    );
    judge.refuse_if(
        public.url.is_some() && public.token_keys.is_empty(),
        &["http.public.token_keys", "http.public.token_keys_file", "http.public.url"],
        "required by http.public.url, for the links of mails are signed: a list with a key that no other installation has; \
         make one with `openssl rand -base64 32`"
            .to_owned(),
    );
    ops(&config.http.ops, judge);
    let (kept, window) = (config.retention.incidents, config.guard.window);
    let why = "the guard and the flapping rule look that far back";
    judge.not_longer("guard.window", window, "retention.incidents", kept, why);
}

/// Whoever reaches a listener without tokens may do anything: only this machine may.
fn ops(ops: &HttpOps, judge: &mut Judge<'_>) {
    let reachable = ops.listen.filter(|address| !address.ip().to_canonical().is_loopback());
    let tokens = ["read_tokens", "read_tokens_file", "write_tokens", "write_tokens_file"];
    let tokens = tokens.map(|key| format!("http.ops.{key}"));
    let keys: Vec<&str> = ["http.ops.listen"].into_iter().chain(tokens.iter().map(String::as_str)).collect();
    judge.refuse_if(
        reachable.is_some() && ops.tokens().is_empty(),
        &keys,
        "other machines reach this address, and no token is set: set http.ops.read_tokens or http.ops.write_tokens (or \
         their _file twins), or listen on 127.0.0.1"
            .to_owned(),
    );
}

fn timing(config: &Config, judge: &mut Judge<'_>) {
    let lease = config.queue.lease;
    let why = "a lapsed lease would be found late, and a killed worker's jobs would wait";
    judge.shorter("keeper.interval", config.keeper.interval, "queue.lease", lease, why);
    let wait = config.database.acquire_timeout;
    let why = "a renewal that waits for a connection would come too late";
    judge.shorter("database.acquire_timeout", wait, "queue.lease", lease, why);
    judge.shorter("database.acquire_timeout", wait, "sweep.lease", config.sweep.lease, why);
    let (connect, whole) = (config.composio.connect_timeout, config.composio.timeout);
    judge.not_longer(
        "composio.connect_timeout",
        connect,
        "composio.timeout",
        whole,
        "a request begins with connecting",
    );
    let (look, give_up) = (config.sweep.canary_interval, config.sweep.give_up_after);
    let why = "a paused sweep would fail before it looks again";
    judge.shorter("sweep.canary_interval", look, "sweep.give_up_after", give_up, why);
}

/// Sweeps of one schedule must begin in the order of their ticks.
fn spacing(name: &str, schedule: &Schedule, judge: &mut Judge<'_>) {
    let Ok(ticks) = Ticks::parse(&schedule.cron, schedule.time_zone) else { return };
    let upcoming = ticks.upcoming(DateTime::UNIX_EPOCH, TICKS_COMPARED);
    let gaps = upcoming.iter().zip(upcoming.iter().skip(1)).filter_map(|(one, two)| (*two - *one).to_std().ok());
    let Some(shortest) = gaps.min() else { return };
    let key = |field: &str| format!("schedules.{name}.{field}");
    judge.refuse_if(
        schedule.jitter >= shortest,
        &[&key("jitter"), &key("cron")],
        format!(
            "{} is not shorter than the time between two ticks ({}); sweeps would begin out of order",
            show_duration(schedule.jitter),
            show_duration(shortest)
        ),
    );
}

fn smtp(smtp: &Smtp, judge: &mut Judge<'_>) {
    let has = |secret: &Option<SecretString>| secret.is_some();
    let password =
        if judge.is_set("mail.smtp.password_file") { "mail.smtp.password_file" } else { "mail.smtp.password" };
    let login = ["mail.smtp.username", "mail.smtp.password", "mail.smtp.password_file"];
    if !judge.is_doubtful(&login) {
        judge.refuse_if(
            smtp.username.is_some() && !has(&smtp.password),
            &["mail.smtp.username"],
            "a user needs a password: set mail.smtp.password or mail.smtp.password_file".to_owned(),
        );
        judge.refuse_if(
            smtp.username.is_none() && has(&smtp.password),
            &[password],
            "a password needs a user: set mail.smtp.username".to_owned(),
        );
    }
    judge.refuse_if(
        smtp.tls == SmtpTls::None
            && smtp.username.is_some()
            && smtp.host.as_deref().is_some_and(|host| !is_loopback(host)),
        &["mail.smtp.tls", "mail.smtp.host"],
        "without TLS the password could be read on the way; \"none\" with a user is for a server on this machine only"
            .to_owned(),
    );
    judge.refuse_if(
        smtp.tls == SmtpTls::None && smtp.ca_file.is_some(),
        &["mail.smtp.ca_file", "mail.smtp.tls"],
        "certificates are not looked at with mail.smtp.tls = \"none\"".to_owned(),
    );
}

struct Judge<'f> {
    findings: &'f mut Findings,
    /// Settings that are wrong by themselves: what follows from them need not be said.
    doubtful: Vec<String>,
}

impl Judge<'_> {
    fn is_set(&self, key: &str) -> bool {
        self.findings.origins.contains_key(key)
    }

    fn is_doubtful(&self, keys: &[&str]) -> bool {
        self.doubtful.iter().any(|key| keys.contains(&key.as_str()))
    }

    /// Notes a contradiction under the first of `keys`, unless one of them is wrong by itself.
    fn refuse_if(&mut self, contradiction: bool, keys: &[&str], message: String) {
        let Some(first) = keys.first() else { return };
        if contradiction && !self.is_doubtful(keys) {
            let origin = keys.iter().find_map(|key| self.findings.origins.get(*key)).cloned();
            self.findings.problems.push(Problem::of(*first, message).from(origin));
        }
    }

    fn shorter(&mut self, key: &str, value: Duration, than: &str, bound: Duration, why: &str) {
        let (shown, bound_shown) = (show_duration(value), show_duration(bound));
        let message = format!("{shown} must be shorter than {than} ({bound_shown}): {why}");
        self.refuse_if(value >= bound, &[key, than], message);
    }

    fn not_longer(&mut self, key: &str, value: Duration, than: &str, bound: Duration, why: &str) {
        let (shown, bound_shown) = (show_duration(value), show_duration(bound));
        let message = format!("{shown} must not be longer than {than} ({bound_shown}): {why}");
        self.refuse_if(value > bound, &[key, than], message);
    }
}
