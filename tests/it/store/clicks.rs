//! What readers do with mails, and what Composio tells of by itself.

use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::port::{ACCOUNT_EXPIRED, Delivery, Within};
use connection_auditor::domain::token::Subject;

use super::guard::broke;
use super::prune::prune_only;
use super::*;

/// Mails a user about what is pending, with a template, at an instant.
async fn mail(db: &Db, name: &str, incident: IncidentId, template: &str, now: DateTime<Utc>) -> NotificationId {
    let pending = db.notifications(connection_auditor::domain::notification::NotificationState::Pending, 99).await;
    let pending = pending.expect("listed").into_iter().find(|one| one.user == user(name)).expect("one is pending");
    let (_, held) = claim_notification(db, pending.id, now).await;
    let stages = firsts(&[incident]);
    let with = Sending { template: Some(template), ..sending(held, &stages) };
    assert_eq!(db.begin_sending(pending.id, &with).await.expect("answered"), Begun::Yes);
    assert!(settle(db, pending.id, held.token, &Settlement::Sent, now).await);
    pending.id
}

async fn reconnect(db: &Db, name: &str, incident: IncidentId, now: DateTime<Utc>) {
    let base = db.history(&[user(name)]).await.expect("read")[&user(name)].observed_at;
    let close = vec![(incident, Resolution::Reconnected)];
    written(db.record(&record_of(vec![UserRecord { close, ..seen(name, base, now) }], now)).await.expect("recorded"));
}

fn delivery(id: &str, kind: &str, name: Option<&str>, account: Option<&str>, now: DateTime<Utc>) -> Delivery {
    Delivery {
        id: id.into(),
        kind: kind.into(),
        user: name.map(user),
        account: account.map(AccountId::new),
        check: None,
        received_at: now,
    }
}

pub(super) async fn a_mail_says_to_whom_it_went_and_about_what(db: &Db) {
    let slack = broke(db, "ann", ("slack", "ac_1"), at(0)).await;
    broke(db, "ann", ("gmail", "ac_1"), at(1)).await;
    let id = mail(db, "ann", slack, "de-0f3a91c2", at(2)).await;
    let mailed = db.mailed(id).await.expect("read").expect("it is kept");
    assert_eq!((mailed.user, mailed.template.as_deref()), (user("ann"), Some("de-0f3a91c2")));
    assert_eq!(mailed.toolkits, ["gmail".into(), "slack".into()]);
    let (owner, incident) = db.incident(slack).await.expect("read").expect("it is kept");
    assert_eq!((owner, incident.id, incident.resolved), (user("ann"), slack, None));
    assert_eq!(db.mailed(NotificationId(Uuid::now_v7())).await.expect("read"), None);
    assert_eq!(db.incident(IncidentId(Uuid::now_v7())).await.expect("read"), None);
}

pub(super) async fn a_click_counts_for_the_mail_that_its_reader_got(db: &Db) {
    let (ann, bob) =
        (broke(db, "ann", ("slack", "ac_1"), at(0)).await, broke(db, "bob", ("slack", "ac_1"), at(0)).await);
    let (to_ann, to_bob) = (mail(db, "ann", ann, "en", at(1)).await, mail(db, "bob", bob, "en", at(1)).await);
    for second in [5, 6, 7] {
        db.note_click(Subject { incident: ann, mail: to_ann }, at(second)).await.expect("noted");
    }
    for strange in [
        Subject { incident: ann, mail: to_bob },
        Subject { incident: IncidentId(Uuid::now_v7()), mail: to_bob },
        Subject { incident: bob, mail: NotificationId(Uuid::now_v7()) },
    ] {
        db.note_click(strange, at(8)).await.expect("nothing is noted");
    }
    let clicks = db.trail(&user("ann"), 9).await.expect("read").clicks;
    assert_eq!(clicks.len(), 1);
    assert_eq!((clicks[0].incident, clicks[0].mail, clicks[0].at, clicks[0].clicks), (ann, to_ann, at(5), 3));
    assert_eq!(db.trail(&user("bob"), 9).await.expect("read").clicks, []);
    let erased = db.erase(&user("ann"), None).await.expect("erased");
    assert!(erased.contains(&("auditor_clicks".to_owned(), 1)), "{erased:?}");
}

pub(super) async fn reconnections_are_counted_by_app_stage_and_template_once_they_can_be_told(db: &Db) {
    const DAY: i64 = 86_400;
    // Ann came back within an hour, bob after two days, cid never, and dan was mailed just now.
    let mut incidents = Vec::new();
    for (name, sent) in [("ann", 0), ("bob", 0), ("cid", 0), ("dan", 9 * DAY)] {
        let incident = broke(db, name, ("slack", "ac_1"), at(sent)).await;
        incidents.push((incident, mail(db, name, incident, "en-1", at(sent)).await));
    }
    reconnect(db, "ann", incidents[0].0, at(3_600)).await;
    reconnect(db, "bob", incidents[1].0, at(2 * DAY)).await;
    reconnect(db, "dan", incidents[3].0, at(9 * DAY + 60)).await;
    db.note_click(Subject { incident: incidents[0].0, mail: incidents[0].1 }, at(60)).await.expect("noted");
    let other = broke(db, "eve", ("gmail", "ac_1"), at(0)).await;
    mail(db, "eve", other, "de-2", at(0)).await;

    let found = db.reconnects(at(-1), at(9 * DAY + 120)).await.expect("counted");
    let lines: Vec<_> = found.iter().map(|one| (one.toolkit.as_str(), one.stage, one.template.as_deref())).collect();
    assert_eq!(lines, [("gmail", Stage::FIRST, Some("de-2")), ("slack", Stage::FIRST, Some("en-1"))]);
    let slack = &found[1];
    assert_eq!((slack.mailed, slack.clicked), (4, 1));
    let within = |days, of, reconnected| Within { days, of, reconnected };
    assert_eq!(slack.within, [within(1, 3, 1), within(3, 3, 2), within(7, 3, 2)]);
    assert_eq!(found[0].within, [within(1, 1, 0), within(3, 1, 0), within(7, 1, 0)]);
    let later = db.reconnects(at(DAY), at(9 * DAY + 120)).await.expect("counted");
    assert_eq!(later.iter().map(|one| one.mailed).sum::<u64>(), 1, "dan's alone");
}

pub(super) async fn a_delivery_is_taken_once_with_its_check(db: &Db) {
    let first = check(&["ann"]);
    let told =
        Delivery { check: Some(first.id), ..delivery("msg_1", ACCOUNT_EXPIRED, Some("ann"), Some("ca_1"), at(1)) };
    assert!(db.take_delivery(&told, Some(&first)).await.expect("kept"));
    let again = check(&["ann"]);
    let late = Delivery { check: Some(again.id), received_at: at(2), ..told.clone() };
    assert!(!db.take_delivery(&late, Some(&again)).await.expect("answered"));
    assert!(db.take_delivery(&delivery("msg_2", "composio.new", None, None, at(3)), None).await.expect("kept"));
    assert_eq!(claim_check(db, first.id, at(4)).await.0.check.users, [user("ann")]);
    let missing = db.claim_check(again.id, lease(at(4)), at(4)).await.expect("answered");
    assert_eq!(missing, Claim::Missing, "what came again starts no check");
    assert_eq!(db.trail(&user("ann"), 9).await.expect("read").deliveries, [told]);
    let counts = db.deliveries(at(0)).await.expect("counted");
    assert_eq!(counts, [(ACCOUNT_EXPIRED.to_owned(), 1), ("composio.new".to_owned(), 1)]);
    assert_eq!(prune_only(db, |horizon| horizon.observations = at(2)).await, 1);
    assert_eq!(db.deliveries(at(0)).await.expect("counted"), [("composio.new".to_owned(), 1)]);
}

pub(super) async fn whose_an_account_is_is_said_only_of_one_person(db: &Db) {
    for (name, accounts) in [("ann", &["ca_1", "ca_2"][..]), ("bob", &["ca_2"])] {
        let changed = accounts.iter().map(|id| account(id, "slack", Status::Active)).collect();
        let record = record_of(vec![UserRecord { changed, ..seen(name, None, at(1)) }], at(1));
        written(db.record(&record).await.expect("recorded"));
    }
    let owner = async |id: &str| db.owner_of(&AccountId::new(id)).await.expect("read");
    assert_eq!(owner("ca_1").await, Some(user("ann")));
    assert_eq!(owner("ca_2").await, None, "two people have it");
    assert_eq!(owner("ca_3").await, None);
}

pub(super) async fn what_a_sweep_found_and_no_event_told_of_is_missed(db: &Db) {
    let (sweep, _, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[]).await;
    for (name, in_sweep) in [("ann", true), ("bob", true), ("cid", false)] {
        let open = vec![Incident { account: AccountId::new(format!("ca_{name}")), ..incident("slack") }];
        let record = record_of(vec![UserRecord { open, ..seen(name, None, at(5)) }], at(5));
        written(db.record(&Record { sweep: in_sweep.then_some(sweep), ..record }).await.expect("recorded"));
    }
    for (id, kind, account, second) in [
        ("msg_1", ACCOUNT_EXPIRED, "ca_ann", 6),
        ("msg_2", "composio.trigger.disabled", "ca_bob", 4),
        ("msg_3", ACCOUNT_EXPIRED, "ca_other", 4),
    ] {
        let told = delivery(id, kind, None, Some(account), at(second));
        assert!(db.take_delivery(&told, None).await.expect("kept"));
    }
    let found = db.coverage(at(0)).await.expect("counted");
    let counts: Vec<_> = found.iter().map(|one| (one.toolkit.as_str(), one.broke, one.told, one.missed)).collect();
    assert_eq!(counts, [("slack", 3, 1, 1)], "bob was missed; cid was found by a re-audit");
    assert_eq!(db.coverage(at(6)).await.expect("counted"), []);
}
