//! When the operator is told, of what, and when not.

use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::domain::sample::day;

const TELLING: Telling =
    Telling { group_wait: Duration::from_secs(300), repeat_interval: Duration::from_secs(4 * 3600) };

fn minute(n: i64) -> DateTime<Utc> {
    day(0) + TimeDelta::minutes(n)
}

fn alert(kind: &str, subject: &str, since: i64) -> Alert {
    let condition = Condition {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        summary: "something is so".to_owned(),
        detail: "and why".to_owned(),
    };
    let since = minute(since);
    Alert { id: AlertId(Uuid::nil()), condition, since, told_at: None, ended_at: None, end_told: false }
}

impl Alert {
    fn told(self, at: i64) -> Self {
        Self { told_at: Some(minute(at)), ..self }
    }
    fn over(self, at: i64) -> Self {
        Self { ended_at: Some(minute(at)), ..self }
    }
    fn end_told(self) -> Self {
        Self { end_told: true, ..self }
    }
}

/// Per message: its kind, what fires and what has ended.
fn due(alerts: &[Alert], now: i64) -> Vec<(String, Vec<String>, Vec<String>)> {
    let subjects = |alerts: &[Alert]| alerts.iter().map(|alert| alert.condition.subject.clone()).collect();
    let messages = TELLING.due(alerts, minute(now));
    messages.iter().map(|one| (one.kind.clone(), subjects(&one.firing), subjects(&one.ended))).collect()
}

#[rstest]
#[case::just_begun(alert("guard", "a", 0), 0, false)]
#[case::group_wait_not_over(alert("guard", "a", 0), 4, false)]
#[case::group_wait_over(alert("guard", "a", 0), 5, true)]
#[case::told_just_now(alert("guard", "a", 0).told(5), 5, false)]
#[case::told_not_long_ago(alert("guard", "a", 0).told(5), 244, false)]
#[case::told_long_ago(alert("guard", "a", 0).told(5), 245, true)]
#[case::over_before_it_was_told(alert("guard", "a", 0).over(3), 500, false)]
#[case::over(alert("guard", "a", 0).told(5).over(6), 6, true)]
#[case::over_and_told(alert("guard", "a", 0).told(5).over(6).end_told(), 500, false)]
fn an_alert_is_told_after_the_wait_again_after_a_while_and_when_it_is_over(
    #[case] alert: Alert,
    #[case] now: i64,
    #[case] is_due: bool,
) {
    assert_eq!(!due(&[alert], now).is_empty(), is_due);
}

#[test]
fn alerts_of_one_kind_go_together_and_kinds_apart() {
    let alerts = [alert("guard", "a", 0), alert("sweep", "nightly", 0), alert("guard", "b", 4)];
    let both = ["a".to_owned(), "b".to_owned()].to_vec();
    let expected = [("guard".to_owned(), both, vec![]), ("sweep".to_owned(), vec!["nightly".to_owned()], vec![])];
    assert_eq!(due(&alerts, 5), expected);
}

#[test]
fn whoever_joins_a_kind_that_was_told_waits_for_its_own_group_wait_and_is_told_with_the_rest() {
    let alerts = [alert("guard", "a", 0).told(5), alert("guard", "b", 10)];
    assert_eq!(due(&alerts, 14), []);
    assert_eq!(due(&alerts, 15), [("guard".to_owned(), vec!["a".to_owned(), "b".to_owned()], vec![])]);
}

#[test]
fn an_end_is_told_with_what_still_fires() {
    let alerts = [alert("guard", "a", 0).told(5).over(9), alert("guard", "b", 0).told(5)];
    assert_eq!(due(&alerts, 9), [("guard".to_owned(), vec!["b".to_owned()], vec!["a".to_owned()])]);
}

#[test]
fn what_ended_before_it_was_told_is_not_named_beside_others() {
    let alerts = [alert("guard", "a", 0).over(2), alert("guard", "b", 0)];
    assert_eq!(due(&alerts, 5), [("guard".to_owned(), vec!["b".to_owned()], vec![])]);
}

#[test]
fn with_nothing_to_tell_there_is_no_message() {
    assert_eq!(due(&[], 5), []);
}
