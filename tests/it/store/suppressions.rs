//! Who is not to be mailed, and whether anybody is.

use connection_auditor::domain::id::{SuppressionId, Toolkit};
use connection_auditor::domain::notification::{EmailAddress, NotificationState, hold};
use connection_auditor::domain::port::Pause;
use connection_auditor::domain::suppression::{AddressHash, Suppression, SuppressionKind, Whom};

use super::*;

pub(super) fn address(text: &str) -> AddressHash {
    AddressHash::of(&text.parse::<EmailAddress>().expect("an address"))
}

pub(super) fn suppression(whom: Whom, kind: SuppressionKind, until: Option<DateTime<Utc>>) -> Suppression {
    Suppression {
        id: SuppressionId(Uuid::now_v7()),
        whom,
        kind,
        toolkit: None,
        until,
        source: "cli".into(),
        detail: Some("asked by phone".into()),
        created_at: at(0),
    }
}

fn of_user(name: &str, kind: SuppressionKind, until: Option<DateTime<Utc>>) -> Suppression {
    suppression(Whom::User(user(name)), kind, until)
}

pub(super) async fn suppress(db: &Db, suppression: &Suppression) -> bool {
    db.suppress(suppression).await.expect("kept")
}

async fn in_force(db: &Db, name: &str, now: DateTime<Utc>) -> Vec<Suppression> {
    db.suppressions_of(&user(name), None, now).await.expect("read")
}

pub(super) async fn what_was_said_is_read_back_newest_first(db: &Db) {
    let out = of_user("ann", SuppressionKind::OptOut, None);
    let app = Suppression { toolkit: Some("slack".into()), created_at: at(2), detail: None, ..out.clone() };
    let app = Suppression { id: SuppressionId(Uuid::now_v7()), ..app };
    let snooze = Suppression { created_at: at(1), ..of_user("ann", SuppressionKind::Snooze, Some(at(50))) };
    let bounce = suppression(Whom::Address(address("Ann@example.org")), SuppressionKind::Bounce, None);
    let bounce = Suppression { created_at: at(3), ..bounce };
    let other = of_user("bob", SuppressionKind::OptOut, None);
    for one in [&out, &app, &snooze, &bounce, &other] {
        assert!(suppress(db, one).await);
    }
    assert_eq!(in_force(db, "ann", at(10)).await, [app.clone(), snooze.clone(), out.clone()]);
    assert_eq!(in_force(db, "ann", at(50)).await, [app.clone(), out.clone()], "until then, and no longer");
    let with_address = db.suppressions_of(&user("ann"), Some(&address("ann@EXAMPLE.org")), at(50)).await.expect("read");
    assert_eq!(with_address, [bounce.clone(), app.clone(), out]);
    let newest = db.suppressions(2, at(10)).await.expect("listed");
    assert_eq!(newest, [bounce, app]);
    assert_eq!(db.suppressions(99, at(10)).await.expect("listed").len(), 5);
}

pub(super) async fn the_same_again_lasts_until_the_later_instant(db: &Db) {
    for whom in [Whom::User(user("ann")), Whom::Address(address("ann@example.org"))] {
        let first = suppression(whom, SuppressionKind::Snooze, Some(at(50)));
        assert!(suppress(db, &first).await);
        let again = |until, created_at| Suppression {
            id: SuppressionId(Uuid::now_v7()),
            until,
            created_at,
            source: "unsubscribe".into(),
            detail: None,
            ..first.clone()
        };
        let kept = async || {
            let found = db.suppressions(99, at(0)).await.expect("read");
            found.into_iter().find(|one| one.whom == first.whom).expect("it is in force")
        };
        assert!(!suppress(db, &again(Some(at(40)), at(1))).await);
        assert_eq!((kept().await.id, kept().await.until, kept().await.created_at), (first.id, Some(at(50)), at(0)));
        assert!(!suppress(db, &again(Some(at(60)), at(2))).await);
        assert_eq!((kept().await.until, kept().await.created_at), (Some(at(60)), at(0)));
        assert_eq!((kept().await.source.as_str(), kept().await.detail), ("unsubscribe", None));
        assert!(!suppress(db, &again(Some(at(90)), at(70))).await);
        assert_eq!(kept().await.created_at, at(70), "it had ended, and begins anew");
        assert!(!suppress(db, &again(None, at(71))).await);
        assert!(!suppress(db, &again(Some(at(99)), at(72))).await);
        assert_eq!(kept().await.until, None, "for good is later than any instant");
    }
}

pub(super) async fn what_is_lifted_ends_and_open_incidents_are_looked_at(db: &Db) {
    let (_, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let (_, held) = claim_notification(db, made[0], at(0)).await;
    assert!(settle(db, made[0], held.token, &Settlement::Skipped("suppressed".into()), at(1)).await);
    let slack = Toolkit::new("slack");
    let lift = async |kind, toolkit, now| db.lift(&Whom::User(user("ann")), kind, toolkit, now).await.expect("lifted");
    assert_eq!(lift(None, None, at(2)).await, 0);
    let woken = db.wake(None, at(2), 9).await.expect("looked");
    assert_eq!(woken.len(), 1, "an address may have stood in the way, which only a look can tell");
    let (_, held) = claim_notification(db, woken[0], at(2)).await;
    assert!(settle(db, woken[0], held.token, &Settlement::Skipped("suppressed".into()), at(3)).await);
    suppress(db, &of_user("ann", SuppressionKind::OptOut, None)).await;
    suppress(db, &Suppression { toolkit: Some("slack".into()), ..of_user("ann", SuppressionKind::OptOut, None) }).await;
    suppress(db, &of_user("ann", SuppressionKind::Snooze, Some(at(90)))).await;
    suppress(db, &of_user("bob", SuppressionKind::OptOut, None)).await;
    assert_eq!(lift(Some(SuppressionKind::OptOut), Some(&slack), at(10)).await, 1);
    assert_eq!(lift(Some(SuppressionKind::OptOut), Some(&slack), at(11)).await, 0);
    assert_eq!(lift(Some(SuppressionKind::OptOut), None, at(12)).await, 1);
    assert_eq!(lift(None, None, at(13)).await, 1);
    assert_eq!(in_force(db, "ann", at(13)).await, []);
    assert_eq!(in_force(db, "bob", at(13)).await.len(), 1);
    assert_eq!(db.wake(None, at(9), 9).await.expect("looked"), []);
    assert_eq!(db.wake(None, at(13), 9).await.expect("looked").len(), 1);
}

pub(super) async fn an_address_is_lifted_by_its_hash(db: &Db) {
    let whom = Whom::Address(address("ann@example.org"));
    suppress(db, &suppression(whom.clone(), SuppressionKind::Bounce, None)).await;
    suppress(db, &suppression(whom.clone(), SuppressionKind::Complaint, None)).await;
    assert_eq!(db.lift(&whom, Some(SuppressionKind::Bounce), None, at(1)).await.expect("lifted"), 1);
    let left = db.suppressions_of(&user("ann"), Some(&address("ann@example.org")), at(1)).await.expect("read");
    assert_eq!(left.iter().map(|one| one.kind).collect::<Vec<_>>(), [SuppressionKind::Complaint]);
}

pub(super) async fn the_first_word_of_a_pause_stands_until_it_is_taken_back(db: &Db) {
    assert_eq!(db.paused().await.expect("read"), None);
    assert_eq!(db.resume(at(0)).await.expect("nothing to resume"), None);
    let first = Pause { since: at(1), note: Some("the provider is away".into()) };
    assert_eq!(db.pause(&first).await.expect("paused"), first);
    assert_eq!(db.pause(&Pause { since: at(2), note: None }).await.expect("paused"), first);
    assert_eq!(db.paused().await.expect("read"), Some(first.clone()));
    assert_eq!(db.resume(at(3)).await.expect("resumed"), Some(first));
    assert_eq!(db.paused().await.expect("read"), None);
}

pub(super) async fn what_the_pause_put_off_is_due_when_it_ends(db: &Db) {
    for (name, error) in [("ann", hold::PAUSED), ("bob", "421 try later")] {
        let (_, made) = break_slot(db, name, "slack", None, at(0)).await;
        let (_, held) = claim_notification(db, made[0], at(0)).await;
        let again = Settlement::Again { due_at: at(60), error: error.into(), counted: false, ambiguous: false };
        assert!(settle(db, made[0], held.token, &again, at(1)).await);
    }
    let waiting = db.notifications(NotificationState::Pending, 9).await.expect("listed");
    let jobs: Vec<_> = waiting.iter().map(|one| connection_auditor::domain::job::Job::Notify(one.id)).collect();
    db.mark_queued(&jobs, "g").await.expect("marked");
    db.pause(&Pause { since: at(1), note: None }).await.expect("paused");
    db.resume(at(5)).await.expect("resumed");
    let mut waiting = db.notifications(NotificationState::Pending, 9).await.expect("listed");
    waiting.sort_by(|one, other| one.user.cmp(&other.user));
    assert_eq!(waiting.iter().map(|one| one.due_at).collect::<Vec<_>>(), [at(5), at(60)]);
    let unqueued = db.unqueued("g", at(6), at(6), 9).await.expect("read");
    assert_eq!(unqueued.len(), 1, "it is pushed again at once, not in a minute");
}
