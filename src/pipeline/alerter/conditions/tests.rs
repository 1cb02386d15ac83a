//! What is wrong becomes conditions, and what is not wrong does not.

use uuid::Uuid;

use super::*;
use crate::domain::alert::kind;
use crate::domain::fault::{FILTERS_IGNORED, KEY_REFUSED};
use crate::domain::guard::{GuardRules, Scope, Trip, TripState, Tripped};
use crate::domain::id::{AlertId, TripId};
use crate::domain::port::{Pause, TripDetail, VitalSigns};
use crate::domain::sample::day;

const HOUR: TimeDelta = TimeDelta::hours(1);

fn expected() -> Expected {
    Expected { within: Duration::from_secs(26 * 3_600), has_schedules: true }
}

/// Everything is well: a sweep was completed an hour ago.
fn well() -> VitalSigns {
    VitalSigns { completed_at: Some(day(10) - HOUR), known_since: Some(day(0)), sent: 100, ..VitalSigns::default() }
}

fn all(signs: &VitalSigns) -> Vec<Suspicion> {
    let mut seen = of_sweeps(signs, &expected(), day(10));
    seen.extend(of_mails(signs, signs.sent));
    seen.extend(of_slots(signs, &AppNames::new()));
    seen.extend(of_dead_jobs(signs));
    seen
}

fn kinds(suspicions: &[Suspicion]) -> Vec<(&str, &str)> {
    suspicions.iter().map(|one| (one.condition.kind.as_str(), one.condition.subject.as_str())).collect()
}

fn trip(n: u128, scope: Scope, state: TripState) -> TripDetail {
    TripDetail {
        trip: Trip {
            id: TripId(Uuid::from_u128(n)),
            tripped: Tripped { scope, broken: 1_200, healthy: 300 },
            state,
            tripped_at: day(9),
            ended: None,
            ramp_at: (state == TripState::Releasing).then(|| day(10)),
            slots: 1_250,
            still_broken: 1_240,
            held: 1_240,
            users: 1_100,
        },
        reasons: vec![
            ("EXPIRED".to_owned(), Some("Permanent auth error during token refresh".to_owned()), 1_200),
            ("EXPIRED".to_owned(), None, 50),
        ],
        sample: vec![("user-1".into(), "ca_1".into()), ("ann@example.org".into(), "ca_2".into())],
    }
}

fn gmail() -> Scope {
    Scope::AuthConfig { toolkit: "gmail".into(), auth_config: "ac_1".into() }
}

#[test]
fn nothing_is_told_while_all_is_well() {
    assert_eq!(all(&well()), []);
    assert_eq!(of_trips(&[], &GuardRules::default(), &AppNames::new()), []);
    assert_eq!(of_pause(None, day(10)), []);
}

#[test]
fn each_trip_that_holds_something_is_a_condition_of_its_own() {
    let names = AppNames::from([("gmail".into(), "Gmail".to_owned())]);
    let trips = [
        trip(1, gmail(), TripState::Tripped),
        trip(2, Scope::Backlog { toolkit: "slack".into() }, TripState::Releasing),
        trip(3, Scope::All, TripState::Released),
    ];
    let seen = of_trips(&trips, &GuardRules::default(), &names);
    let (first, second) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
    assert_eq!(kinds(&seen), [(kind::GUARD, first.as_str()), (kind::GUARD, second.as_str())]);
    let [gmail, slack] = [&seen[0].condition, &seen[1].condition];
    assert_eq!(
        gmail.summary,
        "Gmail through ac_1: 1,200 of 1,500 connections (80%) broke at once; their mails are held back"
    );
    assert!(slack.summary.starts_with("slack: 1,200 of 1,500 connections (80%) were broken long before"));
    assert!(slack.detail.contains("the rest follows at "), "{}", slack.detail);
}

#[test]
fn a_trip_names_reasons_causes_a_sample_and_the_commands_and_no_address() {
    let seen = of_trips(&[trip(1, gmail(), TripState::Tripped)], &GuardRules::default(), &AppNames::new());
    let detail = &seen[0].condition.detail;
    let id = Uuid::from_u128(1);
    for expected in [
        "1,240 connections of 1,100 users are held",
        "- 1,200 EXPIRED: Permanent auth error during token refresh",
        "- 50 EXPIRED, without a reason",
        "client secret of the OAuth app was rotated",
        "testing mode",
        "- user-1: ca_1",
        "- …@…: ca_2",
        &format!("connection-auditor guard show {id}"),
        &format!("connection-auditor guard release {id}"),
        &format!("connection-auditor guard discard {id}"),
    ] {
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    assert!(!detail.contains("ann@"), "{detail}");
}

#[test]
fn the_kill_switch_is_told_of_once_it_may_have_been_forgotten() {
    let pause = Pause { since: day(10), note: Some("ask ann@example.org".to_owned()) };
    assert_eq!(of_pause(Some(&pause), day(10) + TimeDelta::minutes(59)), []);
    let seen = of_pause(Some(&pause), day(10) + TimeDelta::minutes(90));
    assert_eq!(seen[0].condition.summary, "Mailing has been paused by hand for 1h 30m");
    assert!(seen[0].condition.detail.contains("ask …@…"));
}

#[test]
fn what_stops_sweeps_is_told_apart() {
    let key = format!("{KEY_REFUSED} with 403 (APIKey_InsufficientPermissions); check composio.api_key");
    for (state, note, expected, patience) in [
        ("paused", key.clone(), (kind::API_KEY, "composio"), 0),
        ("failed", format!("given up after 6h: {key}"), (kind::API_KEY, "composio"), 0),
        ("paused", format!("{FILTERS_IGNORED}: it listed 3 accounts"), (kind::FILTERS, "composio"), 0),
        ("paused", "the users could not be read: away".to_owned(), (kind::SWEEP, "daily"), 300),
        ("failed", "not one user could be checked".to_owned(), (kind::SWEEP, "daily"), 0),
    ] {
        let signs = VitalSigns { troubled_sweeps: vec![("daily".to_owned(), state.to_owned(), Some(note))], ..well() };
        let seen = all(&signs);
        assert_eq!(kinds(&seen), [expected], "{signs:?}");
        assert_eq!(seen[0].patience, Duration::from_secs(patience), "{signs:?}");
    }
}

#[test]
fn a_refused_key_that_stops_two_schedules_is_one_condition() {
    let note = Some(format!("{KEY_REFUSED} with 401 (APIKey_InvalidAPIKey)"));
    let sweep = |name: &str| (name.to_owned(), "paused".to_owned(), note.clone());
    let signs = VitalSigns { troubled_sweeps: vec![sweep("daily"), sweep("hourly")], ..well() };
    let seen = all(&signs);
    assert_eq!(kinds(&seen), [(kind::API_KEY, "composio")]);
    assert!(seen[0].condition.detail.contains("Stopped: daily, hourly."));
}

#[test]
fn a_sweep_is_late_by_the_last_complete_one_or_by_the_first_use_and_only_if_there_is_a_schedule() {
    let late = |completed_at, has_schedules| {
        let signs = VitalSigns { completed_at, ..well() };
        of_sweeps(&signs, &Expected { has_schedules, ..expected() }, day(10))
    };
    assert_eq!(late(Some(day(10) - TimeDelta::hours(26)), true), []);
    let seen = late(Some(day(10) - TimeDelta::hours(27)), true);
    assert_eq!(kinds(&seen), [(kind::LATE, "sweeps")]);
    assert_eq!(seen[0].condition.summary, "The last complete sweep is 1d 3h ago; one is expected within 1d 2h");
    assert!(late(None, true)[0].condition.summary.starts_with("No sweep was ever completed, in 10d"));
    assert_eq!(late(None, false), []);
    let fresh = VitalSigns { completed_at: None, known_since: Some(day(10) - HOUR), ..well() };
    assert_eq!(of_sweeps(&fresh, &expected(), day(10)), []);
}

#[test]
fn mails_that_fail_are_told_of_by_their_share() {
    let refused = "the mail server answered 550 to RCPT: 5.1.1 no such user";
    let greylisted = "the mail server answered 450 to RCPT: 4.2.0 try later";
    let away = "the connection to the mail server failed at connect: Connection refused (os error 111)";
    for (failed, stuck, sent, sent_lately, expected) in [
        (vec![(refused, 1)], vec![], 9_999, 900, vec![]),
        (vec![(refused, 4)], vec![], 10, 1, vec![]),
        (vec![(refused, 5)], vec![], 96, 9, vec![]),
        (vec![(refused, 5)], vec![], 95, 9, vec!["failed"]),
        (vec![(refused, 2)], vec![], 0, 0, vec![]),
        (vec![(refused, 3)], vec![], 0, 0, vec!["failed"]),
        (vec![], vec![(greylisted, 1)], 0, 0, vec![]),
        (vec![], vec![(greylisted, 40)], 9_960, 500, vec![]),
        (vec![], vec![(greylisted, 600)], 9_400, 500, vec!["stuck"]),
        (vec![], vec![(away, 1)], 9_000, 0, vec!["stuck"]),
        (vec![], vec![(away, 1)], 9_000, 700, vec![]),
        (vec![], vec![("the user could not be read: away", 1)], 0, 0, vec!["stuck"]),
        (vec![], vec![("waits for quiet hours", 500), ("paused", 3)], 0, 0, vec![]),
        (vec![], vec![("guard.max_mails_per_hour is reached", 500)], 100, 0, vec![]),
    ] {
        let owned = |errors: &[(&str, u64)]| errors.iter().map(|(error, n)| ((*error).to_owned(), *n)).collect();
        let signs = VitalSigns { failed: owned(&failed), stuck: owned(&stuck), sent, ..well() };
        let seen = of_mails(&signs, sent_lately);
        let subjects: Vec<_> = seen.iter().map(|one| one.condition.subject.as_str()).collect();
        assert_eq!(subjects, expected, "{failed:?} {stuck:?} {sent} {sent_lately}");
    }
}

#[test]
fn mails_that_are_stuck_name_the_error_the_cause_and_what_to_do() {
    let error = "the mail server answered 535 to AUTH: check mail.smtp.username and mail.smtp.password";
    let signs = VitalSigns { stuck: vec![(error.to_owned(), 1_200)], ..well() };
    let seen = of_mails(&signs, 0);
    let Condition { summary, detail, .. } = &seen[0].condition;
    assert_eq!(summary, "1,200 mails cannot leave and wait to be tried again; no mail leaves");
    for expected in ["- 1,200 × the mail server answered 535", "refuses the login", "connection-auditor check-config"]
    {
        assert!(detail.contains(expected), "{expected}: {detail}");
    }
    assert_eq!(seen[0].patience, STUCK_FOR);
}

#[test]
fn slots_that_flap_are_grouped_by_app_and_auth_config() {
    let flapping = |app: &str, auth: &str, because: Option<&str>, slots, users| {
        (app.to_owned(), auth.to_owned(), because.map(ToOwned::to_owned), slots, users)
    };
    let signs = VitalSigns {
        flapping: vec![
            flapping("gmail", "ac_1", Some("invalid_grant"), 4, 3),
            flapping("gmail", "ac_1", None, 1, 1),
            flapping("outlook", "ac_2", None, 1, 1),
        ],
        operator_faults: vec![("slack".to_owned(), "ac_3".to_owned(), 1_000)],
        ..well()
    };
    let seen = all(&signs);
    assert_eq!(
        kinds(&seen),
        [
            (kind::FLAPPING, "gmail through ac_1"),
            (kind::FLAPPING, "outlook through ac_2"),
            (kind::OPERATOR_FAULT, "slack through ac_3"),
        ]
    );
    assert_eq!(seen[0].condition.summary, "gmail through ac_1: 5 connections of 4 users break again and again");
    assert!(seen[0].condition.detail.contains("ends its refresh tokens after 7 days"), "{}", seen[0].condition.detail);
    assert!(seen[1].condition.detail.contains("offline_access"), "{}", seen[1].condition.detail);
    assert_eq!(seen[2].condition.summary, "The auth config ac_3 of slack is disabled; 1,000 users cannot use it");
}

#[test]
fn dead_jobs_are_counted() {
    let seen = all(&VitalSigns { dead_jobs: 2, ..well() });
    assert_eq!(kinds(&seen), [(kind::DEAD_JOBS, "jobs")]);
    assert_eq!(seen[0].condition.summary, "2 jobs were given up");
}

fn suspicion(kind: &str, subject: &str, patience: Duration) -> Suspicion {
    Suspicion::certain(kind, subject, String::new(), String::new()).lasting(patience)
}

#[test]
fn what_may_pass_by_itself_has_to_last() {
    let judged = [kind::SWEEP, kind::GUARD];
    let mut patience = Patience::default();
    let mut ripe = |minutes, held: Vec<Suspicion>| {
        let now = day(10) + TimeDelta::minutes(minutes);
        patience.ripe(&judged, held, &[], now).into_iter().map(|condition| condition.subject).collect::<Vec<_>>()
    };
    let five = Duration::from_secs(300);
    let both = || vec![suspicion(kind::SWEEP, "daily", five), suspicion(kind::GUARD, "trip", Duration::ZERO)];
    assert_eq!(ripe(0, both()), ["trip"]);
    assert_eq!(ripe(4, both()), ["trip"]);
    assert_eq!(ripe(5, both()), ["daily", "trip"]);
    assert_eq!(ripe(6, Vec::new()), Vec::<String>::new());
    assert_eq!(ripe(7, both()), ["trip"], "it passed, and begins anew");
}

#[test]
fn what_fires_already_goes_on_after_a_restart() {
    let held = suspicion(kind::SWEEP, "daily", Duration::from_secs(300));
    let alert = |ended_at| Alert {
        id: AlertId(Uuid::from_u128(1)),
        condition: held.condition.clone(),
        since: day(9),
        told_at: None,
        ended_at,
        end_told: false,
    };
    let ripe = |open: &[Alert]| Patience::default().ripe(&[kind::SWEEP], vec![held.clone()], open, day(10)).len();
    assert_eq!(ripe(&[alert(None)]), 1);
    assert_eq!(ripe(&[alert(Some(day(9)))]), 0);
    assert_eq!(ripe(&[]), 0);
}

#[test]
fn what_could_not_be_looked_at_keeps_its_patience() {
    let held = || vec![suspicion(kind::SWEEP, "daily", Duration::from_secs(300))];
    let mut patience = Patience::default();
    assert_eq!(patience.ripe(&[kind::SWEEP], held(), &[], day(10)), []);
    assert_eq!(patience.ripe(&[kind::GUARD], Vec::new(), &[], day(10) + TimeDelta::minutes(3)), []);
    assert_eq!(patience.ripe(&[kind::SWEEP], held(), &[], day(10) + TimeDelta::minutes(5)).len(), 1);
}
