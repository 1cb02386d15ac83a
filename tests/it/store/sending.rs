//! The last word on whether a mail may leave.

use connection_auditor::domain::incident::Resolution;

use super::*;

/// A broken slot of a user of that name, and its notification, claimed.
async fn ready(db: &Db, name: &str, now: DateTime<Utc>) -> (IncidentId, NotificationId, Lease) {
    let (broken, made) = break_slot(db, name, "slack", None, now).await;
    let (_, held) = claim_notification(db, made[0], now).await;
    (broken, made[0], held)
}

pub(super) async fn of_two_mails_to_one_user_at_once_one_may_leave(db: &Db) {
    for n in 0..8 {
        let name = format!("user-{n}");
        let (slack, first, held_first) = ready(db, &name, at(1)).await;
        let (gmail, made) = break_slot(db, &name, "gmail", Some(at(1)), at(2)).await;
        let (_, held_second) = claim_notification(db, made[0], at(2)).await;
        let (slack, gmail) = ([slack], [gmail]);
        let begun = tokio::join!(begin(db, first, held_first, &slack), begin(db, made[0], held_second, &gmail));
        assert!(
            matches!(begun, (Begun::Yes, Begun::Refused) | (Begun::Refused, Begun::Yes)),
            "round {n}: {begun:?}, although they tell of different incidents"
        );
    }
}

pub(super) async fn a_mail_too_near_to_the_last_is_refused(db: &Db) {
    let (slack, first, held) = ready(db, "ann", at(1)).await;
    assert_eq!(begin(db, first, held, &[slack]).await, Begun::Yes);
    assert!(settle(db, first, held.token, &Settlement::Sent, at(3)).await);
    let (gmail, made) = break_slot(db, "ann", "gmail", Some(at(1)), at(60)).await;
    let (_, held) = claim_notification(db, made[0], at(60)).await;
    let stages = firsts(&[gmail]);
    let near = Sending { quiet_since: at(2), ..sending(held, &stages) };
    assert_eq!(db.begin_sending(made[0], &near).await.expect("answered"), Begun::Refused);
    let far = Sending { quiet_since: at(3), ..near };
    assert_eq!(db.begin_sending(made[0], &far).await.expect("answered"), Begun::Yes);
}

pub(super) async fn a_mail_of_nothing_new_is_refused(db: &Db) {
    let (slack, id, held) = ready(db, "ann", at(1)).await;
    assert_eq!(begin(db, id, held, &[]).await, Begun::Refused);
    let (other, ..) = ready(db, "bob", at(1)).await;
    assert_eq!(begin(db, id, held, &[slack, other]).await, Begun::Refused, "never about another person's connection");
    assert_eq!(begin(db, id, held, &[IncidentId(Uuid::now_v7())]).await, Begun::Refused);
    assert_eq!(begin(db, id, held, &[slack, slack]).await, Begun::Yes, "twice the same is once");
}

pub(super) async fn a_stage_that_was_passed_is_refused(db: &Db) {
    let (slack, first, held) = ready(db, "ann", at(1)).await;
    let both = [(slack, Stage(0)), (slack, Stage(1))];
    assert_eq!(db.begin_sending(first, &sending(held, &both)).await.expect("answered"), Begun::Yes);
    assert!(settle(db, first, held.token, &Settlement::Sent, at(2)).await);
    let (_, made) = break_slot(db, "ann", "gmail", Some(at(1)), at(60)).await;
    let (_, held) = claim_notification(db, made[0], at(60)).await;
    for (stage, expected) in [(0, Begun::Refused), (1, Begun::Refused), (2, Begun::Yes)] {
        let stages = [(slack, Stage(stage))];
        assert_eq!(db.begin_sending(made[0], &sending(held, &stages)).await.expect("answered"), expected, "{stage}");
    }
}

pub(super) async fn an_incident_that_ended_is_held_or_was_discarded_is_refused(db: &Db) {
    for (name, guard, expected) in
        [("ann", "held", Begun::Refused), ("bob", "discarded", Begun::Refused), ("cid", "released", Begun::Yes)]
    {
        let (slack, id, held) = ready(db, name, at(1)).await;
        let trip = Uuid::now_v7();
        let tampered =
            format!("UPDATE auditor_incidents SET trip_id = '{trip}', guard = '{guard}' WHERE id = '{slack}'");
        assert_eq!(db.tamper(&tampered).await, 1);
        assert_eq!(begin(db, id, held, &[slack]).await, expected, "{guard}");
    }
    let (slack, id, held) = ready(db, "dan", at(1)).await;
    assert_eq!(db.close_incidents_of(&user("dan"), Resolution::UserDeleted, at(2)).await.expect("closed"), 1);
    assert_eq!(begin(db, id, held, &[slack]).await, Begun::Refused);
    let users = vec![UserRecord { open: vec![incident("gmail")], ..seen("eve", None, at(1)) }];
    let gmail = users[0].open[0].id;
    written(db.record(&Record { hold: Some("go-live".into()), ..record_of(users, at(1)) }).await.expect("answered"));
    let (slack, made) = break_slot(db, "eve", "slack", Some(at(1)), at(2)).await;
    let (_, held) = claim_notification(db, made[0], at(2)).await;
    assert_eq!(begin(db, made[0], held, &[slack, gmail]).await, Begun::Refused, "another one holds it");
    assert_eq!(begin(db, made[0], held, &[slack]).await, Begun::Yes);
}

pub(super) async fn a_user_who_wants_none_is_refused(db: &Db) {
    let time = |at: DateTime<Utc>| {
        if db.url.starts_with("sqlite:") { at.timestamp_micros().to_string() } else { format!("'{}'", at.to_rfc3339()) }
    };
    for (name, toolkit, until, expected) in [
        ("ann", "", None, Begun::Refused),
        ("bob", "slack", Some(at(2)), Begun::Refused),
        ("cid", "slack", Some(at(1)), Begun::Yes),
        ("dan", "gmail", None, Begun::Yes),
    ] {
        let (slack, id, held) = ready(db, name, at(1)).await;
        let row = format!(
            "INSERT INTO auditor_suppressions (id, user_id, kind, toolkit, until, source, created_at)
             VALUES ('{}', '{name}', 'snooze', '{toolkit}', {}, 'cli', {})",
            Uuid::now_v7(),
            until.map_or("NULL".to_owned(), time),
            time(at(0))
        );
        assert_eq!(db.tamper(&row).await, 1);
        assert_eq!(begin(db, id, held, &[slack]).await, expected, "{name}");
    }
}

pub(super) async fn the_kill_switch_stops_every_mail(db: &Db) {
    let (slack, id, held) = ready(db, "ann", at(1)).await;
    let since = if db.url.starts_with("sqlite:") { "0" } else { "now()" };
    assert_eq!(db.tamper(&format!("INSERT INTO auditor_pause (since) VALUES ({since})")).await, 1);
    assert_eq!(begin(db, id, held, &[slack]).await, Begun::Paused);
    assert_eq!(begin(db, id, lease(at(1)), &[slack]).await, Begun::Fenced, "nobody else's claim");
    assert_eq!(db.tamper("DELETE FROM auditor_pause").await, 1);
    assert_eq!(begin(db, id, held, &[slack]).await, Begun::Yes, "the claim still stands");
}

pub(super) async fn no_more_leave_within_an_hour_than_the_ceiling_admits(db: &Db) {
    let mut waiting = Vec::new();
    for n in 0..6 {
        waiting.push(ready(db, &format!("user-{n}"), at(n)).await);
    }
    let begins = waiting.iter().map(|(slack, id, held)| async move {
        let stages = firsts(&[*slack]);
        let capped = Sending { max_per_hour: Some(3), ..sending(*held, &stages) };
        db.begin_sending(*id, &capped).await.expect("answered")
    });
    let begun = futures::future::join_all(begins).await;
    assert_eq!(begun.iter().filter(|begun| **begun == Begun::Yes).count(), 3, "{begun:?}");
    assert_eq!(begun.iter().filter(|begun| matches!(begun, Begun::Full(_))).count(), 3, "{begun:?}");
}

pub(super) async fn the_ceiling_says_when_there_is_room_and_counts_a_second_try_once(db: &Db) {
    let begin_at = async |(slack, id, held): (IncidentId, NotificationId, Lease), now: DateTime<Utc>| {
        let stages = firsts(&[slack]);
        let capped = Sending { max_per_hour: Some(2), now, ..sending(held, &stages) };
        db.begin_sending(id, &capped).await.expect("answered")
    };
    let ann = ready(db, "ann", at(1)).await;
    let bob = ready(db, "bob", at(5)).await;
    assert_eq!(begin_at(ann, at(1)).await, Begun::Yes);
    assert_eq!(begin_at(bob, at(5)).await, Begun::Yes);
    let again = Settlement::Again { due_at: at(6), error: "421".into(), counted: true, ambiguous: false };
    assert!(settle(db, bob.1, bob.2.token, &again, at(6)).await);
    let cid = ready(db, "cid", at(6)).await;
    assert_eq!(begin_at(cid, at(6)).await, Begun::Full(at(3601)));
    let (_, held) = claim_notification(db, bob.1, at(7)).await;
    assert_eq!(begin_at((bob.0, bob.1, held), at(7)).await, Begun::Yes, "it is one of the two");
    assert_eq!(begin_at(cid, at(3600)).await, Begun::Full(at(3601)));
    assert_eq!(begin_at(cid, at(3601)).await, Begun::Yes);
}
