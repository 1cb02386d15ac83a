//! The app's users, as each of the three engines keeps them: the same contract on all.

#![expect(clippy::panic, reason = "a test that cannot go on says so")]

mod faults;
mod import;

use std::collections::BTreeSet;

use connection_auditor::adapters::users::UsersSource;
use connection_auditor::config::{UserColumns, Users};
use connection_auditor::domain::id::UserId;
use connection_auditor::domain::notification::NoAddress;
use rstest::rstest;
use secrecy::SecretString;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::support::{mariadb, postgres};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgres,
    MariaDb,
    Sqlite,
}

use Engine::{MariaDb, Postgres, Sqlite};

/// An app's database, to which the test may write.
struct App {
    engine: Engine,
    url: String,
    _folder: tempfile::TempDir,
}

impl App {
    async fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = match engine {
            Postgres => postgres::database().await,
            MariaDb => mariadb::database().await,
            Sqlite => format!("sqlite:{}", folder.path().join("app.sqlite").display()),
        };
        Self { engine, url, _folder: folder }
    }

    /// Runs statements, as the app would.
    async fn run(&self, statements: &[&str]) {
        for statement in statements {
            let sql = AssertSqlSafe((*statement).to_owned());
            let result = match self.engine {
                Postgres => {
                    let mut connection = PgConnection::connect(&self.url).await.expect("the app's database");
                    sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ())
                }
                MariaDb => {
                    let mut connection = MySqlConnection::connect(&self.url).await.expect("the app's database");
                    sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ())
                }
                Sqlite => {
                    let url = format!("{}?mode=rwc", self.url);
                    let mut connection = SqliteConnection::connect(&url).await.expect("the app's database");
                    sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ())
                }
            };
            result.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// A table `users (id <type>, email)` with these ids.
    async fn users(&self, id: &str, ids: &[&str]) {
        self.run(&[&format!("CREATE TABLE users (id {id}, email varchar(200))")]).await;
        for chunk in ids.chunks(1_000) {
            let rows: Vec<String> = chunk.iter().map(|id| format!("({id}, 'u@example.org')")).collect();
            self.run(&[&format!("INSERT INTO users VALUES {}", rows.join(", "))]).await;
        }
    }

    fn settings(&self) -> Users {
        Users { url: Some(self.url.clone().into()), table: "users".into(), ..Default::default() }
    }

    #[expect(clippy::unused_self, reason = "reads as: the source of this app")]
    fn source(&self, settings: &Users) -> UsersSource {
        UsersSource::connect(settings, &SecretString::from("sqlite:not-used")).expect("settings that fit")
    }
}

/// Every page to the end; fails if the source loops.
async fn all(source: &UsersSource, size: u32) -> Vec<String> {
    let mut users = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = source.page(cursor.as_deref(), size).await.expect("a page");
        assert!(page.users.len() <= size as usize);
        assert!(page.next.is_none() || !page.users.is_empty(), "an empty page ends it");
        users.extend(page.users.iter().map(|id| id.as_str().to_owned()));
        assert!(users.len() <= 100_000, "the source loops");
        match page.next {
            Some(next) => cursor = Some(next),
            None => return users,
        }
    }
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn text(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| format!("'{}'", id.replace('\'', "''"))).collect()
}

fn strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn ten_thousand_users_come_once_each_whatever_the_page_size(#[case] engine: Engine) {
    let app = App::new(engine).await;
    let ids: Vec<String> = (0..10_000).map(|number| format!("user-{}", number * 7919 % 10_000)).collect();
    app.users("varchar(64) PRIMARY KEY", &strs(&text(&strs(&ids)))).await;
    let source = app.source(&app.settings());
    let expected = sorted(ids);
    for size in [1, 7, 1_000] {
        assert_eq!(sorted(all(&source, size).await), expected, "pages of {size}");
    }
    assert_eq!(source.count().await.unwrap(), Some(10_000));
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn a_user_who_was_there_all_the_time_is_never_skipped(#[case] engine: Engine) {
    let app = App::new(engine).await;
    let ids: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    app.users("varchar(64) PRIMARY KEY", &strs(&text(&strs(&ids)))).await;
    let source = app.source(&app.settings());
    let mut seen: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    for round in 0.. {
        let page = source.page(cursor.as_deref(), 10).await.unwrap();
        seen.extend(page.users.iter().map(ToString::to_string));
        // Ids that end in 5 come and go, before and behind the cursor; so does the one that the cursor stands on.
        let gone = format!("DELETE FROM users WHERE id = '{:03}'", (round * 10 + 5) % 300);
        let before = format!("INSERT INTO users VALUES ('000-{round}', NULL)");
        let behind = format!("INSERT INTO users VALUES ('299-{round}', NULL)");
        let last = format!("DELETE FROM users WHERE id = '{}'", seen.last().unwrap());
        app.run(&[&gone, &before, &behind, &last]).await;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let unique: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nobody comes twice");
    let missed: Vec<&String> = ids.iter().filter(|id| !id.ends_with('5') && !unique.contains(id)).collect();
    assert_eq!(missed, Vec::<&String>::new());
}

#[rstest]
#[case(Postgres, "bigint PRIMARY KEY", &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"])]
#[case(Postgres, "smallint", &["-32768", "-2", "7", "32767"])]
#[case(Postgres, "integer UNIQUE", &["-2147483648", "3", "2147483647"])]
#[case(MariaDb, "bigint PRIMARY KEY", &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"])]
#[case(MariaDb, "bigint unsigned PRIMARY KEY", &["0", "9", "10", "18446744073709551615"])]
#[case(MariaDb, "tinyint(1) PRIMARY KEY", &["-128", "0", "1", "127"])]
#[case(MariaDb, "int(8) zerofill PRIMARY KEY", &["1", "42"])]
#[case(MariaDb, "mediumint", &["-8388608", "5"])]
#[case(Sqlite, "integer PRIMARY KEY", &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"])]
#[case(Sqlite, "bigint", &["-3", "12"])]
#[tokio::test]
async fn integers_of_all_widths_come_in_order_and_are_found(
    #[case] engine: Engine,
    #[case] id: &str,
    #[case] ids: &[&str],
) {
    let app = App::new(engine).await;
    app.users(id, ids).await;
    let source = app.source(&app.settings());
    for size in [1, 2, 100] {
        assert_eq!(all(&source, size).await, ids);
    }
    for id in ids {
        assert!(source.find(&UserId::new(*id)).await.unwrap().is_some(), "{id}");
    }
    for wrong in ["007", "09", "+9", " 9", "9.0", "nine", "", "99999999999999999999", "00000042"] {
        assert_eq!(source.find(&UserId::new(wrong)).await.unwrap(), None, "{wrong:?}");
    }
}

const UUIDS: [&str; 4] = [
    "00000000-0000-4000-8000-000000000001",
    "0f0e0d0c-0b0a-4908-8706-050403020100",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "ffffffff-ffff-4fff-bfff-ffffffffffff",
];

#[rstest]
#[case(Postgres, "uuid PRIMARY KEY")]
#[case(Postgres, "char(36) PRIMARY KEY")]
#[case(MariaDb, "uuid PRIMARY KEY")]
#[case(MariaDb, "char(36) PRIMARY KEY")]
#[case(Sqlite, "uuid PRIMARY KEY")]
#[tokio::test]
async fn uuids_come_as_they_are_written(#[case] engine: Engine, #[case] id: &str) {
    let app = App::new(engine).await;
    app.users(id, &strs(&text(&UUIDS))).await;
    let source = app.source(&app.settings());
    for size in [1, 3] {
        assert_eq!(sorted(all(&source, size).await), UUIDS);
    }
    assert!(source.find(&UserId::new(UUIDS[2])).await.unwrap().is_some());
    assert_eq!(source.find(&UserId::new(UUIDS[2].to_uppercase())).await.unwrap(), None);
    assert_eq!(source.find(&UserId::new("no uuid")).await.unwrap(), None);
    let query = Users { query: Some("SELECT id, email FROM users".into()), ..app.settings() };
    assert_eq!(sorted(all(&app.source(&query), 1).await), UUIDS);
}

/// Ids that some collation takes for one.
const LOOKALIKES: [&str; 17] =
    ["a", "A", "á", "Á", "ä", "ae", "æ", "ss", "ß", "a b", " a", "007", "07", "7", "a-b", "ab", "日本"];
/// Those that differ in trailing spaces alone.
const SPACES: [&str; 3] = ["a ", "a  ", "007 "];

#[rstest]
#[case(Postgres, "text PRIMARY KEY", true)]
#[case(Postgres, "varchar(50) COLLATE \"und-x-icu\" PRIMARY KEY", true)]
#[case(Postgres, "text COLLATE folded", true)]
#[case(Postgres, "varchar(50)", true)]
#[case(Postgres, "citext", true)]
#[case(MariaDb, "varchar(50) COLLATE utf8mb4_bin PRIMARY KEY", false)]
#[case(MariaDb, "varchar(50) COLLATE utf8mb4_nopad_bin PRIMARY KEY", true)]
#[case(MariaDb, "varchar(50) COLLATE utf8mb4_general_ci", true)]
#[case(MariaDb, "varchar(50) COLLATE utf8mb4_unicode_ci", true)]
#[case(MariaDb, "text COLLATE utf8mb4_unicode_520_ci", true)]
#[case(Sqlite, "text PRIMARY KEY", true)]
#[case(Sqlite, "text COLLATE NOCASE", true)]
#[case(Sqlite, "varchar(20) COLLATE RTRIM", true)]
#[tokio::test]
async fn ids_that_a_collation_takes_for_one_are_told_apart(
    #[case] engine: Engine,
    #[case] id: &str,
    #[case] spaces: bool,
) {
    let app = App::new(engine).await;
    if engine == Postgres {
        let folded = "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level1', deterministic = false)";
        app.run(&["CREATE EXTENSION IF NOT EXISTS citext", folded]).await;
    }
    let mut ids = owned(&LOOKALIKES);
    if spaces {
        ids.extend(owned(&SPACES));
    }
    app.users(id, &strs(&text(&strs(&ids)))).await;
    let expected = sorted(ids.clone());
    let table = app.settings();
    let query = Users { query: Some("SELECT id, email FROM users;".into()), ..app.settings() };
    for settings in [table, query] {
        let source = app.source(&settings);
        for size in [1, 2, 5, 100] {
            assert_eq!(sorted(all(&source, size).await), expected, "pages of {size}");
        }
        let users: Vec<UserId> = ids.iter().map(UserId::new).collect();
        assert_eq!(source.find_many(&users).await.unwrap().len(), users.len());
        for user in &users {
            assert_eq!(source.find(user).await.unwrap().map(|found| found.user).as_ref(), Some(user));
        }
        for wrong in ["AE", "Ab", "7 ", "0007"] {
            assert_eq!(source.find(&UserId::new(wrong)).await.unwrap(), None, "{wrong:?}");
        }
    }
}

#[tokio::test]
async fn a_unique_index_that_ignores_case_still_gives_every_user_once() {
    let app = App::new(MariaDb).await;
    let ids = ["b", "A", "c", "É", "z", "10", "9"];
    app.users("varchar(50) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY", &strs(&text(&ids))).await;
    let source = app.source(&app.settings());
    for size in [1, 2, 100] {
        assert_eq!(sorted(all(&source, size).await), sorted(owned(&ids)));
    }
    assert!(source.find(&UserId::new("É")).await.unwrap().is_some());
    for wrong in ["é", "a", "日本", "B"] {
        assert_eq!(source.find(&UserId::new(wrong)).await.unwrap(), None, "{wrong:?}");
    }
    assert_eq!(source.probe().await.unwrap().warnings, Vec::<String>::new());
    let query = Users { query: Some("SELECT id, email FROM users".into()), ..app.settings() };
    let found = app.source(&query).find_many(&["É".into(), "日本".into(), "c".into()]).await.unwrap();
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn the_index_serves_a_page_where_the_columns_own_order_is_complete() {
    let app = App::new(MariaDb).await;
    let ids: Vec<String> = (0..2_000).map(|number| format!("user-{number}")).collect();
    app.users("varchar(50) CHARACTER SET latin1 PRIMARY KEY", &strs(&text(&strs(&ids)))).await;
    let explain = "EXPLAIN SELECT u.`id` FROM `users` AS u
        WHERE u.`id` > CONVERT('user-5' USING latin1) COLLATE latin1_swedish_ci ORDER BY u.`id` LIMIT 10";
    let mut connection = MySqlConnection::connect(&app.url).await.unwrap();
    let row = sqlx::query(explain).fetch_one(&mut connection).await.unwrap();
    let extra: String = sqlx::Row::try_get(&row, "Extra").unwrap();
    assert!(extra.contains("Using index") && !extra.contains("filesort"), "{extra}");
}

#[tokio::test]
async fn a_padded_column_of_postgres_comes_padded() {
    let app = App::new(Postgres).await;
    app.users("char(4) PRIMARY KEY", &["'a'", "'B'", "'abcd'"]).await;
    let source = app.source(&app.settings());
    assert_eq!(sorted(all(&source, 1).await), ["B   ", "a   ", "abcd"]);
    assert!(source.find(&UserId::new("a   ")).await.unwrap().is_some());
    assert_eq!(source.find(&UserId::new("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_column_of_sqlite_may_hold_numbers_and_texts() {
    let app = App::new(Sqlite).await;
    app.users("", &["10", "9", "'9'", "'ann'", "NULL", "1.5", "x'00ff'"]).await;
    let source = app.source(&app.settings());
    for size in [1, 2, 100] {
        assert_eq!(all(&source, size).await, ["9", "10", "9", "ann"]);
    }
    assert_eq!(source.probe().await.unwrap().without_id, Some(3));
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn null_ids_are_skipped_and_counted_and_repeated_ids_neither_loop_nor_lose(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("varchar(20)", &["'b'", "'b'", "'b'", "'a'", "NULL", "'c'", "NULL", "'c'"]).await;
    app.run(&["UPDATE users SET email = NULL WHERE id = 'c'", "INSERT INTO users VALUES ('c', 'c@example.org')"]).await;
    let query = Users { query: Some("SELECT id, email FROM users".into()), ..app.settings() };
    for settings in [app.settings(), query] {
        let source = app.source(&settings);
        for size in [1, 2, 3, 100] {
            let users = all(&source, size).await;
            let unique: BTreeSet<&str> = users.iter().map(String::as_str).collect();
            assert_eq!(unique, BTreeSet::from(["a", "b", "c"]), "pages of {size}");
        }
        let probe = source.probe().await.unwrap();
        assert_eq!((probe.users, probe.without_id), (Some(7), Some(2)));
        assert!(probe.warnings.iter().any(|warning| warning.contains("2 rows have no id")), "{:?}", probe.warnings);
        let found = source.find(&"c".into()).await.unwrap().expect("they exist");
        assert!(found.email.is_ok(), "a row with an address is preferred");
    }
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn an_empty_table_ends_at_once(#[case] engine: Engine) {
    let app = App::new(engine).await;
    app.users("varchar(20) PRIMARY KEY", &[]).await;
    let source = app.source(&app.settings());
    let page = source.page(None, 10).await.unwrap();
    assert_eq!((page.users.len(), page.next), (0, None));
    assert_eq!(source.find_many(&[]).await.unwrap().len(), 0);
    assert_eq!(source.find(&"nobody".into()).await.unwrap(), None);
    let probe = source.probe().await.unwrap();
    assert_eq!((probe.users, probe.without_id, probe.warnings), (Some(0), Some(0), vec![]));
}

#[rstest]
#[case(Postgres)]
#[case(MariaDb)]
#[case(Sqlite)]
#[tokio::test]
async fn every_column_can_be_mapped_and_a_query_can_join(#[case] engine: Engine) {
    let app = App::new(engine).await;
    let (quote, schema) = match engine {
        Postgres => ('"', "people.Members".to_owned()),
        MariaDb => ('`', format!("{}.Members", app.url.rsplit('/').next().unwrap())),
        Sqlite => ('"', "main.Members".to_owned()),
    };
    if engine == Postgres {
        app.run(&["CREATE SCHEMA people", "SET search_path TO people"]).await;
    }
    let table = schema.replace('.', &format!("{quote}.{quote}"));
    app.run(&[
        &format!(
            "CREATE TABLE {quote}{table}{quote} ({quote}memberId{quote} varchar(20) PRIMARY KEY, mail varchar(50), \
            full_name varchar(50), lang varchar(9), tz varchar(40), active int)"
        ),
        &format!(
            "INSERT INTO {quote}{table}{quote} VALUES
            ('m1', ' ann@example.org ', 'Ann', 'de-AT', 'Europe/Vienna', 1), ('m2', 'nonsense', '', NULL, 'Mars', 1),
            ('m3', NULL, NULL, NULL, NULL, 0)"
        ),
    ])
    .await;
    let columns = UserColumns {
        id: "memberId".into(),
        email: "mail".into(),
        name: Some("full_name".into()),
        locale: Some("lang".into()),
        time_zone: Some("tz".into()),
    };
    let settings = Users { table: schema, columns: columns.clone(), ..app.settings() };
    let source = app.source(&settings);
    assert_eq!(source.probe().await.unwrap().warnings, Vec::<String>::new());
    assert_eq!(all(&source, 2).await, ["m1", "m2", "m3"]);
    let found = source.find_many(&["m1".into(), "m2".into(), "m3".into(), "m4".into()]).await.unwrap();
    assert_eq!(found.len(), 3);
    let ann = &found[&UserId::new("m1")];
    assert_eq!(ann.email.as_ref().map(|email| email.as_str().to_owned()), Ok("ann@example.org".to_owned()));
    assert_eq!((ann.name.as_deref(), ann.locale.as_deref()), (Some("Ann"), Some("de-AT")));
    assert_eq!(ann.time_zone, Some("Europe/Vienna".parse().unwrap()));
    let second = &found[&UserId::new("m2")];
    assert_eq!((&second.email, &second.name, second.time_zone), (&Err(NoAddress::Invalid), &None, None));
    assert_eq!(found[&UserId::new("m3")].email, Err(NoAddress::Missing));

    let query = format!("SELECT m.* FROM {quote}{table}{quote} AS m WHERE m.active = 1 -- those who may log in");
    let source = app.source(&Users { query: Some(query), columns, ..app.settings() });
    assert_eq!(all(&source, 1).await, ["m1", "m2"]);
    assert_eq!(source.find(&"m3".into()).await.unwrap(), None);
    assert_eq!(source.count().await.unwrap(), Some(2));
    source.probe().await.unwrap();
}
