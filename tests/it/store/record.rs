//! What is recorded of a check: users, accounts, incidents.

use connection_auditor::domain::history::History;
use connection_auditor::domain::id::Toolkit;
use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::ToolkitName;

use super::*;

async fn history(db: &Db, name: &str) -> History {
    db.history(&[user(name)]).await.expect("read").remove(&user(name)).expect("every user has a history")
}

pub(super) async fn what_was_seen_is_read_back_as_it_was(db: &Db) {
    let full = KnownAccount {
        account: Account {
            slot: Slot::new("slack".into(), "ac_2".into(), Some("wörk".into())),
            reason: Some("Max auth failures reached".into()),
            is_disabled: true,
            auth_config_disabled: true,
            updated_at: Some(at(-3)),
            expired_at: Some(at(-2)),
            ..account("ca_2", "slack", Status::Unknown("DORMANT".into())).account
        },
        active_with: ["ca_1".into(), "ca_9".into()].into(),
        ..account("ca_2", "slack", Status::Active)
    };
    let plain = KnownAccount { ever_active: false, ..account("ca_1", "gmail", Status::Active) };
    let broken = Incident { slot: full.account.slot.clone(), ..incident("slack") };
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let record = Record {
        fence: Some((checks[0], held.token)),
        sweep: Some(sweep),
        ..record_of(
            vec![UserRecord {
                changed: vec![full.clone(), plain.clone()],
                open: vec![broken.clone()],
                ..seen("ann", None, at(1))
            }],
            at(2),
        )
    };
    written(db.record(&record).await.expect("the store answers"));
    let history = history(db, "ann").await;
    assert_eq!((history.observed_at, history.sweep), (Some(at(1)), Some(sweep)));
    assert_eq!(history.accounts, [plain, full]);
    assert_eq!(history.incidents, [broken]);
}

pub(super) async fn a_history_is_empty_for_a_user_that_was_never_seen(db: &Db) {
    assert_eq!(history(db, "nobody").await, History::default());
}

pub(super) async fn a_record_is_written_once(db: &Db) {
    let check = check(&["ann"]);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    let (_, held) = claim_check(db, check.id, at(1)).await;
    let record = Record {
        fence: Some((check.id, held.token)),
        ..record_of(vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(1)) }], at(1))
    };
    assert_eq!(written(db.record(&record).await.expect("answered")).len(), 1);
    assert_eq!(db.record(&record).await.expect("answered"), Recorded::Fenced);
    assert_eq!(history(db, "ann").await.incidents.len(), 1);
}

pub(super) async fn a_record_upon_an_old_history_is_refused_whole(db: &Db) {
    written(db.record(&record_of(vec![seen("ann", None, at(1))], at(1))).await.expect("answered"));
    let check = check(&["ann", "bob"]);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    let (_, held) = claim_check(db, check.id, at(2)).await;
    let bob = UserRecord { changed: vec![account("ca_1", "slack", Status::Active)], ..seen("bob", None, at(2)) };
    let ann = UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(2)) };
    let stale = Record { fence: Some((check.id, held.token)), ..record_of(vec![ann, bob], at(2)) };
    assert_eq!(db.record(&stale).await.expect("answered"), Recorded::Stale(vec![user("ann")]));
    assert_eq!(history(db, "bob").await, History::default());
    assert!(history(db, "ann").await.incidents.is_empty());
    assert_eq!(db.unfinished_checks(&[check.id]).await.expect("read"), [check.id]);
    let mut fresh = stale;
    fresh.users[0].base = Some(at(1));
    assert_eq!(written(db.record(&fresh).await.expect("answered")).len(), 1, "the claim still holds");
    assert_eq!(history(db, "ann").await.observed_at, Some(at(2)));
}

pub(super) async fn a_late_record_is_fenced_and_changes_nothing(db: &Db) {
    let first = check(&["ann"]);
    db.insert_checks(std::slice::from_ref(&first), at(0)).await.expect("inserted");
    let (_, old) = claim_check(db, first.id, at(0)).await;
    let (_, new) = claim_check(db, first.id, at(15)).await;
    let retry = check(&["ann"]);
    let late = Record {
        fence: Some((first.id, old.token)),
        retries: vec![retry.clone()],
        ..record_of(vec![UserRecord { open: vec![incident("slack")], ..seen("ann", None, at(15)) }], at(16))
    };
    assert_eq!(db.record(&late).await.expect("answered"), Recorded::Fenced);
    assert_eq!(history(db, "ann").await, History::default());
    assert_eq!(db.claim_check(retry.id, lease(at(20)), at(20)).await.expect("answered"), Claim::Missing);
    assert!(db.open_incidents().await.expect("counted").is_empty());
    let in_time = Record { fence: Some((first.id, new.token)), ..late };
    assert_eq!(written(db.record(&in_time).await.expect("answered")).len(), 1);
}

pub(super) async fn a_failed_check_does_not_move_what_was_observed(db: &Db) {
    written(db.record(&record_of(vec![seen("ann", None, at(1))], at(1))).await.expect("answered"));
    let failed = UserRecord { outcome: CheckOutcome::GivenUp("timed out".into()), ..seen("ann", Some(at(1)), at(5)) };
    let new = UserRecord { outcome: CheckOutcome::Refused("a comma".into()), ..seen("a,b", None, at(5)) };
    written(db.record(&record_of(vec![failed, new], at(6))).await.expect("answered"));
    assert_eq!(history(db, "ann").await.observed_at, Some(at(1)));
    assert_eq!(history(db, "a,b").await.observed_at, None);
    written(db.record(&record_of(vec![seen("ann", Some(at(1)), at(7))], at(7))).await.expect("answered"));
    assert_eq!(history(db, "ann").await.observed_at, Some(at(7)));
}

pub(super) async fn accounts_change_vanish_and_come_back(db: &Db) {
    let slack = account("ca_1", "slack", Status::Active);
    let first = UserRecord { changed: vec![slack.clone()], ..seen("ann", None, at(1)) };
    written(db.record(&record_of(vec![first], at(1))).await.expect("answered"));
    let gone = UserRecord { gone: vec!["ca_1".into()], ..seen("ann", Some(at(1)), at(2)) };
    written(db.record(&record_of(vec![gone], at(2))).await.expect("answered"));
    assert_eq!(history(db, "ann").await.accounts, [KnownAccount { gone_at: Some(at(2)), ..slack.clone() }]);
    let mut expired = KnownAccount { changed_at: at(3), ..slack };
    expired.account.status = Status::Expired;
    let back = UserRecord { changed: vec![expired.clone()], ..seen("ann", Some(at(2)), at(3)) };
    written(db.record(&record_of(vec![back], at(3))).await.expect("answered"));
    assert_eq!(history(db, "ann").await.accounts, [expired]);
}

pub(super) async fn a_closed_slot_opens_again_and_once_ever_incidents_are_remembered(db: &Db) {
    let nudge = Incident { kind: IncidentKind::Unfinished, ..incident("notion") };
    let first = UserRecord { open: vec![nudge.clone()], ..seen("ann", None, at(0)) };
    written(db.record(&record_of(vec![first], at(0))).await.expect("answered"));
    let (slack, _) = break_slot(db, "ann", "slack", Some(at(0)), at(1)).await;
    let close = vec![(slack, Resolution::Reconnected), (nudge.id, Resolution::Removed)];
    let healed = UserRecord { close, ..seen("ann", Some(at(1)), at(2)) };
    written(db.record(&record_of(vec![healed.clone()], at(2))).await.expect("answered"));
    let closed = Incident { resolved: Some((at(2), Resolution::Removed)), ..nudge };
    assert_eq!(history(db, "ann").await.incidents, std::slice::from_ref(&closed));
    let closed_again = UserRecord { close: vec![(closed.id, Resolution::Replaced)], ..seen("ann", Some(at(2)), at(3)) };
    written(db.record(&record_of(vec![closed_again], at(3))).await.expect("answered"));
    assert_eq!(history(db, "ann").await.incidents, [closed], "a closed incident stays as it was closed");
    let (again, notifications) = break_slot(db, "ann", "slack", Some(at(3)), at(4)).await;
    assert_eq!(notifications.len(), 1);
    assert!(history(db, "ann").await.open_incidents().any(|incident| incident.id == again));
}

pub(super) async fn a_slot_has_one_open_incident_under_concurrent_records(db: &Db) {
    let breaks = (0..8).map(|n| async move {
        // Each was decided upon what was known at its time, as after a Stale; the slot is open already for all but one.
        loop {
            let base = history(db, "ann").await.observed_at;
            let now = base.map_or(at(n), |base| base + TimeDelta::seconds(1));
            let record = record_of(vec![UserRecord { open: vec![incident("slack")], ..seen("ann", base, now) }], now);
            if let Recorded::Written(made) = db.record(&record).await.expect("never an error") {
                return made.len();
            }
        }
    });
    let made: usize = futures::future::join_all(breaks).await.into_iter().sum();
    assert_eq!(made, 1, "one notification, for the one incident that was really opened");
    assert_eq!(history(db, "ann").await.open_incidents().count(), 1);
    assert_eq!(db.notifications(NotificationState::Pending, 9).await.expect("listed")[0].incidents.len(), 1);
}

pub(super) async fn a_dry_run_leaves_findings_and_nothing_else(db: &Db) {
    let dry = NewSweep { mode: SweepMode::DryRun, ..new_sweep("manual", at(0)) };
    let (sweep, checks, _) = draining_sweep(db, &dry, &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let would = incident("slack");
    let users = vec![UserRecord { findings: vec![would.clone()], ..seen("ann", None, at(1)) }];
    let record = Record { fence: Some((checks[0], held.token)), sweep: Some(sweep), ..record_of(users, at(1)) };
    assert!(written(db.record(&record).await.expect("answered")).is_empty());
    assert_eq!(db.findings(sweep, None, 10).await.expect("read"), [(user("ann"), would)]);
    assert!(history(db, "ann").await.incidents.is_empty());
    assert!(db.notification_counts(None).await.expect("counted").is_empty());
}

pub(super) async fn concurrent_records_of_the_same_users_never_fail(db: &Db) {
    const APPS: [&str; 3] = ["slack", "gmail", "notion"];
    let names: Vec<String> = (0..10).map(|n| format!("user-{n}")).collect();
    let names = &names;
    let writers = (0..20_u64).map(|seed| async move {
        let mut chance = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut roll = |sides: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % sides
        };
        let mut written = 0;
        for round in 0..6_i64 {
            let mut chosen: Vec<&String> = names.iter().filter(|_| roll(3) > 0).collect();
            let pivot = usize::try_from(roll(10)).expect("small") % chosen.len().max(1);
            chosen.rotate_left(pivot);
            let ids: Vec<UserId> = chosen.iter().map(|name| user(name)).collect();
            let known = db.history(&ids).await.expect("never an error");
            let now = at(round * 1000 + i64::try_from(seed).expect("small"));
            let mut users = Vec::new();
            for id in &ids {
                let history = &known[id];
                let close = history.open_incidents().filter(|_| roll(2) == 0);
                let close = close.map(|incident| (incident.id, Resolution::Reconnected)).collect();
                let app = APPS[usize::try_from(roll(3)).expect("small")];
                users.push(UserRecord {
                    close,
                    open: vec![incident(app)],
                    changed: vec![account("ca_1", app, Status::Expired)],
                    ..seen(id.as_str(), history.observed_at, now)
                });
            }
            let record = Record { hold: (roll(4) == 0).then(|| "go-live".into()), ..record_of(users, now) };
            match db.record(&record).await.expect("never an error") {
                Recorded::Written(_) => written += 1,
                Recorded::Stale(users) => assert!(!users.is_empty()),
                Recorded::Fenced => panic!("there was no fence"),
            }
            if roll(3) == 0 {
                db.release_held("go-live", None, now).await.expect("never an error");
            }
        }
        written
    });
    let written: u32 = futures::future::join_all(writers).await.into_iter().sum();
    assert!(written > 0);
    let ids: Vec<UserId> = names.iter().map(|name| user(name)).collect();
    for history in db.history(&ids).await.expect("read").values() {
        for app in APPS.map(Toolkit::new) {
            assert!(history.open_incidents().filter(|incident| incident.slot.toolkit == app).count() <= 1);
        }
    }
    db.release_held("go-live", None, at(9000)).await.expect("released");
    let pending = db.notifications(NotificationState::Pending, 100).await.expect("listed");
    let users: std::collections::BTreeSet<&UserId> = pending.iter().map(|pending| &pending.user).collect();
    assert_eq!(users.len(), pending.len(), "one pending notification a user");
    let waiting: Vec<IncidentId> = pending.iter().flat_map(|pending| pending.incidents.clone()).collect();
    for history in db.history(&ids).await.expect("read").values() {
        assert!(history.open_incidents().all(|incident| waiting.contains(&incident.id)), "nobody is forgotten");
    }
}

pub(super) async fn ids_of_any_script_come_back_as_they_were(db: &Db) {
    let names = ["007", "7", " padded ", "Ümläut-用户", "Name", "name", "a'b\"c\\d", "{\"json\":[1]}", "🦀 % _ $1"];
    let users: Vec<UserRecord> = names
        .iter()
        .map(|name| UserRecord {
            changed: vec![account(name, name, Status::Unknown((*name).to_owned()))],
            open: vec![incident(name)],
            ..seen(name, None, at(1))
        })
        .collect();
    assert_eq!(written(db.record(&record_of(users, at(1))).await.expect("answered")).len(), names.len());
    let ids: Vec<UserId> = names.iter().map(|name| user(name)).collect();
    let histories = db.history(&ids).await.expect("read");
    assert_eq!(histories.len(), names.len());
    for name in names {
        let history = &histories[&user(name)];
        assert_eq!(history.accounts[0].account.id.as_str(), name);
        assert_eq!(history.incidents[0].slot.toolkit.as_str(), name);
        assert_eq!(history.observed_at, Some(at(1)));
    }
    let check = check(&names);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    assert_eq!(claim_check(db, check.id, at(1)).await.0.check.users, check.users);
}

pub(super) async fn ten_thousand_users_fit(db: &Db) {
    for round in 0..2_i64 {
        for chunk in 0..100 {
            let base = (round > 0).then(|| at(round - 1));
            let users = (0..100).map(|n| {
                let name = format!("user-{:05}", chunk * 100 + n);
                let changed = if round == 0 { vec![account("ca_1", "slack", Status::Expired)] } else { Vec::new() };
                let open = if round == 0 && n % 10 == 0 { vec![incident("slack")] } else { Vec::new() };
                UserRecord { changed, open, ..seen(&name, base, at(round)) }
            });
            let record = record_of(users.collect(), at(round));
            let made = written(db.record(&record).await.expect("answered"));
            assert_eq!(made.len(), if round == 0 { 10 } else { 0 });
        }
    }
    let ids: Vec<UserId> = (0..10_000).map(|n| user(&format!("user-{n:05}"))).collect();
    let histories = db.history(&ids).await.expect("read");
    assert!(histories.values().all(|known| known.accounts.len() == 1 && known.observed_at == Some(at(1))));
    assert_eq!(db.open_incidents().await.expect("counted")[0].count, 1000);
    let unqueued = db.unqueued("g", at(10), at(10), 5000).await.expect("read");
    assert_eq!(unqueued.len(), 1000);
    let jobs: Vec<_> = unqueued.into_iter().map(|(job, _)| job).collect();
    db.mark_queued(&jobs, "g").await.expect("marked");
    assert!(db.unqueued("g", at(10), at(10), 5000).await.expect("read").is_empty());
}

pub(super) async fn what_cannot_be_stored_as_it_came_is_recorded_all_the_same(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let slot = Slot::new("sl\0ck".into(), "ac_\0".into(), Some("w\0rk".into()));
    let known = KnownAccount {
        account: Account {
            slot: slot.clone(),
            reason: Some("n\0".into()),
            ..account("ca_\0", "x", Status::Unknown("D\0".into())).account
        },
        active_with: ["ca_\0\0".into()].into(),
        ..account("ca_1", "x", Status::Active)
    };
    let broken = || Incident {
        slot: slot.clone(),
        account: "ca_\0".into(),
        status: "E\0".into(),
        reason: Some("n\0".into()),
        ..incident("x")
    };
    let ann =
        UserRecord { changed: vec![known], open: vec![broken()], findings: vec![broken()], ..seen("ann", None, at(1)) };
    let bob = UserRecord { outcome: CheckOutcome::GivenUp("b\0dy".into()), ..seen("b\0b", None, at(1)) };
    let tally = Tally {
        unknown_statuses: [("D\0".to_owned(), 2), ("D\u{fffd}".to_owned(), 3)].into(),
        verdicts: [("v\0".to_owned(), 1)].into(),
        ..Tally::default()
    };
    let record = Record {
        fence: Some((checks[0], held.token)),
        sweep: Some(sweep),
        retries: vec![Check { sweep: Some(sweep), attempt: 1, ..check(&["c\0d"]) }],
        tally,
        ..record_of(vec![ann, bob], at(1))
    };
    assert_eq!(written(db.record(&record).await.expect("it is recorded")).len(), 1);

    let ann = history(db, "ann").await;
    assert_eq!(ann.accounts[0].account.id, "ca_\u{fffd}".into());
    assert_eq!(ann.accounts[0].account.slot.alias.as_deref(), Some("w\u{fffd}rk"));
    assert_eq!(ann.incidents[0].slot, ann.accounts[0].account.slot);
    assert_eq!(db.findings(sweep, None, 10).await.expect("read")[0].1.status, "E\u{fffd}");
    let sum = db.sweep(sweep).await.expect("read").expect("it is there").tally;
    assert_eq!(sum.unknown_statuses, [("D\u{fffd}".to_owned(), 5)].into());
    let last = db.last_check(&user("b\0b")).await.expect("read").expect("it was checked");
    assert_eq!(last.outcome, CheckOutcome::GivenUp("b\u{fffd}dy".into()));
    assert_eq!(history(db, "b\0b").await.observed_at, None);
    // What vanished, and what was closed, is found under the name it was stored under.
    let gone = UserRecord { gone: vec!["ca_\0".into()], ..seen("ann", Some(at(1)), at(2)) };
    written(db.record(&record_of(vec![gone], at(2))).await.expect("recorded"));
    assert_eq!(history(db, "ann").await.accounts[0].gone_at, Some(at(2)));
    // A user is moved on from what was known, and found as whoever asks writes it.
    written(db.record(&record_of(vec![seen("b\0b", None, at(3))], at(3))).await.expect("recorded"));
    assert_eq!(history(db, "b\0b").await.observed_at, Some(at(3)));
    assert_eq!(db.close_incidents_of(&user("b\0b"), Resolution::UserDeleted, at(4)).await.expect("closed"), 0);
    assert!(situation(db, "b\0b", None, at(5)).await.open.is_empty());
    let name = ToolkitName { name: "S\0".into(), logo: None, read_at: at(4) };
    db.remember_toolkit(&"sl\0ck".into(), &name).await.expect("kept");
    assert_eq!(db.toolkits(&["sl\0ck".into()]).await.expect("read")[&Toolkit::new("sl\0ck")].name, "S\u{fffd}");
}

pub(super) async fn two_users_that_are_stored_under_one_id_are_recorded_once(db: &Db) {
    let twins =
        ["a\u{fffd}", "a\0"].map(|name| UserRecord { open: vec![incident("slack")], ..seen(name, None, at(1)) });
    assert_eq!(written(db.record(&record_of(twins.into(), at(1))).await.expect("recorded")).len(), 1);
    assert_eq!(history(db, "a\u{fffd}").await.incidents.len(), 1);
}

pub(super) async fn instants_beyond_the_calendar_are_recorded_as_the_nearest(db: &Db) {
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let known = KnownAccount {
        account: Account {
            created_at: first,
            updated_at: Some(last),
            expired_at: Some(last),
            ..account("ca_1", "slack", Status::Expired).account
        },
        ..account("ca_1", "slack", Status::Expired)
    };
    let broken = Incident { broke_at: last, ..incident("slack") };
    let finding = Incident { broke_at: first, ..incident("gmail") };
    let ann =
        UserRecord { changed: vec![known], open: vec![broken], findings: vec![finding], ..seen("ann", None, at(1)) };
    let record = Record { fence: Some((checks[0], held.token)), sweep: Some(sweep), ..record_of(vec![ann], at(1)) };
    written(db.record(&record).await.expect("it is recorded"));
    let history = history(db, "ann").await;
    let year = |at: DateTime<Utc>| chrono::Datelike::year(&at);
    assert_eq!(year(history.accounts[0].account.created_at), 1);
    assert_eq!(history.accounts[0].account.expired_at.map(year), Some(9999));
    assert_eq!(year(history.incidents[0].broke_at), 9999);
    assert_eq!(year(db.findings(sweep, None, 9).await.expect("read")[0].1.broke_at), 1);
    let name = ToolkitName { name: "Slack".into(), logo: None, read_at: last };
    db.remember_toolkit(&"slack".into(), &name).await.expect("kept");
    assert_eq!(year(db.toolkits(&["slack".into()]).await.expect("read")[&Toolkit::new("slack")].read_at), 9999);
}

pub(super) async fn slots_with_long_aliases_are_told_apart(db: &Db) {
    // Texts that do not compress: what is long and repeats itself would fit into an index all the same.
    let long = || (0..200).map(|_| Uuid::new_v4().simple().to_string()).collect::<String>();
    let alias = long();
    let broken = |alias: &str| Incident {
        slot: Slot::new("slack".into(), "ac_1".into(), Some(alias.to_owned())),
        ..incident("slack")
    };
    let open = vec![broken(&alias), broken(&alias), broken(&format!("{alias}!")), broken(&long())];
    let ann = UserRecord { open, ..seen("ann", None, at(1)) };
    written(db.record(&record_of(vec![ann], at(1))).await.expect("it is recorded"));
    assert_eq!(history(db, "ann").await.incidents.len(), 3, "one of them twice");
}
