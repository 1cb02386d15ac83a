//! The contract of the store (`domain/port.rs`), sentence by sentence, on both engines.

#![expect(clippy::panic, reason = "a test that panics has failed")]

mod alerts;
mod availability;
mod checks;
mod clicks;
mod entity;
mod guard;
mod notifications;
mod opening;
mod outbox;
mod prune;
mod races;
mod record;
mod reports;
mod sending;
mod situation;
mod statements;
mod suppressions;
mod sweeps;
mod trail;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connection_auditor::adapters::store;
use connection_auditor::config::Database;
use connection_auditor::domain::account::{Account, Status};
use connection_auditor::domain::history::KnownAccount;
use connection_auditor::domain::id::{AccountId, CheckId, IncidentId, NotificationId, SweepId, UserId};
use connection_auditor::domain::incident::{Incident, IncidentKind};
use connection_auditor::domain::lease::{Claim, Lease};
use connection_auditor::domain::notification::Notification;
use connection_auditor::domain::plan::Situation;
use connection_auditor::domain::port::{
    Begun, CheckOutcome, ClaimedCheck, Horizon, Record, Recorded, Sending, Settled, Settlement, Store, SweepChange,
    SweepPage, UserRecord,
};
use connection_auditor::domain::slot::Slot;
use connection_auditor::domain::stage::Stage;
use connection_auditor::domain::sweep::{Check, NewSweep, Overlap, Sweep, SweepMode, SweepState, Tally, Trigger};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};
use uuid::Uuid;

use crate::support::postgres;

/// A database of its own, migrated.
struct Db {
    store: Arc<dyn Store>,
    url: String,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Db {
    type Target = Arc<dyn Store>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

fn settings(url: String) -> Database {
    Database { url: url.into(), ..Database::default() }
}

async fn open(url: String, folder: tempfile::TempDir) -> Db {
    let settings = settings(url.clone());
    store::migrate(&settings).await.expect("an empty database can be migrated");
    Db { store: store::connect(&settings).await.expect("a migrated database opens"), url, _folder: folder }
}

impl Db {
    /// Does behind the store's back what no version of this program does; returns how many rows were changed.
    async fn tamper(&self, statement: &str) -> u64 {
        let statement = AssertSqlSafe(statement);
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.expect("the file opens");
            sqlx::query(statement).execute(&mut connection).await.expect("it is changed").rows_affected()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.expect("the database opens");
            sqlx::query(statement).execute(&mut connection).await.expect("it is changed").rows_affected()
        }
    }
}

async fn postgres() -> Db {
    open(postgres::database().await, tempfile::tempdir().expect("a folder")).await
}

async fn sqlite() -> Db {
    let folder = tempfile::tempdir().expect("a folder");
    open(format!("sqlite:{}", folder.path().join("store.sqlite").display()), folder).await
}

/// Makes each case a test on each engine.
macro_rules! on_both {
    ($($topic:ident: $($case:ident),* $(,)?;)*) => {
        mod on_postgres {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::postgres().await).await;
                }
            )* })*
        }
        mod on_sqlite {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::sqlite().await).await;
                }
            )* })*
        }
    };
}

on_both! {
    sweeps:
        a_schedule_is_known_since_its_text_was_first_seen,
        of_eight_replicas_one_inserts_a_tick,
        a_tick_that_overlaps_is_skipped_or_waits_and_at_most_one_waits,
        two_ticks_at_once_do_not_both_wait,
        a_sweep_is_claimed_by_one_sweeper_and_again_when_its_lease_lapses,
        a_pending_sweep_waits_for_its_start_and_for_the_sweep_at_work,
        a_sweeper_that_lost_its_lease_changes_nothing,
        a_page_is_stored_once_and_the_last_one_ends_paging,
        a_paused_sweep_can_be_claimed_and_remembers_that_paging_is_over,
        a_drained_sweep_ends_once_with_the_sum_of_its_tallies,
        a_sweep_in_which_nobody_could_be_checked_has_failed,
        a_sweep_that_is_ended_by_hand_leaves_no_check_waiting,
        a_sweep_that_fails_fences_the_checks_that_are_worked_on,
        a_drained_sweep_that_was_paused_ends_when_it_goes_on,
        a_sweep_that_cannot_be_read_keeps_no_other_from_ending,
        a_lease_on_a_final_sweep_is_not_renewed,
        a_cursor_of_any_characters_comes_back_as_it_was;
    checks:
        of_sixteen_claimers_one_wins,
        a_claim_says_why_it_was_refused,
        a_lapsed_claim_is_taken_over_and_its_owner_is_fenced,
        a_released_check_waits_until_it_is_due,
        a_check_of_a_paused_sweep_waits_and_of_a_final_one_is_over,
        a_dry_run_is_known_to_its_checks,
        users_that_cannot_be_stored_as_they_are_do_not_stop_their_chunk,
        an_app_keeps_the_newest_name_it_was_given;
    record:
        what_was_seen_is_read_back_as_it_was,
        a_history_is_empty_for_a_user_that_was_never_seen,
        a_record_is_written_once,
        a_record_upon_an_old_history_is_refused_whole,
        a_late_record_is_fenced_and_changes_nothing,
        a_failed_check_does_not_move_what_was_observed,
        accounts_change_vanish_and_come_back,
        a_slot_has_one_open_incident_under_concurrent_records,
        a_closed_slot_opens_again_and_once_ever_incidents_are_remembered,
        a_dry_run_leaves_findings_and_nothing_else,
        concurrent_records_of_the_same_users_never_fail,
        ids_of_any_script_come_back_as_they_were,
        what_cannot_be_stored_as_it_came_is_recorded_all_the_same,
        two_users_that_are_stored_under_one_id_are_recorded_once,
        instants_beyond_the_calendar_are_recorded_as_the_nearest,
        slots_with_long_aliases_are_told_apart,
        ten_thousand_users_fit;
    opening:
        a_second_incident_joins_the_pending_notification_which_is_due_at_the_earlier_time,
        what_is_not_due_is_found_as_soon_as_it_is,
        a_second_look_in_a_sweep_opens_for_that_sweep,
        a_claimed_notification_is_left_alone_and_a_new_one_is_made,
        an_incident_joins_the_notification_that_found_it_unless_that_is_on_its_way,
        a_hold_takes_in_what_is_opened_under_it;
    notifications:
        of_sixteen_notifiers_one_claims,
        a_notification_is_claimed_when_due_and_is_over_when_settled,
        a_notifier_that_lost_its_lease_changes_nothing,
        a_lapsed_sending_is_ambiguous_and_is_counted,
        only_what_a_sent_mail_listed_was_mailed,
        one_incident_is_not_sent_by_two_notifications,
        what_may_have_gone_out_is_not_sent_under_another_name,
        a_mail_that_is_held_because_nobody_knows_is_ambiguous_from_then_on,
        what_failed_or_was_unreachable_is_retried_and_what_was_buried_is_not,
        what_is_retried_joins_what_is_pending,
        what_is_tried_again_keeps_its_name_and_its_tries,
        what_comes_back_takes_in_what_was_made_meanwhile,
        held_notifications_are_released_or_discarded_by_age,
        a_release_joins_what_is_pending,
        the_incidents_of_a_deleted_user_are_closed;
    situation:
        a_situation_holds_what_is_open_of_this_user_alone,
        the_newest_stage_counts_and_the_time_of_the_first,
        a_mail_on_its_way_counts_as_the_last_one,
        a_mail_that_may_have_left_counts_however_it_ended,
        a_notification_that_is_held_holds_what_it_carries,
        a_trip_holds_an_incident_until_it_lets_go,
        a_slot_remembers_how_often_it_broke_within_the_window,
        suppressions_in_force_are_those_of_the_user_and_of_the_address;
    sending:
        of_two_mails_to_one_user_at_once_one_may_leave,
        a_mail_too_near_to_the_last_is_refused,
        a_mail_of_nothing_new_is_refused,
        a_stage_that_was_passed_is_refused,
        an_incident_that_ended_is_held_or_was_discarded_is_refused,
        a_user_who_wants_none_is_refused,
        the_kill_switch_stops_every_mail,
        no_more_leave_within_an_hour_than_the_ceiling_admits,
        the_ceiling_says_when_there_is_room_and_counts_a_second_try_once;
    wake:
        a_look_that_has_come_makes_a_notification_once,
        a_look_is_kept_until_what_waits_has_ended,
        looks_are_those_of_the_user_and_of_what_is_open,
        what_is_put_back_or_held_notes_its_looks_too,
        under_a_hold_what_is_woken_is_held_and_carried,
        the_oldest_looks_come_first_and_no_more_than_asked_for,
        whoever_wakes_at_once_wakes_each_user_once;
    prune:
        what_was_observed_goes_when_something_newer_was,
        users_who_are_checked_no_more_go_with_their_accounts,
        a_nudge_is_remembered_as_long_as_its_user,
        trips_alerts_and_suppressions_go_when_they_are_over;
    outbox:
        what_was_never_pushed_is_found_when_due_and_waited_long_enough,
        a_wiped_queue_finds_everything_again,
        a_queue_that_came_back_older_is_filled_lane_by_lane,
        what_is_put_back_is_pushed_again_when_due,
        a_lapsed_lease_is_found_at_once,
        what_is_settled_while_it_is_taken_back_is_not_sent_again,
        a_lapsed_sending_is_reported_once_a_lease_length,
        an_office_is_held_by_one,
        a_buried_check_counts_as_given_up_and_its_sweep_can_end,
        a_dead_check_is_retried_or_dropped,
        a_dead_check_of_an_ended_sweep_is_retried_as_a_re_audit,
        a_dead_check_of_an_ended_dry_run_stays_one_and_so_do_its_retries,
        a_dead_notification_is_retried,
        a_notification_that_died_while_it_was_sent_is_ambiguous_and_unclear,
        a_job_that_could_not_be_read_is_buried_too,
        what_is_old_is_pruned_and_what_matters_stays,
        a_migrated_database_answers;
    reports:
        a_sweep_shows_its_tally_so_far,
        a_re_audit_tells_its_users_and_is_done_with_its_last_retry,
        findings_come_in_the_order_of_users_and_page_by_page,
        open_incidents_are_counted_by_app_and_kind,
        notifications_are_counted_by_state_and_reason,
        the_last_check_of_a_user_says_how_it_ended,
        a_re_audit_is_unfinished_until_its_retries_are_done;
    guard:
        what_broke_is_counted_by_app_and_auth_config_and_backlog_apart,
        what_is_over_unfinished_or_held_counts_nowhere,
        what_was_mailed_about_still_counts_but_nobody_waits_to_be_told,
        sweeps_are_named_until_all_that_they_opened_is_mailed_about,
        healthy_slots_are_counted_by_app_and_auth_config_up_to_enough,
        what_does_not_work_is_not_healthy,
        a_trip_holds_its_scope_and_what_comes_into_it,
        a_scope_has_one_trip_at_a_time,
        the_narrowest_trip_holds_and_backlog_has_its_own_first,
        a_trip_tells_why_slots_broke_and_of_whom,
        a_release_wakes_everybody_whom_it_concerns_once,
        whoever_decided_before_a_release_holds_nothing_back_after_it,
        a_ramp_lets_the_first_few_go_in_the_order_of_ids,
        a_ramp_that_leaves_no_rest_is_over_at_once,
        a_new_trip_stops_a_release_and_takes_over_the_rest,
        a_trip_of_an_app_goes_on_with_those_of_its_auth_configs,
        what_is_discarded_is_never_mailed_about,
        thousands_are_released_as_are_few,
        thousands_are_discarded_as_are_few,
        whoever_holds_waits_for_nobody_in_a_circle;
    suppressions:
        what_was_said_is_read_back_newest_first,
        the_same_again_lasts_until_the_later_instant,
        what_is_lifted_ends_and_open_incidents_are_looked_at,
        an_address_is_lifted_by_its_hash,
        the_first_word_of_a_pause_stands_until_it_is_taken_back,
        what_the_pause_put_off_is_due_when_it_ends;
    alerts:
        a_condition_fires_until_it_holds_no_more,
        an_alert_that_ends_untold_is_never_told,
        of_several_replicas_one_tells,
        an_alert_that_ended_while_it_was_told_has_its_end_told,
        a_message_is_delivered_by_one_and_tried_until_it_is_given_up,
        a_fresh_store_has_nothing_to_tell,
        signs_of_sweeps_name_those_that_are_paused_or_failed_last,
        signs_of_notifications_are_counted_by_error,
        slots_that_break_again_and_again_are_named,
        auth_configs_that_are_off_and_dead_jobs_are_counted;
    clicks:
        a_mail_says_to_whom_it_went_and_about_what,
        a_click_counts_for_the_mail_that_its_reader_got,
        reconnections_are_counted_by_app_stage_and_template_once_they_can_be_told,
        a_delivery_is_taken_once_with_its_check,
        whose_an_account_is_is_said_only_of_one_person,
        what_a_sweep_found_and_no_event_told_of_is_missed;
    trail:
        a_user_who_was_never_seen_has_no_trail,
        a_trail_tells_everything_of_one_user_alone,
        a_trail_is_cut_to_what_is_newest,
        what_was_observed_is_read_page_by_page,
        mails_are_read_page_by_page_with_what_they_listed,
        an_erased_user_leaves_nothing_behind,
        whoever_works_for_an_erased_user_is_fenced;
    entity:
        a_standing_holds_what_is_known_of_this_user_alone,
        the_newest_doubt_stands_also_of_a_user_who_was_never_seen,
        a_user_has_one_re_check_at_a_time,
        of_sixteen_who_ask_for_a_re_check_one_is_heard,
        of_sixteen_who_wish_for_the_same_link_one_asks,
        a_link_that_was_made_is_given_to_all_who_wish_for_it_until_it_expires,
        a_link_that_may_have_been_made_is_asked_for_a_few_times_and_then_not_for_a_while,
        a_wish_whose_asker_died_is_free_when_its_lease_lapses_and_counts_as_lost,
        where_a_link_led_is_forgotten_when_it_expired_and_the_rest_with_the_users,
        a_trail_tells_of_links_without_where_they_led_and_an_erased_user_has_none;
}

// ----------------------------------------------------------------------------------------------------- what cases share

/// An instant, so many seconds after a fixed one.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 123_456_000).expect("in range") + TimeDelta::seconds(seconds)
}

/// A fresh lease of 15 seconds.
fn lease(now: DateTime<Utc>) -> Lease {
    Lease::new(Uuid::new_v4(), now, Duration::from_secs(15))
}

fn user(name: &str) -> UserId {
    UserId::new(name)
}

fn check(users: &[&str]) -> Check {
    Check {
        id: CheckId(Uuid::now_v7()),
        sweep: None,
        seq: 0,
        users: users.iter().map(|name| user(name)).collect(),
        attempt: 0,
        due_at: at(0),
    }
}

fn account(id: &str, toolkit: &str, status: Status) -> KnownAccount {
    KnownAccount {
        account: Account {
            id: id.into(),
            slot: Slot::new(toolkit.into(), "ac_1".into(), None),
            status,
            reason: None,
            is_disabled: false,
            auth_config_disabled: false,
            created_at: at(-1000),
            updated_at: None,
            expired_at: None,
        },
        ever_active: true,
        active_with: std::collections::BTreeSet::new(),
        first_seen_at: at(-500),
        changed_at: at(-400),
        gone_at: None,
    }
}

fn incident(toolkit: &str) -> Incident {
    Incident {
        id: IncidentId(Uuid::now_v7()),
        slot: Slot::new(toolkit.into(), "ac_1".into(), None),
        kind: IncidentKind::Broken,
        account: AccountId::new("ca_1"),
        status: "EXPIRED".into(),
        reason: Some("Permanent auth error during token refresh".into()),
        broke_at: at(-100),
        counts_from: at(-50),
        opened_at: at(0),
        resolved: None,
    }
}

/// A user whose accounts were read in full.
fn seen(name: &str, base: Option<DateTime<Utc>>, observed_at: DateTime<Utc>) -> UserRecord {
    UserRecord {
        user: user(name),
        base,
        observed_at,
        outcome: CheckOutcome::Checked,
        changed: Vec::new(),
        gone: Vec::new(),
        open: Vec::new(),
        close: Vec::new(),
        notification: NotificationId(Uuid::now_v7()),
        findings: Vec::new(),
    }
}

/// A record without a check, as the re-read before a mail makes one.
fn record_of(users: Vec<UserRecord>, now: DateTime<Utc>) -> Record {
    Record {
        fence: None,
        sweep: None,
        now,
        users,
        retries: vec![],
        tally: Tally::default(),
        join: None,
        hold: None,
        notify_at: now,
    }
}

/// Opens an incident for a user who was last observed at `base`; returns it and the notifications that were made or grew.
async fn break_slot(
    db: &Db,
    name: &str,
    toolkit: &str,
    base: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> (IncidentId, Vec<NotificationId>) {
    let broken = incident(toolkit);
    let id = broken.id;
    let record = record_of(vec![UserRecord { open: vec![broken], ..seen(name, base, now) }], now);
    (id, written(db.record(&record).await.expect("the store answers")))
}

fn written(recorded: Recorded) -> Vec<NotificationId> {
    match recorded {
        Recorded::Written(notifications) => notifications,
        other => panic!("nothing was written: {other:?}"),
    }
}

async fn claim_check(db: &Db, id: CheckId, now: DateTime<Utc>) -> (ClaimedCheck, Lease) {
    let lease = lease(now);
    match db.claim_check(id, lease, now).await.expect("the store answers") {
        Claim::Won(claimed) => (claimed, lease),
        other => panic!("the check cannot be claimed: {other:?}"),
    }
}

async fn claim_notification(db: &Db, id: NotificationId, now: DateTime<Utc>) -> (Notification, Lease) {
    let lease = lease(now);
    match db.claim_notification(id, lease, now).await.expect("the store answers") {
        Claim::Won(claimed) => (claimed, lease),
        other => panic!("the notification cannot be claimed: {other:?}"),
    }
}

/// The stages of mails that tell of these incidents for the first time.
fn firsts(incidents: &[IncidentId]) -> Vec<(IncidentId, Stage)> {
    incidents.iter().map(|incident| (*incident, Stage::FIRST)).collect()
}

/// What a notifier asks with that took this lease just now; mails before that are long ago.
fn sending(lease: Lease, stages: &[(IncidentId, Stage)]) -> Sending<'_> {
    let now = lease.until - TimeDelta::seconds(15);
    Sending { lease, stages, quiet_since: now, max_per_hour: None, template: None, now }
}

/// Begins a mail that tells of these incidents for the first time.
async fn begin(db: &Db, id: NotificationId, lease: Lease, incidents: &[IncidentId]) -> Begun {
    db.begin_sending(id, &sending(lease, &firsts(incidents))).await.expect("the store answers")
}

/// Ends a try, with nothing to look at later; `false` if fenced.
async fn settle(db: &Db, id: NotificationId, token: Uuid, settlement: &Settlement, now: DateTime<Utc>) -> bool {
    db.settle(id, token, &Settled { settlement, looks: &[] }, now).await.expect("the store answers")
}

/// Ends a try, and notes looks with it.
async fn settle_with(
    db: &Db,
    (id, lease): (NotificationId, Lease),
    settlement: &Settlement,
    looks: &[(IncidentId, Option<DateTime<Utc>>)],
    now: DateTime<Utc>,
) {
    assert!(db.settle(id, lease.token, &Settled { settlement, looks }, now).await.expect("the store answers"));
}

/// What is known of a user, by nobody's address.
async fn situation(db: &Db, name: &str, except: Option<NotificationId>, now: DateTime<Utc>) -> Situation {
    db.situation(&user(name), None, except, now).await.expect("read")
}

/// The same horizon for everything.
async fn prune(db: &Db, before: DateTime<Utc>) -> u64 {
    let horizon = Horizon {
        sweeps: before,
        incidents: before,
        observations: before,
        users: before,
        alerts: before,
        links: before,
    };
    db.prune(&horizon).await.expect("pruned")
}

fn new_sweep(schedule: &str, tick: DateTime<Utc>) -> NewSweep {
    NewSweep {
        id: SweepId(Uuid::now_v7()),
        schedule: schedule.to_owned(),
        tick,
        start_at: tick,
        trigger: Trigger::Tick,
        mode: SweepMode::Full,
        overlap: Overlap::Skip,
    }
}

fn change(state: SweepState, claimable_from: DateTime<Utc>) -> SweepChange {
    SweepChange { state, note: None, users_expected: None, claimable_from }
}

/// A sweep in *paging*, claimed.
async fn paging_sweep(db: &Db, sweep: &NewSweep) -> (Sweep, Lease) {
    assert!(db.insert_sweep(sweep, at(0)).await.expect("the store answers"));
    let lease = lease(at(0));
    let claimed = db.claim_sweep(lease, at(0)).await.expect("the store answers").expect("it can be carried on");
    let paging = change(SweepState::Paging, lease.until);
    assert!(db.set_sweep_state(claimed.id, lease.token, &paging, at(0)).await.expect("the store answers"));
    (claimed, lease)
}

/// A sweep in *draining* with these chunks.
async fn draining_sweep(db: &Db, sweep: &NewSweep, chunks: &[&[&str]]) -> (SweepId, Vec<CheckId>, Lease) {
    let (sweep, lease) = paging_sweep(db, sweep).await;
    let chunks: Vec<Check> =
        (0_i64..).zip(chunks).map(|(seq, users)| Check { sweep: Some(sweep.id), seq, ..check(users) }).collect();
    let ids = chunks.iter().map(|chunk| chunk.id).collect();
    let page = SweepPage { chunks, cursor: None, last: true };
    assert!(db.append_page(sweep.id, lease.token, &page, at(0)).await.expect("the store answers"));
    (sweep.id, ids, lease)
}

/// Claims a check and records that its users were seen, with a tally.
async fn finish_check(db: &Db, id: CheckId, tally: Tally, now: DateTime<Utc>) {
    let (claimed, lease) = claim_check(db, id, now).await;
    let record =
        Record { fence: Some((id, lease.token)), sweep: claimed.check.sweep, tally, ..record_of(Vec::new(), now) };
    written(db.record(&record).await.expect("the store answers"));
}
