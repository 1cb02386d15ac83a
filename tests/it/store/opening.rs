//! What happens to the notifications when a record opens incidents.

use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::Settlement;

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
    let made = open("slack", None, at(1), at(100)).await;
    assert_eq!(one(db, NotificationState::Pending).await.due_at, at(100));
    assert_eq!(open("gmail", Some(at(1)), at(2), at(30)).await, made);
    assert_eq!(one(db, NotificationState::Pending).await.due_at, at(30));
    assert_eq!(open("notion", Some(at(2)), at(3), at(60)).await, made);
    let pending = one(db, NotificationState::Pending).await;
    assert_eq!((pending.id, pending.due_at, pending.incidents.len()), (made[0], at(30), 3));
    assert_eq!(pending.created_at, at(1));
    assert!(open("notion", Some(at(3)), at(4), at(60)).await.is_empty(), "the slot is open already");
}

pub(super) async fn a_claimed_notification_is_left_alone_and_a_new_one_is_made(db: &Db) {
    let (first, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let (second, more) = break_slot(db, "ann", "gmail", Some(at(1)), at(2)).await;
    assert_ne!(made, more);
    assert_eq!(one(db, NotificationState::Claimed).await.incidents, [first]);
    assert_eq!(one(db, NotificationState::Pending).await.incidents, [second]);
    assert!(db.begin_sending(made[0], held, &[first]).await.expect("begun"));
    let (third, grown) = break_slot(db, "ann", "notion", Some(at(2)), at(3)).await;
    assert_eq!(grown, more);
    assert_eq!(one(db, NotificationState::Sending).await.incidents, [first]);
    assert_eq!(one(db, NotificationState::Pending).await.incidents, [second, third]);
    assert!(db.settle(made[0], held.token, &Settlement::Sent, at(4)).await.expect("settled"));
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
    assert!(db.begin_sending(made[0], held, &[first, found.id]).await.expect("begun"));
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
