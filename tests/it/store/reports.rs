//! What operators read.

use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::{LastCheck, NotificationCount, OpenIncidents};

use super::*;

pub(super) async fn a_sweep_shows_its_tally_so_far(db: &Db) {
    let (id, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"], &["b"]]).await;
    finish_check(db, checks[0], Tally { checked: 5, ..Tally::default() }, at(1)).await;
    assert_eq!(db.sweep(id).await.expect("read").expect("it is there").tally.checked, 5);
    db.insert_sweep(&new_sweep("weekly", at(9)), at(9)).await.expect("inserted");
    let sweeps = db.sweeps(10).await.expect("listed");
    assert_eq!(sweeps.iter().map(|sweep| sweep.tick).collect::<Vec<_>>(), [at(9), at(0)], "newest first");
    assert_eq!(sweeps[1].tally.checked, 5);
    assert_eq!(db.sweeps(1).await.expect("listed").len(), 1);
    assert_eq!(db.sweep(SweepId(Uuid::now_v7())).await.expect("read"), None);
}

pub(super) async fn findings_come_in_the_order_of_users_and_page_by_page(db: &Db) {
    let dry = NewSweep { mode: SweepMode::DryRun, ..new_sweep("manual", at(0)) };
    let (sweep, checks, _) = draining_sweep(db, &dry, &[&["b", "a", "Z"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let found = |name: &str, apps: &[&str]| UserRecord {
        findings: apps.iter().map(|app| incident(app)).collect(),
        ..seen(name, None, at(1))
    };
    let users = vec![found("b", &["slack"]), found("a", &["slack", "gmail"]), found("Z", &["slack"])];
    let record = Record { fence: Some((checks[0], held.token)), sweep: Some(sweep), ..record_of(users, at(1)) };
    written(db.record(&record).await.expect("answered"));
    let page = async |after: Option<&str>| {
        let after = after.map(user);
        let found = db.findings(sweep, after.as_ref(), 2).await.expect("read");
        found.into_iter().map(|(user, _)| user.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["Z", "a", "a"], "two users, with all that was found");
    assert_eq!(page(Some("a")).await, ["b"]);
    assert!(page(Some("b")).await.is_empty());
}

pub(super) async fn open_incidents_are_counted_by_app_and_kind(db: &Db) {
    let aliased = |alias: &str| Incident {
        slot: Slot::new("slack".into(), "ac_1".into(), Some(alias.to_owned())),
        opened_at: at(-9),
        ..incident("slack")
    };
    let refused = Incident { kind: IncidentKind::AttemptFailed, ..incident("gmail") };
    let ann = UserRecord { open: vec![incident("slack"), aliased("work"), refused], ..seen("ann", None, at(1)) };
    let bob = UserRecord { open: vec![incident("slack")], ..seen("bob", None, at(1)) };
    written(db.record(&record_of(vec![ann, bob], at(1))).await.expect("answered"));
    let open = |toolkit: &str, kind: &str, count, users, oldest| OpenIncidents {
        toolkit: toolkit.into(),
        kind: kind.into(),
        count,
        users,
        oldest,
    };
    assert_eq!(
        db.open_incidents().await.expect("counted"),
        [open("gmail", "attempt_failed", 1, 1, at(0)), open("slack", "broken", 3, 2, at(-9))]
    );
}

pub(super) async fn notifications_are_counted_by_state_and_reason(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let ann = vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(1)) }];
    let record = Record {
        fence: Some((checks[0], held.token)),
        sweep: Some(sweep),
        hold: Some("go-live".into()),
        ..record_of(ann, at(1))
    };
    written(db.record(&record).await.expect("answered"));
    for name in ["bob", "cid"] {
        let (_, made) = break_slot(db, name, "slack", None, at(1)).await;
        let (_, held) = claim_notification(db, made[0], at(1)).await;
        let skipped = Settlement::Skipped("recovered".into());
        assert!(settle(db, made[0], held.token, &skipped, at(2)).await);
    }
    let count = |state, detail: &str, count| NotificationCount { state, detail: Some(detail.into()), count };
    let waiting = count(NotificationState::Held, "go-live", 1);
    assert_eq!(db.notification_counts(Some(sweep)).await.expect("counted"), std::slice::from_ref(&waiting));
    assert_eq!(
        db.notification_counts(None).await.expect("counted"),
        [waiting, count(NotificationState::Skipped, "recovered", 2)]
    );
}

pub(super) async fn the_last_check_of_a_user_says_how_it_ended(db: &Db) {
    let last = async || db.last_check(&user("ann")).await.expect("read");
    assert_eq!(last().await, None);
    written(db.record(&record_of(vec![seen("ann", None, at(1))], at(2))).await.expect("answered"));
    assert_eq!(last().await, Some(LastCheck { at: at(2), observed_at: Some(at(1)), outcome: CheckOutcome::Checked }));
    let given_up = CheckOutcome::GivenUp("timed out\0".into());
    let failed = UserRecord { outcome: given_up, ..seen("ann", Some(at(1)), at(8)) };
    written(db.record(&record_of(vec![failed], at(9))).await.expect("answered"));
    assert_eq!(
        last().await,
        Some(LastCheck {
            at: at(9),
            observed_at: Some(at(1)),
            outcome: CheckOutcome::GivenUp("timed out\u{fffd}".into())
        })
    );
}

pub(super) async fn a_re_audit_is_unfinished_until_its_retries_are_done(db: &Db) {
    let first = check(&["ann", "bob"]);
    let other = check(&["cid"]);
    db.insert_checks(&[first.clone(), other.clone()], at(0)).await.expect("inserted");
    let ids = [first.id, other.id];
    let unfinished = async || {
        let mut left = db.unfinished_checks(&ids).await.expect("read");
        left.sort();
        left
    };
    assert_eq!(unfinished().await.len(), 2);
    finish_check(db, other.id, Tally::default(), at(1)).await;
    assert_eq!(unfinished().await, [first.id]);
    let mut current = first.clone();
    for attempt in 1..=3 {
        let (_, held) = claim_check(db, current.id, at(1)).await;
        let retry = Check { id: CheckId(Uuid::now_v7()), attempt, ..first.clone() };
        let record = Record {
            fence: Some((current.id, held.token)),
            retries: vec![retry.clone()],
            ..record_of(Vec::new(), at(1))
        };
        written(db.record(&record).await.expect("answered"));
        assert_eq!(unfinished().await, [first.id], "attempt {attempt} waits");
        current = retry;
    }
    finish_check(db, current.id, Tally::default(), at(2)).await;
    assert!(unfinished().await.is_empty());
    assert!(db.unfinished_checks(&[CheckId(Uuid::now_v7())]).await.expect("read").is_empty());
}

pub(super) async fn a_re_audit_tells_its_users_and_is_done_with_its_last_retry(db: &Db) {
    let asked = check(&["ann", "b/ob"]);
    db.insert_checks(std::slice::from_ref(&asked), at(0)).await.expect("inserted");
    let of = async |id| db.reaudit(id).await.expect("read").map(|audit| (audit.users, audit.done));
    assert_eq!(of(asked.id).await, Some((vec![user("ann"), user("b/ob")], false)));
    let (_, held) = claim_check(db, asked.id, at(1)).await;
    let retry = Check { id: CheckId(Uuid::now_v7()), users: vec![user("ann")], attempt: 1, ..asked.clone() };
    let record =
        Record { fence: Some((asked.id, held.token)), retries: vec![retry.clone()], ..record_of(vec![], at(2)) };
    written(db.record(&record).await.expect("answered"));
    assert_eq!(of(asked.id).await, Some((vec![user("ann"), user("b/ob")], false)), "a retry is outstanding");
    assert_eq!(of(retry.id).await, None, "a retry is nobody's re-audit");
    finish_check(db, retry.id, Tally::default(), at(3)).await;
    assert_eq!(of(asked.id).await.map(|(_, done)| done), Some(true));
    let (_, chunks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    assert_eq!((of(chunks[0]).await, of(CheckId(Uuid::now_v7())).await), (None, None));
}
