//! A Redis of our own, without persistence; each test gets a key prefix of its own in it, or a server of its own.

use std::process::Child;
use std::sync::LazyLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server;

/// A running server. Dropping it stops it.
pub(crate) struct Redis {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty server on a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("auditor-redis-").tempdir().expect("a folder");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut this = Self { port: server::free_port(), folder, arguments, child: None };
        this.run();
        this
    }

    /// Starts the server (again); nothing of what it held is there.
    pub(crate) fn run(&mut self) {
        let program = server::program(&["redis-server", "valkey-server"], "redis-server");
        let port = self.port.to_string();
        let folder = self.folder.path().to_str().expect("a plain path").to_owned();
        let mut arguments =
            vec!["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &folder];
        arguments.extend(self.arguments.iter().map(String::as_str));
        let log = self.folder.path().join("server.log");
        self.child = Some(server::start(&program, &arguments, None, &log));
        server::wait_for_port(self.port, &log);
    }

    /// `kill -9`, as a machine that loses power.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it from answering, without ending a connection.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it answer again.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("our own child can be signalled");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that most tests share.
static SHARED: LazyLock<Redis> = LazyLock::new(Redis::start);

/// The shared server (or `TEST_REDIS_URL`, if that is set).
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests may bring a server")]
pub(crate) async fn url() -> String {
    if let Ok(url) = std::env::var("TEST_REDIS_URL") {
        return url;
    }
    tokio::task::spawn_blocking(|| LazyLock::force(&SHARED)).await.expect("Redis starts").url()
}

/// A key prefix that nobody else uses.
pub(crate) fn prefix() -> String {
    format!("test-{}", uuid::Uuid::new_v4().simple())
}
