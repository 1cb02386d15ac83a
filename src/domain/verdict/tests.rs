//! Each rule of `policy.md` §2 as a table: the rows of a slot, and the one verdict that must come out.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::account::reason::*;
use crate::domain::sample::{account, history, known, slot};

fn verdict_of(accounts: &[Account]) -> Verdict {
    let verdicts = assess(accounts, &History::default());
    assert_eq!(verdicts.len(), 1, "one slot, one verdict");
    verdicts[0].verdict
}

#[rstest]
// 1. A working row decides, whatever stands beside it.
#[case::working(vec![account("a", "ACTIVE")], Verdict::Healthy)]
#[case::reconnected(vec![account("a", "EXPIRED").because(PERMANENT_AUTH_ERROR), account("b", "ACTIVE").made(1)], Verdict::Healthy)]
#[case::working_but_older(vec![account("a", "ACTIVE"), account("b", "EXPIRED").made(1)], Verdict::Healthy)]
#[case::working_beside_revoked(vec![account("a", "ACTIVE"), account("b", "REVOKED").made(1)], Verdict::Healthy)]
// 2. Attempts say nothing.
#[case::initializing(vec![account("a", "INITIALIZING")], Verdict::Unfinished)]
#[case::initiated(vec![account("a", "INITIATED")], Verdict::Unfinished)]
#[case::closed_the_tab(vec![account("a", "EXPIRED").because(INITIATION_TIMEOUT)], Verdict::Unfinished)]
#[case::attempt_after_breakage(vec![account("a", "EXPIRED"), account("b", "INITIATED").made(1)], Verdict::Broken)]
#[case::timeout_after_breakage(vec![account("a", "EXPIRED"), account("b", "EXPIRED").because(INITIATION_TIMEOUT).made(1)], Verdict::Broken)]
#[case::attempt_after_choice(vec![account("a", "REVOKED"), account("b", "INITIATED").made(1)], Verdict::ByChoice)]
// 3a. The operator's fault.
#[case::config_disabled(vec![account("a", "EXPIRED").config_disabled()], Verdict::OperatorFault)]
#[case::config_disabled_reason(vec![account("a", "INACTIVE").because(AUTH_CONFIG_DISABLED)], Verdict::OperatorFault)]
#[case::expired_by_config(vec![account("a", "EXPIRED").because(AUTH_CONFIG_DISABLED)], Verdict::OperatorFault)]
#[case::active_but_config_disabled(vec![account("a", "ACTIVE").config_disabled()], Verdict::OperatorFault)]
#[case::failed_and_config_disabled(vec![account("a", "FAILED").config_disabled()], Verdict::OperatorFault)]
// 3b. By choice.
#[case::inactive(vec![account("a", "INACTIVE")], Verdict::ByChoice)]
#[case::active_but_disabled(vec![account("a", "ACTIVE").disabled()], Verdict::ByChoice)]
#[case::expired_but_disabled(vec![account("a", "EXPIRED").disabled()], Verdict::ByChoice)]
#[case::revoked(vec![account("a", "REVOKED")], Verdict::ByChoice)]
#[case::revoked_by_admin(vec![account("a", "REVOKED").because("Revoked via admin tool")], Verdict::ByChoice)]
#[case::revoked_whatever_its_reason(vec![account("a", "REVOKED").because(AUTH_CONFIG_DISABLED)], Verdict::ByChoice)]
#[case::updated_by_user(vec![account("a", "EXPIRED").because(STATUS_UPDATED_BY_USER)], Verdict::ByChoice)]
#[case::failed_updated_by_user(vec![account("a", "FAILED").because(STATUS_UPDATED_BY_USER)], Verdict::ByChoice)]
// 3c. A failed attempt.
#[case::failed(vec![account("a", "FAILED")], Verdict::AttemptFailed)]
#[case::failed_callback(vec![account("a", "FAILED").because(CALLBACK_FAILED)], Verdict::AttemptFailed)]
#[case::failed_unknown_reason(vec![account("a", "FAILED").because("something new")], Verdict::AttemptFailed)]
#[case::failed_after_unproven(vec![account("a", "EXPIRED"), account("b", "FAILED").made(1)], Verdict::AttemptFailed)]
// 3d. Broken.
#[case::expired(vec![account("a", "EXPIRED").because(PERMANENT_AUTH_ERROR)], Verdict::Broken)]
#[case::expired_max(vec![account("a", "EXPIRED").because(MAX_AUTH_FAILURES)], Verdict::Broken)]
#[case::expired_without_reason(vec![account("a", "EXPIRED")], Verdict::Broken)]
#[case::expired_unknown_reason(vec![account("a", "EXPIRED").because("OAuth refresh token expired")], Verdict::Broken)]
#[case::expired_callback(vec![account("a", "EXPIRED").because(CALLBACK_FAILED)], Verdict::Broken)]
#[case::failed_that_worked(vec![account("a", "FAILED").because(PERMANENT_AUTH_ERROR)], Verdict::Broken)]
#[case::failed_that_worked_max(vec![account("a", "FAILED").because(MAX_AUTH_FAILURES)], Verdict::Broken)]
#[case::failed_where_another_row_worked(
    vec![account("a", "EXPIRED").because(PERMANENT_AUTH_ERROR), account("b", "FAILED").made(1)],
    Verdict::Broken
)]
// 3e. Unknown.
#[case::unknown(vec![account("a", "HIBERNATING")], Verdict::Unknown)]
#[case::unknown_is_newest(vec![account("a", "EXPIRED"), account("b", "HIBERNATING").made(1)], Verdict::Unknown)]
#[case::unknown_is_older(vec![account("a", "HIBERNATING"), account("b", "EXPIRED").made(1)], Verdict::Broken)]
#[case::unknown_but_disabled(vec![account("a", "HIBERNATING").disabled()], Verdict::ByChoice)]
// The newest decides, both ways; equal instants are decided by the id, so that the order of rows never matters.
#[case::newest_is_revoked(vec![account("a", "EXPIRED"), account("b", "REVOKED").made(1)], Verdict::ByChoice)]
#[case::newest_is_expired(vec![account("a", "REVOKED"), account("b", "EXPIRED").made(1)], Verdict::Broken)]
#[case::tie(vec![account("b", "EXPIRED"), account("a", "REVOKED")], Verdict::Broken)]
#[case::tie_turned(vec![account("a", "EXPIRED"), account("b", "REVOKED")], Verdict::ByChoice)]
fn each_slot_gets_the_verdict_of_the_policy(#[case] rows: Vec<Account>, #[case] expected: Verdict) {
    assert_eq!(verdict_of(&rows), expected);
    let reversed: Vec<Account> = rows.into_iter().rev().collect();
    assert_eq!(verdict_of(&reversed), expected, "in the other order");
}

#[test]
fn a_failed_account_that_was_once_seen_active_is_broken() {
    let memory = history(vec![known(account("a", "ACTIVE"))], vec![]);
    assert_eq!(assess(&[account("a", "FAILED")], &memory)[0].verdict, Verdict::Broken);
    assert_eq!(
        assess(&[account("b", "FAILED").made(1)], &memory)[0].verdict,
        Verdict::Broken,
        "the slot worked, through an account that is gone"
    );
    let renamed = account("a", "FAILED").on("slack", "ac_1", Some("work"));
    assert_eq!(assess(&[renamed], &memory)[0].verdict, Verdict::Broken, "the account worked, before it got its alias");
    let elsewhere = account("c", "FAILED").on("slack", "ac_2", None);
    assert_eq!(assess(&[elsewhere], &memory)[0].verdict, Verdict::AttemptFailed, "another slot is no evidence");
    let never = history(vec![known(account("a", "FAILED"))], vec![]);
    assert_eq!(assess(&[account("a", "FAILED")], &never)[0].verdict, Verdict::AttemptFailed);
}

/// The verdict of the slot that `broken` is in, when it stands beside the others.
fn beside(broken: &Account, others: &[Account], memory: &History) -> Verdict {
    let mut accounts = vec![broken.clone()];
    accounts.extend_from_slice(others);
    let verdicts = assess(&accounts, memory);
    verdicts.iter().find(|v| v.slot == broken.slot).expect("its slot has a verdict").verdict
}

#[rstest]
#[case::other_auth_config(None, "slack", "ac_2", None, Verdict::Superseded)]
#[case::the_app_page_drops_the_alias(Some("work"), "slack", "ac_1", None, Verdict::Superseded)]
#[case::a_new_alias(None, "slack", "ac_1", Some("work"), Verdict::Superseded)]
#[case::the_same_alias_elsewhere(Some("work"), "slack", "ac_2", Some("work"), Verdict::Superseded)]
#[case::different_aliases(Some("work"), "slack", "ac_1", Some("home"), Verdict::Broken)]
#[case::different_aliases_and_configs(Some("work"), "slack", "ac_2", Some("home"), Verdict::Broken)]
#[case::another_app(None, "gmail", "ac_2", None, Verdict::Broken)]
fn a_working_account_supersedes_a_broken_one_of_the_same_app(
    #[case] broken_alias: Option<&str>,
    #[case] toolkit: &str,
    #[case] auth_config: &str,
    #[case] alias: Option<&str>,
    #[case] expected: Verdict,
) {
    let broken = account("a", "EXPIRED").on("slack", "ac_1", broken_alias);
    let working = account("b", "ACTIVE").made(1).on(toolkit, auth_config, alias);
    assert_eq!(beside(&broken, &[working], &History::default()), expected);
}

#[test]
fn only_a_working_account_supersedes() {
    let broken = account("a", "EXPIRED");
    for other in [
        account("b", "INITIATED"),
        account("b", "ACTIVE").disabled(),
        account("b", "ACTIVE").config_disabled(),
        account("b", "REVOKED"),
    ] {
        let other = other.made(1).on("slack", "ac_2", None);
        assert_eq!(beside(&broken, std::slice::from_ref(&other), &History::default()), Verdict::Broken, "{other:?}");
    }
}

#[test]
fn a_failed_or_unfinished_attempt_beside_a_working_account_is_superseded() {
    let working = account("b", "ACTIVE").on("slack", "ac_2", None);
    for troubled in [account("a", "FAILED"), account("a", "INITIATED")] {
        assert_eq!(beside(&troubled, std::slice::from_ref(&working), &History::default()), Verdict::Superseded);
    }
    for chosen in [account("a", "REVOKED"), account("a", "EXPIRED").config_disabled(), account("a", "NEW")] {
        assert_ne!(beside(&chosen, std::slice::from_ref(&working), &History::default()), Verdict::Superseded);
    }
}

#[test]
fn two_accounts_that_once_worked_together_are_two_accounts() {
    let broken = account("a", "EXPIRED");
    let working = account("b", "ACTIVE").on("slack", "ac_2", None);
    let mut work = known(account("a", "ACTIVE"));
    work.active_with.insert("b".into());
    let memory = history(vec![work, known(working.clone())], vec![]);
    assert_eq!(beside(&broken, std::slice::from_ref(&working), &memory), Verdict::Broken);

    let reconnected = account("c", "ACTIVE").made(1).on("slack", "ac_2", None);
    assert_eq!(
        beside(&broken, std::slice::from_ref(&reconnected), &memory),
        Verdict::Broken,
        "the other account was replaced in its slot, and is still another account"
    );
    let strangers = history(vec![known(account("a", "ACTIVE")), known(working.clone())], vec![]);
    assert_eq!(beside(&broken, &[working], &strangers), Verdict::Superseded, "each worked, but never together");
}

#[test]
fn having_worked_together_counts_from_either_side() {
    let broken = account("a", "EXPIRED");
    let working = account("b", "ACTIVE").on("slack", "ac_2", None);
    let mut other = known(working.clone());
    other.active_with.insert("a".into());
    let memory = history(vec![known(account("a", "ACTIVE")), other], vec![]);
    assert_eq!(beside(&broken, &[working], &memory), Verdict::Broken);
}

#[test]
fn having_worked_together_with_a_third_account_proves_nothing() {
    let broken = account("a", "EXPIRED");
    let working = account("b", "ACTIVE").on("slack", "ac_2", None);
    let mut first = known(account("a", "ACTIVE"));
    first.active_with.insert("z".into());
    let memory = history(vec![first], vec![]);
    assert_eq!(beside(&broken, &[working], &memory), Verdict::Superseded);
}

fn any_account() -> impl Strategy<Value = Account> {
    let statuses = prop::sample::select(vec![
        "INITIALIZING",
        "INITIATED",
        "ACTIVE",
        "FAILED",
        "EXPIRED",
        "INACTIVE",
        "REVOKED",
        "NEW",
    ]);
    let reasons = prop::option::of(prop::sample::select(vec![
        INITIATION_TIMEOUT,
        PERMANENT_AUTH_ERROR,
        STATUS_UPDATED_BY_USER,
        AUTH_CONFIG_DISABLED,
        "new",
    ]));
    let places = (
        prop::sample::select(vec!["slack", "gmail"]),
        prop::sample::select(vec!["ac_1", "ac_2"]),
        prop::option::of(prop::sample::select(vec!["work", "home"])),
    );
    (0..40_u32, statuses, reasons, places, 0..4_i64, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(id, status, reason, (toolkit, config, alias), made, disabled, config_disabled)| Account {
            reason: reason.map(ToOwned::to_owned),
            is_disabled: disabled,
            auth_config_disabled: config_disabled,
            ..account(&format!("ca_{id}"), status).made(made).on(toolkit, config, alias)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_order_of_rows_never_matters(
        accounts in prop::collection::vec(any_account(), 0..9),
        turn in 0..9_usize,
    ) {
        let mut unique: BTreeMap<AccountId, Account> = BTreeMap::new();
        for account in accounts {
            unique.entry(account.id.clone()).or_insert(account);
        }
        let accounts: Vec<Account> = unique.into_values().collect();
        let expected = assess(&accounts, &History::default());
        let mut turned = accounts.clone();
        turned.reverse();
        let by = turn.min(turned.len());
        turned.rotate_left(by);
        prop_assert_eq!(assess(&turned, &History::default()), expected.clone());
        let slots: BTreeSet<&Slot> = accounts.iter().map(|account| &account.slot).collect();
        prop_assert_eq!(expected.len(), slots.len(), "exactly one verdict a slot");
    }

    #[test]
    fn a_working_row_makes_its_slot_healthy_whatever_else_there_is(accounts in prop::collection::vec(any_account(), 0..9)) {
        let verdicts = assess(&accounts, &History::default());
        for account in accounts.iter().filter(|account| account.works()) {
            let verdict = verdicts.iter().find(|v| v.slot == account.slot).expect("each slot has a verdict");
            prop_assert_eq!(verdict.verdict, Verdict::Healthy);
        }
    }
}

#[test]
fn slots_are_told_apart_by_app_auth_config_and_alias() {
    let accounts = [
        account("a", "ACTIVE"),
        account("b", "ACTIVE").on("gmail", "ac_1", None),
        account("c", "ACTIVE").on("slack", "ac_2", None),
        account("d", "ACTIVE").on("slack", "ac_1", Some("work")),
        account("e", "ACTIVE").on("slack", "ac_1", Some(" ")),
    ];
    assert_eq!(assess(&accounts, &History::default()).len(), 4, "an alias of blanks is none");
    assert_eq!(slot("slack", "ac_1", Some("")), slot("slack", "ac_1", None));
}
