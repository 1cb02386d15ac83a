//! Retention: each group of tables by its own horizon.

use connection_auditor::domain::incident::Resolution;

use super::*;

/// Prunes one group, and nothing else.
pub(super) async fn prune_only(db: &Db, set: impl Fn(&mut Horizon)) -> u64 {
    let never = at(-1_000_000);
    let mut horizon =
        Horizon { sweeps: never, incidents: never, observations: never, users: never, alerts: never, links: never };
    set(&mut horizon);
    db.prune(&horizon).await.expect("pruned")
}

fn time(db: &Db, at: DateTime<Utc>) -> String {
    if db.url.starts_with("sqlite:") { at.timestamp_micros().to_string() } else { format!("'{}'", at.to_rfc3339()) }
}

pub(super) async fn what_was_observed_goes_when_something_newer_was(db: &Db) {
    let mut base = None;
    for (now, status) in [(at(1), Status::Active), (at(2), Status::Expired), (at(3), Status::Active)] {
        let ann = UserRecord { changed: vec![account("ca_1", "slack", status)], ..seen("ann", base, now) };
        written(db.record(&record_of(vec![ann], now)).await.expect("answered"));
        base = Some(now);
    }
    assert_eq!(prune_only(db, |horizon| horizon.observations = at(2)).await, 0, "it was so until the horizon");
    assert_eq!(prune_only(db, |horizon| horizon.observations = at(3)).await, 1);
    assert_eq!(prune_only(db, |horizon| horizon.observations = at(99)).await, 1, "the newest is what is so");
    let gone = UserRecord { gone: vec!["ca_1".into()], ..seen("ann", base, at(4)) };
    written(db.record(&record_of(vec![gone], at(4))).await.expect("answered"));
    assert_eq!(prune_only(db, |horizon| horizon.observations = at(99)).await, 2);
}

pub(super) async fn users_who_are_checked_no_more_go_with_their_accounts(db: &Db) {
    let changed = vec![account("ca_1", "slack", Status::Active), account("ca_2", "gmail", Status::Active)];
    for name in ["ann", "bob", "cid"] {
        let user = UserRecord { changed: changed.clone(), ..seen(name, None, at(1)) };
        written(db.record(&record_of(vec![user], at(1))).await.expect("answered"));
    }
    written(db.record(&record_of(vec![seen("bob", Some(at(1)), at(50))], at(50))).await.expect("answered"));
    let (_, made) = break_slot(db, "cid", "slack", Some(at(1)), at(2)).await;
    assert_eq!(prune_only(db, |horizon| horizon.users = at(1)).await, 0);
    // Two accounts, two observations and the user, who is ann: bob was checked since, and something of cid's is open.
    assert_eq!(prune_only(db, |horizon| horizon.users = at(40)).await, 5);
    let histories = db.history(&["ann", "bob", "cid"].map(user)).await.expect("read");
    assert_eq!(histories[&user("ann")].observed_at, None);
    assert_eq!((histories[&user("bob")].accounts.len(), histories[&user("cid")].accounts.len()), (2, 2));
    db.close_incidents_of(&user("cid"), Resolution::UserDeleted, at(3)).await.expect("closed");
    assert_eq!(prune_only(db, |horizon| horizon.users = at(40)).await, 0, "a mail of cid's is not settled");
    let (_, held) = claim_notification(db, made[0], at(4)).await;
    assert!(settle(db, made[0], held.token, &Settlement::Skipped("deleted".into()), at(4)).await);
    assert_eq!(prune_only(db, |horizon| horizon.users = at(40)).await, 5);
    assert_eq!(prune_only(db, |horizon| horizon.incidents = at(40)).await, 2, "the mail and its incident");
    assert!(db.record(&record_of(vec![seen("ann", None, at(60))], at(60))).await.is_ok(), "ann may come back");
}

pub(super) async fn a_nudge_is_remembered_as_long_as_its_user(db: &Db) {
    let nudge = Incident { kind: IncidentKind::Unfinished, ..incident("slack") };
    let users = vec![UserRecord { open: vec![nudge.clone()], ..seen("ann", None, at(1)) }];
    let made = written(db.record(&record_of(users, at(1))).await.expect("answered"));
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    assert!(settle(db, made[0], held.token, &Settlement::Skipped("recovered".into()), at(2)).await);
    db.close_incidents_of(&user("ann"), Resolution::Reconnected, at(3)).await.expect("closed");
    assert_eq!(prune_only(db, |horizon| horizon.incidents = at(40)).await, 1, "the mail alone");
    assert_eq!(db.history(&[user("ann")]).await.expect("read")[&user("ann")].incidents.len(), 1);
    assert_eq!(prune_only(db, |horizon| horizon.users = at(40)).await, 1);
    assert_eq!(prune_only(db, |horizon| horizon.incidents = at(40)).await, 1);
}

pub(super) async fn trips_alerts_and_suppressions_go_when_they_are_over(db: &Db) {
    let (then, soon) = (time(db, at(1)), time(db, at(30)));
    let (slack, _) = break_slot(db, "ann", "slack", None, at(1)).await;
    let id = Uuid::now_v7;
    let (held, over, open) = (id(), id(), id());
    for row in [
        format!(
            "INSERT INTO auditor_trips (id, scope, toolkit, broken, healthy, state, tripped_at, since, ended_at) VALUES
             ('{held}', 'toolkit', 'a', 1, 1, 'released', {then}, {then}, {soon}),
             ('{over}', 'toolkit', 'b', 1, 1, 'discarded', {then}, {then}, {soon}),
             ('{open}', 'toolkit', 'c', 1, 1, 'tripped', {then}, {then}, NULL)"
        ),
        format!("UPDATE auditor_incidents SET trip_id = '{held}', guard = 'released' WHERE id = '{slack}'"),
        format!(
            "INSERT INTO auditor_alerts (id, kind, subject, summary, detail, since, ended_at) VALUES
             ('{}', 'k', 'a', '-', '-', {then}, {soon}), ('{}', 'k', 'b', '-', '-', {then}, NULL)",
            id(),
            id()
        ),
        format!(
            "INSERT INTO auditor_messages (id, channel, message, state, due_at, created_at, settled_at) VALUES
             ('{}', 'email', '{{}}', 'delivered', {then}, {then}, {soon}),
             ('{}', 'email', '{{}}', 'pending', {then}, {then}, NULL)",
            id(),
            id()
        ),
        format!(
            "INSERT INTO auditor_suppressions (id, user_id, kind, source, until, created_at) VALUES
             ('{}', 'ann', 'snooze', 'cli', {soon}, {then}), ('{}', 'ann', 'opt_out', 'cli', NULL, {then})",
            id(),
            id()
        ),
    ] {
        assert!(db.tamper(&row).await > 0);
    }
    assert_eq!(prune_only(db, |horizon| (horizon.incidents, horizon.alerts) = (at(30), at(30))).await, 0);
    assert_eq!(prune_only(db, |horizon| horizon.incidents = at(31)).await, 1, "the trip that nothing refers to");
    assert_eq!(prune_only(db, |horizon| horizon.alerts = at(31)).await, 3, "an alert, a message and a snooze");
    assert_eq!(prune_only(db, |horizon| (horizon.incidents, horizon.alerts) = (at(99), at(99))).await, 0);
}
