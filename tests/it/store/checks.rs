//! Checks: claims, leases, releases.

use connection_auditor::domain::port::ToolkitName;

use super::*;

async fn audit(db: &Db, users: &[&str]) -> CheckId {
    let check = check(users);
    db.insert_checks(std::slice::from_ref(&check), at(0)).await.expect("inserted");
    check.id
}

pub(super) async fn of_sixteen_claimers_one_wins(db: &Db) {
    let id = audit(db, &["a"]).await;
    let claims = (0..16).map(|_| async { db.claim_check(id, lease(at(1)), at(1)).await.expect("answered") });
    let claims = futures::future::join_all(claims).await;
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Won(_))).count(), 1);
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Held(at(16))).count(), 15);
}

pub(super) async fn a_claim_says_why_it_was_refused(db: &Db) {
    let claim = async |id, now| db.claim_check(id, lease(now), now).await.expect("answered");
    assert_eq!(claim(CheckId(Uuid::now_v7()), at(0)).await, Claim::Missing);
    let later = Check { due_at: at(40), attempt: 3, ..check(&["b", "a"]) };
    db.insert_checks(std::slice::from_ref(&later), at(0)).await.expect("inserted");
    assert_eq!(claim(later.id, at(39)).await, Claim::NotDue(at(40)));
    assert_eq!(claim(later.id, at(40)).await, Claim::Won(ClaimedCheck { check: later.clone(), dry_run: false }));
    assert_eq!(claim(later.id, at(41)).await, Claim::Held(at(55)));
    finish_check(db, later.id, Tally::default(), at(55)).await;
    assert_eq!(claim(later.id, at(100)).await, Claim::Over);
}

pub(super) async fn a_lapsed_claim_is_taken_over_and_its_owner_is_fenced(db: &Db) {
    let id = audit(db, &["a"]).await;
    let (_, old) = claim_check(db, id, at(0)).await;
    assert!(db.renew_check(id, Lease { until: at(20), ..old }).await.expect("renewed"));
    assert_eq!(db.claim_check(id, lease(at(19)), at(19)).await.expect("answered"), Claim::Held(at(20)));
    let (_, new) = claim_check(db, id, at(20)).await;
    assert!(!db.renew_check(id, old).await.expect("refused"));
    assert!(!db.release_check(id, old.token, at(21)).await.expect("refused"));
    assert!(db.renew_check(id, new).await.expect("the new owner still holds it"));
}

pub(super) async fn a_released_check_waits_until_it_is_due(db: &Db) {
    let id = audit(db, &["a"]).await;
    let (before, held) = claim_check(db, id, at(0)).await;
    assert!(db.release_check(id, held.token, at(9)).await.expect("released"));
    assert!(!db.release_check(id, held.token, at(9)).await.expect("it was released already"));
    assert_eq!(db.claim_check(id, lease(at(8)), at(8)).await.expect("answered"), Claim::NotDue(at(9)));
    let (after, _) = claim_check(db, id, at(9)).await;
    assert_eq!(after.check, Check { due_at: at(9), ..before.check });
}

pub(super) async fn a_check_of_a_paused_sweep_waits_and_of_a_final_one_is_over(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"]]).await;
    db.pause_sweep(sweep, "no answer", at(1)).await.expect("paused");
    let claim = async |now| db.claim_check(checks[0], lease(now), now).await.expect("answered");
    assert_eq!(claim(at(2)).await, Claim::NotDue(at(7)));
    let holder = lease(at(3));
    db.claim_sweep(holder, at(3)).await.expect("claimed").expect("a paused sweep is claimed");
    let failed = change(SweepState::Failed, at(3));
    assert!(db.set_sweep_state(sweep, holder.token, &failed, at(3)).await.expect("changed"));
    assert_eq!(claim(at(4)).await, Claim::Over);
}

pub(super) async fn a_dry_run_is_known_to_its_checks(db: &Db) {
    let dry = NewSweep { mode: SweepMode::DryRun, ..new_sweep("manual", at(0)) };
    let (sweep, checks, _) = draining_sweep(db, &dry, &[&["a"]]).await;
    let (claimed, _) = claim_check(db, checks[0], at(1)).await;
    assert!(claimed.dry_run);
    assert_eq!(claimed.check.sweep, Some(sweep));
}

pub(super) async fn an_app_keeps_the_newest_name_it_was_given(db: &Db) {
    let name = |name: &str, read_at| ToolkitName { name: name.to_owned(), logo: Some("https://l".into()), read_at };
    let slug = "googlecalendar".into();
    db.remember_toolkit(&slug, &name("Calendar", at(0))).await.expect("kept");
    db.remember_toolkit(&slug, &name("Google Calendar", at(5))).await.expect("kept");
    let known = db.toolkits(&[slug.clone(), "slack".into()]).await.expect("read");
    assert_eq!(known, [(slug, name("Google Calendar", at(5)))].into());
}

pub(super) async fn users_that_cannot_be_stored_as_they_are_do_not_stop_their_chunk(db: &Db) {
    let (_, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a\0b", "cid"]]).await;
    let (claimed, _) = claim_check(db, checks[0], at(1)).await;
    assert_eq!(claimed.check.users, [user("a\u{fffd}b"), user("cid")]);
    let id = audit(db, &["\0"]).await;
    claim_check(db, id, at(1)).await;
}
