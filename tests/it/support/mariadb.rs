//! A MariaDB of our own; each test gets a database of its own in it.

use std::process::{Child, Command};
use std::sync::LazyLock;

use sqlx::Connection;
use sqlx::mysql::MySqlConnection;

use super::server;

/// A running server. Dropping it stops it and removes its files.
pub(crate) struct MariaDb {
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
    child: Child,
}

const USER: Option<&str> = Some("mysql");

impl MariaDb {
    /// Makes a new server on a free port; durable settings are off, as nothing here must survive the machine.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("auditor-my-").tempdir().expect("a folder");
        let place = folder.path().to_str().expect("a plain path").to_owned();
        if nix::unistd::Uid::effective().is_root() {
            let status = Command::new("chown").arg("-R").arg("mysql").arg(&place).status();
            assert!(status.is_ok_and(|status| status.success()), "the user mysql exists where MariaDB is installed");
        }
        let data = format!("--datadir={place}/data");
        let installer = server::program(&["mariadb-install-db", "mysql_install_db"], "mariadb-server");
        let log = folder.path().join("install.log");
        let arguments = ["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"];
        let mut child = server::start(&installer, &arguments, USER, &log);
        assert!(
            child.wait().is_ok_and(|status| status.success()),
            "mariadb-install-db failed: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        let port = server::free_port();
        let arguments = [
            "--no-defaults",
            &data,
            &format!("--port={port}"),
            &format!("--socket={place}/socket"),
            &format!("--pid-file={place}/pid"),
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=400",
            "--skip-name-resolve",
        ];
        let log = folder.path().join("server.log");
        let child = server::start(&server::program(&["mariadbd", "mysqld"], "mariadb-server"), &arguments, USER, &log);
        server::wait_for_port(port, &log);
        Self { port, _folder: folder, child }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server that all tests share.
static SHARED: LazyLock<MariaDb> = LazyLock::new(MariaDb::start);

/// A new, empty database on the shared server; returns its URL.
pub(crate) async fn database() -> String {
    let server = tokio::task::spawn_blocking(|| LazyLock::force(&SHARED)).await.expect("MariaDB starts");
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut connection = MySqlConnection::connect(&server.url("mysql")).await.expect("our own server lets us in");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")))
        .execute(&mut connection)
        .await
        .expect("a database can be made");
    server.url(&name)
}
