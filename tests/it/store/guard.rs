//! What the outage guard counts, and what its trips hold.

use connection_auditor::domain::guard::{Scope, Trip, TripState, Tripped};
use connection_auditor::domain::id::{AuthConfigId, Toolkit, TripId};
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::{Broken, Count, Healthy, NewTrip, Release, Released};

use super::*;

const DAY: TimeDelta = TimeDelta::hours(24);

/// Breaks a slot of a user that counts from `counts_from`, and is found by this sweep.
pub(super) async fn break_in(
    db: &Db,
    name: &str,
    (toolkit, auth_config): (&str, &str),
    (now, counts_from): (DateTime<Utc>, DateTime<Utc>),
    sweep: Option<SweepId>,
) -> IncidentId {
    let base = db.history(&[user(name)]).await.expect("read")[&user(name)].observed_at;
    let slot = Slot::new(toolkit.into(), auth_config.into(), None);
    let broken = Incident { slot, counts_from, opened_at: now, ..incident(toolkit) };
    let id = broken.id;
    let record = record_of(vec![UserRecord { open: vec![broken], ..seen(name, base, now) }], now);
    written(db.record(&Record { sweep, ..record }).await.expect("the store answers"));
    id
}

/// Breaks a slot that worked until now.
pub(super) async fn broke(db: &Db, name: &str, slot: (&str, &str), now: DateTime<Utc>) -> IncidentId {
    break_in(db, name, slot, (now, now), None).await
}

/// Breaks a slot that was broken for long when it was found.
async fn backlog(db: &Db, name: &str, slot: (&str, &str), now: DateTime<Utc>) -> IncidentId {
    break_in(db, name, slot, (now, now - DAY - TimeDelta::seconds(1)), None).await
}

/// Closes an incident of a user.
async fn heal(db: &Db, name: &str, id: IncidentId, now: DateTime<Utc>) {
    let base = db.history(&[user(name)]).await.expect("read")[&user(name)].observed_at;
    let close = vec![(id, connection_auditor::domain::incident::Resolution::Reconnected)];
    written(db.record(&record_of(vec![UserRecord { close, ..seen(name, base, now) }], now)).await.expect("recorded"));
}

/// The one notification of a user in this state.
async fn notification_of(db: &Db, name: &str, state: NotificationState) -> Notification {
    let found = db.notifications(state, 5_000).await.expect("listed");
    let mut own = found.into_iter().filter(|one| one.user == user(name));
    let one = own.next().unwrap_or_else(|| panic!("{name} has none in {state:?}"));
    assert_eq!(own.next(), None, "{name} has one in {state:?}");
    one
}

/// Mails a user about these incidents.
async fn mail(db: &Db, name: &str, incidents: &[IncidentId], now: DateTime<Utc>) {
    let pending = notification_of(db, name, NotificationState::Pending).await;
    let (_, held) = claim_notification(db, pending.id, now).await;
    assert_eq!(begin(db, pending.id, held, incidents).await, Begun::Yes);
    assert!(settle(db, pending.id, held.token, &Settlement::Sent, now).await);
}

/// What a notifier does that finds all of a user's incidents held.
async fn hold_notification(db: &Db, name: &str, now: DateTime<Utc>) -> NotificationId {
    let pending = notification_of(db, name, NotificationState::Pending).await;
    let (_, held) = claim_notification(db, pending.id, now).await;
    let guard = Settlement::Held { hold: "guard".into(), error: "the outage guard holds it".into() };
    assert!(settle(db, pending.id, held.token, &guard, now).await);
    pending.id
}

fn auth_config(toolkit: &str, auth_config: &str) -> Scope {
    Scope::AuthConfig { toolkit: toolkit.into(), auth_config: auth_config.into() }
}

fn toolkit(toolkit: &str) -> Scope {
    Scope::Toolkit { toolkit: toolkit.into() }
}

async fn trip(db: &Db, scope: Scope, now: DateTime<Utc>) -> TripId {
    let id = TripId(Uuid::now_v7());
    let trip = NewTrip { id, tripped: Tripped { scope, broken: 30, healthy: 70 }, window: DAY };
    assert!(db.trip(&trip, now).await.expect("noted"), "it tripped");
    id
}

async fn read(db: &Db, id: TripId) -> Trip {
    db.trip_detail(id, 0).await.expect("read").expect("it is known").trip
}

async fn release(db: &Db, id: TripId, ramp: Option<(u32, DateTime<Utc>)>, now: DateTime<Utc>) -> Option<Released> {
    db.release_trip(&Release { id, by: "ops", ramp }, now).await.expect("released")
}

fn since(opened_since: DateTime<Utc>, counted_since: DateTime<Utc>) -> Count {
    Count { opened_since, counted_since, window: DAY, sweep: None }
}

fn counted(toolkit: &str, auth_config: &str, (broke, backlog): (u64, u64), since: Option<DateTime<Utc>>) -> Broken {
    Broken { toolkit: toolkit.into(), auth_config: auth_config.into(), broke, backlog, unmailed_since: since }
}

pub(super) async fn what_broke_is_counted_by_app_and_auth_config_and_backlog_apart(db: &Db) {
    broke(db, "ann", ("slack", "ac_1"), at(10)).await;
    broke(db, "bob", ("slack", "ac_1"), at(20)).await;
    broke(db, "cid", ("slack", "ac_2"), at(30)).await;
    backlog(db, "dan", ("slack", "ac_1"), at(5)).await;
    break_in(db, "eve", ("gmail", "ac_3"), (at(40), at(40) - DAY), None).await;
    let all = db.broken(&since(at(0), at(40) - DAY)).await.expect("counted");
    let gmail = counted("gmail", "ac_3", (1, 0), Some(at(40)));
    let slack = [counted("slack", "ac_1", (2, 1), Some(at(5))), counted("slack", "ac_2", (1, 0), Some(at(30)))];
    assert_eq!(all, [gmail, slack[0].clone(), slack[1].clone()]);
    let later = db.broken(&since(at(20), at(25))).await.expect("counted");
    assert_eq!(later, [slack[1].clone()], "by when it was opened, and from when it counts");
}

pub(super) async fn what_is_over_unfinished_or_held_counts_nowhere(db: &Db) {
    let healed = broke(db, "ann", ("slack", "ac_1"), at(10)).await;
    heal(db, "ann", healed, at(11)).await;
    let base = None;
    let unfinished = Incident { kind: IncidentKind::Unfinished, opened_at: at(10), ..incident("slack") };
    let record = record_of(vec![UserRecord { open: vec![unfinished], ..seen("bob", base, at(10)) }], at(10));
    written(db.record(&record).await.expect("recorded"));
    broke(db, "cid", ("gmail", "ac_1"), at(10)).await;
    trip(db, toolkit("gmail"), at(11)).await;
    assert_eq!(db.broken(&since(at(0), at(0))).await.expect("counted"), []);
}

pub(super) async fn what_was_mailed_about_still_counts_but_nobody_waits_to_be_told(db: &Db) {
    let first = broke(db, "ann", ("slack", "ac_1"), at(10)).await;
    broke(db, "bob", ("slack", "ac_1"), at(20)).await;
    mail(db, "ann", &[first], at(15)).await;
    assert_eq!(
        db.broken(&since(at(0), at(0))).await.expect("counted"),
        [counted("slack", "ac_1", (2, 0), Some(at(20)))]
    );
}

pub(super) async fn sweeps_are_named_until_all_that_they_opened_is_mailed_about(db: &Db) {
    let (first, second) = (SweepId(Uuid::now_v7()), SweepId(Uuid::now_v7()));
    let one = break_in(db, "ann", ("slack", "ac_1"), (at(10), at(10)), Some(first)).await;
    break_in(db, "bob", ("gmail", "ac_2"), (at(20), at(20)), Some(second)).await;
    broke(db, "cid", ("slack", "ac_1"), at(20)).await;
    assert_eq!(db.sweeps_with_unmailed(at(0)).await.expect("read"), [first, second]);
    assert_eq!(db.sweeps_with_unmailed(at(11)).await.expect("read"), [second]);
    let of_first = db.broken(&Count { sweep: Some(first), ..since(at(0), at(0)) }).await.expect("counted");
    assert_eq!(of_first, [counted("slack", "ac_1", (1, 0), Some(at(10)))]);
    mail(db, "ann", &[one], at(15)).await;
    trip(db, toolkit("gmail"), at(21)).await;
    assert_eq!(db.sweeps_with_unmailed(at(0)).await.expect("read"), []);
}

/// Records that a user has these accounts that work: app, auth config, alias.
async fn works(db: &Db, name: &str, slots: &[(&str, &str, Option<&str>)], sweep: Option<SweepId>, now: DateTime<Utc>) {
    let changed = (0..).zip(slots).map(|(number, (toolkit, auth_config, alias)): (usize, _)| {
        let mut known = account(&format!("ca_{number}"), toolkit, Status::Active);
        known.account.slot = Slot::new((*toolkit).into(), (*auth_config).into(), alias.map(ToOwned::to_owned));
        known
    });
    let record = record_of(vec![UserRecord { changed: changed.collect(), ..seen(name, None, now) }], now);
    written(db.record(&Record { sweep, ..record }).await.expect("recorded"));
}

fn healthy_since(since: DateTime<Utc>) -> Healthy<'static> {
    Healthy { since, sweep: None, toolkit: None, enough: 100 }
}

fn found(counts: Vec<(Toolkit, AuthConfigId, u64)>) -> Vec<(String, String, u64)> {
    counts
        .into_iter()
        .map(|(toolkit, auth_config, slots)| (toolkit.to_string(), auth_config.to_string(), slots))
        .collect()
}

fn leaf(toolkit: &str, auth_config: &str, slots: u64) -> (String, String, u64) {
    (toolkit.to_owned(), auth_config.to_owned(), slots)
}

pub(super) async fn healthy_slots_are_counted_by_app_and_auth_config_up_to_enough(db: &Db) {
    let sweep = SweepId(Uuid::now_v7());
    works(db, "ann", &[("slack", "ac_1", None), ("slack", "ac_1", None), ("slack", "ac_1", Some("b"))], None, at(5))
        .await;
    works(db, "bob", &[("slack", "ac_1", None), ("slack", "ac_2", None), ("gmail", "", None)], Some(sweep), at(10))
        .await;
    works(db, "cid", &[("zoom", "ac_1", None)], None, at(1)).await;
    let count = async |healthy: Healthy<'_>| found(db.healthy(&healthy).await.expect("counted"));
    let (gmail, zoom) = (leaf("gmail", "", 1), leaf("zoom", "ac_1", 1));
    let (one, two) = (leaf("slack", "ac_1", 3), leaf("slack", "ac_2", 1));
    assert_eq!(count(healthy_since(at(1))).await, [gmail.clone(), one.clone(), two.clone(), zoom]);
    assert_eq!(count(healthy_since(at(2))).await, [gmail.clone(), one.clone(), two.clone()], "by when they were read");
    let enough = Healthy { enough: 2, ..healthy_since(at(2)) };
    assert_eq!(count(enough).await, [gmail.clone(), leaf("slack", "ac_1", 2), two.clone()]);
    let slack = Toolkit::new("slack");
    assert_eq!(count(Healthy { toolkit: Some(&slack), ..healthy_since(at(1)) }).await, [one, two.clone()]);
    let gmail_alone = Toolkit::new("gmail");
    assert_eq!(
        count(Healthy { toolkit: Some(&gmail_alone), ..healthy_since(at(1)) }).await,
        std::slice::from_ref(&gmail)
    );
    let of_sweep = Healthy { sweep: Some(sweep), ..healthy_since(at(1)) };
    assert_eq!(count(of_sweep).await, [gmail, leaf("slack", "ac_1", 1), two]);
}

pub(super) async fn what_does_not_work_is_not_healthy(db: &Db) {
    let mut changed: Vec<KnownAccount> = (0..4).map(|n| account(&format!("ca_{n}"), "slack", Status::Active)).collect();
    changed[0].account.is_disabled = true;
    changed[1].account.auth_config_disabled = true;
    changed[2].gone_at = Some(at(1));
    changed[3].account.status = Status::Expired;
    written(
        db.record(&record_of(vec![UserRecord { changed, ..seen("ann", None, at(5)) }], at(5))).await.expect("kept"),
    );
    assert_eq!(db.healthy(&healthy_since(at(0))).await.expect("counted"), []);
}

pub(super) async fn a_trip_holds_its_scope_and_what_comes_into_it(db: &Db) {
    let ann = broke(db, "ann", ("slack", "ac_1"), at(1)).await;
    let told = broke(db, "bob", ("slack", "ac_1"), at(1)).await;
    broke(db, "cid", ("slack", "ac_2"), at(1)).await;
    backlog(db, "dan", ("slack", "ac_1"), at(1)).await;
    mail(db, "bob", &[told], at(2)).await;
    let id = trip(db, auth_config("slack", "ac_1"), at(3)).await;
    let expected = Trip {
        id,
        tripped: Tripped { scope: auth_config("slack", "ac_1"), broken: 30, healthy: 70 },
        state: TripState::Tripped,
        tripped_at: at(3),
        ended: None,
        ramp_at: None,
        slots: 2,
        still_broken: 2,
        held: 3,
        users: 3,
    };
    assert_eq!(
        read(db, id).await,
        expected,
        "also what was told of; backlog too, which does not decide whether it is over"
    );
    broke(db, "eve", ("slack", "ac_1"), at(4)).await;
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 1);
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 0);
    heal(db, "ann", ann, at(5)).await;
    let trips = db.trips(true, 10).await.expect("listed");
    assert_eq!(trips, [Trip { slots: 3, still_broken: 2, ..expected }]);
}

pub(super) async fn a_scope_has_one_trip_at_a_time(db: &Db) {
    let scopes =
        [Scope::Backlog { toolkit: "slack".into() }, auth_config("slack", "ac_1"), toolkit("gmail"), Scope::All];
    let mut ids = Vec::new();
    for (second, scope) in (0..).zip(&scopes) {
        ids.push(trip(db, scope.clone(), at(second)).await);
        let tripped = Tripped { scope: scope.clone(), broken: 1, healthy: 1 };
        let again = NewTrip { id: TripId(Uuid::now_v7()), tripped, window: DAY };
        assert!(!db.trip(&again, at(9)).await.expect("refused"), "{scope}");
    }
    let trips = db.trips(false, 3).await.expect("listed");
    assert_eq!(trips.iter().map(|trip| trip.id).collect::<Vec<_>>(), [ids[3], ids[2], ids[1]]);
    assert_eq!(trips.iter().map(|trip| trip.tripped.scope.clone()).rev().collect::<Vec<_>>(), scopes[1..]);
    for scope in [auth_config("gmail", "ac_2"), Scope::Backlog { toolkit: "gmail".into() }, toolkit("notion")] {
        let tripped = Tripped { scope: scope.clone(), broken: 1, healthy: 1 };
        let covered = NewTrip { id: TripId(Uuid::now_v7()), tripped, window: DAY };
        assert!(!db.trip(&covered, at(9)).await.expect("refused"), "{scope} is held already");
    }
    assert_eq!(db.trip_detail(TripId(Uuid::now_v7()), 9).await.expect("read"), None);
}

pub(super) async fn the_narrowest_trip_holds_and_backlog_has_its_own_first(db: &Db) {
    let narrow = trip(db, auth_config("notion", "ac_1"), at(0)).await;
    let old = trip(db, Scope::Backlog { toolkit: "slack".into() }, at(0)).await;
    let app = trip(db, toolkit("slack"), at(0)).await;
    let all = trip(db, Scope::All, at(0)).await;
    broke(db, "ann", ("notion", "ac_1"), at(1)).await;
    broke(db, "bob", ("slack", "ac_2"), at(1)).await;
    broke(db, "cid", ("notion", "ac_2"), at(1)).await;
    backlog(db, "dan", ("slack", "ac_1"), at(1)).await;
    backlog(db, "eve", ("gmail", "ac_1"), at(1)).await;
    backlog(db, "fay", ("notion", "ac_1"), at(1)).await;
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 6);
    for (trip, who) in [(narrow, &["ann", "fay"][..]), (app, &["bob"]), (all, &["cid", "eve"]), (old, &["dan"])] {
        let detail = db.trip_detail(trip, 5).await.expect("read").expect("known");
        let held: Vec<&str> = detail.sample.iter().map(|(user, _)| user.as_str()).collect();
        assert_eq!(held, who);
    }
}

pub(super) async fn a_trip_tells_why_slots_broke_and_of_whom(db: &Db) {
    for (name, reason) in [("ann", None), ("bob", Some("no")), ("cid", Some("no"))] {
        let broken = Incident { reason: reason.map(ToOwned::to_owned), counts_from: at(0), ..incident("slack") };
        let record = record_of(vec![UserRecord { open: vec![broken], ..seen(name, None, at(0)) }], at(0));
        written(db.record(&record).await.expect("recorded"));
    }
    let id = trip(db, toolkit("slack"), at(1)).await;
    let detail = db.trip_detail(id, 2).await.expect("read").expect("known");
    let expired = |reason: Option<&str>, slots| ("EXPIRED".to_owned(), reason.map(ToOwned::to_owned), slots);
    assert_eq!(detail.reasons, [expired(Some("no"), 2), expired(None, 1)]);
    assert_eq!(detail.sample.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>(), ["ann", "bob"]);
    release(db, id, None, at(2)).await.expect("it held something");
    let ended = db.trip_detail(id, 9).await.expect("read").expect("known");
    assert_eq!((ended.reasons.len(), ended.sample.len()), (2, 3), "what it held is remembered");
}

pub(super) async fn a_release_wakes_everybody_whom_it_concerns_once(db: &Db) {
    for name in ["ann", "bob", "cid", "dan"] {
        broke(db, name, ("slack", "ac_1"), at(0)).await;
    }
    let told = broke(db, "eve", ("slack", "ac_1"), at(0)).await;
    mail(db, "eve", &[told], at(1)).await;
    let id = trip(db, toolkit("slack"), at(2)).await;
    let held = hold_notification(db, "ann", at(3)).await;
    let both = hold_notification(db, "bob", at(3)).await;
    broke(db, "bob", ("gmail", "ac_1"), at(4)).await;
    let pending = notification_of(db, "cid", NotificationState::Pending).await.id;
    let claimed = notification_of(db, "dan", NotificationState::Pending).await.id;
    claim_notification(db, claimed, at(4)).await;
    let released = release(db, id, None, at(50)).await.expect("it held something");
    assert_eq!(released.users_left, 0);
    let mut due = Vec::new();
    for name in ["ann", "bob", "cid", "dan", "eve"] {
        let one = notification_of(db, name, NotificationState::Pending).await;
        assert!(one.due_at <= at(50) && one.hold.is_none(), "{name} is due");
        due.push(one.id);
    }
    assert_eq!(due[..3], [held, both, pending], "what waits goes on under its name");
    assert_ne!(due[3], claimed, "whoever has it may have decided before");
    let mut named = released.notifications;
    named.sort_unstable();
    due.sort_unstable();
    assert_eq!(named, due);
    let trip = read(db, id).await;
    assert_eq!((trip.state, trip.ended.clone()), (TripState::Released, Some((at(50), "ops".to_owned()))));
    assert_eq!((trip.slots, trip.still_broken, trip.held, trip.users), (5, 5, 0, 0));
    assert_eq!(release(db, id, None, at(51)).await, None);
    assert_eq!(db.discard_trip(id, "ops", at(51)).await.expect("answered"), None);
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 0, "what was released is not held again");
}

pub(super) async fn whoever_decided_before_a_release_holds_nothing_back_after_it(db: &Db) {
    broke(db, "ann", ("slack", "ac_1"), at(0)).await;
    let id = trip(db, toolkit("slack"), at(1)).await;
    let claimed = notification_of(db, "ann", NotificationState::Pending).await.id;
    let (_, lease) = claim_notification(db, claimed, at(2)).await;
    release(db, id, None, at(3)).await.expect("it held something");
    let held = Settlement::Held { hold: "guard".into(), error: "?".into() };
    let settled = Settled { settlement: &held, looks: &[] };
    assert!(db.settle(claimed, lease.token, &settled, at(4)).await.expect("settled"));
    let waits = notification_of(db, "ann", NotificationState::Pending).await;
    assert!(waits.hold.is_none() && waits.due_at <= at(4), "{waits:?}");
}

pub(super) async fn a_ramp_lets_the_first_few_go_in_the_order_of_ids(db: &Db) {
    for name in ["c", "a", "d", "b"] {
        broke(db, name, ("slack", "ac_1"), at(0)).await;
    }
    let id = trip(db, toolkit("slack"), at(1)).await;
    let first = release(db, id, Some((3, at(99))), at(10)).await.expect("it held something");
    assert_eq!((first.notifications.len(), first.users_left), (3, 1));
    let trip = read(db, id).await;
    assert_eq!((trip.state, trip.ramp_at, trip.held), (TripState::Releasing, Some(at(99)), 1));
    assert_eq!(trip.ended, Some((at(10), "ops".to_owned())));
    assert_eq!(db.trip_detail(id, 9).await.expect("read").expect("known").sample[0].0, user("d"));
    broke(db, "e", ("slack", "ac_1"), at(11)).await;
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 0, "it takes hold of nothing more");
    let rest = release(db, id, None, at(99)).await.expect("it held something");
    assert_eq!((rest.notifications.len(), rest.users_left), (1, 0));
    let trip = read(db, id).await;
    assert_eq!((trip.state, trip.ramp_at), (TripState::Released, None));
    assert_eq!(trip.ended, Some((at(10), "ops".to_owned())), "since the first were let go");
}

pub(super) async fn a_ramp_that_leaves_no_rest_is_over_at_once(db: &Db) {
    let healed = broke(db, "ann", ("slack", "ac_1"), at(0)).await;
    broke(db, "bob", ("slack", "ac_1"), at(0)).await;
    let id = trip(db, toolkit("slack"), at(1)).await;
    heal(db, "ann", healed, at(2)).await;
    let released = release(db, id, Some((1, at(99))), at(3)).await.expect("it held something");
    assert_eq!((released.notifications.len(), released.users_left), (1, 0), "who recovered is not woken");
    assert_eq!(read(db, id).await.state, TripState::Released);
    let empty = trip(db, toolkit("gmail"), at(4)).await;
    let nothing = release(db, empty, Some((20, at(99))), at(5)).await.expect("it is active");
    assert_eq!((nothing.notifications, nothing.users_left), (vec![], 0));
    assert_eq!(read(db, empty).await.state, TripState::Released);
}

pub(super) async fn a_new_trip_stops_a_release_and_takes_over_the_rest(db: &Db) {
    for name in ["ann", "bob", "cid"] {
        broke(db, name, ("slack", "ac_1"), at(0)).await;
    }
    let first = trip(db, toolkit("slack"), at(1)).await;
    release(db, first, Some((1, at(99))), at(2)).await.expect("it held something");
    broke(db, "dan", ("slack", "ac_1"), at(3)).await;
    let second = trip(db, toolkit("slack"), at(4)).await;
    let (stopped, new) = (read(db, first).await, read(db, second).await);
    assert_eq!((stopped.state, stopped.held, stopped.slots), (TripState::Stopped, 0, 1));
    assert_eq!((new.state, new.held, new.slots), (TripState::Tripped, 3, 3));
    assert_eq!(release(db, first, None, at(99)).await, None);
    assert_eq!(db.trips(true, 9).await.expect("listed"), [new]);
}

pub(super) async fn a_trip_of_an_app_goes_on_with_those_of_its_auth_configs(db: &Db) {
    for (name, auth_config) in [("ann", "ac_1"), ("bob", "ac_2"), ("cid", "ac_3"), ("dan", "ac_4")] {
        broke(db, name, ("slack", auth_config), at(0)).await;
    }
    broke(db, "eve", ("gmail", "ac_5"), at(0)).await;
    let oldest = trip(db, auth_config("slack", "ac_1"), at(1)).await;
    let second = trip(db, auth_config("slack", "ac_2"), at(2)).await;
    let releasing = trip(db, auth_config("slack", "ac_3"), at(2)).await;
    release(db, releasing, Some((0, at(99))), at(3)).await.expect("it held something");
    let other = trip(db, auth_config("gmail", "ac_5"), at(2)).await;
    let held = |toolkit: &str, auth_config: &str| (toolkit.into(), auth_config.into(), 1);
    let narrow = db.held_by_auth_config().await.expect("counted");
    assert_eq!(narrow, [held("gmail", "ac_5"), held("slack", "ac_1"), held("slack", "ac_2")], "tripped ones alone");

    let app = NewTrip {
        id: TripId(Uuid::now_v7()),
        tripped: Tripped { scope: toolkit("slack"), broken: 40, healthy: 2 },
        window: DAY,
    };
    assert!(db.trip(&app, at(4)).await.expect("noted"));
    assert!(!db.trip(&NewTrip { id: TripId(Uuid::now_v7()), ..app }, at(5)).await.expect("noted"), "it has one");
    let whole = read(db, oldest).await;
    assert_eq!((whole.tripped.scope, whole.state, whole.tripped_at), (toolkit("slack"), TripState::Tripped, at(1)));
    assert_eq!((whole.tripped.broken, whole.tripped.healthy, whole.held), (40, 2, 4), "the free one too");
    for id in [second, releasing] {
        let stopped = read(db, id).await;
        assert_eq!((stopped.state, stopped.held), (TripState::Stopped, 0));
    }
    assert_eq!(read(db, other).await.state, TripState::Tripped);
    assert_eq!(db.held_by_auth_config().await.expect("counted"), [held("gmail", "ac_5")]);
}

pub(super) async fn what_is_discarded_is_never_mailed_about(db: &Db) {
    for name in ["ann", "bob"] {
        broke(db, name, ("slack", "ac_1"), at(0)).await;
    }
    broke(db, "bob", ("gmail", "ac_1"), at(1)).await;
    let id = trip(db, toolkit("slack"), at(2)).await;
    let other = trip(db, toolkit("gmail"), at(2)).await;
    let alone = hold_notification(db, "ann", at(3)).await;
    let both = hold_notification(db, "bob", at(3)).await;
    assert_eq!(db.discard_trip(id, "ops", at(4)).await.expect("discarded"), Some(2));
    let skipped = notification_of(db, "ann", NotificationState::Skipped).await;
    assert_eq!((skipped.id, skipped.error.as_deref()), (alone, Some("discarded")));
    assert_eq!(notification_of(db, "bob", NotificationState::Held).await.id, both, "something else of his is held");
    let trip = read(db, id).await;
    assert_eq!((trip.state, trip.ended), (TripState::Discarded, Some((at(4), "ops".to_owned()))));
    assert_eq!((trip.slots, trip.still_broken, trip.held), (2, 2, 0));
    assert_eq!(db.discard_trip(id, "ops", at(5)).await.expect("answered"), None);
    assert_eq!(release(db, id, None, at(5)).await, None);
    assert_eq!(db.hold_tripped(DAY).await.expect("held"), 0);
    assert_eq!(read(db, other).await.held, 1);
}

/// More users than one transaction of a release concerns.
async fn many(db: &Db) -> TripId {
    let users = (0..2_100).map(|n| UserRecord {
        open: vec![Incident { counts_from: at(0), ..incident("slack") }],
        ..seen(&format!("user-{n:04}"), None, at(0))
    });
    written(db.record(&record_of(users.collect(), at(0))).await.expect("recorded"));
    trip(db, toolkit("slack"), at(1)).await
}

pub(super) async fn thousands_are_released_as_are_few(db: &Db) {
    let id = many(db).await;
    let first = release(db, id, Some((20, at(99))), at(2)).await.expect("it held something");
    assert_eq!((first.notifications.len(), first.users_left), (20, 2_080));
    let rest = release(db, id, None, at(99)).await.expect("it held something");
    assert_eq!((rest.notifications.len(), rest.users_left), (2_080, 0));
    assert_eq!(read(db, id).await.state, TripState::Released);
}

pub(super) async fn thousands_are_discarded_as_are_few(db: &Db) {
    let id = many(db).await;
    assert_eq!(db.discard_trip(id, "ops", at(2)).await.expect("discarded"), Some(2_100));
    assert_eq!((read(db, id).await.state, read(db, id).await.held), (TripState::Discarded, 0));
}

/// Everybody at once: the guard trips, holds and releases while users are recorded.
pub(super) async fn whoever_holds_waits_for_nobody_in_a_circle(db: &Db) {
    let names: Vec<String> = (0..40).map(|n| format!("user-{n:02}")).collect();
    for name in &names {
        broke(db, name, ("slack", "ac_1"), at(0)).await;
    }
    let records = async {
        for second in 1..8 {
            let users = names.iter().map(|name| seen(name, Some(at(second - 1)), at(second))).collect();
            written(db.record(&record_of(users, at(second))).await.expect("recorded"));
        }
    };
    let guard = async {
        for second in 1..8 {
            let id = trip(db, toolkit("slack"), at(second)).await;
            db.hold_tripped(DAY).await.expect("held");
            release(db, id, Some((3, at(second))), at(second)).await.expect("it is active");
        }
    };
    let holds = async {
        for _ in 1..20 {
            db.hold_tripped(DAY).await.expect("held");
        }
    };
    tokio::join!(records, guard, holds);
    let trips = db.trips(true, 99).await.expect("listed");
    assert_eq!(trips.len(), 1, "one is being released, the others were stopped");
    let users: u64 = db.trips(false, 99).await.expect("listed").iter().map(|trip| trip.slots).sum();
    assert_eq!(users, 40, "each is held by one");
}
