//! Schedules and sweeps.

use super::*;

pub(super) async fn a_schedule_is_known_since_its_text_was_first_seen(db: &Db) {
    let since = |cron: &'static str, zone: &'static str, now| db.schedule_known_since("daily", cron, zone, now);
    assert_eq!(since("0 9 * * *", "UTC", at(0)).await.expect("known"), at(0));
    assert_eq!(since("0 9 * * *", "UTC", at(50)).await.expect("known"), at(0));
    assert_eq!(since("0 8 * * *", "UTC", at(60)).await.expect("known"), at(60));
    assert_eq!(since("0 8 * * *", "Europe/Berlin", at(70)).await.expect("known"), at(70));
    assert_eq!(db.newest_tick("daily").await.expect("read"), None);
}

pub(super) async fn of_eight_replicas_one_inserts_a_tick(db: &Db) {
    let inserts = (0..8).map(|_| async { db.insert_sweep(&new_sweep("daily", at(5)), at(5)).await.expect("inserted") });
    let won = futures::future::join_all(inserts).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(db.sweeps(10).await.expect("listed").len(), 1);
    assert_eq!(db.newest_tick("daily").await.expect("read"), Some(at(5)));
}

pub(super) async fn a_tick_that_overlaps_is_skipped_or_waits_and_at_most_one_waits(db: &Db) {
    let (first, _) = paging_sweep(db, &new_sweep("daily", at(0))).await;
    let skip = new_sweep("daily", at(10));
    let queue = NewSweep { overlap: Overlap::Queue, ..new_sweep("daily", at(20)) };
    let queue_again = NewSweep { overlap: Overlap::Queue, ..new_sweep("daily", at(30)) };
    let other = new_sweep("weekly", at(30));
    for sweep in [&skip, &queue, &queue_again, &other] {
        assert!(db.insert_sweep(sweep, at(30)).await.expect("inserted"));
    }
    let state = async |id| db.sweep(id).await.expect("read").expect("it is there");
    assert_eq!(state(first.id).await.state, SweepState::Paging);
    let skipped = state(skip.id).await;
    assert_eq!((skipped.state, skipped.finished_at), (SweepState::Skipped, Some(at(30))));
    assert!(skipped.note.is_some());
    assert_eq!(state(queue.id).await.state, SweepState::Pending);
    assert_eq!(state(queue_again.id).await.state, SweepState::Skipped);
    assert_eq!(state(other.id).await.state, SweepState::Pending);
    assert_eq!(db.newest_tick("daily").await.expect("read"), Some(at(30)));
}

pub(super) async fn two_ticks_at_once_do_not_both_wait(db: &Db) {
    let inserts = (0..8).map(|n| async move {
        let sweep = NewSweep { overlap: Overlap::Queue, ..new_sweep("daily", at(n)) };
        db.insert_sweep(&sweep, at(9)).await.expect("inserted")
    });
    assert!(futures::future::join_all(inserts).await.into_iter().all(|inserted| inserted));
    let sweeps = db.sweeps(10).await.expect("listed");
    assert_eq!(sweeps.len(), 8);
    assert_eq!(sweeps.iter().filter(|sweep| sweep.state == SweepState::Pending).count(), 1);
}

pub(super) async fn a_sweep_is_claimed_by_one_sweeper_and_again_when_its_lease_lapses(db: &Db) {
    let sweep = new_sweep("daily", at(0));
    db.insert_sweep(&sweep, at(0)).await.expect("inserted");
    let claims = (0..8).map(|_| async { db.claim_sweep(lease(at(0)), at(0)).await.expect("claimed") });
    assert_eq!(futures::future::join_all(claims).await.into_iter().flatten().count(), 1);
    assert!(db.claim_sweep(lease(at(14)), at(14)).await.expect("claimed").is_none());
    let second = lease(at(15));
    let claimed = db.claim_sweep(second, at(15)).await.expect("claimed").expect("the lease has lapsed");
    assert_eq!((claimed.id, claimed.state), (sweep.id, SweepState::Pending));
    assert!(db.renew_sweep(sweep.id, Lease { until: at(60), ..second }).await.expect("renewed"));
    assert!(db.claim_sweep(lease(at(59)), at(59)).await.expect("claimed").is_none());
}

pub(super) async fn a_pending_sweep_waits_for_its_start_and_for_the_sweep_at_work(db: &Db) {
    let first = NewSweep { start_at: at(5), ..new_sweep("daily", at(0)) };
    db.insert_sweep(&first, at(0)).await.expect("inserted");
    assert!(db.claim_sweep(lease(at(4)), at(4)).await.expect("claimed").is_none(), "its start is not reached");
    let holder = lease(at(5));
    db.claim_sweep(holder, at(5)).await.expect("claimed").expect("its start is reached");
    let paging = change(SweepState::Paging, at(500));
    assert!(db.set_sweep_state(first.id, holder.token, &paging, at(5)).await.expect("changed"));
    let second = NewSweep { overlap: Overlap::Queue, ..new_sweep("daily", at(10)) };
    db.insert_sweep(&second, at(10)).await.expect("inserted");
    assert!(db.claim_sweep(lease(at(20)), at(20)).await.expect("claimed").is_none(), "the first is at work");
    let done = change(SweepState::Completed, at(20));
    assert!(db.set_sweep_state(first.id, holder.token, &done, at(20)).await.expect("changed"));
    let claimed = db.claim_sweep(lease(at(20)), at(20)).await.expect("claimed").expect("the first has ended");
    assert_eq!(claimed.id, second.id);
    let first = db.sweep(first.id).await.expect("read").expect("it is there");
    assert_eq!((first.started_at, first.finished_at), (Some(at(5)), Some(at(20))));
}

pub(super) async fn a_sweeper_that_lost_its_lease_changes_nothing(db: &Db) {
    let (sweep, old) = paging_sweep(db, &new_sweep("daily", at(0))).await;
    let new = lease(at(20));
    db.claim_sweep(new, at(20)).await.expect("claimed").expect("the lease has lapsed");
    let page = SweepPage { chunks: vec![Check { sweep: Some(sweep.id), ..check(&["a"]) }], cursor: None, last: true };
    assert!(!db.append_page(sweep.id, old.token, &page, at(21)).await.expect("refused"));
    assert!(!db.renew_sweep(sweep.id, old).await.expect("refused"));
    let failed = change(SweepState::Failed, at(21));
    assert!(!db.set_sweep_state(sweep.id, old.token, &failed, at(21)).await.expect("refused"));
    let sweep = db.sweep(sweep.id).await.expect("read").expect("it is there");
    assert_eq!((sweep.state, sweep.next_seq), (SweepState::Paging, 0));
    assert_eq!(db.outstanding_checks(sweep.id).await.expect("counted"), 0);
}

pub(super) async fn a_page_is_stored_once_and_the_last_one_ends_paging(db: &Db) {
    let (sweep, lease) = paging_sweep(db, &new_sweep("daily", at(0))).await;
    let chunk = |seq| Check { sweep: Some(sweep.id), seq, ..check(&["a", "b"]) };
    let page = SweepPage { chunks: vec![chunk(0), chunk(1)], cursor: Some("b".into()), last: false };
    let again = SweepPage { chunks: vec![chunk(0), chunk(1)], ..page.clone() };
    assert!(db.append_page(sweep.id, lease.token, &page, at(1)).await.expect("stored"));
    assert!(db.append_page(sweep.id, lease.token, &again, at(1)).await.expect("stored"));
    assert_eq!(db.outstanding_checks(sweep.id).await.expect("counted"), 2);
    let row = db.sweep(sweep.id).await.expect("read").expect("it is there");
    assert_eq!((row.cursor.as_deref(), row.next_seq, row.state), (Some("b"), 2, SweepState::Paging));
    let last = SweepPage { chunks: vec![chunk(2)], cursor: Some("c".into()), last: true };
    assert!(db.append_page(sweep.id, lease.token, &last, at(2)).await.expect("stored"));
    assert!(!db.append_page(sweep.id, lease.token, &last, at(2)).await.expect("paging is over"));
    let row = db.sweep(sweep.id).await.expect("read").expect("it is there");
    assert_eq!((row.cursor, row.next_seq, row.state), (None, 3, SweepState::Draining));
    assert_eq!(db.outstanding_checks(sweep.id).await.expect("counted"), 3);
}

pub(super) async fn a_paused_sweep_can_be_claimed_and_remembers_that_paging_is_over(db: &Db) {
    let (id, _, old) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"]]).await;
    assert!(db.claim_sweep(lease(at(1)), at(1)).await.expect("claimed").is_none(), "draining needs no sweeper");
    db.pause_sweep(id, "the key is refused", at(1)).await.expect("paused");
    assert!(!db.renew_sweep(id, old).await.expect("refused"));
    let holder = lease(at(1));
    let paused = db.claim_sweep(holder, at(1)).await.expect("claimed").expect("a paused sweep is claimed");
    assert_eq!((paused.state, paused.cursor, paused.next_seq), (SweepState::Paused, None, 1));
    assert_eq!(paused.note.as_deref(), Some("the key is refused"));
    let later = change(SweepState::Paused, at(30));
    assert!(db.set_sweep_state(id, holder.token, &later, at(2)).await.expect("changed"));
    assert!(db.claim_sweep(lease(at(29)), at(29)).await.expect("claimed").is_none(), "not before `claimable_from`");
    let holder = lease(at(30));
    db.claim_sweep(holder, at(30)).await.expect("claimed").expect("from then on");
    assert!(db.set_sweep_state(id, holder.token, &change(SweepState::Paging, at(31)), at(30)).await.expect("changed"));
    let resumed = db.sweep(id).await.expect("read").expect("it is there");
    assert_eq!((resumed.state, resumed.note), (SweepState::Draining, None));
}

pub(super) async fn a_drained_sweep_ends_once_with_the_sum_of_its_tallies(db: &Db) {
    let (id, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"], &["b"]]).await;
    let tally = |checked, verdict: &str| Tally {
        checked,
        verdicts: [(verdict.to_owned(), checked)].into(),
        ..Tally::default()
    };
    assert!(db.finish_sweeps(at(1)).await.expect("looked").is_empty(), "two checks are outstanding");
    finish_check(db, checks[0], tally(3, "healthy"), at(1)).await;
    assert!(db.finish_sweeps(at(1)).await.expect("looked").is_empty(), "one check is outstanding");
    finish_check(db, checks[1], Tally { given_up: 1, ..tally(4, "broken") }, at(2)).await;
    let ends = (0..4).map(|_| async { db.finish_sweeps(at(3)).await.expect("looked") });
    let ended: Vec<Sweep> = futures::future::join_all(ends).await.into_iter().flatten().collect();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].id, ended[0].state, ended[0].finished_at), (id, SweepState::Completed, Some(at(3))));
    assert_eq!((ended[0].tally.checked, ended[0].tally.given_up), (7, 1));
    assert_eq!(ended[0].tally.verdicts, [("broken".to_owned(), 4), ("healthy".to_owned(), 3)].into());
    assert_eq!(db.sweep(id).await.expect("read").as_ref(), ended.first());
}

pub(super) async fn a_sweep_in_which_nobody_could_be_checked_has_failed(db: &Db) {
    let (_, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"]]).await;
    finish_check(db, checks[0], Tally { given_up: 1, ..Tally::default() }, at(1)).await;
    let ended = db.finish_sweeps(at(2)).await.expect("looked");
    assert_eq!(ended[0].state, SweepState::Failed);
    assert!(ended[0].note.as_deref().is_some_and(|note| note.contains("not one user")));
}

pub(super) async fn a_sweep_that_is_ended_by_hand_leaves_no_check_waiting(db: &Db) {
    let (id, checks, lease) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"], &["b"]]).await;
    finish_check(db, checks[0], Tally { checked: 1, ..Tally::default() }, at(1)).await;
    let failed = SweepChange { note: Some("given up".into()), ..change(SweepState::Failed, at(1)) };
    assert!(db.set_sweep_state(id, lease.token, &failed, at(2)).await.expect("changed"));
    assert_eq!(db.outstanding_checks(id).await.expect("counted"), 0);
    let sweep = db.sweep(id).await.expect("read").expect("it is there");
    assert_eq!((sweep.state, sweep.tally.checked), (SweepState::Failed, 1));
    assert!(!db.set_sweep_state(id, lease.token, &change(SweepState::Paging, at(3)), at(3)).await.expect("final"));
}

pub(super) async fn a_sweep_that_fails_fences_the_checks_that_are_worked_on(db: &Db) {
    let (id, checks, lease) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"], &["b"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    assert!(db.set_sweep_state(id, lease.token, &change(SweepState::Failed, at(2)), at(2)).await.expect("changed"));
    assert_eq!(db.outstanding_checks(id).await.expect("counted"), 0);
    assert!(!db.renew_check(checks[0], held).await.expect("refused"));
    let late = Record { fence: Some((checks[0], held.token)), sweep: Some(id), ..record_of(Vec::new(), at(3)) };
    assert_eq!(db.record(&late).await.expect("answered"), Recorded::Fenced);
    assert!(db.reclaim_lapsed(at(99), 10).await.expect("looked").is_empty());
    assert!(db.unqueued("g", at(99), at(99), 10).await.expect("read").is_empty());
    for check in checks {
        assert_eq!(db.claim_check(check, held, at(99)).await.expect("answered"), Claim::Over);
    }
}

pub(super) async fn a_drained_sweep_that_was_paused_ends_when_it_goes_on(db: &Db) {
    let (id, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"], &["b"]]).await;
    finish_check(db, checks[0], Tally { checked: 1, ..Tally::default() }, at(1)).await;
    let (_, held) = claim_check(db, checks[1], at(1)).await;
    db.pause_sweep(id, "the key is refused", at(2)).await.expect("paused");
    let record = Record {
        fence: Some((checks[1], held.token)),
        sweep: Some(id),
        tally: Tally { checked: 1, ..Tally::default() },
        ..record_of(Vec::new(), at(3))
    };
    written(db.record(&record).await.expect("what was seen before the pause counts"));
    assert_eq!(db.outstanding_checks(id).await.expect("counted"), 0);
    assert!(db.finish_sweeps(at(4)).await.expect("looked").is_empty(), "it is paused");
    let holder = lease(at(5));
    let paused = db.claim_sweep(holder, at(5)).await.expect("claimed").expect("a paused sweep is claimed");
    assert_eq!((paused.state, paused.paging_over), (SweepState::Paused, true));
    assert!(db.set_sweep_state(id, holder.token, &change(SweepState::Paging, at(5)), at(5)).await.expect("changed"));
    let ended = db.finish_sweeps(at(6)).await.expect("ended");
    assert_eq!((ended[0].id, ended[0].state, ended[0].tally.checked), (id, SweepState::Completed, 2));
    assert_eq!(ended[0].paused_since, None);
}

pub(super) async fn a_sweep_that_cannot_be_read_keeps_no_other_from_ending(db: &Db) {
    let (broken, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["a"]]).await;
    finish_check(db, checks[0], Tally { checked: 1, ..Tally::default() }, at(1)).await;
    let (other, others, _) = draining_sweep(db, &new_sweep("hourly", at(0)), &[&["a"]]).await;
    finish_check(db, others[0], Tally { checked: 1, ..Tally::default() }, at(1)).await;
    let broke = format!("UPDATE auditor_checks SET tally = '{{\"checked\": \"many\"}}' WHERE id = '{}'", checks[0]);
    assert_eq!(db.tamper(&broke).await, 1);
    assert!(broken < other, "the broken one is tried first");
    let ended = db.finish_sweeps(at(2)).await.expect("the other ends");
    assert_eq!(ended.iter().map(|sweep| sweep.id).collect::<Vec<_>>(), [other]);
    assert!(db.finish_sweeps(at(3)).await.expect("nothing is left to end").is_empty());
    let mended = format!("UPDATE auditor_checks SET tally = '{{\"checked\": 3}}' WHERE id = '{}'", checks[0]);
    assert_eq!(db.tamper(&mended).await, 1);
    let ended = db.finish_sweeps(at(4)).await.expect("ended");
    assert_eq!((ended[0].id, ended[0].tally.checked), (broken, 3));
}

pub(super) async fn a_lease_on_a_final_sweep_is_not_renewed(db: &Db) {
    let (sweep, held) = paging_sweep(db, &new_sweep("daily", at(0))).await;
    assert!(db.renew_sweep(sweep.id, held).await.expect("renewed"));
    assert!(
        db.set_sweep_state(sweep.id, held.token, &change(SweepState::Failed, at(1)), at(1)).await.expect("changed")
    );
    assert!(!db.renew_sweep(sweep.id, Lease { until: at(60), ..held }).await.expect("refused"));
    assert!(db.claim_sweep(lease(at(99)), at(99)).await.expect("looked").is_none());
}

pub(super) async fn a_cursor_of_any_characters_comes_back_as_it_was(db: &Db) {
    let (sweep, held) = paging_sweep(db, &new_sweep("daily", at(0))).await;
    for cursor in ["t:a\0b", "t:a\\0b\\", "t:ä\u{fffd}'"] {
        let page = SweepPage { chunks: Vec::new(), cursor: Some(cursor.to_owned()), last: false };
        assert!(db.append_page(sweep.id, held.token, &page, at(1)).await.expect("stored"));
        let stored = db.sweep(sweep.id).await.expect("read").expect("it is there");
        assert_eq!(stored.cursor.as_deref(), Some(cursor));
    }
}
