//! The ledger of notifications.

use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::notification::{NotificationState, hold};
use connection_auditor::domain::port::{Carried, Settlement};

use super::*;

async fn in_state(db: &Db, state: NotificationState) -> Vec<Notification> {
    db.notifications(state, 10).await.expect("listed")
}

async fn settle(db: &Db, id: NotificationId, lease: Lease, settlement: Settlement, now: DateTime<Utc>) {
    assert!(db.settle(id, lease.token, &settlement, now).await.expect("the store answers"));
}

fn again(due_at: DateTime<Utc>, counted: bool, ambiguous: bool) -> Settlement {
    Settlement::Again { due_at, error: "421 try later".into(), counted, ambiguous }
}

/// Breaks a slot under a hold.
async fn hold_slot(db: &Db, name: &str, app: &str, base: Option<DateTime<Utc>>, now: DateTime<Utc>) {
    let users = vec![UserRecord { open: vec![incident(app)], ..seen(name, base, now) }];
    written(db.record(&Record { hold: Some("go-live".into()), ..record_of(users, now) }).await.expect("answered"));
}

pub(super) async fn of_sixteen_notifiers_one_claims(db: &Db) {
    let (_, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let claims =
        (0..16).map(|_| async { db.claim_notification(made[0], lease(at(1)), at(1)).await.expect("answered") });
    let claims = futures::future::join_all(claims).await;
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Won(_))).count(), 1);
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Held(at(16))).count(), 15);
}

pub(super) async fn a_notification_is_claimed_when_due_and_is_over_when_settled(db: &Db) {
    let claim = async |id, now| db.claim_notification(id, lease(now), now).await.expect("answered");
    assert_eq!(claim(NotificationId(Uuid::now_v7()), at(0)).await, Claim::Missing);
    let users = vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(1)) }];
    let made = written(db.record(&Record { notify_at: at(50), ..record_of(users, at(1)) }).await.expect("answered"));
    assert_eq!(claim(made[0], at(49)).await, Claim::NotDue(at(50)));
    let (claimed, held) = claim_notification(db, made[0], at(50)).await;
    assert_eq!((claimed.state, claimed.attempts, claimed.user), (NotificationState::Claimed, 0, user("ann")));
    assert!(db.renew_notification(made[0], Lease { until: at(90), ..held }).await.expect("renewed"));
    assert_eq!(claim(made[0], at(89)).await, Claim::Held(at(90)));
    settle(db, made[0], held, Settlement::Skipped("recovered".into()), at(89)).await;
    assert_eq!(claim(made[0], at(100)).await, Claim::Over);
    hold_slot(db, "bob", "slack", None, at(1)).await;
    assert_eq!(claim(in_state(db, NotificationState::Held).await[0].id, at(100)).await, Claim::Over);
}

pub(super) async fn a_notifier_that_lost_its_lease_changes_nothing(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, old) = claim_notification(db, made[0], at(1)).await;
    let (again_claimed, new) = claim_notification(db, made[0], at(16)).await;
    assert_eq!(again_claimed.ambiguous, 0, "it was not being sent");
    assert!(!db.renew_notification(made[0], old).await.expect("refused"));
    assert!(!db.begin_sending(made[0], old, &[broken]).await.expect("refused"));
    for late in [Settlement::Sent, Settlement::Failed("550".into()), again(at(99), true, true)] {
        assert!(!db.settle(made[0], old.token, &late, at(17)).await.expect("refused"));
    }
    let held = Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "?".into() };
    assert!(!db.settle(made[0], old.token, &held, at(17)).await.expect("refused"));
    let claimed = in_state(db, NotificationState::Claimed).await;
    assert_eq!((claimed[0].attempts, claimed[0].ambiguous, claimed[0].error.clone()), (0, 0, None));
    assert!(db.begin_sending(made[0], new, &[broken]).await.expect("begun"));
    assert!(!db.begin_sending(made[0], new, &[broken]).await.expect("it is being sent already"));
    settle(db, made[0], new, Settlement::Sent, at(18)).await;
    assert!(!db.settle(made[0], new.token, &Settlement::Failed("550".into()), at(19)).await.expect("it is settled"));
}

pub(super) async fn a_lapsed_sending_is_ambiguous_and_is_counted(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, first) = claim_notification(db, made[0], at(1)).await;
    assert!(db.begin_sending(made[0], Lease { until: at(30), ..first }, &[broken]).await.expect("begun"));
    let early = db.claim_notification(made[0], lease(at(29)), at(29)).await.expect("answered");
    assert_eq!(early, Claim::Held(at(30)));
    let (taken, second) = claim_notification(db, made[0], at(30)).await;
    assert_eq!((taken.state, taken.ambiguous, taken.attempts), (NotificationState::Claimed, 1, 0));
    let wait = Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "nobody knows".into() };
    settle(db, made[0], second, wait, at(31)).await;
    let waiting = in_state(db, NotificationState::Held).await;
    assert_eq!(waiting[0].hold.as_deref(), Some(hold::AMBIGUOUS));
    assert_eq!((waiting[0].ambiguous, waiting[0].error.as_deref()), (1, Some("nobody knows")));
}

pub(super) async fn only_what_a_sent_mail_listed_was_mailed(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (gmail, _) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    let (notion, _) = break_slot(db, "ann", "notion", Some(at(2)), at(3)).await;
    let (_, held) = claim_notification(db, made[0], at(3)).await;
    assert!(db.begin_sending(made[0], held, &[slack, gmail, notion]).await.expect("begun"));
    assert!(db.carried_incidents(&user("ann")).await.expect("read").is_empty(), "it is not sent yet");
    settle(db, made[0], held, again(at(10), true, false), at(4)).await;
    let (_, held) = claim_notification(db, made[0], at(10)).await;
    assert!(db.begin_sending(made[0], held, &[slack, notion]).await.expect("begun"));
    settle(db, made[0], held, Settlement::Sent, at(11)).await;
    assert_eq!(
        db.carried_incidents(&user("ann")).await.expect("read"),
        [(slack, Carried::Mailed(at(11))), (notion, Carried::Mailed(at(11)))].into()
    );
    assert!(db.carried_incidents(&user("bob")).await.expect("read").is_empty());
}

pub(super) async fn one_incident_is_not_sent_by_two_notifications(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held_first) = claim_notification(db, first[0], at(1)).await;
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    let (_, held_second) = claim_notification(db, second[0], at(2)).await;
    let both = [slack, gmail];
    let (begun_first, begun_second) =
        tokio::join!(db.begin_sending(first[0], held_first, &both), db.begin_sending(second[0], held_second, &both));
    let begun = (begun_first.expect("answered"), begun_second.expect("answered"));
    assert!(begun.0 != begun.1, "one of them sends both: {begun:?}");
    let (winner, held) = if begun.0 { (first[0], held_first) } else { (second[0], held_second) };
    settle(db, winner, held, Settlement::Sent, at(3)).await;
    assert_eq!(db.carried_incidents(&user("ann")).await.expect("read").len(), 2);
    let (loser, held) = if begun.0 { (second[0], held_second) } else { (first[0], held_first) };
    assert!(!db.begin_sending(loser, held, &[slack]).await.expect("it was sent"));
    assert!(db.begin_sending(loser, held, &[]).await.expect("its claim still holds"));
}

pub(super) async fn what_is_tried_again_keeps_its_name_and_its_tries(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    assert!(db.begin_sending(made[0], held, &[broken]).await.expect("begun"));
    settle(db, made[0], held, again(at(20), true, true), at(2)).await;
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending[0].id, pending[0].due_at), (made[0], at(20)));
    assert_eq!((pending[0].attempts, pending[0].ambiguous), (1, 1));
    assert_eq!(pending[0].error.as_deref(), Some("421 try later"));
    let (_, held) = claim_notification(db, made[0], at(20)).await;
    settle(db, made[0], held, again(at(21), false, false), at(20)).await;
    let (claimed, held) = claim_notification(db, made[0], at(21)).await;
    assert_eq!((claimed.attempts, claimed.ambiguous), (1, 1));
    settle(db, made[0], held, Settlement::Failed("550 no such user".into()), at(22)).await;
    let failed = in_state(db, NotificationState::Failed).await;
    assert_eq!((failed[0].attempts, failed[0].error.as_deref()), (2, Some("550 no such user")));
}

pub(super) async fn what_comes_back_takes_in_what_was_made_meanwhile(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, first[0], at(1)).await;
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(5)).await;
    settle(db, first[0], held, again(at(60), true, false), at(6)).await;
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].id, pending[0].due_at), (first[0], at(60)), "its mail server asked for time");
    assert_eq!(pending[0].incidents, [slack, gmail]);
    let merged = in_state(db, NotificationState::Skipped).await;
    assert_eq!((merged[0].id, merged[0].error.as_deref()), (second[0], Some("merged")));
    assert_eq!(db.claim_notification(second[0], lease(at(7)), at(7)).await.expect("answered"), Claim::Over);
}

pub(super) async fn held_notifications_are_released_or_discarded_by_age(db: &Db) {
    for (name, now) in [("ann", at(1)), ("bob", at(5)), ("cid", at(9))] {
        hold_slot(db, name, "slack", None, now).await;
    }
    assert_eq!(db.release_held("another", None, at(20)).await.expect("released"), 0);
    assert_eq!(db.release_held("go-live", Some(at(5)), at(20)).await.expect("released"), 1);
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((&pending[0].user, pending[0].due_at, &pending[0].hold), (&user("ann"), at(20), &None));
    assert_eq!(db.discard_held("go-live", Some(at(9)), at(21)).await.expect("discarded"), 1);
    let skipped = in_state(db, NotificationState::Skipped).await;
    assert_eq!((&skipped[0].user, skipped[0].error.as_deref()), (&user("bob"), Some("discarded")));
    assert_eq!(db.release_held("go-live", None, at(22)).await.expect("released"), 1);
    assert_eq!(db.release_held("go-live", None, at(23)).await.expect("released"), 0);
    assert_eq!(db.discard_held("go-live", None, at(23)).await.expect("discarded"), 0);
    assert_eq!(in_state(db, NotificationState::Pending).await.len(), 2);
}

pub(super) async fn a_release_joins_what_is_pending(db: &Db) {
    hold_slot(db, "ann", "slack", None, at(1)).await;
    let (_, made) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    assert_eq!(db.release_held("go-live", None, at(20)).await.expect("released"), 1);
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending.len(), pending[0].incidents.len()), (1, 2));
    assert_ne!(pending[0].id, made[0], "the older one survives");
    assert!(in_state(db, NotificationState::Held).await.is_empty());
}

pub(super) async fn the_incidents_of_a_deleted_user_are_closed(db: &Db) {
    break_slot(db, "ann", "slack", None, at(1)).await;
    break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    break_slot(db, "bob", "slack", None, at(2)).await;
    let ann = user("ann");
    assert_eq!(db.close_incidents_of(&ann, Resolution::UserDeleted, at(3)).await.expect("closed"), 2);
    assert_eq!(db.close_incidents_of(&ann, Resolution::UserDeleted, at(3)).await.expect("closed"), 0);
    assert_eq!(db.open_incidents().await.expect("counted").iter().map(|open| open.count).sum::<u64>(), 1);
}
