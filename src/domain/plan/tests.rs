//! Every branch of what happens to a user next (`policy.md` §3 and §5).

use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::domain::id::SuppressionId;
use crate::domain::incident::Resolution;
use crate::domain::policy::{AttemptFailed, Filter};
use crate::domain::sample::{account, day, incident, resolved};
use crate::domain::suppression::{SuppressionKind, Whom};

const TRIP: TripId = TripId(Uuid::nil());

fn minute(n: i64) -> DateTime<Utc> {
    day(0) + TimeDelta::minutes(n)
}

fn hour(n: i64) -> DateTime<Utc> {
    minute(60 * n)
}

fn id(n: u128) -> IncidentId {
    IncidentId(Uuid::from_u128(n))
}

/// Incident `n`, opened on day 0 by a sweep that is over.
fn standing(n: u128) -> Standing {
    Standing {
        incident: incident(n, &account(&format!("ca_{n}"), "EXPIRED"), IncidentKind::Broken),
        origin: Origin::Sweep { over: true, schedule: None },
        mailed: None,
        hold: None,
        openings: vec![day(0)],
    }
}

impl Standing {
    fn opened(mut self, at: DateTime<Utc>) -> Self {
        self.incident.opened_at = at;
        self
    }
    fn kind(mut self, kind: IncidentKind) -> Self {
        self.incident.kind = kind;
        self
    }
    fn on(mut self, toolkit: &str) -> Self {
        self.incident.slot.toolkit = toolkit.into();
        self
    }
    fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
    fn unfinished_sweep(self) -> Self {
        self.from(Origin::Sweep { over: false, schedule: None })
    }
    fn mailed(self, stage: u8, first_at: DateTime<Utc>) -> Self {
        Self { mailed: Some(Mailed { stage: Stage(stage), first_at }), ..self }
    }
    fn held(self, hold: Hold) -> Self {
        Self { hold: Some(hold), ..self }
    }
    fn flapping(self, days: [i64; 3]) -> Self {
        Self { openings: days.map(day).to_vec(), ..self }
    }
}

fn suppression(toolkit: Option<&str>, until: Option<DateTime<Utc>>) -> Suppression {
    Suppression {
        id: SuppressionId(Uuid::nil()),
        whom: Whom::User("u".into()),
        kind: SuppressionKind::OptOut,
        toolkit: toolkit.map(Into::into),
        until,
        source: "cli".to_owned(),
        detail: None,
        created_at: day(0),
    }
}

fn open(open: impl IntoIterator<Item = Standing>) -> Situation {
    Situation { open: open.into_iter().collect(), ..Situation::default() }
}

impl Situation {
    fn last_mail(self, at: DateTime<Utc>) -> Self {
        Self { last_mail: Some(at), ..self }
    }
    fn suppressed(mut self, toolkit: Option<&str>, until: Option<DateTime<Utc>>) -> Self {
        self.suppressions.push(suppression(toolkit, until));
        self
    }
}

fn next(situation: &Situation, policy: &Policy, now: DateTime<Utc>) -> Next {
    situation.next(policy, Tz::UTC, now)
}

/// What is listed, if a mail leaves.
fn sent(next: &Next) -> Vec<(u128, Vec<u8>)> {
    match next {
        Next::Send { list, .. } => list
            .iter()
            .map(|one| (one.incident.0.as_u128(), one.stages.iter().map(|stage| stage.0).collect()))
            .collect(),
        other => panic!("no mail leaves: {other:?}"),
    }
}

fn wait(until: DateTime<Utc>, why: Waiting) -> Next {
    Next::Wait { until, why }
}

fn nothing(why: Idle) -> Next {
    Next::Nothing { why }
}

#[rstest]
#[case::a_sweep_that_is_over(standing(1), 0)]
#[case::a_sweep_that_goes_on(standing(1).unfinished_sweep(), 10)]
#[case::a_single_look(standing(1).from(Origin::Single), 1)]
fn a_first_mail_waits_for_others(#[case] standing: Standing, #[case] minutes: i64) {
    let policy = Policy { group_wait_single: Duration::from_secs(60), ..Policy::default() };
    let situation = open([standing]);
    if minutes > 0 {
        let early = minute(minutes) - TimeDelta::seconds(1);
        assert_eq!(next(&situation, &policy, early), wait(minute(minutes), Waiting::Group));
    }
    assert_eq!(sent(&next(&situation, &policy, minute(minutes))), [(1, vec![0])]);
}

#[test]
fn what_is_ready_waits_for_what_is_about_to_be_but_only_for_its_group() {
    let policy = Policy { confirm_after: Duration::from_secs(3600), ..Policy::default() };
    let both = open([standing(1).opened(day(-1)), standing(2).opened(minute(0)).unfinished_sweep()]);
    assert_eq!(next(&both, &policy, minute(5)), wait(minute(10), Waiting::Group));
    assert_eq!(sent(&next(&both, &policy, minute(10))), [(1, vec![0])]);
    assert_eq!(sent(&next(&both, &policy, minute(60))), [(1, vec![0]), (2, vec![0])]);
}

#[test]
fn a_first_mail_waits_until_the_incident_has_lasted() {
    let policy = Policy { confirm_after: Duration::from_secs(7200), ..Policy::default() };
    let situation = open([standing(1).unfinished_sweep()]);
    assert_eq!(next(&situation, &policy, minute(1)), wait(hour(2), Waiting::Confirmation));
    assert_eq!(next(&situation, &policy, minute(119)), wait(hour(2), Waiting::Confirmation));
    assert_eq!(sent(&next(&situation, &policy, hour(2))), [(1, vec![0])]);
}

#[test]
fn two_mails_keep_their_distance() {
    let policy = Policy::default();
    let situation = open([standing(1)]).last_mail(hour(-23));
    assert_eq!(next(&situation, &policy, minute(30)), wait(hour(1), Waiting::MinInterval));
    assert_eq!(sent(&next(&situation, &policy, hour(1))), [(1, vec![0])]);
    let confirmed = Policy { confirm_after: Duration::from_secs(1800), ..policy };
    assert_eq!(next(&situation, &confirmed, minute(1)), wait(hour(1), Waiting::MinInterval));
}

#[test]
fn mails_leave_in_their_hours() {
    // Day 0 begins at 14:13:20 in UTC.
    let policy = Policy { send_window: Some("20:00-21:00".parse().unwrap()), ..Policy::default() };
    let opens = "2026-09-21T20:00:00Z".parse().unwrap();
    let situation = open([standing(1)]);
    assert_eq!(next(&situation, &policy, minute(0)), wait(opens, Waiting::SendWindow));
    assert_eq!(sent(&next(&situation, &policy, opens)), [(1, vec![0])]);
    let in_berlin = situation.next(&policy, Tz::Europe__Berlin, minute(0));
    assert_eq!(in_berlin, wait("2026-09-21T18:00:00Z".parse().unwrap(), Waiting::SendWindow));
    // Whatever is waited for, the look comes when the window is open.
    let group = open([standing(1).unfinished_sweep()]);
    assert_eq!(next(&group, &policy, minute(0)), wait(opens, Waiting::Group));
    let interval = open([standing(1)]).last_mail(minute(-1));
    assert_eq!(next(&interval, &policy, minute(0)), wait(opens + TimeDelta::days(1), Waiting::MinInterval));
}

#[rstest]
#[case::before_the_first(day(3) - TimeDelta::seconds(1), 0, None)]
#[case::the_first(day(3), 0, Some(vec![1]))]
#[case::both_at_once(day(10), 0, Some(vec![1, 2]))]
#[case::a_day_before_the_second_goes_with_the_first(day(9), 0, Some(vec![1, 2]))]
#[case::more_than_a_day_before_it_does_not(day(9) - TimeDelta::seconds(1), 0, Some(vec![1]))]
#[case::the_second(day(10), 1, Some(vec![2]))]
#[case::the_second_does_not_come_early_alone(day(9), 1, None)]
#[case::silence(day(365), 2, None)]
fn reminders_follow_the_ladder(#[case] now: DateTime<Utc>, #[case] newest: u8, #[case] stages: Option<Vec<u8>>) {
    let situation = open([standing(1).mailed(newest, day(0))]);
    let next = next(&situation, &Policy::default(), now);
    match stages {
        Some(stages) => assert_eq!(sent(&next), [(1, stages)]),
        None => assert_eq!(next, nothing(Idle::MailedAlready)),
    }
}

#[rstest]
#[case(IncidentKind::AttemptFailed)]
#[case(IncidentKind::Unfinished)]
fn what_never_worked_has_one_mail_and_no_reminders(#[case] kind: IncidentKind) {
    let policy = Policy { unfinished: crate::domain::policy::Unfinished::Nudge, ..Policy::default() };
    assert_eq!(sent(&next(&open([standing(1).kind(kind)]), &policy, day(0))), [(1, vec![0])]);
    let mailed = open([standing(1).kind(kind).mailed(0, day(0))]);
    assert_eq!(next(&mailed, &policy, day(100)), nothing(Idle::MailedAlready));
    assert_eq!(mailed.looks(&policy, day(1)), [(id(1), None)]);
}

#[test]
fn a_digest_lists_all_that_is_open_and_a_mention_consumes_nothing() {
    let policy = Policy::default();
    let situation = open([standing(1).mailed(0, day(-1)), standing(2).mailed(2, day(-20)), standing(3)]);
    assert_eq!(sent(&next(&situation, &policy, day(0))), [(1, vec![]), (2, vec![]), (3, vec![0])]);
    // The reminder of the first is due within a day: it is merged.
    let near = open([standing(1).mailed(0, day(-2)), standing(3)]);
    assert_eq!(sent(&next(&near, &policy, day(0))), [(1, vec![1]), (3, vec![0])]);
}

#[test]
fn what_must_still_last_is_not_even_mentioned() {
    let policy = Policy { confirm_after: Duration::from_secs(86_400), ..Policy::default() };
    let situation = open([standing(1).opened(day(-2)), standing(2).opened(hour(-3))]);
    assert_eq!(sent(&next(&situation, &policy, day(0))), [(1, vec![0])]);
}

#[rstest]
#[case::single(standing(1).from(Origin::Single).opened(minute(-9)), minute(-9) + TimeDelta::seconds(30))]
#[case::sweep_over(standing(1).opened(minute(-9)), minute(-9))]
#[case::reminder(standing(1).opened(day(-3)).mailed(0, day(-3)), day(-3))]
fn the_guard_must_have_been_asked_since_all_of_it_was_grouped(#[case] one: Standing, #[case] since: DateTime<Utc>) {
    let situation = open([one, standing(2).opened(day(-9)).mailed(2, day(-9))]);
    let Next::Send { judged_from, .. } = next(&situation, &Policy::default(), day(0)) else { panic!("it leaves") };
    assert_eq!(judged_from, since);
}

#[rstest]
#[case::for_good(None, None, nothing(Idle::Suppressed), None)]
#[case::of_this_app(Some("slack"), None, nothing(Idle::Suppressed), None)]
#[case::for_a_time(None, Some(day(5)), nothing(Idle::Suppressed), Some(day(5)))]
fn nobody_is_mailed_who_does_not_want_it(
    #[case] toolkit: Option<&str>,
    #[case] until: Option<DateTime<Utc>>,
    #[case] expected: Next,
    #[case] look: Option<DateTime<Utc>>,
) {
    let situation = open([standing(1)]).suppressed(toolkit, until);
    assert_eq!(next(&situation, &Policy::default(), day(1)), expected);
    let mailed = open([standing(1).mailed(0, day(0))]).suppressed(toolkit, until);
    assert_eq!(next(&mailed, &Policy::default(), day(4)), expected);
    assert_eq!(mailed.looks(&Policy::default(), day(1)), [(id(1), look)]);
}

#[test]
fn a_suppression_that_is_over_or_of_another_app_stops_nothing() {
    let over = open([standing(1)]).suppressed(None, Some(day(1)));
    assert_eq!(sent(&next(&over, &Policy::default(), day(1))), [(1, vec![0])]);
    let other = open([standing(1), standing(2).on("gmail")]).suppressed(Some("gmail"), None);
    assert_eq!(sent(&next(&other, &Policy::default(), day(1))), [(1, vec![0])]);
}

#[test]
fn of_two_suppressions_the_longer_one_counts() {
    let both = open([standing(1).mailed(0, day(0))]);
    let timed = both.clone().suppressed(None, Some(day(5))).suppressed(Some("slack"), Some(day(6)));
    assert_eq!(timed.looks(&Policy::default(), day(1)), [(id(1), Some(day(6)))]);
    let for_good = both.suppressed(None, Some(day(5))).suppressed(Some("slack"), None);
    assert_eq!(for_good.looks(&Policy::default(), day(1)), [(id(1), None)]);
}

#[rstest]
#[case::by_the_guard(Hold::Guard(TRIP), Next::Hold(Hold::Guard(TRIP)))]
#[case::by_name(Hold::Named("go-live".to_owned()), Next::Hold(Hold::Named("go-live".to_owned())))]
#[case::unsure(Hold::Ambiguous, Next::Hold(Hold::Ambiguous))]
#[case::discarded(Hold::Discarded(Some(TRIP)), nothing(Idle::Discarded))]
fn what_is_held_is_not_mailed_and_has_no_look(#[case] hold: Hold, #[case] expected: Next) {
    let situation = open([standing(1).held(hold.clone())]);
    assert_eq!(next(&situation, &Policy::default(), day(1)), expected);
    assert_eq!(situation.looks(&Policy::default(), day(1)), [(id(1), None)]);
    // A digest is split: the rest leaves.
    let split = open([standing(1).held(hold), standing(2)]);
    assert_eq!(sent(&next(&split, &Policy::default(), day(1))), [(2, vec![0])]);
}

#[test]
fn a_hold_outweighs_what_was_discarded_suppressed_or_said() {
    let held = standing(9).held(Hold::Guard(TRIP));
    let others =
        [standing(1).held(Hold::Discarded(Some(TRIP))), standing(2).on("gmail"), standing(3).mailed(2, day(-30))];
    for other in others {
        let situation = open([other, held.clone()]).suppressed(Some("gmail"), None);
        assert_eq!(next(&situation, &Policy::default(), day(1)), Next::Hold(Hold::Guard(TRIP)));
    }
}

#[rstest]
#[case::three_within_two_weeks([-13, -5, 0], day(1) - TimeDelta::seconds(1), true)]
#[case::the_oldest_is_two_weeks_ago([-13, -5, 0], day(1), false)]
fn a_slot_that_breaks_again_and_again_is_left_alone(
    #[case] openings: [i64; 3],
    #[case] now: DateTime<Utc>,
    #[case] flaps: bool,
) {
    let situation = open([standing(1).flapping(openings)]);
    if flaps {
        assert_eq!(next(&situation, &Policy::default(), now), nothing(Idle::Flapping));
        assert_eq!(situation.looks(&Policy::default(), now), [(id(1), Some(day(1)))]);
    } else {
        assert_eq!(sent(&next(&situation, &Policy::default(), now)), [(1, vec![0])]);
    }
}

#[test]
fn two_openings_are_no_flapping_and_of_four_the_second_decides_when_it_ends() {
    let mut one = standing(1);
    one.openings = vec![day(-2), day(0)];
    assert_eq!(one.flapping_until(day(0)), None);
    one.openings = vec![day(-3), day(-2), day(-1), day(0)];
    assert_eq!(one.flapping_until(day(0)), Some(day(12)));
}

#[rstest]
#[case::ended(Policy::default(), Standing { incident: resolved(standing(1).incident, Resolution::Reconnected), ..standing(1) })]
#[case::app_taken_out(Policy { toolkits: Filter { exclude: vec!["slack".to_owned()], ..Filter::default() }, ..Policy::default() }, standing(1))]
#[case::attempts_ignored(Policy { attempt_failed: AttemptFailed::Ignore, ..Policy::default() }, standing(1).kind(IncidentKind::AttemptFailed))]
#[case::attempts_not_nudged(Policy::default(), standing(1).kind(IncidentKind::Unfinished))]
fn what_the_policy_does_not_mail_about_is_not_there(#[case] policy: Policy, #[case] one: Standing) {
    let situation = open([one]);
    assert_eq!(next(&situation, &policy, day(5)), nothing(Idle::Recovered));
    assert_eq!(situation.looks(&policy, day(5)), [(id(1), None)]);
}

#[test]
fn with_nothing_open_there_is_nothing_to_say() {
    assert_eq!(next(&Situation::default(), &Policy::default(), day(0)), nothing(Idle::Recovered));
}

#[rstest]
#[case::another_reminder(standing(2).mailed(0, day(-3) + TimeDelta::hours(1)), hour(1))]
#[case::the_end_of_a_snooze(standing(2).on("gmail"), hour(2))]
#[case::the_end_of_flapping(standing(2).flapping([-14, -1, 0]).opened(day(0)), day(0) + TimeDelta::hours(3))]
fn a_look_that_waits_for_confirmation_does_not_sleep_through_something_else(
    #[case] mut other: Standing,
    #[case] until: DateTime<Utc>,
) {
    let policy = Policy { confirm_after: Duration::from_secs(86_400), ..Policy::default() };
    if other.openings.len() == 3 {
        other.openings = [day(-14) + TimeDelta::hours(3), day(-1), day(0)].to_vec();
        other = other.mailed(0, day(-3));
    }
    if other.incident.slot.toolkit.as_str() == "gmail" {
        other = other.mailed(0, day(-3));
    }
    let situation = open([standing(1), other]).suppressed(Some("gmail"), Some(hour(2)));
    assert_eq!(next(&situation, &policy, day(0)), wait(until, Waiting::Confirmation));
}

#[test]
fn the_next_look_is_the_next_stage() {
    let policy = Policy::default();
    let situation = open([standing(1)]).mailed(&[Listed { incident: id(1), stages: vec![Stage::FIRST] }], day(0));
    assert_eq!(situation.last_mail, Some(day(0)));
    assert_eq!(situation.looks(&policy, day(0)), [(id(1), Some(day(3)))]);
    let reminded = situation.mailed(&[Listed { incident: id(1), stages: vec![Stage(1)] }], day(4));
    assert_eq!(reminded.open[0].mailed, Some(Mailed { stage: Stage(1), first_at: day(0) }));
    assert_eq!(reminded.looks(&policy, day(4)), [(id(1), Some(day(10)))]);
    let last = reminded.mailed(&[Listed { incident: id(1), stages: vec![Stage(2)] }], day(10));
    assert_eq!(last.looks(&policy, day(10)), [(id(1), None)]);
}

#[test]
fn a_mention_moves_nothing_on() {
    let situation = open([standing(1).mailed(0, day(0))]).mailed(&[Listed { incident: id(1), stages: vec![] }], day(1));
    assert_eq!(situation.open[0].mailed, Some(Mailed { stage: Stage::FIRST, first_at: day(0) }));
    assert_eq!(situation.last_mail, Some(day(1)));
}

#[test]
fn what_was_due_when_it_was_looked_at_is_not_looked_at_again() {
    let situation = open([standing(1)]);
    assert_eq!(situation.looks(&Policy::default(), day(1)), [(id(1), None)]);
}
