//! Tables of what opens, what goes on and what ends.

use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::domain::account::reason::*;
use crate::domain::policy::{AttemptFailed, Filter, Unfinished};
use crate::domain::sample::{account, day, history, incident, known, resolved, slot};

fn look(accounts: &[Account], memory: &History, policy: &Policy) -> Observation {
    let mut n = 100;
    weigh(accounts, memory, policy, day(5), || {
        n += 1;
        IncidentId(Uuid::from_u128(n))
    })
}

fn opened(observation: &Observation) -> Vec<(&str, IncidentKind)> {
    observation.open.iter().map(|incident| (incident.account.as_str(), incident.kind)).collect()
}

#[test]
fn a_broken_slot_opens_one_incident_with_its_story() {
    let mut expired = account("a", "EXPIRED").because(PERMANENT_AUTH_ERROR);
    expired.updated_at = Some(day(3));
    let observation = look(std::slice::from_ref(&expired), &History::default(), &Policy::default());
    let [incident] = &observation.open[..] else { panic!("one incident, not {:?}", observation.open) };
    assert_eq!((incident.kind, incident.account.as_str()), (IncidentKind::Broken, "a"));
    assert_eq!((incident.broke_at, incident.opened_at), (day(3), day(5)));
    assert_eq!(incident.reason.as_deref(), Some(PERMANENT_AUTH_ERROR));
    expired.expired_at = Some(day(2));
    assert_eq!(look(&[expired], &History::default(), &Policy::default()).open[0].broke_at, day(2));
}

#[test]
fn an_instant_that_lies_ahead_is_no_reason_to_date_a_mail_into_the_future() {
    let mut expired = account("a", "EXPIRED");
    expired.expired_at = Some(day(900));
    assert_eq!(look(&[expired], &History::default(), &Policy::default()).open[0].broke_at, day(5));
}

#[rstest]
#[case::healthy(account("a", "ACTIVE"))]
#[case::by_choice(account("a", "REVOKED"))]
#[case::operator(account("a", "EXPIRED").config_disabled())]
#[case::unknown(account("a", "NEW"))]
#[case::unfinished(account("a", "INITIATED"))]
fn nothing_else_opens_by_default(#[case] row: Account) {
    assert_eq!(opened(&look(&[row], &History::default(), &Policy::default())), []);
}

#[test]
fn a_failed_attempt_opens_an_incident_of_its_own_kind_unless_the_policy_ignores_it() {
    let failed = [account("a", "FAILED")];
    assert_eq!(opened(&look(&failed, &History::default(), &Policy::default())), [("a", IncidentKind::AttemptFailed)]);
    let ignore = Policy { attempt_failed: AttemptFailed::Ignore, ..Policy::default() };
    assert_eq!(opened(&look(&failed, &History::default(), &ignore)), []);
}

#[test]
fn an_unfinished_attempt_is_nudged_about_once_ever() {
    let nudge = Policy { unfinished: Unfinished::Nudge, ..Policy::default() };
    let row = account("a", "INITIATED");
    assert_eq!(
        opened(&look(std::slice::from_ref(&row), &History::default(), &nudge)),
        [("a", IncidentKind::Unfinished)]
    );
    let past = history(vec![], vec![resolved(incident(1, &row, IncidentKind::Unfinished), Resolution::Removed)]);
    assert_eq!(opened(&look(std::slice::from_ref(&row), &past, &nudge)), []);
    let elsewhere = account("b", "INITIATED").on("gmail", "ac_1", None);
    assert_eq!(
        opened(&look(&[elsewhere], &past, &nudge)),
        [("b", IncidentKind::Unfinished)],
        "another slot is another story"
    );
    let broken = account("c", "EXPIRED");
    assert_eq!(opened(&look(&[broken], &past, &nudge)), [("c", IncidentKind::Broken)], "only nudges are once ever");
}

#[test]
fn apps_that_the_operator_took_out_open_nothing() {
    let broken = [account("a", "EXPIRED")];
    let only = |filter: Filter| Policy { toolkits: filter, ..Policy::default() };
    let excluded = only(Filter { exclude: vec!["slack".into()], ..Filter::default() });
    let included = only(Filter { include: vec!["slack".into()], ..Filter::default() });
    assert_eq!(opened(&look(&broken, &History::default(), &excluded)), []);
    assert_eq!(opened(&look(&broken, &History::default(), &included)).len(), 1);
    let config =
        Policy { auth_configs: Filter { exclude: vec!["ac_1".into()], ..Filter::default() }, ..Policy::default() };
    assert_eq!(opened(&look(&broken, &History::default(), &config)), []);
}

#[test]
fn breakage_older_than_the_limit_opens_nothing() {
    let policy = Policy { ignore_older_than: Some(std::time::Duration::from_secs(86_400)), ..Policy::default() };
    let mut expired = account("a", "EXPIRED");
    expired.updated_at = Some(day(3));
    assert_eq!(opened(&look(std::slice::from_ref(&expired), &History::default(), &policy)), []);
    expired.updated_at = Some(day(5));
    assert_eq!(opened(&look(&[expired], &History::default(), &policy)).len(), 1);
}

#[test]
fn breakage_that_was_too_old_at_first_sight_stays_dropped_when_the_row_is_touched() {
    let policy = Policy { ignore_older_than: Some(std::time::Duration::from_secs(86_400)), ..Policy::default() };
    let mut expired = account("a", "EXPIRED");
    expired.updated_at = Some(day(-3));
    let memory = history(vec![known(expired.clone())], vec![]);
    expired.updated_at = Some(day(5));
    assert_eq!(opened(&look(&[expired], &memory, &policy)), []);
    let mut fresh = account("b", "EXPIRED");
    fresh.updated_at = Some(day(0));
    let memory = history(vec![known(fresh.clone())], vec![]);
    assert_eq!(opened(&look(&[fresh], &memory, &policy)).len(), 1, "it was fresh when it was first seen, in a dry run");
}

/// What becomes of an open incident (of this kind, about an EXPIRED account `a`) when the list looks like this.
#[rstest]
#[case::still_broken(IncidentKind::Broken, vec![account("a", "EXPIRED")], None)]
#[case::active_again(IncidentKind::Broken, vec![account("a", "ACTIVE")], Some(Resolution::Reconnected))]
#[case::reconnected(IncidentKind::Broken, vec![account("a", "EXPIRED"), account("b", "ACTIVE").made(1)], Some(Resolution::Reconnected))]
#[case::reconnected_elsewhere(
    IncidentKind::Broken,
    vec![account("a", "EXPIRED"), account("b", "ACTIVE").made(1).on("slack", "ac_2", None)],
    Some(Resolution::Reconnected)
)]
#[case::removed(IncidentKind::Broken, vec![], Some(Resolution::Removed))]
#[case::removed_while_others_stay(IncidentKind::Broken, vec![account("b", "ACTIVE").on("gmail", "ac_1", None)], Some(Resolution::Removed))]
#[case::revoked(IncidentKind::Broken, vec![account("a", "REVOKED")], Some(Resolution::Disconnected))]
#[case::config_disabled(IncidentKind::Broken, vec![account("a", "EXPIRED").config_disabled()], Some(Resolution::OperatorFault))]
#[case::unknown(IncidentKind::Broken, vec![account("a", "NEW")], None)]
#[case::broke_again(IncidentKind::Broken, vec![account("a", "EXPIRED"), account("b", "EXPIRED").made(1)], None)]
#[case::another_attempt_failed(IncidentKind::Broken, vec![account("a", "EXPIRED"), account("b", "FAILED").made(1)], None)]
#[case::reconnecting_in_place(IncidentKind::Broken, vec![account("a", "INITIATED")], None)]
#[case::removed_and_begun_anew(IncidentKind::Broken, vec![account("b", "INITIATED").made(1)], Some(Resolution::Removed))]
#[case::failed_again(IncidentKind::AttemptFailed, vec![account("a", "FAILED")], None)]
#[case::failed_then_connected(IncidentKind::AttemptFailed, vec![account("b", "ACTIVE").made(1)], Some(Resolution::Reconnected))]
#[case::failed_then_worse(IncidentKind::AttemptFailed, vec![account("a", "EXPIRED")], Some(Resolution::Replaced))]
#[case::nudged_still_unfinished(IncidentKind::Unfinished, vec![account("b", "INITIATED").made(1)], None)]
#[case::nudged_then_refused(IncidentKind::Unfinished, vec![account("a", "FAILED")], Some(Resolution::Replaced))]
#[case::nudged_then_broken(IncidentKind::Unfinished, vec![account("a", "EXPIRED")], Some(Resolution::Replaced))]
fn an_open_incident_goes_on_or_ends(
    #[case] kind: IncidentKind,
    #[case] accounts: Vec<Account>,
    #[case] end: Option<Resolution>,
) {
    let was = account("a", "EXPIRED");
    let memory = history(vec![], vec![incident(1, &was, kind)]);
    let observation = look(&accounts, &memory, &Policy::default());
    let expected: Vec<_> = end.map(|end| (IncidentId(Uuid::from_u128(1)), end)).into_iter().collect();
    assert_eq!(observation.close, expected);
    let replaced = end == Some(Resolution::Replaced);
    assert_eq!(observation.open.len(), usize::from(replaced), "a new one opens only where one is replaced");
}

#[test]
fn an_account_that_only_gets_another_alias_is_not_mailed_about_again() {
    let before = account("a", "EXPIRED");
    let memory = history(vec![known(before.clone())], vec![incident(1, &before, IncidentKind::Broken)]);
    let renamed = before.on("slack", "ac_1", Some("work"));
    let observation = look(&[renamed], &memory, &Policy::default());
    assert_eq!((observation.open.len(), observation.close.len()), (0, 0));
}

#[test]
fn an_incident_that_was_resolved_neither_ends_again_nor_hides_a_new_one() {
    let broken = account("a", "EXPIRED");
    let past = resolved(incident(1, &broken, IncidentKind::Broken), Resolution::Reconnected);
    let observation = look(&[broken], &history(vec![], vec![past]), &Policy::default());
    assert_eq!((observation.open.len(), observation.close.len()), (1, 0));
}

#[test]
fn two_broken_apps_open_two_incidents() {
    let accounts = [account("a", "EXPIRED"), account("b", "EXPIRED").on("gmail", "ac_1", None)];
    assert_eq!(look(&accounts, &History::default(), &Policy::default()).open.len(), 2);
}

#[test]
fn an_unchanged_list_changes_nothing_even_where_tokens_were_refreshed() {
    let mut row = account("a", "ACTIVE");
    let memory = history(vec![known(row.clone())], vec![]);
    row.updated_at = Some(day(4));
    let observation = look(&[row], &memory, &Policy::default());
    assert_eq!((observation.changed.len(), observation.gone.len()), (0, 0));
}

#[test]
fn changes_are_remembered_with_what_was_ever_true() {
    let memory = history(vec![known(account("a", "ACTIVE"))], vec![]);
    let observation = look(&[account("a", "EXPIRED")], &memory, &Policy::default());
    let [change] = &observation.changed[..] else { panic!("one change") };
    assert!(change.ever_active);
    assert_eq!((change.first_seen_at, change.changed_at), (day(0), day(5)));
    let fresh = look(&[account("b", "EXPIRED")], &History::default(), &Policy::default());
    assert!(!fresh.changed[0].ever_active);
    assert_eq!(fresh.changed[0].first_seen_at, day(5));
}

#[test]
fn accounts_of_one_app_that_are_active_together_remember_each_other() {
    let accounts = [
        account("a", "ACTIVE"),
        account("b", "ACTIVE").on("slack", "ac_2", None),
        account("c", "ACTIVE").on("gmail", "ac_1", None),
        account("d", "EXPIRED").on("slack", "ac_3", None),
    ];
    let observation = look(&accounts, &History::default(), &Policy::default());
    let with = |id: &str| {
        let change = observation.changed.iter().find(|change| change.account.id.as_str() == id).expect("it is new");
        change.active_with.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(with("a"), ["b"]);
    assert_eq!(with("b"), ["a"]);
    assert!(with("c").is_empty() && with("d").is_empty());

    let memory = history(vec![known(account("a", "ACTIVE"))], vec![]);
    let second = account("b", "ACTIVE").on("slack", "ac_2", None);
    let observation = look(&[account("a", "ACTIVE"), second], &memory, &Policy::default());
    assert_eq!(observation.changed.len(), 2, "the old one changes too: it has company now");
    assert_eq!(observation.changed[0].changed_at, day(0), "but it is as it was since day 0");
}

#[test]
fn an_account_that_is_listed_no_more_is_gone_once_and_may_come_back() {
    let memory = history(vec![known(account("a", "ACTIVE"))], vec![]);
    assert_eq!(look(&[], &memory, &Policy::default()).gone, ["a".into()]);
    let mut gone = known(account("a", "ACTIVE"));
    gone.gone_at = Some(day(1));
    let memory = history(vec![gone], vec![]);
    assert!(look(&[], &memory, &Policy::default()).gone.is_empty());
    let back = look(&[account("a", "ACTIVE")], &memory, &Policy::default());
    assert_eq!(back.changed[0].gone_at, None);
    assert_eq!(back.verdicts[0].slot, slot("slack", "ac_1", None));
}
