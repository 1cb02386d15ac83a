//! Everything that decides on a user's next mail.

use connection_auditor::domain::id::TripId;
use connection_auditor::domain::notification::{EmailAddress, hold};
use connection_auditor::domain::plan::{Hold, Mailed, Origin};
use connection_auditor::domain::suppression::AddressHash;

use super::*;

fn days(days: i64) -> DateTime<Utc> {
    at(0) + TimeDelta::days(days)
}

/// Opens an incident, and closes it if it was not to stay.
async fn open(db: &Db, broken: Incident, base: Option<DateTime<Utc>>, now: DateTime<Utc>) -> IncidentId {
    let id = broken.id;
    let users = vec![UserRecord { open: vec![Incident { opened_at: now, ..broken }], ..seen("ann", base, now) }];
    written(db.record(&record_of(users, now)).await.expect("answered"));
    id
}

async fn close(db: &Db, id: IncidentId, base: DateTime<Utc>, now: DateTime<Utc>) {
    use connection_auditor::domain::incident::Resolution;
    let users = vec![UserRecord { close: vec![(id, Resolution::Reconnected)], ..seen("ann", Some(base), now) }];
    written(db.record(&record_of(users, now)).await.expect("answered"));
}

/// Sends a mail that consumes these stages.
async fn send(db: &Db, id: NotificationId, stages: &[(IncidentId, Stage)], now: DateTime<Utc>) {
    let (_, held) = claim_notification(db, id, now).await;
    assert_eq!(db.begin_sending(id, &sending(held, stages)).await.expect("answered"), Begun::Yes);
    assert!(settle(db, id, held.token, &Settlement::Sent, now + TimeDelta::seconds(1)).await);
}

pub(super) async fn a_situation_holds_what_is_open_of_this_user_alone(db: &Db) {
    assert_eq!(situation(db, "ann", None, at(0)).await, Situation::default());
    let work = Slot::new("slack".into(), "ac_2".into(), Some("work".into()));
    let broken = Incident { slot: work, ..incident("slack") };
    open(db, broken.clone(), None, at(1)).await;
    break_slot(db, "bob", "slack", None, at(1)).await;
    let known = situation(db, "ann", None, at(2)).await;
    assert_eq!(known.open.len(), 1);
    assert_eq!(known.open[0].incident, Incident { opened_at: at(1), ..broken.clone() });
    assert_eq!((&known.open[0].origin, known.open[0].mailed), (&Origin::Single, None));
    assert_eq!((known.open[0].openings.clone(), known.open[0].hold.clone()), (vec![at(1)], None));
    assert_eq!((known.last_mail, known.suppressions), (None, vec![]));
    close(db, broken.id, at(1), at(3)).await;
    assert!(situation(db, "ann", None, at(4)).await.open.is_empty());
}

pub(super) async fn the_newest_stage_counts_and_the_time_of_the_first(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    send(db, made[0], &[(slack, Stage::FIRST)], at(1)).await;
    let mailed = async |except| {
        let known = situation(db, "ann", except, at(99)).await;
        (known.open[0].mailed, known.last_mail)
    };
    assert_eq!(mailed(None).await, (Some(Mailed { stage: Stage(0), first_at: at(2) }), Some(at(2))));
    assert_eq!(mailed(Some(made[0])).await, (None, None), "the one that is looked at does not count");
    let (gmail, more) = break_slot(db, "ann", "gmail", Some(at(1)), at(20)).await;
    send(db, more[0], &[(gmail, Stage(0)), (slack, Stage(1)), (slack, Stage(2))], at(20)).await;
    assert_eq!(mailed(None).await, (Some(Mailed { stage: Stage(2), first_at: at(2) }), Some(at(21))));
    let sent = db.notifications(connection_auditor::domain::notification::NotificationState::Sent, 9).await;
    assert_eq!(sent.expect("listed")[0].incidents, [slack, gmail], "each of them once");
}

pub(super) async fn a_mail_on_its_way_counts_as_the_last_one(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(5)).await;
    assert_eq!(situation(db, "ann", None, at(5)).await.last_mail, None);
    assert_eq!(begin(db, made[0], held, &[slack]).await, Begun::Yes);
    assert_eq!(situation(db, "ann", None, at(6)).await.last_mail, Some(at(5)));
    assert!(settle(db, made[0], held.token, &Settlement::Failed("550".into()), at(7)).await);
    assert_eq!(situation(db, "ann", None, at(8)).await.last_mail, None, "it did not leave");
}

pub(super) async fn a_mail_that_may_have_left_counts_however_it_ended(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let (_, held) = claim_notification(db, made[0], at(5)).await;
    assert_eq!(begin(db, made[0], held, &[slack]).await, Begun::Yes);
    let again = Settlement::Again { due_at: at(9), error: "?".into(), counted: true, ambiguous: true };
    assert!(settle(db, made[0], held.token, &again, at(6)).await);
    assert_eq!(situation(db, "ann", None, at(7)).await.last_mail, Some(at(5)));
    let (_, held) = claim_notification(db, made[0], at(9)).await;
    assert!(settle(db, made[0], held.token, &Settlement::Skipped("recovered".into()), at(9)).await);
    assert_eq!(situation(db, "ann", None, at(10)).await.last_mail, Some(at(5)));
}

pub(super) async fn a_notification_that_is_held_holds_what_it_carries(db: &Db) {
    for (app, base, now, name) in [("slack", None, at(1), hold::GO_LIVE), ("gmail", Some(at(1)), at(2), hold::GUARD)] {
        let users = vec![UserRecord { open: vec![incident(app)], ..seen("ann", base, now) }];
        written(db.record(&Record { hold: Some(name.into()), ..record_of(users, now) }).await.expect("answered"));
    }
    let (_, made) = break_slot(db, "ann", "notion", Some(at(2)), at(3)).await;
    let holds: Vec<_> =
        situation(db, "ann", Some(made[0]), at(4)).await.open.into_iter().map(|standing| standing.hold).collect();
    let named = Some(Hold::Named(hold::GO_LIVE.into()));
    assert_eq!(holds, [named, None, None], "held as guard is no hold of its own: trips hold incidents");
}

pub(super) async fn a_trip_holds_an_incident_until_it_lets_go(db: &Db) {
    let (slack, _) = break_slot(db, "ann", "slack", None, at(1)).await;
    let trip = TripId(Uuid::now_v7());
    for (guard, expected) in
        [("held", Some(Hold::Guard(trip))), ("discarded", Some(Hold::Discarded(Some(trip)))), ("released", None)]
    {
        let tampered =
            format!("UPDATE auditor_incidents SET trip_id = '{trip}', guard = '{guard}' WHERE id = '{slack}'");
        assert_eq!(db.tamper(&tampered).await, 1);
        assert_eq!(situation(db, "ann", None, at(2)).await.open[0].hold, expected);
    }
}

pub(super) async fn a_slot_remembers_how_often_it_broke_within_the_window(db: &Db) {
    let mut base = None;
    let slack = || incident("slack");
    let other =
        || Incident { slot: Slot::new("slack".into(), "ac_1".into(), Some("work".into())), ..incident("slack") };
    let never_finished = || Incident { kind: IncidentKind::Unfinished, ..incident("slack") };
    for (day, broken) in [(0, slack()), (5, slack()), (6, other()), (7, never_finished()), (10, slack())] {
        let id = open(db, broken, base, days(day)).await;
        close(db, id, days(day), days(day) + TimeDelta::hours(1)).await;
        base = Some(days(day) + TimeDelta::hours(1));
    }
    open(db, slack(), base, days(15)).await;
    let openings = async |now| situation(db, "ann", None, now).await.open[0].openings.clone();
    assert_eq!(openings(days(15)).await, [days(5), days(10), days(15)]);
    assert_eq!(openings(days(19)).await, [days(10), days(15)], "fourteen days are over");
}

pub(super) async fn suppressions_in_force_are_those_of_the_user_and_of_the_address(db: &Db) {
    let address: EmailAddress = "Ann@Example.org".parse().expect("an address");
    let hash = AddressHash::of(&address);
    for (user, hash, kind, until) in [
        ("'ann'", "NULL", "opt_out", None),
        ("'ann'", "NULL", "snooze", Some(at(50))),
        ("'bob'", "NULL", "opt_out", None),
        ("NULL", &*format!("'{}'", hash.as_str()), "bounce", None),
        ("NULL", "'another'", "bounce", None),
    ] {
        let time = |at: DateTime<Utc>| {
            if db.url.starts_with("sqlite:") {
                at.timestamp_micros().to_string()
            } else {
                format!("'{}'", at.to_rfc3339())
            }
        };
        let (until, now) = (until.map_or("NULL".to_owned(), time), time(at(0)));
        let row = format!(
            "INSERT INTO auditor_suppressions (id, user_id, address_hash, kind, toolkit, until, source, created_at)
             VALUES ('{}', {user}, {hash}, '{kind}', 'slack', {until}, 'cli', {now})",
            Uuid::now_v7()
        );
        assert_eq!(db.tamper(&row).await, 1);
    }
    let kinds = async |address: Option<&AddressHash>, now| -> Vec<&str> {
        let known = db.situation(&user("ann"), address, None, now).await.expect("read");
        known.suppressions.iter().map(|suppression| suppression.kind.as_str()).collect()
    };
    assert_eq!(kinds(Some(&hash), at(49)).await, ["bounce", "snooze", "opt_out"]);
    assert_eq!(kinds(None, at(50)).await, ["opt_out"]);
}
