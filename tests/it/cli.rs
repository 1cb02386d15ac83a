//! The command line as people meet it: the real binary, its output, its exit codes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod demo;
mod entity;
mod explain;
mod guard;
mod help;
mod mail;
mod neighbours;
mod policy;
mod worker;
mod wrong;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::server;

const BINARY: &str = env!("CARGO_BIN_EXE_connection-auditor");
/// Stands in secrets, and must never be printed.
const SECRET: &str = "hunter2-very-secret";

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Everything, as a person sees it in a terminal; nobody ever sees a panic, a secret or somebody's address.
    fn shown(&self) -> String {
        let mut shown = format!("exit code {}\n{}", self.code, self.out);
        if !self.err.is_empty() {
            shown = format!("{shown}--- standard error\n{}", self.err);
        }
        assert!(!shown.contains("panicked"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
        shown
    }
}

/// A folder of its own, in which commands run without any environment but what a test gives them.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("auditor-cli-").tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A configuration that is complete, with both databases and the mails in this folder, and what else is given.
    fn configure(&self, composio: &str, more: &str) {
        let at = self.folder.path().display();
        let text = format!(
            r#"
            database.url = "sqlite:{at}/auditor.sqlite"
            queue.url = "sqlite:{at}/queue.sqlite"
            composio.url = "{composio}"
            composio.api_key = "ak_simulator_0000000000"
            notify.from = "Acme <no-reply@acme.example>"
            notify.reconnect_url = "https://acme.example/connections?app={{toolkit}}&user={{user_id}}"
            mail.transport = "folder"
            mail.folder = "{at}/mail"
            http.ops.listen = "off"
            {more}
            "#
        );
        self.write("auditor.toml", text);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.folder.path()).env_clear().env("COLUMNS", "100");
        if self.path("auditor.toml").exists() {
            command.env("CONNECTION_AUDITOR_CONFIG", "auditor.toml");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], arguments)
    }

    /// Settings by their environment variables, without the prefix.
    fn run_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        for (name, value) in settings {
            command.env(format!("CONNECTION_AUDITOR_{name}"), value);
        }
        ended(command.spawn().unwrap())
    }

    fn run_fed(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        ended(child)
    }

    /// Starts a worker; it runs until it is dropped.
    fn worker(&self) -> Server {
        let config = self.path("auditor.toml");
        let log = self.path("worker.log");
        let child = server::start(Path::new(BINARY), &["-c", config.to_str().unwrap(), "run"], None, &log);
        Server { child, log }
    }

    fn mails(&self) -> usize {
        std::fs::read_dir(self.path("mail")).map_or(0, |mails| {
            mails.flatten().filter(|mail| mail.path().extension().is_some_and(|ending| ending == "eml")).count()
        })
    }

    /// The text without what differs from run to run.
    fn settled(&self, text: &str) -> String {
        let mut text = text.replace(self.folder.path().to_str().unwrap(), "[folder]");
        text = text.replace(BINARY, "connection-auditor");
        text
    }
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A process of ours that runs until it is dropped, however the test ends.
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulated Composio as a process of its own, and the CSV of its users.
struct Composio {
    port: u16,
    users: PathBuf,
    _server: Server,
}

impl Composio {
    fn start(place: &Place, users: u32) -> Self {
        let (port, csv, log) = (server::free_port(), place.path("users.csv"), place.path("simulator.log"));
        let (address, number) = (format!("127.0.0.1:{port}"), users.to_string());
        let arguments = ["simulator", "--listen", &address, "--users", &number, "--users-csv", csv.to_str().unwrap()];
        let child = server::start(Path::new(BINARY), &arguments, None, &log);
        let server = Server { child, log };
        server::wait_for_port(port, &server.log);
        Self { port, users: csv, _server: server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn truth(&self) -> Value {
        let answer = client().get(format!("{}/__sim/truth", self.url())).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Breaks so many healthy connections.
    async fn break_some(&self, count: u32) {
        client().post(format!("{}/__sim/break?n={count}", self.url())).send().await.unwrap();
    }
}

fn client() -> reqwest::Client {
    // A second installation is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The keys of a JSON object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("an object: {value}")).keys().map(String::as_str).collect()
}

/// Waits for something, with a limit.
fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A snapshot without instants, ids, ports and spans of time.
macro_rules! assert_shown {
    ($($arguments:tt)*) => {
        insta::with_settings!({
            filters => vec![
                (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "00000000-0000-0000-0000-000000000000"),
                (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "0000-00-00 00:00:00"),
                (r"\d{4}-\d\d-\d\d", "0000-00-00"),
                (r"127\.0\.0\.1:\d+", "[address]"),
                (r"localhost:\d+", "[address]"),
                (r"test_[0-9a-f]{32}", "[database]"),
                (r"in \d+\.\d s", "in [span]"),
            ],
            omit_expression => true,
        }, { insta::assert_snapshot!($($arguments)*) });
    };
}
use assert_shown;
