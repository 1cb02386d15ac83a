//! What the queue should hold, offices, dead jobs, retention.

use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::job::{Job, Lane};
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::domain::port::DeadJob;

use super::*;

/// What the queue of this generation lacks at `now`, if it was not pushed within ten seconds.
async fn lacks(db: &Db, generation: &str, now: DateTime<Utc>) -> Vec<Job> {
    let unqueued = db.unqueued(generation, now, now - TimeDelta::seconds(10), 100).await.expect("read");
    assert!(unqueued.is_sorted_by_key(|(_, due_at)| *due_at));
    unqueued.into_iter().map(|(job, _)| job).collect()
}

async fn audit(db: &Db, due_at: DateTime<Utc>, now: DateTime<Utc>) -> CheckId {
    let check = Check { due_at, ..check(&["ann", "bob"]) };
    db.insert_checks(std::slice::from_ref(&check), now).await.expect("inserted");
    check.id
}

fn dead(id: Uuid, lane: Lane, died_at: DateTime<Utc>) -> DeadJob {
    DeadJob { id, lane, reason: "it kills its worker".into(), deliveries: 6, died_at }
}

pub(super) async fn what_was_never_pushed_is_found_when_due_and_waited_long_enough(db: &Db) {
    let (_, chunks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    let late = audit(db, at(60), at(1)).await;
    let now = audit(db, at(2), at(2)).await;
    let (_, made) = break_slot(db, "ann", "slack", None, at(3)).await;
    assert!(lacks(db, "g", at(10)).await.is_empty(), "whoever made them is about to push them");
    let chunk = Job::Check(Lane::CheckSweep, chunks[0]);
    let now = Job::Check(Lane::CheckNow, now);
    assert_eq!(lacks(db, "g", at(14)).await, [chunk, now, Job::Notify(made[0])]);
    assert_eq!(db.unqueued("g", at(14), at(4), 2).await.expect("read"), [(chunk, at(0)), (now, at(2))]);
    db.mark_queued(&[chunk, now, Job::Notify(made[0])], "g").await.expect("marked");
    assert!(lacks(db, "g", at(59)).await.is_empty());
    assert_eq!(lacks(db, "g", at(61)).await, [Job::Check(Lane::CheckNow, late)]);
}

pub(super) async fn a_wiped_queue_finds_everything_again(db: &Db) {
    let waits = Job::Check(Lane::CheckNow, audit(db, at(0), at(0)).await);
    let claimed = audit(db, at(0), at(0)).await;
    let (_, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    let jobs = [waits, Job::Check(Lane::CheckNow, claimed), Job::Notify(made[0])];
    db.mark_queued(&jobs, "first").await.expect("marked");
    claim_check(db, claimed, at(2)).await;
    assert!(lacks(db, "first", at(99)).await.is_empty());
    assert_eq!(lacks(db, "second", at(2)).await, [waits, Job::Notify(made[0])], "at once, but not what is worked on");
    db.mark_queued(&[waits, Job::Notify(made[0])], "second").await.expect("marked");
    assert!(lacks(db, "second", at(99)).await.is_empty());
}

pub(super) async fn what_is_put_back_is_pushed_again_when_due(db: &Db) {
    let id = audit(db, at(0), at(0)).await;
    let job = Job::Check(Lane::CheckNow, id);
    db.mark_queued(&[job], "g").await.expect("marked");
    let (_, held) = claim_check(db, id, at(1)).await;
    assert!(db.release_check(id, held.token, at(20)).await.expect("released"));
    assert!(lacks(db, "g", at(25)).await.is_empty(), "whoever put it back is about to push it");
    assert_eq!(lacks(db, "g", at(31)).await, [job]);
    let (_, made) = break_slot(db, "ann", "slack", None, at(1)).await;
    db.mark_queued(&[job, Job::Notify(made[0])], "g").await.expect("marked");
    let (_, held) = claim_notification(db, made[0], at(1)).await;
    let again = Settlement::Again { due_at: at(50), error: "421".into(), counted: true, ambiguous: false };
    assert!(settle(db, made[0], held.token, &again, at(45)).await);
    assert!(lacks(db, "g", at(49)).await.is_empty());
    assert!(lacks(db, "g", at(54)).await.is_empty(), "it was put back nine seconds ago");
    assert_eq!(lacks(db, "g", at(56)).await, [Job::Notify(made[0])]);
}

pub(super) async fn a_lapsed_lease_is_found_at_once(db: &Db) {
    let check = audit(db, at(0), at(0)).await;
    let (_, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let jobs = [Job::Check(Lane::CheckNow, check), Job::Notify(made[0])];
    db.mark_queued(&jobs, "g").await.expect("marked");
    let (_, fenced) = claim_check(db, check, at(0)).await;
    let (_, fenced_too) = claim_notification(db, made[0], at(0)).await;
    assert!(db.reclaim_lapsed(at(15), 10).await.expect("looked").is_empty(), "they lapse at 15, not before");
    assert_eq!(db.reclaim_lapsed(at(16), 1).await.expect("taken back"), jobs[..1]);
    assert_eq!(db.reclaim_lapsed(at(16), 10).await.expect("taken back"), jobs[1..]);
    assert!(db.reclaim_lapsed(at(16), 10).await.expect("looked").is_empty());
    let unqueued = db.unqueued("g", at(16), at(-99), 10).await.expect("read");
    assert_eq!(unqueued.iter().map(|(job, _)| *job).collect::<std::collections::HashSet<_>>(), jobs.into());
    assert!(!db.renew_check(check, fenced).await.expect("refused"));
    assert!(!db.renew_notification(made[0], fenced_too).await.expect("refused"));
    claim_check(db, check, at(16)).await;
    claim_notification(db, made[0], at(16)).await;
}

pub(super) async fn a_lapsed_sending_is_reported_once_a_lease_length(db: &Db) {
    let (broken, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let (_, held) = claim_notification(db, made[0], at(0)).await;
    assert_eq!(begin(db, made[0], held, &[broken]).await, Begun::Yes);
    let reclaim = async |now| db.reclaim_lapsed(now, 10).await.expect("looked");
    assert!(reclaim(at(15)).await.is_empty());
    assert_eq!(reclaim(at(16)).await, [Job::Notify(made[0])]);
    assert!(reclaim(at(30)).await.is_empty());
    assert_eq!(reclaim(at(31)).await, [Job::Notify(made[0])]);
    assert_eq!(db.notifications(NotificationState::Sending, 9).await.expect("listed").len(), 1, "it stays as it is");
    assert_eq!(claim_notification(db, made[0], at(31)).await.0.ambiguous, 1);
}

pub(super) async fn an_office_is_held_by_one(db: &Db) {
    let takes = (0..8).map(|_| async { db.hold_office("keeper", lease(at(0)), at(0)).await.expect("answered") });
    assert_eq!(futures::future::join_all(takes).await.into_iter().filter(|taken| *taken).count(), 1);
    let next = lease(at(15));
    assert!(!db.hold_office("keeper", next, at(14)).await.expect("answered"));
    assert!(db.hold_office("keeper", next, at(15)).await.expect("answered"));
    assert!(db.hold_office("keeper", Lease { until: at(40), ..next }, at(16)).await.expect("renewed"));
    assert!(!db.hold_office("keeper", lease(at(31)), at(31)).await.expect("answered"));
    assert!(db.hold_office("scheduler", lease(at(31)), at(31)).await.expect("another office"));
}

pub(super) async fn a_buried_check_counts_as_given_up_and_its_sweep_can_end(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"], &["bob", "cid"]]).await;
    finish_check(db, checks[0], Tally { checked: 1, ..Tally::default() }, at(1)).await;
    let (_, held) = claim_check(db, checks[1], at(1)).await;
    let buried = dead(checks[1].0, Lane::CheckSweep, at(2));
    db.bury(&buried).await.expect("buried");
    db.bury(&buried).await.expect("buried again");
    assert_eq!(db.dead_jobs(10).await.expect("listed"), [buried]);
    assert_eq!(db.claim_check(checks[1], lease(at(50)), at(50)).await.expect("answered"), Claim::Over);
    let late = Record { fence: Some((checks[1], held.token)), ..record_of(vec![seen("bob", None, at(3))], at(3)) };
    assert_eq!(db.record(&late).await.expect("answered"), Recorded::Fenced);
    let ended = db.finish_sweeps(at(3)).await.expect("ended");
    assert_eq!((ended[0].id, ended[0].state), (sweep, SweepState::Completed));
    assert_eq!((ended[0].tally.checked, ended[0].tally.given_up), (1, 2));
}

pub(super) async fn a_dead_check_is_retried_or_dropped(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"], &["bob"]]).await;
    for (check, died_at) in checks.iter().zip([at(2), at(3)]) {
        db.bury(&dead(check.0, Lane::CheckSweep, died_at)).await.expect("buried");
    }
    let listed = db.dead_jobs(10).await.expect("listed");
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), [checks[1].0, checks[0].0], "newest first");
    assert!(db.retry_dead(checks[0].0, at(9)).await.expect("retried"));
    assert!(!db.retry_dead(checks[0].0, at(9)).await.expect("it is not dead any more"));
    assert_eq!(lacks(db, "g", at(20)).await, [Job::Check(Lane::CheckSweep, checks[0])], "never pushed");
    let (claimed, _) = claim_check(db, checks[0], at(20)).await;
    assert_eq!((claimed.check.attempt, claimed.check.due_at, claimed.check.sweep), (0, at(9), Some(sweep)));
    assert!(db.drop_dead(checks[1].0).await.expect("dropped"));
    assert!(!db.drop_dead(checks[1].0).await.expect("it is gone"));
    assert!(db.dead_jobs(10).await.expect("listed").is_empty());
    assert_eq!(db.claim_check(checks[1], lease(at(50)), at(50)).await.expect("answered"), Claim::Over);
    let tally = db.sweep(sweep).await.expect("read").expect("it is there").tally;
    assert_eq!(tally.given_up, 1, "the retried one is open again");
}

pub(super) async fn a_dead_check_of_an_ended_sweep_is_retried_as_a_re_audit(db: &Db) {
    let (sweep, checks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"]]).await;
    db.bury(&dead(checks[0].0, Lane::CheckSweep, at(2))).await.expect("buried");
    assert_eq!(db.finish_sweeps(at(3)).await.expect("ended").len(), 1);
    assert!(db.retry_dead(checks[0].0, at(9)).await.expect("retried"));
    assert_eq!(claim_check(db, checks[0], at(9)).await.0.check.sweep, None);
    assert_eq!(db.sweep(sweep).await.expect("read").expect("it is there").tally.given_up, 1, "what ended, ended");
}

pub(super) async fn a_dead_notification_is_retried(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let (_, held) = claim_notification(db, made[0], at(0)).await;
    let again = Settlement::Again { due_at: at(1), error: "421".into(), counted: true, ambiguous: false };
    assert!(settle(db, made[0], held.token, &again, at(1)).await);
    db.bury(&dead(made[0].0, Lane::Notify, at(2))).await.expect("buried");
    let failed = db.notifications(NotificationState::Failed, 9).await.expect("listed");
    assert_eq!(failed[0].error.as_deref(), Some("it kills its worker"));
    let (gmail, _) = break_slot(db, "ann", "gmail", Some(at(0)), at(3)).await;
    assert!(db.retry_dead(made[0].0, at(9)).await.expect("retried"));
    let pending = db.notifications(NotificationState::Pending, 9).await.expect("listed");
    assert_eq!(pending.len(), 1, "it joins what was made meanwhile");
    assert_eq!((pending[0].incidents.clone(), pending[0].attempts), (vec![slack, gmail], 0));
}

pub(super) async fn a_job_that_could_not_be_read_is_buried_too(db: &Db) {
    let unreadable = dead(Uuid::now_v7(), Lane::CheckNow, at(1));
    db.bury(&unreadable).await.expect("buried");
    assert_eq!(db.dead_jobs(10).await.expect("listed"), std::slice::from_ref(&unreadable));
    assert!(db.retry_dead(unreadable.id, at(2)).await.expect("there is no row to wait again, but it is forgotten"));
    assert!(db.dead_jobs(10).await.expect("listed").is_empty());
}

pub(super) async fn what_is_old_is_pruned_and_what_matters_stays(db: &Db) {
    let dry = NewSweep { mode: SweepMode::DryRun, ..new_sweep("daily", at(0)) };
    let (old, checks, _) = draining_sweep(db, &dry, &[&["ann"]]).await;
    let (_, held) = claim_check(db, checks[0], at(1)).await;
    let ann = UserRecord {
        findings: vec![incident("slack")],
        changed: vec![account("ca_1", "slack", Status::Active), account("ca_2", "gmail", Status::Active)],
        ..seen("ann", None, at(1))
    };
    let record = Record { fence: Some((checks[0], held.token)), sweep: Some(old), ..record_of(vec![ann], at(1)) };
    written(db.record(&record).await.expect("answered"));
    db.finish_sweeps(at(2)).await.expect("ended");
    let (slack, mailed) = break_slot(db, "ann", "slack", Some(at(1)), at(3)).await;
    let (_, held) = claim_notification(db, mailed[0], at(3)).await;
    assert_eq!(begin(db, mailed[0], held, &[slack]).await, Begun::Yes);
    assert!(settle(db, mailed[0], held.token, &Settlement::Sent, at(4)).await);
    let gone = UserRecord { gone: vec!["ca_2".into()], ..seen("ann", Some(at(3)), at(5)) };
    written(db.record(&record_of(vec![gone], at(5))).await.expect("answered"));

    assert_eq!(prune(db, at(2)).await, 0, "nothing is old yet");
    // The finding, its check, the account that is gone, and two observations of it; the sweep is the newest of its schedule.
    assert_eq!(prune(db, at(100)).await, 5);
    assert!(db.sweep(old).await.expect("read").is_some());
    let known = situation(db, "ann", None, at(5)).await;
    assert_eq!((known.open[0].incident.id, known.last_mail), (slack, Some(at(4))), "it is still open");
    assert_eq!(db.history(&[user("ann")]).await.expect("read")[&user("ann")].accounts.len(), 1);

    assert!(db.insert_sweep(&new_sweep("daily", at(50)), at(50)).await.expect("inserted"));
    let healed = UserRecord { close: vec![(slack, Resolution::Reconnected)], ..seen("ann", Some(at(5)), at(60)) };
    written(db.record(&record_of(vec![healed], at(60))).await.expect("answered"));
    assert_eq!(prune(db, at(60)).await, 1, "the sweep");
    assert_eq!(db.newest_tick("daily").await.expect("read"), Some(at(50)));
    // The mail and its incident; then the user, with the account that is left and its observation.
    assert_eq!(prune(db, at(61)).await, 5);
    assert_eq!(prune(db, at(61)).await, 0);
}

pub(super) async fn a_migrated_database_answers(db: &Db) {
    db.ping().await.expect("it answers");
}

pub(super) async fn what_is_settled_while_it_is_taken_back_is_not_sent_again(db: &Db) {
    for n in 0..30 {
        let name = format!("user-{n}");
        let (broken, made) = break_slot(db, &name, "slack", None, at(0)).await;
        let (_, held) = claim_notification(db, made[0], at(0)).await;
        let (_, others) = break_slot(db, &name, "gmail", Some(at(0)), at(1)).await;
        let settle = async {
            if n % 2 == 0 {
                begin(db, made[0], held, &[broken]).await == Begun::Yes
                    && settle(db, made[0], held.token, &Settlement::Sent, at(20)).await
            } else {
                let skipped = Settlement::Skipped("recovered".into());
                settle(db, made[0], held.token, &skipped, at(20)).await
            }
        };
        let (settled, _, claim) =
            tokio::join!(settle, async { db.reclaim_lapsed(at(16), 10).await.expect("never an error") }, async {
                db.claim_notification(others[0], lease(at(16)), at(16)).await.expect("never an error")
            },);
        let again = db.claim_notification(made[0], lease(at(60)), at(60)).await.expect("answered");
        assert_eq!(settled, again == Claim::Over, "round {n}: {again:?}, {claim:?}");
    }
}

pub(super) async fn a_queue_that_came_back_older_is_filled_lane_by_lane(db: &Db) {
    let (_, chunks, _) = draining_sweep(db, &new_sweep("daily", at(0)), &[&["ann"], &["bob"]]).await;
    let chunk = Job::Check(Lane::CheckSweep, chunks[0]);
    let worked_on = Job::Check(Lane::CheckSweep, chunks[1]);
    let now = Job::Check(Lane::CheckNow, audit(db, at(0), at(0)).await);
    let fresh = Job::Check(Lane::CheckNow, audit(db, at(0), at(50)).await);
    let late = Job::Check(Lane::CheckNow, audit(db, at(60), at(0)).await);
    let (_, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let mail = Job::Notify(made[0]);
    db.mark_queued(&[chunk, worked_on, now, fresh, late, mail], "g").await.expect("marked");
    claim_check(db, chunks[1], at(1)).await;
    assert!(lacks(db, "g", at(99)).await.is_empty());

    let forget =
        async |lane, generation: &str, before| db.forget_queued(lane, generation, before).await.expect("answered");
    for lane in Lane::ALL {
        assert_eq!(forget(lane, "another", at(40)).await, 0, "{lane:?}");
        assert_eq!(forget(lane, "g", at(0)).await, 0, "nothing has waited since before");
    }
    assert_eq!(forget(Lane::CheckSweep, "g", at(40)).await, 1);
    assert_eq!(db.unqueued("g", at(40), at(-99), 9).await.expect("read"), [(chunk, at(0))], "at once");
    assert_eq!(forget(Lane::CheckNow, "g", at(40)).await, 1, "not what is not due, and not what was made since");
    assert_eq!(forget(Lane::Notify, "g", at(40)).await, 1);
    assert_eq!(
        lacks(db, "g", at(99)).await.into_iter().collect::<std::collections::HashSet<_>>(),
        [chunk, now, mail].into()
    );
    db.mark_queued(&[chunk, now, mail], "g").await.expect("marked");
    assert!(lacks(db, "g", at(99)).await.is_empty());
    assert_eq!(forget(Lane::CheckNow, "g", at(99)).await, 3, "by then they all have");
}

pub(super) async fn a_dead_check_of_an_ended_dry_run_stays_one_and_so_do_its_retries(db: &Db) {
    let dry = NewSweep { mode: SweepMode::DryRun, ..new_sweep("manual", at(0)) };
    let (_, checks, _) = draining_sweep(db, &dry, &[&["ann", "bob"]]).await;
    db.bury(&dead(checks[0].0, Lane::CheckSweep, at(2))).await.expect("buried");
    assert_eq!(db.finish_sweeps(at(3)).await.expect("ended").len(), 1);
    assert!(db.retry_dead(checks[0].0, at(9)).await.expect("retried"));
    let (claimed, held) = claim_check(db, checks[0], at(9)).await;
    assert_eq!((claimed.check.sweep, claimed.dry_run), (None, true));
    let retry = Check { attempt: 1, ..check(&["bob"]) };
    let record = Record {
        fence: Some((checks[0], held.token)),
        retries: vec![retry.clone()],
        ..record_of(vec![seen("ann", None, at(9))], at(9))
    };
    written(db.record(&record).await.expect("answered"));
    assert!(claim_check(db, retry.id, at(9)).await.0.dry_run);
    let full = audit(db, at(0), at(0)).await;
    assert!(!claim_check(db, full, at(9)).await.0.dry_run);
}

pub(super) async fn a_notification_that_died_while_it_was_sent_is_ambiguous_and_unclear(db: &Db) {
    let (slack, made) = break_slot(db, "ann", "slack", None, at(0)).await;
    let (_, held) = claim_notification(db, made[0], at(0)).await;
    assert_eq!(begin(db, made[0], held, &[slack]).await, Begun::Yes);
    db.bury(&dead(made[0].0, Lane::Notify, at(2))).await.expect("buried");
    let failed = db.notifications(NotificationState::Failed, 9).await.expect("listed");
    assert_eq!((failed[0].ambiguous, failed[0].unclear), (1, true));
    // One that was tried more often waits beside it: still it is not forgotten that nobody knows.
    let (_, others) = break_slot(db, "ann", "gmail", Some(at(0)), at(3)).await;
    let mut due_at = at(3);
    for _ in 0..2 {
        let (_, held) = claim_notification(db, others[0], due_at).await;
        due_at += TimeDelta::seconds(1);
        let again = Settlement::Again { due_at, error: "?".into(), counted: true, ambiguous: true };
        assert!(settle(db, others[0], held.token, &again, due_at).await);
    }
    assert!(db.retry_dead(made[0].0, at(9)).await.expect("retried"));
    let pending = db.notifications(NotificationState::Pending, 9).await.expect("listed");
    assert_eq!(pending.len(), 1);
    assert!(claim_notification(db, pending[0].id, at(9)).await.0.unclear);

    let (_, made) = break_slot(db, "bob", "slack", None, at(0)).await;
    claim_notification(db, made[0], at(0)).await;
    db.bury(&dead(made[0].0, Lane::Notify, at(2))).await.expect("buried");
    assert!(db.retry_dead(made[0].0, at(9)).await.expect("retried"));
    let (claimed, _) = claim_notification(db, made[0], at(9)).await;
    assert_eq!((claimed.ambiguous, claimed.unclear), (0, false), "it was not on its way");
}
