//! Everything that is known of one user, and its erasure.

use connection_auditor::domain::guard::{Scope, Tripped};
use connection_auditor::domain::id::TripId;
use connection_auditor::domain::job::Lane;
use connection_auditor::domain::port::{DeadJob, NewTrip, Trail};
use connection_auditor::domain::suppression::{SuppressionKind, Whom};

use super::guard::broke;
use super::suppressions::{address, suppress, suppression};
use super::*;

async fn trail(db: &Db, name: &str, limit: u32) -> Trail {
    db.trail(&user(name), limit).await.expect("read")
}

/// Records accounts as they were seen, and ones that vanished.
async fn see(db: &Db, name: &str, changed: Vec<KnownAccount>, gone: Vec<AccountId>, now: DateTime<Utc>) {
    let base = db.history(&[user(name)]).await.expect("read")[&user(name)].observed_at;
    let record = record_of(vec![UserRecord { changed, gone, ..seen(name, base, now) }], now);
    written(db.record(&record).await.expect("recorded"));
}

/// Mails a user about one incident.
async fn mail(db: &Db, name: &str, incident: IncidentId, now: DateTime<Utc>) -> NotificationId {
    let pending = db.notifications(connection_auditor::domain::notification::NotificationState::Pending, 99).await;
    let pending = pending.expect("listed").into_iter().find(|one| one.user == user(name)).expect("one is pending");
    let (_, held) = claim_notification(db, pending.id, now).await;
    assert_eq!(begin(db, pending.id, held, &[incident]).await, Begun::Yes);
    assert!(settle(db, pending.id, held.token, &Settlement::Sent, now).await);
    pending.id
}

async fn trip_slack(db: &Db, now: DateTime<Utc>) -> TripId {
    let id = TripId(Uuid::now_v7());
    let tripped = Tripped { scope: Scope::Toolkit { toolkit: "slack".into() }, broken: 1, healthy: 1 };
    assert!(db.trip(&NewTrip { id, tripped, window: TimeDelta::hours(24) }, now).await.expect("noted"));
    id
}

/// A check that died as poison.
async fn bury_check(db: &Db, users: &[&str]) -> CheckId {
    let check = check(users);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    let dead = DeadJob { id: check.id.0, lane: Lane::CheckNow, reason: "poison".into(), deliveries: 6, died_at: at(1) };
    db.bury(&dead).await.expect("buried");
    check.id
}

pub(super) async fn a_user_who_was_never_seen_has_no_trail(db: &Db) {
    break_slot(db, "bob", "slack", None, at(0)).await;
    assert_eq!(trail(db, "ann", 9).await, Trail::default());
}

pub(super) async fn a_trail_tells_everything_of_one_user_alone(db: &Db) {
    for name in ["bob", "ann"] {
        see(db, name, vec![account("ca_1", "slack", Status::Active)], vec![], at(1)).await;
        see(db, name, vec![account("ca_1", "slack", Status::Expired)], vec![], at(2)).await;
        see(db, name, vec![], vec!["ca_1".into()], at(3)).await;
        let incident = broke(db, name, ("slack", "ac_1"), at(4)).await;
        mail(db, name, incident, at(5)).await;
        broke(db, name, ("gmail", "ac_1"), at(6)).await;
        suppress(db, &suppression(Whom::User(user(name)), SuppressionKind::Snooze, Some(at(7)))).await;
    }
    let trip = trip_slack(db, at(8)).await;
    let dead = bury_check(db, &["ann", "cid"]).await;
    bury_check(db, &["bob"]).await;
    let known = trail(db, "ann", 9).await;
    assert_eq!(known.last_check.as_ref().and_then(|check| check.observed_at), Some(at(6)));
    assert_eq!(
        known.accounts.iter().map(|one| (one.account.id.as_str(), one.gone_at)).collect::<Vec<_>>(),
        [("ca_1", Some(at(3)))]
    );
    let changes: Vec<_> =
        known.observations.iter().map(|one| (one.at, one.seen.as_ref().map(|seen| seen.status.clone()))).collect();
    assert_eq!(changes, [(at(1), Some(Status::Active)), (at(2), Some(Status::Expired)), (at(3), None)]);
    let apps: Vec<&str> = known.incidents.iter().map(|one| one.slot.toolkit.as_str()).collect();
    assert_eq!(apps, ["slack", "gmail"], "oldest first");
    assert_eq!(known.notifications.iter().map(|one| one.sent_at).collect::<Vec<_>>(), [Some(at(5)), None]);
    assert_eq!(known.listed, [(known.notifications[0].id, known.incidents[0].id, Stage::FIRST)]);
    let guarded: Vec<_> = known.guarded.iter().map(|(id, what, by)| (*id, what.as_str(), by.id, by.slots)).collect();
    assert_eq!(guarded, [(known.incidents[0].id, "held", trip, 2)]);
    assert_eq!(known.suppressions.iter().map(|one| one.until).collect::<Vec<_>>(), [Some(at(7))], "past ones too");
    assert_eq!(known.dead_jobs, [dead.0]);
}

pub(super) async fn a_trail_is_cut_to_what_is_newest(db: &Db) {
    for n in 0..4 {
        let id = broke(db, "ann", ("slack", "ac_1"), at(10 * n)).await;
        mail(db, "ann", id, at(10 * n + 1)).await;
        let close = vec![(id, connection_auditor::domain::incident::Resolution::Reconnected)];
        let healed = UserRecord {
            close,
            changed: vec![account(&format!("ca_{n}"), "slack", Status::Active)],
            ..seen("ann", Some(at(10 * n)), at(10 * n + 2))
        };
        written(db.record(&record_of(vec![healed], at(10 * n + 2))).await.expect("recorded"));
    }
    let known = trail(db, "ann", 2).await;
    assert_eq!(known.incidents.iter().map(|one| one.opened_at).collect::<Vec<_>>(), [at(20), at(30)]);
    assert_eq!(known.notifications.iter().map(|one| one.sent_at).collect::<Vec<_>>(), [Some(at(21)), Some(at(31))]);
    assert_eq!(known.observations.iter().map(|one| one.at).collect::<Vec<_>>(), [at(22), at(32)]);
    assert_eq!((known.accounts.len(), known.listed.len()), (2, 2));
}

pub(super) async fn what_was_observed_is_read_page_by_page(db: &Db) {
    for (name, second) in [("bob", 1), ("ann", 1), ("ann", 2)] {
        let changed = vec![account("ca_2", "slack", Status::Active), account("ca_1", "gmail", Status::Expired)];
        see(db, name, changed, vec![], at(second)).await;
    }
    let mut read = Vec::new();
    let mut after = None;
    loop {
        let page = db.observations(after.as_ref(), 2).await.expect("read");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some((last.at, last.user.clone(), last.account.clone()));
        read.extend(page);
    }
    let order: Vec<_> = read.iter().map(|one| (one.at, one.user.as_str(), one.account.as_str())).collect();
    let of = |name, second| [(at(second), name, "ca_1"), (at(second), name, "ca_2")];
    assert_eq!(order, [of("ann", 1), of("bob", 1), of("ann", 2)].concat());
    let seen = read[1].seen.as_ref().expect("it was listed");
    assert_eq!(*seen, account("ca_2", "slack", Status::Active).account, "as it was seen");
}

pub(super) async fn mails_are_read_page_by_page_with_what_they_listed(db: &Db) {
    let mut sent = Vec::new();
    for (name, second) in [("ann", 1), ("bob", 2), ("cid", 3)] {
        let incident = broke(db, name, ("slack", "ac_1"), at(0)).await;
        sent.push((mail(db, name, incident, at(second)).await, incident));
    }
    broke(db, "dan", ("slack", "ac_1"), at(0)).await;
    let first = db.mails_sent(at(2), None, 1).await.expect("read");
    assert_eq!(
        first.iter().map(|one| (one.id, one.user.as_str(), one.at)).collect::<Vec<_>>(),
        [(sent[1].0, "bob", at(2))]
    );
    let (incident, stage) = &first[0].incidents[0];
    assert_eq!((incident.id, incident.opened_at, *stage), (sent[1].1, at(0), Stage::FIRST));
    let rest = db.mails_sent(at(0), Some((at(2), sent[1].0)), 9).await.expect("read");
    assert_eq!(rest.iter().map(|one| one.id).collect::<Vec<_>>(), [sent[2].0]);
    let all = db.mails_sent(at(0), None, 9).await.expect("read");
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [sent[0].0, sent[1].0, sent[2].0]);
}

pub(super) async fn an_erased_user_leaves_nothing_behind(db: &Db) {
    for name in ["ann", "bob"] {
        see(db, name, vec![account("ca_1", "slack", Status::Expired)], vec![], at(1)).await;
        let incident = broke(db, name, ("slack", "ac_1"), at(2)).await;
        mail(db, name, incident, at(3)).await;
        broke(db, name, ("gmail", "ac_1"), at(4)).await;
        suppress(db, &suppression(Whom::User(user(name)), SuppressionKind::OptOut, None)).await;
        db.tamper(&format!("INSERT INTO auditor_users (id) VALUES ('{name}')")).await;
    }
    suppress(db, &suppression(Whom::Address(address("ann@example.org")), SuppressionKind::Bounce, None)).await;
    let (sweep, _, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[]).await;
    let dry = UserRecord { findings: vec![incident("zoom")], ..seen("ann", Some(at(4)), at(5)) };
    written(db.record(&Record { sweep: Some(sweep), ..record_of(vec![dry], at(5)) }).await.expect("recorded"));
    let alone = bury_check(db, &["ann"]).await;
    let shared = bury_check(db, &["ann", "bob"]).await;
    let erased = db.erase(&user("ann"), Some(&address("ann@example.org"))).await.expect("erased");
    let count = |table: &str| erased.iter().find(|(name, _)| name == table).map(|(_, rows)| *rows);
    for (table, rows) in [
        ("auditor_accounts", 1),
        ("auditor_observations", 1),
        ("auditor_user_checks", 1),
        ("auditor_incidents", 2),
        ("auditor_notifications", 2),
        ("auditor_notification_incidents", 2),
        ("auditor_findings", 1),
        ("auditor_suppressions", 2),
        ("auditor_checks", 2),
        ("auditor_dead_jobs", 1),
        ("auditor_users", 1),
    ] {
        assert_eq!(count(table), Some(rows), "{table}");
    }
    assert_eq!(trail(db, "ann", 99).await, Trail::default());
    let dead = db.dead_jobs(9).await.expect("listed");
    assert_eq!(dead.iter().map(|job| job.id).collect::<Vec<_>>(), [shared.0]);
    assert!(db.retry_dead(shared.0, at(9)).await.expect("retried"));
    assert_eq!(claim_check(db, shared, at(9)).await.0.check.users, [user("bob")]);
    assert!(!db.retry_dead(alone.0, at(9)).await.expect("answered"));
    let other = trail(db, "bob", 99).await;
    assert_eq!((other.incidents.len(), other.notifications.len(), other.suppressions.len()), (2, 2, 1));
    assert!(db.erase(&user("ann"), None).await.expect("erased").iter().all(|(_, rows)| *rows == 0));
}

pub(super) async fn whoever_works_for_an_erased_user_is_fenced(db: &Db) {
    let (incident, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(2)).await;
    assert_eq!(begin(db, made[0], held, &[incident]).await, Begun::Yes);
    let check = check(&["ann", "bob"]);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    let (_, checking) = claim_check(db, check.id, at(2)).await;
    db.erase(&user("ann"), None).await.expect("erased");
    assert!(!settle(db, made[0], held.token, &Settlement::Sent, at(3)).await, "its mail is forgotten");
    let users = vec![seen("ann", Some(at(1)), at(3)), seen("bob", None, at(3))];
    let record = Record { fence: Some((check.id, checking.token)), ..record_of(users, at(3)) };
    assert_eq!(db.record(&record).await.expect("answered"), Recorded::Fenced);
    assert_eq!(trail(db, "ann", 9).await, Trail::default());
    let again = db.unqueued("g", at(9), at(0), 9).await.expect("read");
    assert_eq!(again.len(), 1, "the others are checked again");
    assert_eq!(claim_check(db, check.id, at(4)).await.0.check.users, [user("bob")]);
}
