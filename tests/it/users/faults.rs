//! What a source says when the settings, the database or the clock are against it, and that it cannot write.

use std::time::{Duration, Instant};

use connection_auditor::adapters::users::{UsersError, UsersSource};
use connection_auditor::config::{UserColumns, Users};
use rstest::rstest;
use secrecy::SecretString;

use super::Engine::{MariaDb, Postgres, Sqlite};
use super::{App, Engine};

fn columns(id: &str, email: &str) -> UserColumns {
    UserColumns { id: id.into(), email: email.into(), ..Default::default() }
}

async fn complaint(app: &App, settings: Users) -> String {
    match app.source(&settings).probe().await {
        Err(error) => {
            assert!(matches!(error, UsersError::Misconfigured { .. }), "{error:?}");
            error.to_string()
        }
        Ok(probe) => panic!("{settings:?} was taken: {probe:?}"),
    }
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn a_wrong_name_is_told_with_its_setting_and_the_nearest_one(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("varchar(20) PRIMARY KEY", &["'a'"]).await;
    let complaint = async |settings| complaint(&app, settings).await;
    assert_eq!(
        complaint(Users { table: "user".into(), ..app.settings() }).await,
        r#"users.table = "user": no such table; did you mean "users"?"#
    );
    assert_eq!(
        complaint(Users { columns: columns("user_id", "email"), ..app.settings() }).await,
        r#"users.columns.id = "user_id": no such column in the table users; there are: id, email"#
    );
    assert_eq!(
        complaint(Users { columns: columns("id", "e_mail"), ..app.settings() }).await,
        r#"users.columns.email = "e_mail": no such column in the table users; did you mean "email"?"#
    );
    let query = || Some("SELECT id AS uid, email FROM users".into());
    assert_eq!(
        complaint(Users { query: query(), ..app.settings() }).await,
        r#"users.columns.id = "id": no such column in the query's result; there are: uid, email"#
    );
    let missing = UserColumns { time_zone: Some("tz".into()), ..columns("uid", "email") };
    assert_eq!(
        complaint(Users { query: query(), columns: missing, ..app.settings() }).await,
        r#"users.columns.time_zone = "tz": no such column in the query's result; there are: uid, email"#
    );
    let broken = complaint(Users { query: Some("SELEKT id FROM users".into()), ..app.settings() }).await;
    assert!(
        broken.starts_with(r#"users.query = "SELEKT id FROM users": the database refuses to read from it: "#),
        "{broken}"
    );
    let two =
        complaint(Users { query: Some("SELECT 1 AS id) AS u; DELETE FROM users; --".into()), ..app.settings() }).await;
    assert!(two.starts_with("users.query = "), "{two}");
    assert_eq!(app.source(&app.settings()).count().await.unwrap(), Some(1), "nothing was deleted");
}

#[rstest]
#[case(Postgres, "numeric", "numeric")]
#[case(Postgres, "bytea", "bytea")]
#[case(Postgres, "timestamptz", "timestamptz")]
#[case(MariaDb, "varbinary(16)", "varbinary")]
#[case(MariaDb, "decimal(20)", "decimal")]
#[case(MariaDb, "double", "double")]
#[tokio::test]
async fn a_type_that_cannot_be_an_id_is_refused(#[case] engine: Engine, #[case] id: &str, #[case] name: &str) {
    let app = App::new(engine).await;
    app.users(id, &[]).await;
    let complaint = complaint(&app, app.settings()).await;
    assert!(
        complaint.starts_with(&format!("users.columns.id = \"id\": its type {name} cannot be a user id")),
        "{complaint}"
    );
    assert!(complaint.ends_with("in users.query"), "{complaint}");
}

#[tokio::test]
async fn binary_ids_out_of_a_query_are_refused_rather_than_mangled() {
    let app = App::new(MariaDb).await;
    app.users("binary(4)", &["x'00ff00ff'"]).await;
    let query = Users { query: Some("SELECT id, email FROM users".into()), ..app.settings() };
    let complaint = complaint(&app, query).await;
    assert!(complaint.contains("its type binary cannot be a user id"), "{complaint}");
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn a_missing_unique_index_is_a_warning(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("varchar(20)", &["'a'"]).await;
    let source = app.source(&app.settings());
    let warnings = source.probe().await.unwrap().warnings;
    assert!(matches!(warnings.as_slice(), [one] if one.contains("no unique index")), "{warnings:?}");
    app.run(&["CREATE UNIQUE INDEX users_pair ON users (id, email)"]).await;
    assert_eq!(source.probe().await.unwrap().warnings.len(), 1, "an index of two columns makes neither unique");
    app.run(&["CREATE UNIQUE INDEX users_id ON users (id)"]).await;
    assert_eq!(source.probe().await.unwrap().warnings, Vec::<String>::new());
}

/// Writes through the source's own connection: what a query could do at most.
#[rstest]
#[case(Postgres, "SELECT tampered() AS id, NULL AS email", "read-only transaction")]
#[case(MariaDb, "SELECT tampered() AS id, NULL AS email", "READ ONLY transaction")]
#[tokio::test]
async fn a_query_that_writes_is_refused(#[case] engine: Engine, #[case] query: &str, #[case] says: &str) {
    let app = App::new(engine).await;
    app.users("varchar(20) PRIMARY KEY", &["'a'"]).await;
    app.run(&[match engine {
        Postgres => {
            "CREATE FUNCTION tampered() RETURNS text LANGUAGE sql AS
                $$ INSERT INTO users VALUES ('tampered', NULL) RETURNING id $$"
        }
        _ => {
            "CREATE FUNCTION tampered() RETURNS varchar(20) MODIFIES SQL DATA
                BEGIN INSERT INTO users VALUES ('tampered', NULL); RETURN 'tampered'; END"
        }
    }])
    .await;
    let source = app.source(&Users { query: Some(query.into()), ..app.settings() });
    let error = source.page(None, 10).await.expect_err("the session is read only");
    assert!(matches!(error, UsersError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(app.source(&app.settings()).count().await.unwrap(), Some(1));
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn a_write_through_the_sources_connection_is_refused(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("varchar(20) PRIMARY KEY", &["'a'"]).await;
    let source = app.source(&app.settings());
    let error = source.attempt_write("UPDATE users SET email = 'tampered'").await.expect_err("it is read only");
    let says = match engine {
        Postgres => "read-only transaction",
        MariaDb => "READ ONLY transaction",
        Sqlite => "readonly database",
    };
    assert!(error.to_string().contains(says), "{error}");
}

const SQLITE_LOOP: &str = "CREATE VIEW slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
    SELECT i AS id, NULL AS email FROM n WHERE i < 0";

#[rstest]
#[case(Postgres, "CREATE VIEW slow AS SELECT 'a' || pg_sleep(60)::text AS id, NULL::text AS email")]
#[case(MariaDb, "CREATE VIEW slow AS SELECT CONCAT('a', SLEEP(60)) AS id, NULL AS email")]
#[case(Sqlite, SQLITE_LOOP)]
#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_database(#[case] engine: Engine, #[case] view: &str) {
    let app = App::new(engine).await;
    app.users("varchar(20) PRIMARY KEY", &["'a'"]).await;
    app.run(&[view]).await;
    let settings = Users {
        table: "slow".into(),
        statement_timeout: Duration::from_millis(300),
        max_connections: 1,
        ..app.settings()
    };
    let source = app.source(&settings);
    let started = Instant::now();
    let error = source.page(None, 10).await.expect_err("it takes too long");
    assert!(matches!(error, UsersError::Timeout { limit, .. } if limit == Duration::from_millis(300)), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "reading a page of users: no answer within 300ms: index the id column, or raise users.statement_timeout"
    );
    let again = source.page(None, 10).await.expect_err("the connection still serves");
    assert!(matches!(again, UsersError::Timeout { .. }), "{again:?}");
    assert!(started.elapsed() < Duration::from_secs(9), "the database ended it, not our patience");
    if engine != MariaDb {
        assert_eq!(source.count().await.unwrap(), None, "a count that takes too long is unknown");
    }
}

#[tokio::test]
async fn an_unreachable_database_is_told_without_its_password() {
    for url in [
        "postgres://app:s3cret@127.0.0.1:1/app".to_owned(),
        "mysql://app:s3cret@127.0.0.1:1/app".to_owned(),
        "sqlite:/no/such/folder/s3cret.sqlite?mode=ro".to_owned(),
        crate::support::postgres::database().await.replace("postgres@", "nobody:s3cret@"),
        crate::support::mariadb::database().await.replace("root@", "nobody:s3cret@"),
    ] {
        let settings = Users { url: Some(url.clone().into()), ..Default::default() };
        let source = UsersSource::connect(&settings, &SecretString::from("sqlite:unused")).unwrap();
        let error = source.probe().await.expect_err("nobody is there");
        assert!(matches!(error, UsersError::Unreachable { .. }), "{error:?}");
        let text = format!("{error} {error:?} {source:?}");
        assert!(!text.contains(":s3cret@"), "{text}");
    }
}

#[test]
fn a_url_that_is_none_is_refused_without_showing_it() {
    for url in ["redis://u:s3cret@h/0", "s3cret", "postgres://u:s3cret@h:port/x", ""] {
        let settings = Users { url: Some(url.into()), ..Default::default() };
        let error = UsersSource::connect(&settings, &SecretString::from("")).expect_err(url);
        assert!(matches!(error, UsersError::Misconfigured { setting: "users.url", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("u:s3cret"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_the_database_quotes_does_not_reach_the_message() {
    let app = App::new(Postgres).await;
    app.users("text PRIMARY KEY", &["'ann@example.org'"]).await;
    let query = Users { query: Some("SELECT id::bigint AS id, email FROM users".into()), ..app.settings() };
    let error = app.source(&query).page(None, 1).await.expect_err("no number");
    let text = format!("{error} {error:?}");
    assert!(text.contains("bigint") && !text.contains("ann"), "{text}");
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[tokio::test]
async fn a_cursor_of_another_type_is_refused(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("bigint PRIMARY KEY", &["1", "2"]).await;
    let source = app.source(&app.settings());
    for wrong in ["t:ann", "42", "i:99999999999999999999", ""] {
        let error = source.page(Some(wrong), 10).await.expect_err(wrong);
        assert!(matches!(error, UsersError::Cursor), "{error:?}");
    }
}
