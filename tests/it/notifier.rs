//! What becomes of notifications: the re-read before the mail, holds, mail servers that refuse, hang up or are away.

use std::collections::BTreeMap;
use std::time::Duration;

use connection_auditor::domain::notification::NotificationState;
use connection_auditor::simulator::Mix;

use crate::support::smtp::{Act, At};
use crate::support::world::{On, World};

/// Ten users, each with one broken connection and nothing else.
async fn ten_broken(on: On) -> World {
    let mut world = World::mixed(on, 10, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn under_hold_nobody_is_mailed_until_the_operator_releases() {
    let mut world = ten_broken(On::Embedded).await;
    world.set("notify.mode", "hold");
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!((sweep.tally.to_notify, world.smtp.count()), (10, 0));
    assert_eq!(world.reasons(NotificationState::Held).await, BTreeMap::from([("go-live".to_owned(), 10)]));

    let recovered: Vec<_> = world.simulator.heal(4);
    assert_eq!(recovered.len(), 4);
    let old = world.command(&["notifications", "release", "--older-than", "1h"]);
    assert_eq!(old.status.code(), Some(0));
    assert_eq!(world.reasons(NotificationState::Held).await.values().sum::<u64>(), 10, "none is that old");
    let released = world.command(&["notifications", "release"]);
    assert!(String::from_utf8_lossy(&released.stdout).contains("10"), "{released:?}");
    world.smtp.wait_for(6, Duration::from_secs(30)).await;
    world.until_settled().await;
    world.assert_mailed_by_the_truth(0);
    let skipped = world.reasons(NotificationState::Skipped).await;
    assert_eq!(skipped, BTreeMap::from([("recovered".to_owned(), 4)]), "who reconnected in time is left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_can_be_discarded_and_is_then_never_mailed() {
    let mut world = ten_broken(On::Embedded).await;
    world.set("notify.mode", "hold");
    world.start_worker();
    world.swept().await;
    assert_eq!(world.command(&["notifications", "discard"]).status.code(), Some(0));
    world.swept().await;
    assert_eq!(world.command(&["notifications", "release"]).status.code(), Some(0));
    world.until_settled().await;
    assert_eq!(world.reasons(NotificationState::Skipped).await, BTreeMap::from([("discarded".to_owned(), 10)]));
    assert_eq!(world.smtp.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_deleted_from_the_app_is_not_mailed() {
    let mut world = ten_broken(On::Servers).await;
    world.set("notify.mode", "hold");
    world.start_worker();
    world.swept().await;
    let gone = world.simulator.users().next().expect("ten users").id;
    sqlx::query("DELETE FROM people WHERE id = $1")
        .bind(gone.as_str())
        .execute(&mut world.app().await)
        .await
        .expect("the user is deleted");
    world.command(&["notifications", "release"]);
    world.smtp.wait_for(9, Duration::from_secs(30)).await;
    world.until_settled().await;
    assert_eq!(world.reasons(NotificationState::Skipped).await, BTreeMap::from([("deleted".to_owned(), 1)]));
    assert!(world.mails(0).iter().all(|mail| mail.to != gone));
    let open = world.store.open_incidents().await.expect("they are counted");
    assert_eq!(open.iter().map(|open| open.count).sum::<u64>(), 9, "their incident is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_addresses_of_only_to_are_mailed() {
    let mut world = ten_broken(On::Embedded).await;
    let chosen = world.simulator.users().nth(3).expect("ten users");
    world.set("notify.only_to", chosen.email.clone().expect("an address"));
    world.start_worker();
    world.swept().await;
    let mails = world.mails(0);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, chosen.id);
    assert_eq!(world.reasons(NotificationState::Skipped).await.values().sum::<u64>(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_staging_every_mail_goes_to_one_address() {
    let mut world = ten_broken(On::Embedded).await;
    world.set("notify.redirect_all_to", "staging@acme.example");
    world.start_worker();
    world.swept().await;
    let received = world.smtp.received();
    assert_eq!(received.len(), 10);
    assert!(received.iter().all(|mail| mail.to == ["staging@acme.example"]));
    let real: Vec<String> = world.simulator.users().filter_map(|user| user.email).collect();
    let texts: Vec<String> = received.iter().map(|mail| String::from_utf8_lossy(&mail.bytes).into_owned()).collect();
    assert!(!texts.iter().any(|text| real.iter().any(|address| text.contains(address))), "no real address is inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_says_later_gets_the_same_mail_again() {
    let mut world = ten_broken(On::Embedded).await;
    world.smtp.fault_times(15, At::Rcpt, Act::Reply(451, "try again later"));
    world.start_worker();
    world.swept().await;
    world.assert_mailed_by_the_truth(0);
    let sent = world.store.notifications(NotificationState::Sent, 100).await.expect("they are listed");
    assert!(sent.iter().any(|notification| notification.attempts > 1), "some were tried more than once");
    for mail in world.mails(0) {
        let notification = sent.iter().find(|notification| notification.user == mail.to).expect("it is in the ledger");
        assert_eq!(mail.message_id, notification.message_id("acme.example"), "named by the ledger on every try");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_is_recorded_without_the_address_and_not_repeated() {
    let mut world = ten_broken(On::Embedded).await;
    let refused = world.simulator.users().next().expect("ten users");
    let address = refused.email.expect("an address");
    world.smtp.fault_for(&address, At::Rcpt, Act::Reply(550, "5.7.1 refused by policy"));
    world.start_worker();
    world.swept().await;
    world.swept().await;
    assert_eq!(world.smtp.count(), 9);
    let failed = world.store.notifications(NotificationState::Failed, 100).await.expect("they are listed");
    assert_eq!(failed.len(), 1);
    let why = failed[0].error.as_deref().expect("a reason");
    assert!(why.contains("550") && !why.contains(&address), "{why}");
    assert!(!world.logs().contains(&address));

    world.smtp.heal();
    let retried = world.command(&["notifications", "retry"]);
    assert!(String::from_utf8_lossy(&retried.stdout).contains('1'), "{retried:?}");
    world.smtp.wait_for(10, Duration::from_secs(30)).await;
    world.until_settled().await;
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_away_uses_up_no_tries() {
    let mut world = ten_broken(On::Embedded).await;
    world.set("notify.retry.max_attempts", 2);
    world.smtp.fault(At::Greeting, Act::Reply(421, "too busy"));
    world.start_worker();
    let id = world.sweep_now().await;
    world
        .until("many tries fail", Duration::from_secs(60), || async {
            (world.logs().matches("too busy").count() > 40).then_some(())
        })
        .await;
    world.smtp.heal();
    world.settled(id, Duration::from_secs(60)).await;
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_after_the_mail_was_taken_is_ambiguous_and_repeated_under_the_same_name() {
    let mut world = ten_broken(On::Embedded).await;
    world.smtp.fault_times(1, At::Kept, Act::Drop);
    world.start_worker();
    world.swept().await;
    let mails = world.mails(0);
    assert_eq!(mails.len(), 11, "one copy");
    let ids: std::collections::BTreeSet<_> = mails.iter().map(|mail| &mail.message_id).collect();
    assert_eq!(ids.len(), 10, "which the receiver can drop, as it has the same Message-ID");
    let sent = world.store.notifications(NotificationState::Sent, 100).await.expect("they are listed");
    assert_eq!(sent.iter().map(|notification| notification.ambiguous).sum::<u32>(), 1, "and it is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_after_the_mail_was_taken_is_held_where_that_is_preferred() {
    let mut world = ten_broken(On::Embedded).await;
    world.set("notify.on_ambiguous", "hold");
    world.smtp.fault_times(1, At::Kept, Act::Drop);
    world.start_worker();
    world.swept().await;
    assert_eq!(world.smtp.count(), 10, "no copy");
    assert_eq!(world.reasons(NotificationState::Held).await, BTreeMap::from([("ambiguous".to_owned(), 1)]));
}
