//! What the operator is told of.

use connection_auditor::domain::alert::{Alert, Channel, Condition, Message, kind};
use connection_auditor::domain::id::AlertId;
use connection_auditor::domain::job::Lane;
use connection_auditor::domain::port::{DeadJob, MessageEnd, VitalSigns};

use super::guard::broke;
use super::*;

fn condition(kind: &str, subject: &str, summary: &str) -> Condition {
    Condition { kind: kind.into(), subject: subject.into(), summary: summary.into(), detail: "look\0".into() }
}

async fn set(db: &Db, judged: &[&str], conditions: &[Condition], now: DateTime<Utc>) {
    db.set_conditions(judged, conditions, now).await.expect("noted");
}

async fn open_alerts(db: &Db) -> Vec<Alert> {
    db.alerts_open().await.expect("read")
}

fn summaries(alerts: &[Alert]) -> Vec<(&str, &str, bool)> {
    alerts
        .iter()
        .map(|one| (one.condition.subject.as_str(), one.condition.summary.as_str(), one.ended_at.is_some()))
        .collect()
}

fn message(firing: &[Alert], ended: &[Alert]) -> (Uuid, Channel, Message) {
    let message = Message { kind: kind::GUARD.into(), firing: firing.to_vec(), ended: ended.to_vec() };
    (Uuid::now_v7(), Channel::Webhook, message)
}

/// Tells of alerts that fire.
async fn tell(db: &Db, firing: &[Alert], ended: &[Alert], after: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let ids: Vec<AlertId> = firing.iter().chain(ended).map(|alert| alert.id).collect();
    db.tell(&ids, &[message(firing, ended)], after, now).await.expect("answered")
}

pub(super) async fn a_condition_fires_until_it_holds_no_more(db: &Db) {
    let (one, two) = (condition(kind::GUARD, "a", "one"), condition(kind::GUARD, "b", "two"));
    let key = condition(kind::API_KEY, "key", "refused");
    set(db, &[kind::GUARD, kind::API_KEY], &[two.clone(), one.clone(), one, key], at(1)).await;
    let first = open_alerts(db).await;
    assert_eq!(first.len(), 3);
    let told: Vec<Alert> = first.iter().filter(|alert| alert.condition.kind == kind::GUARD).cloned().collect();
    assert_eq!(told[0].condition.detail, "look\u{fffd}");
    assert!(tell(db, &told, &[], at(1), at(2)).await);
    set(db, &[kind::GUARD], &[condition(kind::GUARD, "b", "two of them")], at(3)).await;
    let open = open_alerts(db).await;
    let of_guard: Vec<Alert> = open.iter().filter(|alert| alert.condition.kind == kind::GUARD).cloned().collect();
    assert_eq!(open.len(), 3, "what was not judged goes on");
    let mut seen = summaries(&of_guard);
    seen.sort_unstable();
    assert_eq!(seen, [("a", "one", true), ("b", "two of them", false)]);
    let goes_on = of_guard.iter().find(|alert| alert.ended_at.is_none()).expect("one fires");
    assert_eq!((goes_on.since, goes_on.told_at), (at(1), Some(at(2))));
    assert!(first.iter().any(|alert| alert.id == goes_on.id), "it is the same alert");
    set(db, &[kind::GUARD], &[two], at(4)).await;
    let again = condition(kind::GUARD, "a", "one again");
    set(db, &[kind::GUARD], &[again], at(5)).await;
    let newest = db.alerts(1).await.expect("listed");
    assert_eq!(summaries(&newest), [("a", "one again", false)], "what comes back is a new alert");
    assert_eq!(db.alerts(9).await.expect("listed").len(), 4);
}

pub(super) async fn an_alert_that_ends_untold_is_never_told(db: &Db) {
    set(db, &[kind::GUARD], &[condition(kind::GUARD, "a", "one")], at(1)).await;
    set(db, &[kind::GUARD], &[], at(2)).await;
    assert_eq!(open_alerts(db).await, []);
    assert_eq!(db.alerts(9).await.expect("listed")[0].ended_at, Some(at(2)));
}

pub(super) async fn of_several_replicas_one_tells(db: &Db) {
    set(db, &[kind::GUARD], &[condition(kind::GUARD, "a", "one")], at(1)).await;
    let alerts = open_alerts(db).await;
    let told = futures::future::join_all((0..6).map(|_| tell(db, &alerts, &[], at(1), at(2)))).await;
    assert_eq!(told.iter().filter(|told| **told).count(), 1);
    assert!(tell(db, &open_alerts(db).await, &[], at(2), at(9)).await, "repeated later");
    set(db, &[kind::GUARD], &[], at(10)).await;
    let ended = open_alerts(db).await;
    assert!(tell(db, &[], &ended, at(9), at(11)).await);
    assert!(!tell(db, &[], &ended, at(20), at(21)).await, "an end is told once");
    assert_eq!(open_alerts(db).await, []);
    let mut messages = 0;
    while db.claim_message(lease(at(30)), at(30)).await.expect("claimed").is_some() {
        messages += 1;
    }
    assert_eq!(messages, 3, "what was not told left no message");
}

pub(super) async fn an_alert_that_ended_while_it_was_told_has_its_end_told(db: &Db) {
    set(db, &[kind::GUARD], &[condition(kind::GUARD, "a", "one")], at(1)).await;
    let firing = open_alerts(db).await;
    assert!(tell(db, &firing, &[], at(1), at(2)).await);
    set(db, &[kind::GUARD], &[], at(3)).await;
    assert!(tell(db, &firing, &[], at(2), at(4)).await, "it was read before it ended");
    let open = open_alerts(db).await;
    assert_eq!(open.iter().map(|alert| alert.end_told).collect::<Vec<_>>(), [false]);
}

pub(super) async fn a_message_is_delivered_by_one_and_tried_until_it_is_given_up(db: &Db) {
    set(db, &[kind::GUARD], &[condition(kind::GUARD, "a", "one")], at(1)).await;
    let alerts = open_alerts(db).await;
    let (first, second) = (message(&alerts, &[]), message(&alerts, &[]));
    let second = (second.0, Channel::Slack, second.2);
    assert!(db.tell(&[alerts[0].id], &[first.clone(), second.clone()], at(1), at(2)).await.expect("kept"));
    assert_eq!(db.claim_message(lease(at(1)), at(1)).await.expect("answered"), None, "not due yet");
    let mine = lease(at(2));
    let claimed = db.claim_message(mine, at(2)).await.expect("answered").expect("one is due");
    assert_eq!((claimed.id, claimed.channel, claimed.attempts), (first.0, Channel::Webhook, 0));
    assert_eq!(claimed.message.firing[0].id, alerts[0].id);
    let other = lease(at(2));
    let next = db.claim_message(other, at(2)).await.expect("answered").expect("another is due");
    assert_eq!((next.id, next.channel), (second.0, Channel::Slack));
    assert_eq!(db.claim_message(lease(at(2)), at(2)).await.expect("answered"), None);
    let settle = async |id, token, end: MessageEnd| db.settle_message(id, token, &end, at(3)).await.expect("answered");
    assert!(!settle(first.0, other.token, MessageEnd::Delivered).await, "fenced");
    assert!(settle(first.0, mine.token, MessageEnd::Again(at(60), "503".into())).await);
    assert!(!settle(first.0, mine.token, MessageEnd::Delivered).await);
    assert!(settle(second.0, other.token, MessageEnd::Delivered).await);
    assert_eq!(db.claim_message(lease(at(59)), at(59)).await.expect("answered"), None);
    let lapsed = db.claim_message(lease(at(60)), at(60)).await.expect("answered").expect("it is due");
    assert_eq!((lapsed.id, lapsed.attempts), (first.0, 1));
    let third = lease(at(75));
    let taken = db.claim_message(third, at(75)).await.expect("answered").expect("its lease has lapsed");
    assert_eq!(taken.attempts, 2, "whoever died tried too");
    assert!(settle(first.0, third.token, MessageEnd::GivenUp("410".into())).await);
    assert_eq!(db.claim_message(lease(at(999)), at(999)).await.expect("answered"), None);
}

async fn signs(db: &Db, since: DateTime<Utc>, now: DateTime<Utc>) -> VitalSigns {
    db.vital_signs(since, now).await.expect("read")
}

pub(super) async fn a_fresh_store_has_nothing_to_tell(db: &Db) {
    assert_eq!(signs(db, at(0), at(1)).await, VitalSigns::default());
}

pub(super) async fn signs_of_sweeps_name_those_that_are_paused_or_failed_last(db: &Db) {
    db.schedule_known_since("daily", "0 3 * * *", "UTC", at(-50)).await.expect("known");
    db.schedule_known_since("weekly", "0 3 * * 1", "UTC", at(-90)).await.expect("known");
    for (second, (schedule, state)) in (1..).zip([
        ("daily", "failed"),
        ("daily", "completed"),
        ("weekly", "failed"),
        ("weekly", "skipped"),
        ("slow", "paused"),
    ]) {
        let sweep = new_sweep(schedule, at(second));
        assert!(db.insert_sweep(&sweep, at(second)).await.expect("inserted"));
        let finished = if state == "paused" { "NULL".to_owned() } else { instant(db, at(second)) };
        db.tamper(&format!(
            "UPDATE auditor_sweeps SET state = '{state}', note = 'why', finished_at = {finished} WHERE id = '{}'",
            sweep.id
        ))
        .await;
    }
    let now = signs(db, at(0), at(9)).await;
    assert_eq!((now.completed_at, now.known_since), (Some(at(2)), Some(at(-90))));
    let trouble = |schedule: &str, state: &str| (schedule.to_owned(), state.to_owned(), Some("why".to_owned()));
    assert_eq!(now.troubled_sweeps, [trouble("slow", "paused"), trouble("weekly", "failed")]);
    assert_eq!(signs(db, at(4), at(9)).await.troubled_sweeps, [trouble("slow", "paused")], "failed long ago");
}

/// An instant as a statement writes it.
fn instant(db: &Db, at: DateTime<Utc>) -> String {
    if db.url.starts_with("sqlite:") { at.timestamp_micros().to_string() } else { format!("'{}'", at.to_rfc3339()) }
}

pub(super) async fn signs_of_notifications_are_counted_by_error(db: &Db) {
    let waits =
        |error: &str| Settlement::Again { due_at: at(60), error: error.into(), counted: false, ambiguous: false };
    for (name, end) in [
        ("a", Settlement::Failed("550 no".into())),
        ("b", Settlement::Failed("550 no".into())),
        ("c", Settlement::Failed("554 spam".into())),
        ("d", waits("421 later")),
        ("e", waits("paused")),
        ("f", waits("waits for the hours in which mails leave (policy.send_window)")),
        ("g", waits("guard.max_mails_per_hour is reached")),
        ("h", Settlement::Sent),
    ] {
        let (incident, made) = break_slot(db, name, "slack", None, at(0)).await;
        let (_, held) = claim_notification(db, made[0], at(0)).await;
        assert_eq!(begin(db, made[0], held, &[incident]).await, Begun::Yes);
        assert!(settle(db, made[0], held.token, &end, at(5)).await);
    }
    let now = signs(db, at(5), at(9)).await;
    assert_eq!(now.failed, [("550 no".to_owned(), 2), ("554 spam".to_owned(), 1)]);
    assert_eq!(now.stuck, [("421 later".to_owned(), 1)]);
    assert_eq!(now.sent, 1);
    let later = signs(db, at(6), at(9)).await;
    assert_eq!((later.failed.len(), later.sent), (0, 0));
}

pub(super) async fn slots_that_break_again_and_again_are_named(db: &Db) {
    let hour = |n: i64| at(n * 3600);
    for (name, times) in [("ann", 3), ("bob", 4), ("cid", 2)] {
        for n in 0..times {
            let id = broke(db, name, ("slack", "ac_1"), hour(2 * n)).await;
            let base = db.history(&[user(name)]).await.expect("read")[&user(name)].observed_at;
            let close = vec![(id, connection_auditor::domain::incident::Resolution::Reconnected)];
            let healed = UserRecord { close, ..seen(name, base, hour(2 * n + 1)) };
            written(db.record(&record_of(vec![healed], hour(2 * n + 1))).await.expect("recorded"));
        }
    }
    let reason = incident("slack").reason;
    let now = signs(db, at(0), hour(10)).await;
    assert_eq!(now.flapping, [("slack".to_owned(), "ac_1".to_owned(), reason, 2, 2)]);
    let later = signs(db, at(0), hour(2) + TimeDelta::days(14)).await;
    assert_eq!(later.flapping, [], "of what is fourteen days ago, nothing counts");
}

pub(super) async fn auth_configs_that_are_off_and_dead_jobs_are_counted(db: &Db) {
    for (name, accounts) in [("ann", 2), ("bob", 1)] {
        let mut changed: Vec<KnownAccount> =
            (0..accounts).map(|n| account(&format!("ca_{n}"), "slack", Status::Active)).collect();
        for known in &mut changed {
            known.account.auth_config_disabled = true;
        }
        changed.push(account("ca_9", "gmail", Status::Active));
        written(
            db.record(&record_of(vec![UserRecord { changed, ..seen(name, None, at(0)) }], at(0))).await.expect("kept"),
        );
    }
    let dead =
        DeadJob { id: Uuid::now_v7(), lane: Lane::Notify, reason: "poison".into(), deliveries: 6, died_at: at(1) };
    db.bury(&dead).await.expect("buried");
    let now = signs(db, at(0), at(9)).await;
    assert_eq!(now.operator_faults, [("slack".to_owned(), "ac_1".to_owned(), 2)]);
    assert_eq!(now.dead_jobs, 1);
}
