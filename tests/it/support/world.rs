//! A whole installation for a test: the simulator, a mail server, databases, a queue, and real worker processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection_auditor::adapters::store;
use connection_auditor::app::App;
use connection_auditor::config;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::{SweepId, UserId};
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::Store;
use connection_auditor::domain::sweep::{NewSweep, Overlap, Sweep, SweepMode, Trigger};
use connection_auditor::simulator::{Mix, PopulationSpec, Shelf, Simulator, SimulatorOptions};
use sqlx::Connection;
use uuid::Uuid;

use super::redis::Redis;
use super::smtp::SmtpServer;
use super::{postgres, redis, server};

/// The binary that users run.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_connection-auditor");

/// Who is told of trouble, in worlds that tell.
pub(crate) const OPERATOR: &str = "ops@acme.example";

/// One installation.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) smtp: SmtpServer,
    /// A Redis of its own, for worlds that wipe or kill it.
    pub(crate) redis: Option<Redis>,
    pub(crate) store: Arc<dyn Store>,
    settings: BTreeMap<String, String>,
    folder: tempfile::TempDir,
    workers: Vec<Option<Child>>,
}

/// What a world is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// PostgreSQL and Redis, the app's users in a table of another database.
    Servers,
    /// SQLite and the embedded queue, the app's users in the auditor's own table.
    Embedded,
}

impl World {
    /// A population of this size, nothing running yet.
    pub(crate) async fn new(on: On, users: u64) -> Self {
        Self::mixed(on, users, Mix::default()).await
    }

    /// The same, of chosen kinds of users.
    pub(crate) async fn mixed(on: On, users: u64, mix: Mix) -> Self {
        let anchor = SystemClock.now();
        let population = PopulationSpec { seed: 7, users, mix, anchor, favourite: None };
        Self::of(on, population).await
    }

    /// The same, of a chosen population.
    pub(crate) async fn of(on: On, population: PopulationSpec) -> Self {
        let clock = SystemClock;
        // One auth config an app, so that a link can be asked for without naming one.
        let options = SimulatorOptions { population, page_cap: 100, shelf: Shelf::One, ..SimulatorOptions::default() };
        let simulator = Simulator::start(options, Arc::new(move || clock.now())).await.expect("the simulator starts");
        let smtp = SmtpServer::start().await;
        let folder = tempfile::Builder::new().prefix("auditor-world-").tempdir().expect("a folder");
        let mut settings = BTreeMap::new();
        let mut set = |key: &str, value: String| settings.insert(key.to_owned(), value);
        set("composio.url", simulator.url().to_owned());
        set("composio.api_key", simulator.api_key().to_owned());
        set("notify.from", "Acme <no-reply@acme.example>".to_owned());
        set("notify.reconnect_url", "https://acme.example/connect?app={toolkit}&user={user_id}".to_owned());
        set("mail.smtp.host", "127.0.0.1".to_owned());
        set("mail.smtp.port", smtp.port().to_string());
        set("mail.smtp.tls", "none".to_owned());
        set("log.filter", "info,connection_auditor=debug".to_owned());
        set("policy.group_wait_single", "0s".to_owned());
        // Worlds live side by side: the one that is asked for an API names its port.
        set("http.ops.listen", "off".to_owned());
        let mut own_redis = None;
        match on {
            On::Servers => {
                let redis = tokio::task::spawn_blocking(Redis::start).await.expect("Redis starts");
                set("database.url", postgres::database().await);
                set("queue.url", redis.url());
                set("queue.key_prefix", redis::prefix());
                set("users.url", postgres::database().await);
                set("users.table", "people".to_owned());
                set("users.columns.name", "full_name".to_owned());
                set("users.columns.time_zone", "zone".to_owned());
                own_redis = Some(redis);
            }
            On::Embedded => {
                let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
                set("database.url", file("auditor.sqlite"));
                set("queue.url", file("queue.sqlite"));
            }
        }
        let database = config::Database { url: settings["database.url"].clone().into(), ..config::Database::default() };
        store::migrate(&database).await.expect("the tables can be made");
        let store = store::connect(&database).await.expect("the database answers");
        let this = Self { simulator, smtp, redis: own_redis, store, settings, folder, workers: Vec::new() };
        match on {
            On::Servers => this.insert_people().await,
            On::Embedded => this.import_people(),
        }
        this
    }

    async fn insert_people(&self) {
        let mut app = self.app().await;
        sqlx::query("CREATE TABLE people (id text PRIMARY KEY, email text, full_name text, zone text)")
            .execute(&mut app)
            .await
            .expect("a table");
        let people: Vec<_> = self.simulator.users().collect();
        sqlx::query("INSERT INTO people SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])")
            .bind(people.iter().map(|person| person.id.as_str().to_owned()).collect::<Vec<_>>())
            .bind(people.iter().map(|person| person.email.clone()).collect::<Vec<_>>())
            .bind(people.iter().map(|person| person.name.clone()).collect::<Vec<_>>())
            .bind(people.iter().map(|person| person.time_zone.clone()).collect::<Vec<_>>())
            .execute(&mut app)
            .await
            .expect("the people are inserted");
    }

    fn import_people(&self) {
        let file = self.folder.path().join("users.csv");
        let out = std::fs::File::create(&file).expect("a file");
        self.simulator.population().write_users_csv(out).expect("the users are written");
        let output = self.command(&["users", "import", file.to_str().expect("a plain path")]);
        // 2: the lines that are meant to be bad were rejected, and said so.
        assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    }

    /// The subjects of the mails that the operator got.
    pub(crate) fn told(&self) -> Vec<String> {
        let received = self.smtp.received();
        let told = received.iter().filter(|mail| mail.to.iter().any(|to| to == OPERATOR));
        told.map(|mail| parsed(&mail.bytes).subject().unwrap_or_default().to_owned()).collect()
    }

    /// The installation as it is in this process, by a clock of one's own.
    pub(crate) async fn app_at(&self, clock: Arc<dyn Clock>) -> App {
        let environment = self.environment().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        // As the binary does it; another test of this process may have done so before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = config::Config::parse(None, environment).expect("the settings are valid");
        App { clock, ..App::connect(config).await.expect("everything answers") }
    }

    /// Makes everything that the auditor has stored older by this, as if time had passed; only while nothing is on its way.
    pub(crate) async fn age(&self, by: chrono::TimeDelta) {
        let mut database =
            sqlx::PgConnection::connect(self.setting("database.url")).await.expect("the database answers");
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_name::text, string_agg(format('%1$I = %1$I - $1', column_name), ', ')
             FROM information_schema.columns
             WHERE table_name LIKE 'auditor\\_%' AND data_type = 'timestamp with time zone' GROUP BY table_name",
        )
        .fetch_all(&mut database)
        .await
        .expect("the catalog can be read");
        let mut transaction = database.begin().await.expect("a transaction");
        for (table, assignments) in columns.iter().filter(|(table, _)| table != "auditor_migrations") {
            sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE {table} SET {assignments}")))
                .bind(by)
                .execute(&mut *transaction)
                .await
                .expect("it ages");
        }
        transaction.commit().await.expect("it is older");
    }

    /// Changes a setting for what is started from now on.
    pub(crate) fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        self.settings.insert(key.to_owned(), value.to_string());
    }

    /// A setting as it is.
    pub(crate) fn setting(&self, key: &str) -> &str {
        &self.settings[key]
    }

    /// Makes retries quick, for tests in which things fail on purpose.
    pub(crate) fn impatient(&mut self) {
        for (key, value) in [
            ("composio.timeout", "2s"),
            ("composio.connect_timeout", "1s"),
            ("composio.retry.base", "50ms"),
            ("composio.retry.max", "1s"),
            ("check.retry.base", "500ms"),
            ("check.retry.max", "2s"),
            ("check.retry.max_attempts", "12"),
            ("sweep.canary_interval", "500ms"),
            ("keeper.interval", "500ms"),
            ("notify.retry.base", "300ms"),
            ("notify.retry.max", "2s"),
        ] {
            self.set(key, value);
        }
    }

    /// The app's own database.
    pub(crate) async fn app(&self) -> sqlx::PgConnection {
        sqlx::PgConnection::connect(&self.settings["users.url"]).await.expect("the app's database")
    }

    /// How many notifications are in a state, with their reasons.
    pub(crate) async fn reasons(&self, state: NotificationState) -> BTreeMap<String, u64> {
        let counts = self.store.notification_counts(None).await.expect("they are counted");
        counts
            .into_iter()
            .filter(|count| count.state == state)
            .map(|count| (count.detail.unwrap_or_default(), count.count))
            .collect()
    }

    /// Sweeps once, to the end.
    pub(crate) async fn swept(&self) -> Sweep {
        let id = self.sweep_now().await;
        self.settled(id, Duration::from_secs(60)).await
    }

    /// The settings as variables of the environment.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (String, &str)> {
        self.settings.iter().map(|(key, value)| {
            (format!("CONNECTION_AUDITOR_{}", key.to_uppercase().replace('.', "__")), value.as_str())
        })
    }

    /// Runs a command of the binary to its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY)
            .args(arguments)
            .envs(self.environment())
            .current_dir(self.folder.path())
            .output()
            .expect("the binary runs")
    }

    fn log_of(&self, worker: usize) -> PathBuf {
        self.folder.path().join(format!("worker-{worker}.log"))
    }

    /// What all workers have logged so far.
    pub(crate) fn logs(&self) -> String {
        (0..self.workers.len())
            .map(|worker| std::fs::read_to_string(self.log_of(worker)).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Starts a worker process; it dies with the test, at the latest.
    pub(crate) fn start_worker(&mut self) -> usize {
        self.start_worker_with(&[])
    }

    pub(crate) fn start_worker_with(&mut self, arguments: &[&str]) -> usize {
        let number = self.workers.len();
        // `env` puts the settings into the environment of a process that the server support starts and guards.
        let mut all: Vec<String> = self.environment().map(|(name, value)| format!("{name}={value}")).collect();
        all.push(BINARY.to_owned());
        all.push("run".to_owned());
        all.extend(arguments.iter().map(ToString::to_string));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let child = server::start(Path::new("env"), &all, None, &self.log_of(number));
        self.workers.push(Some(child));
        number
    }

    /// `kill -9`.
    pub(crate) fn kill_worker(&mut self, number: usize) {
        let mut child = self.workers[number].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it is gone");
    }

    /// Sends a signal to a worker.
    pub(crate) fn signal(&self, number: usize, signal: nix::sys::signal::Signal) {
        let id = self.workers[number].as_ref().expect("it runs").id();
        let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("a process id"));
        nix::sys::signal::kill(id, signal).expect("our own child can be signalled");
    }

    /// Waits for a worker to end by itself; returns its exit code.
    pub(crate) fn wait_for_exit(&mut self, number: usize, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        let log = self.log_of(number);
        let child = self.workers[number].as_mut().expect("it runs");
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                self.workers[number] = None;
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}:\n{}", tail(&log));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sets a schedule that ticks once, some seconds from now, for workers that are started afterwards.
    pub(crate) fn tick_in(&mut self, seconds: i64) {
        let tick = SystemClock.now() + chrono::TimeDelta::seconds(seconds);
        self.set("schedules.test.cron", tick.format("%-S %-M %-H %-d %-m *"));
    }

    /// Starts a sweep by hand.
    pub(crate) async fn sweep_now(&self) -> SweepId {
        let now = SystemClock.now();
        let id = SweepId(Uuid::now_v7());
        let sweep = NewSweep {
            id,
            schedule: format!("by hand {id}"),
            tick: now,
            start_at: now,
            trigger: Trigger::Manual,
            mode: SweepMode::Full,
            overlap: Overlap::Queue,
        };
        assert!(self.store.insert_sweep(&sweep, now).await.expect("the sweep is stored"));
        id
    }

    /// Waits until something holds; shows the workers' last words if it never does.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> F,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if Instant::now() > deadline {
                let logs: Vec<String> = (0..self.workers.len()).map(|worker| tail(&self.log_of(worker))).collect();
                panic!("{what}: not within {limit:?}; the workers say:\n{}", logs.join("\n---\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the newest sweep of the schedule `test`.
    pub(crate) async fn ticked(&self) -> SweepId {
        self.until("the schedule ticks", Duration::from_secs(60), || async {
            let sweeps = self.store.sweeps(10).await.ok()?;
            sweeps.into_iter().find(|sweep| sweep.schedule == "test").map(|sweep| sweep.id)
        })
        .await
    }

    /// Waits until so many users of the sweep are done.
    pub(crate) async fn checked(&self, id: SweepId, users: u64) {
        self.until("users are checked", Duration::from_secs(120), || async {
            let sweep = self.store.sweep(id).await.ok()??;
            (sweep.tally.users_done() >= users).then_some(())
        })
        .await;
    }

    /// Waits until the sweep is over and none of its notifications is on its way.
    pub(crate) async fn settled(&self, id: SweepId, limit: Duration) -> Sweep {
        let sweep = self
            .until("the sweep ends", limit, || async {
                self.store.sweep(id).await.ok()?.filter(|sweep| sweep.state.is_final())
            })
            .await;
        self.until_settled_within(limit).await;
        sweep
    }

    /// Waits until no notification is on its way.
    pub(crate) async fn until_settled(&self) {
        self.until_settled_within(Duration::from_secs(30)).await;
    }

    pub(crate) async fn until_settled_within(&self, limit: Duration) {
        self.until("the notifications settle", limit, || async {
            let counts = self.store.notification_counts(None).await.ok()?;
            let moving = |state| {
                matches!(state, NotificationState::Pending | NotificationState::Claimed | NotificationState::Sending)
            };
            (!counts.iter().any(|count| moving(count.state))).then_some(())
        })
        .await;
    }

    /// The mails that arrived since the first `skip`, as people see them.
    pub(crate) fn mails(&self, skip: usize) -> Vec<SeenMail> {
        let users: BTreeMap<String, UserId> =
            self.simulator.users().filter_map(|user| Some((user.email?, user.id))).collect();
        self.smtp
            .received()
            .iter()
            .skip(skip)
            .inspect(|mail| assert_eq!(mail.to.len(), 1, "one mail, one person"))
            .filter(|mail| mail.to[0] != OPERATOR)
            .map(|mail| SeenMail {
                to: users[&mail.to[0]].clone(),
                links: links(&mail.bytes),
                message_id: message_id(&mail.bytes),
            })
            .collect()
    }

    /// Asserts that everyone who should be mailed by the simulator's truth got exactly one digest about exactly their own
    /// connections since the first `skip` mails, and nobody else got any. Returns how many there were.
    pub(crate) fn assert_mailed_by_the_truth(&self, skip: usize) -> usize {
        let expected: BTreeMap<UserId, Vec<String>> = self
            .simulator
            .truth()
            .mailed
            .into_iter()
            .map(|(user, due)| (user, due.into_iter().map(|due| due.toolkit.to_string()).collect()))
            .collect();
        self.assert_mailed(skip, &expected)
    }

    /// Asserts who got what since the first `skip` mails: users, each with the apps of their digest in order.
    pub(crate) fn assert_mailed(&self, skip: usize, expected: &BTreeMap<UserId, Vec<String>>) -> usize {
        let mut got: BTreeMap<UserId, Vec<String>> = BTreeMap::new();
        for mail in self.mails(skip) {
            let mut apps = Vec::new();
            for (app, user) in mail.links {
                assert_eq!(user, mail.to, "a mail is about its reader's connections");
                apps.push(app);
            }
            apps.sort();
            assert!(got.insert(mail.to.clone(), apps).is_none(), "{:?} got two mails", mail.to);
        }
        let users = |map: &BTreeMap<UserId, Vec<String>>| map.keys().cloned().collect::<BTreeSet<_>>();
        let (got_users, due_users) = (users(&got), users(expected));
        let missing: Vec<_> = due_users.difference(&got_users).take(10).collect();
        let wrong: Vec<_> = got_users.difference(&due_users).take(10).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "not mailed: {missing:?}; wrongly mailed: {wrong:?}");
        for (user, due) in expected {
            let mut due = due.clone();
            due.sort();
            assert_eq!(got[user], due, "the digest of {user:?}");
        }
        got.len()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for mut child in self.workers.drain(..).flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A mail as its reader sees it.
pub(crate) struct SeenMail {
    pub(crate) to: UserId,
    /// The buttons: app and user of each.
    pub(crate) links: Vec<(String, UserId)>,
    pub(crate) message_id: String,
}

fn parsed(bytes: &[u8]) -> mail_parser::Message<'_> {
    mail_parser::MessageParser::default().parse(bytes).expect("it is a mail")
}

fn message_id(bytes: &[u8]) -> String {
    parsed(bytes).message_id().expect("it has a Message-ID").to_owned()
}

/// Where the text part's links lead.
fn links(bytes: &[u8]) -> Vec<(String, UserId)> {
    let mail = parsed(bytes);
    let text = mail.body_text(0).expect("it has a text part");
    text.split_whitespace()
        .filter(|word| word.starts_with("https://acme.example/connect?"))
        .map(|link| {
            let link = url::Url::parse(link).expect("a link is a URL");
            let of = |name: &str| {
                let pair = link.query_pairs().find(|(key, _)| key == name);
                pair.expect("the link names app and user").1.into_owned()
            };
            (of("app"), UserId::new(of("user")))
        })
        .collect()
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
