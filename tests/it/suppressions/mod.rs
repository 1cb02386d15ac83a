//! Who is not mailed: from a refused address or a word of the operator to the mail that does not leave, and back again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::UserId;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::suppression::{Suppression, SuppressionKind, Whom};
use connection_auditor::simulator::{AppUser, Mix};
use rstest::rstest;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::smtp::{Act, At};
use crate::support::world::{On, World};

const LIMIT: Duration = Duration::from_secs(60);

/// Some users, each with one broken connection and nothing else, and one of them.
async fn world(on: On) -> (World, AppUser) {
    let mut world = World::mixed(on, 4, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    let one = world.simulator.users().next().expect("a user");
    (world, one)
}

/// Runs a command that succeeds; what it printed.
fn ran(world: &World, arguments: &[&str]) -> String {
    let output = world.command(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn suppressions(world: &World) -> Vec<Suppression> {
    world.store.suppressions(100, SystemClock.now()).await.expect("they are listed")
}

/// Reconnects the user, lets that be seen, and breaks the connection anew.
async fn breaks_again(world: &World, user: &UserId) {
    assert!(world.simulator.heal_user(user));
    world.swept().await;
    assert!(world.simulator.break_user(user));
    world.swept().await;
}

/// How the notifications of a user ended, oldest first.
async fn ends(world: &World, user: &UserId) -> Vec<(NotificationState, Option<String>)> {
    let trail = world.store.trail(user, 100).await.expect("there is a trail");
    trail.notifications.into_iter().map(|notification| (notification.state, notification.error)).collect()
}

#[rstest]
#[case::servers(On::Servers)]
#[case::embedded(On::Embedded)]
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_bounces_is_not_mailed_again_until_the_operator_says_so(#[case] on: On) {
    let (mut world, one) = world(on).await;
    let address = one.email.clone().expect("an address");
    world.smtp.fault_for(&address, At::Rcpt, Act::Reply(550, "5.1.1 no such user here"));
    world.start_worker();
    world.swept().await;
    assert_eq!(world.smtp.count(), 3, "the others are mailed");
    let kept = suppressions(&world).await;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].kind, kept[0].source.as_str()), (SuppressionKind::Bounce, "smtp"));
    assert!(matches!(kept[0].whom, Whom::Address(_)));
    assert!(!format!("{kept:?}").contains(&address) && !world.logs().contains(&address));

    world.smtp.heal();
    breaks_again(&world, &one.id).await;
    let states = ends(&world, &one.id).await;
    assert_eq!(states.len(), 2, "{states:?}");
    assert_eq!(states[0].0, NotificationState::Failed);
    assert_eq!(states[1], (NotificationState::Skipped, Some("suppressed".to_owned())));
    assert_eq!(world.smtp.count(), 3);

    let listed = ran(&world, &["suppressions", "list"]);
    assert!(listed.contains("bounce") && listed.contains("5.1.1") && !listed.contains(&address), "{listed}");
    let removed = ran(&world, &["suppressions", "remove", "--user", one.id.as_str()]);
    assert!(removed.starts_with("1 suppression of "), "{removed}");
    world.smtp.wait_for(4, LIMIT).await;
    world.until_settled().await;
    assert_eq!(world.mails(3)[0].to, one.id);
    assert!(suppressions(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_address_bounced_is_mailed_at_another_one() {
    let (mut world, one) = world(On::Servers).await;
    let address = one.email.clone().expect("an address");
    world.smtp.fault_for(&address, At::Rcpt, Act::Reply(550, "5.1.1 no such user here"));
    world.start_worker();
    world.swept().await;
    let mut app = world.app().await;
    sqlx::query("UPDATE people SET email = 'moved@else.example' WHERE id = $1")
        .bind(one.id.as_str())
        .execute(&mut app)
        .await
        .expect("the user moves");
    breaks_again(&world, &one.id).await;
    world.smtp.wait_for(4, LIMIT).await;
    assert_eq!(world.smtp.received()[3].to, ["moved@else.example"]);
    assert_eq!(suppressions(&world).await.len(), 1, "the old address stays what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_is_not_mailed_and_who_is_snoozed_is_mailed_when_that_ends() {
    let (mut world, one) = world(On::Embedded).await;
    let users: Vec<AppUser> = world.simulator.users().collect();
    let two = &users[1];
    let said = ran(&world, &["suppressions", "add", "--user", one.id.as_str(), "--reason", "asked ann@example.org"]);
    assert!(said.contains("is not mailed about any app any more"), "{said}");
    let said = ran(&world, &["suppressions", "add", "--user", two.id.as_str(), "--snooze", "25s"]);
    assert!(said.contains(" until "), "{said}");
    assert!(!format!("{:?}", suppressions(&world).await).contains("ann@"));
    world.start_worker();
    world.swept().await;
    assert_eq!(world.smtp.count(), 2);
    assert_eq!(world.reasons(NotificationState::Skipped).await, BTreeMap::from([("suppressed".to_owned(), 2)]));
    world.smtp.wait_for(3, LIMIT).await;
    assert_eq!(world.mails(2)[0].to, two.id, "the snooze ends, and nobody had to say so");
    world.until_settled().await;

    ran(&world, &["suppressions", "remove", "--user", one.id.as_str(), "--kind", "opt-out"]);
    world.smtp.wait_for(4, LIMIT).await;
    assert_eq!(world.mails(3)[0].to, one.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_they_did_and_what_is_odd() {
    let (world, one) = world(On::Embedded).await;
    let user = one.id.as_str();
    assert_eq!(ran(&world, &["suppressions", "list"]), "nobody is suppressed\n");
    let odd = world.command(&["suppressions", "add", "--user", "nobody-1", "--app", "Slack"]);
    assert_eq!(odd.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&odd.stdout).contains("nobody-1 is not mailed about slack any more"), "{odd:?}");
    assert!(String::from_utf8_lossy(&odd.stderr).contains("no such user"), "{odd:?}");
    let past = world.command(&["suppressions", "add", "--user", user, "--until", "2020-01-31"]);
    assert_eq!(past.status.code(), Some(64), "{past:?}");
    let listed: Value = serde_json::from_str(&ran(&world, &["suppressions", "list", "--json"])).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!((&listed[0]["whom"]["user"], &listed[0]["toolkit"]), (&"nobody-1".into(), &"slack".into()));
    let other = ran(&world, &["suppressions", "remove", "--user", "nobody-1", "--app", "gmail"]);
    assert!(other.starts_with("nothing of that kind"), "{other}");
    assert!(ran(&world, &["suppressions", "remove", "--user", "nobody-1"]).starts_with("1 suppression of nobody-1"));
    let unknown = world.command(&["suppressions", "remove", "--address", "0123456789ab"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[rstest]
#[case::servers(On::Servers)]
#[case::embedded(On::Embedded)]
#[tokio::test(flavor = "multi_thread")]
async fn one_users_data_is_exported_whole_and_erased_whole(#[case] on: On) {
    let (mut world, one) = world(on).await;
    let (user, address) = (one.id.as_str(), one.email.clone().expect("an address"));
    world.smtp.fault_for(&address, At::Rcpt, Act::Reply(550, "5.1.1 no such user here"));
    world.start_worker();
    world.swept().await;
    ran(&world, &["suppressions", "add", "--user", user, "--app", "slack"]);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("export.json");
    let path = file.to_str().expect("a plain path");
    ran(&world, &["user", "export", user, "--out", path]);
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(
        world.command(&["user", "export", user, "--out", path]).status.code(),
        Some(1),
        "nothing is overwritten"
    );
    let export: Value = serde_json::from_slice(&std::fs::read(&file).expect("it is there")).expect("JSON");
    let length = |key: &str| export[key].as_array().map_or(0, Vec::len);
    assert_eq!(export["user"], user);
    for key in ["accounts", "incidents", "notifications", "listed", "suppressions", "address_suppressions"] {
        assert!(length(key) > 0, "{key}: {export:#}");
    }
    assert!(export["last_check"].is_object(), "{export:#}");
    match on {
        On::Embedded => assert_eq!(export["auditor_users"]["email"], address),
        On::Servers => assert_eq!(export["auditor_users"], Value::Null),
    }

    let refused = world.command(&["user", "erase", user]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"), "{refused:?}");
    let others = rows(&world, user).await.1;
    let erased = world.command(&["user", "erase", user, "--yes"]);
    assert_eq!(erased.status.code(), Some(0), "{erased:?}");
    assert!(String::from_utf8_lossy(&erased.stdout).contains("auditor_suppressions"), "{erased:?}");
    let (own, left) = rows(&world, user).await;
    assert_eq!(own, BTreeMap::new(), "nothing is left of the user");
    assert_eq!(left, others, "and nothing of others is gone");
    assert!(suppressions(&world).await.is_empty(), "what was known of the address is gone too");
    let again = ran(&world, &["user", "erase", user, "--yes"]);
    assert!(again.starts_with("nothing was kept"), "{again}");
}

/// In tables with users: how many rows are this user's, without the app's own row, and how many are others'.
async fn rows(world: &World, user: &str) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let (mut own, mut others) = (BTreeMap::new(), BTreeMap::new());
    for table in
        ["accounts", "doubts", "incidents", "links", "notifications", "observations", "suppressions", "user_checks"]
    {
        let count = |condition: &str| {
            let literal = user.replace('\'', "''");
            AssertSqlSafe(format!("SELECT count(*) FROM auditor_{table} WHERE user_id {condition} '{literal}'"))
        };
        for (condition, found) in [("=", &mut own), ("<>", &mut others)] {
            let url = world.setting("database.url");
            let rows: i64 = if url.starts_with("sqlite:") {
                let mut connection =
                    <sqlx::SqliteConnection as sqlx::Connection>::connect(url).await.expect("it opens");
                sqlx::query_scalar(count(condition)).fetch_one(&mut connection).await.expect("counted")
            } else {
                let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.expect("it opens");
                sqlx::query_scalar(count(condition)).fetch_one(&mut connection).await.expect("counted")
            };
            if rows > 0 {
                found.insert(table.to_owned(), rows);
            }
        }
    }
    (own, others)
}
