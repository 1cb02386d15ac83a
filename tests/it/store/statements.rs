//! How many statements a chunk costs: only changes are written.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

/// Where the log of one test goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The names of the statements since the last call.
    fn statements(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().expect("nobody panics with it"));
        let text = String::from_utf8(bytes).expect("text");
        text.lines()
            .filter(|line| line.contains("sqlx::query"))
            .map(|line| {
                let statement = line.split("summary=\"").nth(1).unwrap_or(line);
                statement.trim_start_matches("-- ").split(['\\', ' ', '"']).next().unwrap_or(statement).to_owned()
            })
            .collect()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_unchanged_chunk_of_a_hundred_users_costs_five_statements() {
    let db = postgres().await;
    let names: Vec<String> = (0..100).map(|n| format!("user-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let users = |base, now| names.iter().map(move |name| seen(name, base, now));
    let first = users(None, at(1))
        .map(|user| UserRecord { changed: vec![account("ca_1", "slack", Status::Active)], ..user })
        .collect();
    written(db.record(&record_of(first, at(1))).await.expect("answered"));
    let check = check(&names);
    db.insert_checks(std::slice::from_ref(&check), at(1)).await.expect("inserted");

    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("sqlx::query=debug")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (claimed, held) = claim_check(&db, check.id, at(2)).await;
    assert_eq!(lines.statements(), ["claim_check"]);
    let histories = db.history(&claimed.check.users).await.expect("read");
    assert_eq!(lines.statements(), ["history_users", "history_accounts"]);
    assert!(histories.values().all(|history| history.accounts.len() == 1));
    let record =
        Record { fence: Some((check.id, held.token)), ..record_of(users(Some(at(1)), at(2)).collect(), at(2)) };
    written(db.record(&record).await.expect("answered"));
    let statements: Vec<String> =
        lines.statements().into_iter().filter(|name| name != "BEGIN" && name != "COMMIT").collect();
    assert_eq!(statements, ["end_check", "record_users"]);
}
