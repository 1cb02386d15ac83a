//! Fills a store with users and their accounts, as an audit a minute ago would have left them.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

/// The id of a user.
pub(crate) fn name(user: usize) -> String {
    format!("user-{user:07}")
}

/// One account of each app for every user; of the first app one in ten is broken.
pub(crate) async fn fill(url: &str, users: usize, apps: &[&str]) -> anyhow::Result<()> {
    let last = users - 1;
    if url.starts_with("sqlite:") {
        let mut database = SqliteConnection::connect(url).await?;
        let now = "(CAST(strftime('%s', 'now') AS INTEGER) - 60) * 1000000";
        let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})");
        let user = "printf('user-%07d', i)";
        for statement in statements(&numbers, user, now, apps, "0", "'[]'") {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
        }
        sqlx::query("ANALYZE").execute(&mut database).await?;
    } else {
        let mut database = PgConnection::connect(url).await?;
        let numbers = format!("WITH n (i) AS (SELECT generate_series(0, {last}))");
        let user = "'user-' || lpad(i::text, 7, '0')";
        for statement in statements(&numbers, user, "now() - interval '1 minute'", apps, "false", "'[]'::jsonb") {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
        }
        sqlx::query("VACUUM ANALYZE").execute(&mut database).await?;
    }
    Ok(())
}

fn statements(numbers: &str, user: &str, now: &str, apps: &[&str], no: &str, nobody: &str) -> Vec<String> {
    let yes = if no == "0" { "1" } else { "true" };
    let mut statements = vec![format!(
        "{numbers} INSERT INTO auditor_user_checks (user_id, observed_at, checked_at, outcome)
         SELECT {user}, {now}, {now}, 'checked' FROM n"
    )];
    for (place, app) in apps.iter().enumerate() {
        let status = if place == 0 { "CASE WHEN i % 10 = 0 THEN 'EXPIRED' ELSE 'ACTIVE' END" } else { "'ACTIVE'" };
        statements.push(format!(
            "{numbers} INSERT INTO auditor_accounts (user_id, account_id, toolkit, auth_config, status, is_disabled,
                 auth_config_disabled, created_at, ever_active, active_with, first_seen_at, changed_at)
             SELECT {user}, 'ca_{app}_' || i, '{app}', 'ac_{app}', {status}, {no}, {no}, {now}, {yes}, {nobody}, {now}, {now}
             FROM n"
        ));
        statements.push(format!(
            "INSERT INTO auditor_toolkits (slug, name, read_at) VALUES ('{app}', '{}', {now})",
            app.to_uppercase()
        ));
    }
    statements
}
