//! The ledger of notifications.

use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::job::{Job, Lane};
use connection_auditor::domain::notification::{NotificationState, hold};
use connection_auditor::domain::plan::Hold;
use connection_auditor::domain::port::DeadJob;

use super::*;

async fn in_state(db: &Db, state: NotificationState) -> Vec<Notification> {
    db.notifications(state, 10).await.expect("listed")
}

async fn ends(db: &Db, id: NotificationId, lease: Lease, settlement: Settlement, now: DateTime<Utc>) {
    assert!(settle(db, id, lease.token, &settlement, now).await);
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
    let made = [users[0].notification];
    let later = Record { notify_at: at(50), ..record_of(users, at(1)) };
    assert!(written(db.record(&later).await.expect("answered")).is_empty(), "it is not due yet");
    assert_eq!(claim(made[0], at(49)).await, Claim::NotDue(at(50)));
    let (claimed, held) = claim_notification(db, made[0], at(50)).await;
    assert_eq!((claimed.state, claimed.attempts, claimed.user), (NotificationState::Claimed, 0, user("ann")));
    assert!(db.renew_notification(made[0], Lease { until: at(90), ..held }).await.expect("renewed"));
    assert_eq!(claim(made[0], at(89)).await, Claim::Held(at(90)));
    ends(db, made[0], held, Settlement::Skipped("recovered".into()), at(89)).await;
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
    assert_eq!(begin(db, made[0], old, &[broken]).await, Begun::Fenced, "refused");
    for late in [Settlement::Sent, Settlement::Failed("550".into()), again(at(99), true, true)] {
        assert!(!settle(db, made[0], old.token, &late, at(17)).await);
    }
    let held = Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "?".into() };
    assert!(!settle(db, made[0], old.token, &held, at(17)).await);
    let claimed = in_state(db, NotificationState::Claimed).await;
    assert_eq!((claimed[0].attempts, claimed[0].ambiguous, claimed[0].error.clone()), (0, 0, None));
    assert_eq!(begin(db, made[0], new, &[broken]).await, Begun::Yes);
    assert_eq!(begin(db, made[0], new, &[broken]).await, Begun::Fenced, "it is being sent already");
    ends(db, made[0], new, Settlement::Sent, at(18)).await;
    assert!(!settle(db, made[0], new.token, &Settlement::Failed("550".into()), at(19)).await);
}

pub(super) async fn a_lapsed_sending_is_ambiguous_and_is_counted(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, first) = claim_notification(db, made[0], at(1)).await;
    assert_eq!(begin(db, made[0], Lease { until: at(30), ..first }, &[broken]).await, Begun::Yes);
    let early = db.claim_notification(made[0], lease(at(29)), at(29)).await.expect("answered");
    assert_eq!(early, Claim::Held(at(30)));
    let (taken, second) = claim_notification(db, made[0], at(30)).await;
    assert_eq!((taken.state, taken.ambiguous, taken.attempts), (NotificationState::Claimed, 1, 0));
    let wait = Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "nobody knows".into() };
    ends(db, made[0], second, wait, at(31)).await;
    let waiting = in_state(db, NotificationState::Held).await;
    assert_eq!(waiting[0].hold.as_deref(), Some(hold::AMBIGUOUS));
    assert_eq!((waiting[0].ambiguous, waiting[0].error.as_deref()), (1, Some("nobody knows")));
}

/// Which incidents of a user were mailed about, and when.
async fn mailed(db: &Db, name: &str) -> Vec<(IncidentId, DateTime<Utc>)> {
    let open = situation(db, name, None, at(0)).await.open;
    open.iter().filter_map(|standing| Some((standing.incident.id, standing.mailed?.first_at))).collect()
}

pub(super) async fn only_what_a_sent_mail_listed_was_mailed(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (gmail, _) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    let (notion, _) = break_slot(db, "ann", "notion", Some(at(2)), at(3)).await;
    let (_, held) = claim_notification(db, made[0], at(3)).await;
    assert_eq!(begin(db, made[0], held, &[slack, gmail, notion]).await, Begun::Yes);
    assert!(mailed(db, "ann").await.is_empty(), "it is not sent yet");
    ends(db, made[0], held, again(at(10), true, false), at(4)).await;
    let (_, held) = claim_notification(db, made[0], at(10)).await;
    assert_eq!(begin(db, made[0], held, &[slack, notion]).await, Begun::Yes);
    ends(db, made[0], held, Settlement::Sent, at(11)).await;
    assert_eq!(mailed(db, "ann").await, [(slack, at(11)), (notion, at(11))]);
    assert!(mailed(db, "bob").await.is_empty());
}

pub(super) async fn one_incident_is_not_sent_by_two_notifications(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held_first) = claim_notification(db, first[0], at(1)).await;
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    let (_, held_second) = claim_notification(db, second[0], at(2)).await;
    let both = [slack, gmail];
    let begun = tokio::join!(begin(db, first[0], held_first, &both), begin(db, second[0], held_second, &both));
    let (winner, loser) = match begun {
        (Begun::Yes, Begun::Refused) => ((first[0], held_first), (second[0], held_second)),
        (Begun::Refused, Begun::Yes) => ((second[0], held_second), (first[0], held_first)),
        other => panic!("one of them sends both: {other:?}"),
    };
    ends(db, winner.0, winner.1, Settlement::Sent, at(3)).await;
    assert_eq!(mailed(db, "ann").await.len(), 2);
    let (loser, held) = loser;
    let late = Lease { until: at(900), ..held };
    assert_eq!(begin(db, loser, late, &[slack]).await, Begun::Refused, "it was sent");
    let reminder = [(slack, Stage(1))];
    let begun = db.begin_sending(loser, &sending(late, &reminder)).await.expect("answered");
    assert_eq!(begun, Begun::Yes, "its claim still holds, and a reminder is another mail");
}

pub(super) async fn what_is_tried_again_keeps_its_name_and_its_tries(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    assert_eq!(begin(db, made[0], held, &[broken]).await, Begun::Yes);
    ends(db, made[0], held, again(at(20), true, true), at(2)).await;
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending[0].id, pending[0].due_at), (made[0], at(20)));
    assert_eq!((pending[0].attempts, pending[0].ambiguous), (1, 1));
    assert_eq!(pending[0].error.as_deref(), Some("421 try later"));
    let (_, held) = claim_notification(db, made[0], at(20)).await;
    ends(db, made[0], held, again(at(21), false, false), at(20)).await;
    let (claimed, held) = claim_notification(db, made[0], at(21)).await;
    assert_eq!((claimed.attempts, claimed.ambiguous), (1, 1));
    ends(db, made[0], held, Settlement::Failed("550 no such user".into()), at(22)).await;
    let failed = in_state(db, NotificationState::Failed).await;
    assert_eq!((failed[0].attempts, failed[0].error.as_deref()), (2, Some("550 no such user")));
}

pub(super) async fn what_comes_back_takes_in_what_was_made_meanwhile(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, first[0], at(1)).await;
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(5)).await;
    ends(db, first[0], held, again(at(60), true, false), at(6)).await;
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

pub(super) async fn what_may_have_gone_out_is_not_sent_under_another_name(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, first[0], at(1)).await;
    assert_eq!(begin(db, first[0], held, &[slack]).await, Begun::Yes);
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    let (_, other) = claim_notification(db, second[0], at(2)).await;
    ends(db, first[0], held, again(at(20), true, true), at(3)).await;
    let holds = async |except| {
        let known = situation(db, "ann", except, at(20)).await;
        (known.open[0].hold.clone(), known.open[1].hold.clone(), known.last_mail)
    };
    assert_eq!(holds(Some(second[0])).await, (Some(Hold::Ambiguous), None, Some(at(1))));
    assert_eq!(holds(Some(first[0])).await, (None, None, None), "what it lists itself is its own");
    let late = Lease { until: at(900), ..other };
    assert_eq!(begin(db, second[0], late, &[slack, gmail]).await, Begun::Refused);

    // The one of which nobody knows is claimed again, and may go on: nothing else carries what it lists.
    let (_, held) = claim_notification(db, first[0], at(20)).await;
    assert_eq!(holds(Some(second[0])).await.0, Some(Hold::Ambiguous));
    assert_eq!(begin(db, second[0], late, &[gmail]).await, Begun::Refused, "one mail at a time");
    assert_eq!(begin(db, first[0], held, &[slack]).await, Begun::Yes, "under its own name");

    // Under a hold it waits for the operator, and what it does not list need not.
    ends(db, first[0], held, Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "?".into() }, at(22)).await;
    let for_the_operator = Some(Hold::Named(hold::AMBIGUOUS.into()));
    assert_eq!(holds(Some(second[0])).await, (for_the_operator, None, Some(at(20))));
    assert_eq!(begin(db, second[0], late, &[slack, gmail]).await, Begun::Refused);
    let stages = firsts(&[gmail]);
    let too_near = Sending { quiet_since: at(19), ..sending(late, &stages) };
    assert_eq!(db.begin_sending(second[0], &too_near).await.expect("answered"), Begun::Refused);
    assert_eq!(begin(db, second[0], late, &[gmail]).await, Begun::Yes);
}

pub(super) async fn a_mail_that_is_held_because_nobody_knows_is_ambiguous_from_then_on(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    assert_eq!(begin(db, made[0], held, &[slack]).await, Begun::Yes);
    ends(db, made[0], held, Settlement::Held { hold: hold::AMBIGUOUS.into(), error: "?".into() }, at(2)).await;
    assert_eq!(in_state(db, NotificationState::Held).await[0].ambiguous, 1);
    assert_eq!(situation(db, "ann", None, at(3)).await.last_mail, Some(at(1)));
    assert_eq!(db.release_held(hold::AMBIGUOUS, None, at(4)).await.expect("released"), 1);
    assert_eq!(situation(db, "ann", None, at(5)).await.open[0].hold, Some(Hold::Ambiguous), "it is its own to send");
}

pub(super) async fn what_failed_or_was_unreachable_is_retried_and_what_was_buried_is_not(db: &Db) {
    let mut made = Vec::new();
    for (name, end) in [
        ("ann", Settlement::Failed("550".into())),
        ("bob", Settlement::Unreachable("no email address".into())),
        ("cid", Settlement::Skipped("recovered".into())),
    ] {
        let (_, notifications) = break_slot(db, name, "slack", None, at(1)).await;
        let (_, held) = claim_notification(db, notifications[0], at(1)).await;
        ends(db, notifications[0], held, end, at(2)).await;
        made.push(notifications[0]);
    }
    let (_, buried) = break_slot(db, "dan", "slack", None, at(1)).await;
    let poison =
        DeadJob { id: buried[0].0, lane: Lane::Notify, reason: "poison".into(), deliveries: 6, died_at: at(2) };
    db.bury(&poison).await.expect("buried");
    assert!(db.drop_dead(buried[0].0).await.expect("dropped"));

    let retry = async |state| db.retry_settled(state, at(9)).await.expect("answered");
    for state in [NotificationState::Skipped, NotificationState::Sent, NotificationState::Pending] {
        assert_eq!(retry(state).await, 0);
    }
    assert_eq!(retry(NotificationState::Failed).await, 1);
    assert_eq!(retry(NotificationState::Failed).await, 0, "they wait already");
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending.len(), pending[0].id, pending[0].due_at, pending[0].attempts), (1, made[0], at(9), 0));
    assert_eq!(retry(NotificationState::Unreachable).await, 1);
    let unqueued = db.unqueued("g", at(20), at(19), 10).await.expect("read");
    let waiting: std::collections::HashSet<Job> = unqueued.iter().map(|(job, _)| *job).collect();
    assert_eq!(waiting, [Job::Notify(made[0]), Job::Notify(made[1])].into(), "never pushed");
    assert_eq!(in_state(db, NotificationState::Failed).await[0].id, buried[0], "its row stays dead");
}

pub(super) async fn what_is_retried_joins_what_is_pending(db: &Db) {
    let (slack, first) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, first[0], at(1)).await;
    ends(db, first[0], held, Settlement::Failed("550".into()), at(2)).await;
    let (gmail, second) = break_slot(db, "ann", "gmail", Some(at(1)), at(3)).await;
    let (_, held) = claim_notification(db, second[0], at(3)).await;
    ends(db, second[0], held, Settlement::Failed("550".into()), at(4)).await;
    let (notion, _) = break_slot(db, "ann", "notion", Some(at(3)), at(5)).await;
    assert_eq!(db.retry_settled(NotificationState::Failed, at(9)).await.expect("retried"), 2);
    let pending = in_state(db, NotificationState::Pending).await;
    assert_eq!((pending.len(), pending[0].incidents.clone()), (1, vec![slack, gmail, notion]));
    assert!(in_state(db, NotificationState::Failed).await.is_empty());
    let (claimed, _) = claim_notification(db, pending[0].id, at(9)).await;
    assert_eq!(claimed.attempts, 0);
}
