//! What happens to the notifications when a record opens incidents.

use connection_auditor::domain::job::Job;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::plan::Origin;

use super::*;

async fn one(db: &Db, state: NotificationState) -> Notification {
    let mut found = db.notifications(state, 10).await.expect("listed");
    assert_eq!(found.len(), 1, "one notification in {state:?}");
    found.remove(0)
}

pub(super) async fn a_second_incident_joins_the_pending_notification_which_is_due_at_the_earlier_time(db: &Db) {
    let open = async |app, base, now, notify_at| {
        let users = vec![UserRecord { open: vec![incident(app)], ..seen("ann", base, now) }];
        written(db.record(&Record { notify_at, ..record_of(users, now) }).await.expect("answered"))
    };
    assert!(open("slack", None, at(1), at(100)).await.is_empty(), "it is left to the keeper");
    let first = one(db, NotificationState::Pending).await;
    assert_eq!(first.due_at, at(100));
    assert!(open("gmail", Some(at(1)), at(2), at(30)).await.is_empty());
    assert_eq!(one(db, NotificationState::Pending).await.due_at, at(30));
    assert!(open("notion", Some(at(2)), at(3), at(60)).await.is_empty());
    let pending = one(db, NotificationState::Pending).await;
    assert_eq!((pending.id, pending.due_at, pending.incidents.len()), (first.id, at(30), 3));
    assert_eq!(pending.created_at, at(1));
    assert!(open("notion", Some(at(3)), at(4), at(60)).await.is_empty(), "the slot is open already");
    assert_eq!(open("asana", Some(at(4)), at(5), at(5)).await, [first.id], "it is due by now");
}

pub(super) async fn what_is_not_due_is_found_as_soon_as_it_is(db: &Db) {
    let users = vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(1)) }];
    let job = Job::Notify(users[0].notification);
    let record = Record { notify_at: at(100), ..record_of(users, at(1)) };
    assert!(written(db.record(&record).await.expect("answered")).is_empty());
    let unqueued = async |now: DateTime<Utc>| db.unqueued("g", now, at(-99), 9).await.expect("read");
    assert!(unqueued(at(99)).await.is_empty());
    assert_eq!(unqueued(at(100)).await, [(job, at(100))], "without a wait: nobody else pushes it");
    db.mark_queued(&[job], "g").await.expect("marked");
    let users = vec![UserRecord { open: vec![incident("gmail")], ..seen("ann", Some(at(1)), at(101)) }];
    let grown = Record { notify_at: at(200), ..record_of(users, at(101)) };
    assert_eq!(written(db.record(&grown).await.expect("answered")).len(), 1, "what is due stays due");
    assert!(unqueued(at(101)).await.is_empty(), "whoever let it grow pushes it");
}

pub(super) async fn a_second_look_in_a_sweep_opens_for_that_sweep(db: &Db) {
    let (sweep, checks, holder) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"], &["bob"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let users = vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(1)) }];
    let record = Record { fence: Some((checks[0], held.token)), sweep: Some(sweep), ..record_of(users, at(1)) };
    let made = written(db.record(&record).await.expect("answered"));
    let look = async |app, base, now| {
        let users = vec![UserRecord { open: vec![incident(app)], ..seen("ann", Some(base), now) }];
        let joins = Record { join: Some(made[0]), ..record_of(users, now) };
        written(db.record(&joins).await.expect("answered"));
    };
    look("gmail", at(1), at(2)).await;
    let during = Origin::Sweep { over: false, schedule: Some("daily".into()) };
    let origins = async || -> Vec<Origin> {
        situation(db, "ann", None, at(9)).await.open.into_iter().map(|standing| standing.origin).collect()
    };
    assert_eq!(origins().await, [during.clone(), during]);
    assert!(db.set_sweep_state(sweep, holder.token, &change(SweepState::Failed, at(3)), at(3)).await.expect("ended"));
    look("notion", at(2), at(4)).await;
    let after = Origin::Sweep { over: true, schedule: Some("daily".into()) };
    assert_eq!(origins().await, [after.clone(), after, Origin::Single]);
}

pub(super) async fn a_claimed_notification_is_left_alone_and_a_new_one_is_made(db: &Db) {
    let (first, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let (second, more) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    assert_ne!(made, more);
    assert_eq!(one(db, NotificationState::Claimed).await.incidents, [first]);
    assert_eq!(one(db, NotificationState::Pending).await.incidents, [second]);
    assert_eq!(begin(db, made[0], held, &[first]).await, Begun::Yes);
    let (third, grown) = break_slot(db, "ann", "notion", Some(at(2)), at(3)).await;
    assert_eq!(grown, more);
    assert_eq!(one(db, NotificationState::Sending).await.incidents, [first]);
    assert_eq!(one(db, NotificationState::Pending).await.incidents, [second, third]);
    assert!(settle(db, made[0], held.token, &Settlement::Sent, at(4)).await);
    let sent = one(db, NotificationState::Sent).await;
    assert_eq!((sent.attempts, sent.sent_at, sent.incidents), (1, Some(at(4)), vec![first]));
}

pub(super) async fn an_incident_joins_the_notification_that_found_it_unless_that_is_on_its_way(db: &Db) {
    let (first, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let found = incident("gmail");
    let users = vec![UserRecord { open: vec![found.clone()], ..seen("ann", Some(at(1)), at(2)) }];
    let joins = Record { join: Some(made[0]), ..record_of(users, at(2)) };
    assert!(written(db.record(&joins).await.expect("answered")).is_empty(), "nothing that the queue must learn of");
    assert_eq!(one(db, NotificationState::Claimed).await.incidents, [first, found.id]);
    assert_eq!(begin(db, made[0], held, &[first, found.id]).await, Begun::Yes);
    let late = incident("notion");
    let users = vec![UserRecord { open: vec![late.clone()], ..seen("ann", Some(at(2)), at(3)) }];
    let too_late = Record { join: Some(made[0]), ..record_of(users, at(3)) };
    assert_eq!(written(db.record(&too_late).await.expect("answered")).len(), 1);
    assert_eq!(one(db, NotificationState::Pending).await.incidents, [late.id]);
}

pub(super) async fn a_hold_takes_in_what_is_opened_under_it(db: &Db) {
    let open = async |app, base, now, hold: Option<&str>| {
        let users = vec![UserRecord { open: vec![incident(app)], ..seen("ann", base, now) }];
        written(
            db.record(&Record { hold: hold.map(ToOwned::to_owned), ..record_of(users, now) }).await.expect("answered"),
        )
    };
    assert!(open("slack", None, at(1), Some("go-live")).await.is_empty(), "a held one is not for the queue");
    assert!(open("gmail", Some(at(1)), at(2), Some("go-live")).await.is_empty());
    assert!(open("notion", Some(at(2)), at(3), Some("guard")).await.is_empty());
    assert_eq!(open("asana", Some(at(3)), at(4), None).await.len(), 1);
    let mut held: Vec<(Option<String>, usize)> = db
        .notifications(NotificationState::Held, 10)
        .await
        .expect("listed")
        .into_iter()
        .map(|held| (held.hold, held.incidents.len()))
        .collect();
    held.sort();
    assert_eq!(held, [(Some("go-live".into()), 2), (Some("guard".into()), 1)]);
    assert_eq!(one(db, NotificationState::Pending).await.incidents.len(), 1);
    assert_eq!(db.unqueued("g", at(100), at(100), 10).await.expect("read").len(), 1, "held ones are not pushed");
}
