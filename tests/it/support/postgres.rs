//! A PostgreSQL of our own; each test gets a database of its own in it.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::server;

/// A running server. Dropping it stops it and removes its files.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

const USER: Option<&str> = Some("postgres");

impl Postgres {
    /// Makes a new cluster on a free port; durable settings are off, as nothing here must survive the machine.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("auditor-pg-").tempdir().expect("a folder");
        let data = folder.path().join("data");
        let log = folder.path().join("initdb.log");
        if nix::unistd::Uid::effective().is_root() {
            let status = Command::new("chown").arg("-R").arg("postgres").arg(folder.path()).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "the user postgres exists where PostgreSQL is installed"
            );
        }
        let data_text = data.to_str().expect("a plain path").to_owned();
        let initdb = server::program(&["initdb"], "postgresql");
        let arguments =
            ["-D", &data_text, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"];
        let mut child = server::start(&initdb, &arguments, USER, &log);
        assert!(
            child.wait().is_ok_and(|status| status.success()),
            "initdb failed: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        let mut this = Self { port: server::free_port(), folder, child: None };
        this.run();
        this
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Starts the server on the files that are there.
    pub(crate) fn run(&mut self) {
        let data = self.folder.path().join("data");
        let port = self.port.to_string();
        let postgres = server::program(&["postgres"], "postgresql");
        let arguments = [
            "-D",
            data.to_str().expect("a plain path"),
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=400",
        ];
        let log = self.log();
        self.child = Some(server::start(&postgres, &arguments, USER, &log));
        server::wait_for_port(self.port, &log);
        // It listens before it lets anybody in.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let url = self.url("postgres");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                runtime.block_on(async {
                    for _ in 0..600 {
                        if PgConnection::connect(&url).await.is_ok() {
                            return;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                    panic!("PostgreSQL does not let us in");
                });
            });
        });
    }

    /// `kill -9`, as a machine that loses power.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new, empty database; returns its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("our own server lets us in");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a database can be made");
        self.url(&name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that most tests share.
static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// A new, empty database on the shared server (or on `TEST_DATABASE_URL`'s, if that is set); returns its URL.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests may bring a server")]
pub(crate) async fn database() -> String {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&url).await.expect("TEST_DATABASE_URL can be reached");
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .expect("a database");
        let mut url = url::Url::parse(&url).expect("TEST_DATABASE_URL is a URL");
        url.set_path(&name);
        return url.to_string();
    }
    tokio::task::spawn_blocking(|| LazyLock::force(&SHARED)).await.expect("PostgreSQL starts").database().await
}
