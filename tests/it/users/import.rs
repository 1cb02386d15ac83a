//! `users import`: a CSV file into the auditor's own table, whole or not at all.

use std::path::PathBuf;

use connection_auditor::adapters::users::{Imported, Rejected, UsersError, UsersSource, import};
use connection_auditor::config::{UserColumns, Users};
use rstest::rstest;
use secrecy::SecretString;

use super::Engine::{Postgres, Sqlite};
use super::{App, Engine, all, sorted};

const TABLE: &str =
    "CREATE TABLE auditor_users (id text PRIMARY KEY, email text, name text, locale text, time_zone text)";

struct Own {
    app: App,
    folder: tempfile::TempDir,
}

impl Own {
    async fn new(engine: Engine) -> Self {
        let app = App::new(engine).await;
        app.run(&[TABLE]).await;
        Self { app, folder: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("users.csv");
        std::fs::write(&path, content).expect("a file");
        path
    }

    async fn import(&self, content: impl AsRef<[u8]>) -> Result<Imported, UsersError> {
        import(&SecretString::from(self.app.url.clone()), &self.file(content)).await
    }

    fn source(&self) -> UsersSource {
        let columns = UserColumns {
            name: Some("name".into()),
            locale: Some("locale".into()),
            time_zone: Some("time_zone".into()),
            ..Default::default()
        };
        let settings = Users { table: "auditor_users".into(), columns, ..Default::default() };
        UsersSource::connect(&settings, &SecretString::from(self.app.url.clone())).expect("our own table")
    }

    async fn refusal(&self, content: impl AsRef<[u8]>) -> String {
        let error = self.import(content).await.expect_err("it is refused");
        let UsersError::File { line, problem, .. } = error else { panic!("{error:?}") };
        format!("{line}: {problem}")
    }
}

#[rstest]
#[case(Postgres)]
#[case(Sqlite)]
#[tokio::test]
async fn a_file_becomes_users(#[case] engine: Engine) {
    let own = Own::new(engine).await;
    let first = "\u{feff}id,email,name,time_zone\n007, ann@example.org ,Ann,Europe/Vienna\n\" b\",,,\nC,c@example.org,\"C, \"\"x\"\"\",\n";
    let imported = own.import(first).await.unwrap();
    assert_eq!(imported, Imported { inserted: 3, ..Default::default() });
    let source = own.source();
    assert_eq!(sorted(all(&source, 2).await), [" b", "007", "C"]);
    let ann = source.find(&"007".into()).await.unwrap().unwrap();
    assert_eq!((ann.name.as_deref(), ann.time_zone), (Some("Ann"), Some(chrono_tz::Europe::Vienna)));
    assert_eq!(ann.email.unwrap().as_str(), "ann@example.org");
    assert_eq!(source.find(&"C".into()).await.unwrap().unwrap().name.as_deref(), Some("C, \"x\""));

    assert_eq!(own.import(first).await.unwrap(), Imported { unchanged: 3, ..Default::default() });
    let second = "email,id\r\nnew@example.org,007\r\nc@example.org,C\r\nd@example.org,D\r\n";
    let imported = own.import(second).await.unwrap();
    assert_eq!(imported, Imported { inserted: 1, updated: 1, unchanged: 1, ..Default::default() });
    let ann = source.find(&"007".into()).await.unwrap().unwrap();
    assert_eq!(ann.email.unwrap().as_str(), "new@example.org");
    assert_eq!(ann.name.as_deref(), Some("Ann"), "a column that the file does not have stays");
    assert_eq!(source.count().await.unwrap(), Some(4), "who is not in the file stays");
}

#[rstest]
#[case(Postgres)]
#[case(Sqlite)]
#[tokio::test]
async fn the_last_of_several_lines_wins_and_a_bad_line_is_left_out(#[case] engine: Engine) {
    let own = Own::new(engine).await;
    let file = "id,email,time_zone\na,one@example.org,\n,x@example.org,\n\"a,b\",x@example.org,\nc,not an address,\n\
        d,d@example.org,Mars/Olympus\na,two@example.org,\nA,three@example.org,\n";
    let imported = own.import(file).await.unwrap();
    assert_eq!((imported.inserted, imported.updated, imported.duplicates), (2, 0, 1));
    let lines: Vec<u64> = imported.rejected.iter().map(|rejected| rejected.line).collect();
    assert_eq!(lines, [3, 4, 5, 6]);
    assert_eq!(imported.rejected[2], Rejected { line: 5, reason: "invalid email address" });
    let found = own.source().find(&"a".into()).await.unwrap().unwrap();
    assert_eq!(found.email.unwrap().as_str(), "two@example.org");
    assert_eq!(sorted(all(&own.source(), 1).await), ["A", "a"]);
}

#[rstest]
#[case(Postgres)]
#[case(Sqlite)]
#[tokio::test]
async fn thousands_of_users_are_imported_in_chunks(#[case] engine: Engine) {
    let own = Own::new(engine).await;
    let file = |name: &str| {
        let lines: Vec<String> = (0..3_500).map(|user| format!("user-{user},u{user}@example.org,{name}")).collect();
        format!("id,email,name\n{}\n", lines.join("\n"))
    };
    assert_eq!(own.import(file("x")).await.unwrap().inserted, 3_500);
    assert_eq!(own.import(file("y")).await.unwrap().updated, 3_500);
    assert_eq!(own.source().count().await.unwrap(), Some(3_500));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_names_the_line_and_changes_nothing() {
    let own = Own::new(Sqlite).await;
    assert_eq!(
        own.refusal("").await,
        "1: the file is empty: it needs a header with id, email, name, locale, time_zone"
    );
    assert_eq!(
        own.refusal("id,name\na,A\n").await,
        "1: the header lacks the column email; a file may have id, email, name, locale, time_zone"
    );
    assert_eq!(
        own.refusal("id,email,Tz\n").await,
        "1: unknown column \"Tz\"; a file may have id, email, name, locale, time_zone"
    );
    assert_eq!(own.refusal("id,email,id\n").await, "1: the column id is there twice");
    assert_eq!(own.refusal("id,email\na,a@example.org\nb\n").await, "3: it has 1 fields where the header has 2");
    assert_eq!(own.refusal(b"id,email\na,a@example.org\nb,\xff\n").await, "3: it is not UTF-8");
    let long = format!("id,email\na,a@example.org\nb,{}\n", "x".repeat(70_000));
    assert_eq!(own.refusal(&long).await, "3: it is longer than 64 KiB; is a quote left open?");
    let open = format!("id,email\na,a@example.org\n\"b,{}\n", "x,y\n".repeat(1_000_000));
    assert_eq!(own.refusal(&open).await, "3: it is longer than 64 KiB; is a quote left open?");
    assert_eq!(own.source().count().await.unwrap(), Some(0));
    let missing = own.folder.path().join("none.csv");
    let error = import(&SecretString::from(own.app.url.clone()), &missing).await.expect_err("there is none");
    assert!(error.to_string().contains("none.csv") && error.to_string().contains("cannot open it"), "{error}");
}

#[rstest]
#[case(Postgres)]
#[case(Sqlite)]
#[tokio::test]
async fn an_import_that_fails_on_the_way_leaves_nothing_half_done(#[case] engine: Engine) {
    let own = Own::new(engine).await;
    own.app.run(&["ALTER TABLE auditor_users RENAME TO old", "DROP TABLE old"]).await;
    own.app.run(&[&TABLE.replace("email text", "email text CHECK (email <> 'u3000@example.org')")]).await;
    let lines: Vec<String> = (0..3_500).map(|user| format!("user-{user},u{user}@example.org")).collect();
    let error = own.import(format!("id,email\n{}\n", lines.join("\n"))).await.expect_err("a row is refused");
    assert!(matches!(error, UsersError::Rejected { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("@example"), "{error:?}");
    assert_eq!(own.source().count().await.unwrap(), Some(0));
}
