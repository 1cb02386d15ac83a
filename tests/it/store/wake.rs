//! Looking again at users whose incidents are worth it.

use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::job::Job;
use connection_auditor::domain::notification::{NotificationState, hold};
use connection_auditor::domain::plan::Hold;

use super::*;

/// A user who was mailed about a broken slot, and is to be looked at again.
async fn mailed(db: &Db, name: &str, look: DateTime<Utc>) -> IncidentId {
    let (slack, made) = break_slot(db, name, "slack", None, at(1)).await;
    let claimed = claim_notification(db, made[0], at(1)).await.1;
    assert_eq!(begin(db, made[0], claimed, &[slack]).await, Begun::Yes);
    settle_with(db, (made[0], claimed), &Settlement::Sent, &[(slack, Some(look))], at(2)).await;
    slack
}

async fn wake(db: &Db, now: DateTime<Utc>) -> Vec<NotificationId> {
    db.wake(None, now, 10).await.expect("looked")
}

async fn in_state(db: &Db, state: NotificationState) -> Vec<Notification> {
    db.notifications(state, 10).await.expect("listed")
}

pub(super) async fn a_look_that_has_come_makes_a_notification_once(db: &Db) {
    let slack = mailed(db, "ann", at(50)).await;
    mailed(db, "bob", at(60)).await;
    assert!(wake(db, at(49)).await.is_empty());
    let made = wake(db, at(50)).await;
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending.len(), pending[0].id, pending[0].due_at), (1, made[0], at(50)));
    assert_eq!((&pending[0].user, &pending[0].incidents), (&user("ann"), &vec![slack]));
    assert!(wake(db, at(50)).await.is_empty());
    let unqueued = db.unqueued("g", at(55), at(51), 9).await.expect("read");
    assert_eq!(unqueued, [(Job::Notify(made[0]), at(50))], "should whoever asked not have pushed it");
    let (_, held) = claim_notification(db, made[0], at(50)).await;
    let reminder = [(slack, Stage(1))];
    assert_eq!(db.begin_sending(made[0], &sending(held, &reminder)).await.expect("answered"), Begun::Yes);
    settle_with(db, (made[0], held), &Settlement::Sent, &[(slack, None)], at(51)).await;
    assert_eq!(wake(db, at(99)).await.len(), 1, "bob");
    assert!(wake(db, at(999)).await.is_empty());
}

pub(super) async fn a_look_is_kept_until_what_waits_has_ended(db: &Db) {
    mailed(db, "ann", at(50)).await;
    let (_, made) = break_slot(db, "ann", "gmail", Some(at(1)), at(40)).await;
    assert!(wake(db, at(60)).await.is_empty(), "one is pending");
    let (_, held) = claim_notification(db, made[0], at(60)).await;
    assert!(wake(db, at(61)).await.is_empty(), "it is worked on");
    assert!(settle(db, made[0], held.token, &Settlement::Failed("550".into()), at(62)).await);
    assert_eq!(wake(db, at(63)).await.len(), 1, "it ended without a word on what is next");
}

pub(super) async fn looks_are_those_of_the_user_and_of_what_is_open(db: &Db) {
    let other = mailed(db, "bob", at(70)).await;
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let looks = [(slack, Some(at(50))), (other, Some(at(50)))];
    settle_with(db, (made[0], held), &Settlement::Skipped("snoozed".into()), &looks, at(2)).await;
    assert_eq!(wake(db, at(60)).await.len(), 1, "ann");
    db.close_incidents_of(&user("bob"), Resolution::UserDeleted, at(65)).await.expect("closed");
    assert!(wake(db, at(99)).await.is_empty(), "what has ended is not looked at");
}

pub(super) async fn what_is_put_back_or_held_notes_its_looks_too(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let guarded = Settlement::Held { hold: hold::GO_LIVE.into(), error: "by hand".into() };
    settle_with(db, (made[0], held), &guarded, &[(slack, Some(at(50)))], at(2)).await;
    let woken = wake(db, at(50)).await;
    assert_eq!(woken.len(), 1, "beside the one that is held");
    let (_, held) = claim_notification(db, woken[0], at(50)).await;
    let again = Settlement::Again { due_at: at(60), error: "421".into(), counted: true, ambiguous: false };
    settle_with(db, (woken[0], held), &again, &[(slack, Some(at(55)))], at(51)).await;
    assert!(wake(db, at(56)).await.is_empty(), "it is pending");
    let (_, held) = claim_notification(db, woken[0], at(60)).await;
    assert!(settle(db, woken[0], held.token, &Settlement::Skipped("x".into()), at(60)).await);
    assert_eq!(wake(db, at(61)).await.len(), 1);
}

pub(super) async fn under_a_hold_what_is_woken_is_held_and_carried(db: &Db) {
    let slack = mailed(db, "ann", at(50)).await;
    let wake = async |now| db.wake(Some(hold::GO_LIVE), now, 10).await.expect("looked");
    assert!(wake(at(50)).await.is_empty(), "a held one is not for the queue");
    let held = in_state(db, NotificationState::Held).await;
    assert_eq!((held.len(), held[0].hold.as_deref()), (1, Some(hold::GO_LIVE)));
    assert_eq!(held[0].incidents, [slack]);
    let known = situation(db, "ann", None, at(51)).await;
    assert_eq!(known.open[0].hold, Some(Hold::Named(hold::GO_LIVE.into())));
    // Another look of the same user goes into the one that is held: its release is the look.
    let look = if db.url.starts_with("sqlite:") { "1" } else { "'2000-01-01Z'" };
    assert_eq!(db.tamper(&format!("UPDATE auditor_incidents SET look_at = {look}")).await, 1);
    assert!(wake(at(60)).await.is_empty());
    assert_eq!(in_state(db, NotificationState::Held).await.len(), 1);
    assert!(db.wake(None, at(99), 10).await.expect("looked").is_empty(), "it was forgotten");
    assert_eq!(db.release_held(hold::GO_LIVE, None, at(100)).await.expect("released"), 1);
    assert_eq!(in_state(db, NotificationState::Pending).await[0].incidents, [slack]);
}

pub(super) async fn the_oldest_looks_come_first_and_no_more_than_asked_for(db: &Db) {
    for (name, look) in [("ann", at(53)), ("bob", at(51)), ("cid", at(52))] {
        mailed(db, name, look).await;
    }
    assert_eq!(db.wake(None, at(60), 2).await.expect("looked").len(), 2);
    let pending = in_state(db, NotificationState::Pending).await;
    let mut users: Vec<&str> = pending.iter().map(|pending| pending.user.as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, ["bob", "cid"]);
    assert_eq!(db.wake(None, at(60), 2).await.expect("looked").len(), 1);
}

pub(super) async fn whoever_wakes_at_once_wakes_each_user_once(db: &Db) {
    for n in 0..10 {
        mailed(db, &format!("user-{n}"), at(50)).await;
    }
    let woken = futures::future::join_all((0..4).map(|_| wake(db, at(50)))).await;
    let mut woken: Vec<NotificationId> = woken.into_iter().flatten().collect();
    while let more = wake(db, at(50)).await
        && !more.is_empty()
    {
        woken.extend(more);
    }
    assert_eq!(woken.len(), 10);
    let pending = db.notifications(NotificationState::Pending, 99).await.expect("listed");
    assert_eq!(pending.len(), 10);
}
