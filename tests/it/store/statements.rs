//! How many statements a chunk costs: only changes are written.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::*;
use crate::support::postgres::Postgres;

/// The log of a server of our own, which names every statement that it runs.
struct Log {
    connection: PgConnection,
    marks: u32,
}

impl Log {
    async fn of(server: &Postgres) -> Self {
        let mut connection = PgConnection::connect(&server.url("postgres")).await.expect("our own server lets us in");
        for statement in ["ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut connection).await.expect("we are its superuser");
        }
        let mut this = Self { connection, marks: 0 };
        for _ in 0..1000 {
            this.mark().await;
            if this.text().await.contains("mark 0") {
                return this;
            }
        }
        panic!("it does not log its statements");
    }

    async fn mark(&mut self) {
        let mark = AssertSqlSafe(format!("SELECT 'mark {}'", self.marks));
        sqlx::raw_sql(mark).execute(&mut self.connection).await.expect("it answers");
    }

    async fn text(&mut self) -> String {
        sqlx::query_scalar("SELECT pg_read_file(current_setting('data_directory') || '/../server.log')")
            .fetch_one(&mut self.connection)
            .await
            .expect("its superuser may read its log")
    }

    /// The statements that ran since the last call: the names, and those that have none as they are.
    async fn statements(&mut self) -> Vec<String> {
        let since = format!("SELECT 'mark {}'", self.marks);
        self.marks += 1;
        self.mark().await;
        let text = self.text().await;
        let (_, new) = text.rsplit_once(&since).expect("it was marked");
        new.lines()
            .filter_map(|line| line.split_once("execute ").or_else(|| line.split_once("statement: ")))
            .map(|(_, statement)| statement.split_once(": ").map_or(statement, |(_, text)| text))
            .map(|statement| statement.trim_start_matches("-- ").trim().to_owned())
            .filter(|statement| !statement.contains("pg_read_file") && !statement.contains("mark "))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_chunk_of_a_hundred_users_costs_five_statements() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("PostgreSQL starts");
    let db = open(server.database().await, tempfile::tempdir().expect("a folder")).await;
    let names: Vec<String> = (0..100).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let users = |base, now| names.iter().map(move |name| seen(name, base, now));
    let first = users(None, at(1))
        .map(|user| UserRecord { changed: vec![account("ca_1", "slack", Status::Active)], ..user })
        .collect();
    written(db.record(&record_of(first, at(1))).await.expect("answered"));
    let check = check(&names);
    db.insert_checks(std::slice::from_ref(&check), at(1)).await.expect("inserted");

    let mut log = Log::of(&server).await;
    log.statements().await;
    let (claimed, held) = claim_check(&db, check.id, at(2)).await;
    assert_eq!(log.statements().await, ["claim_check"]);
    let histories = db.history(&claimed.check.users).await.expect("read");
    assert_eq!(log.statements().await, ["history_users", "history_accounts"]);
    assert!(histories.values().all(|history| history.accounts.len() == 1));
    let record =
        Record { fence: Some((check.id, held.token)), ..record_of(users(Some(at(1)), at(2)).collect(), at(2)) };
    written(db.record(&record).await.expect("answered"));
    assert_eq!(log.statements().await, ["BEGIN", "end_check", "record_users", "COMMIT"]);
}
