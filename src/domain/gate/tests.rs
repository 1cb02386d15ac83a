//! The gate, as a table and as properties.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::account::reason::{AUTH_CONFIG_DISABLED, INITIATION_TIMEOUT, PERMANENT_AUTH_ERROR};
use crate::domain::history::History;
use crate::domain::sample::account;
use crate::domain::verdict::assess;

fn slack() -> Toolkit {
    Toolkit::new("slack")
}

fn decided(accounts: &[Account]) -> Decision {
    with_facts(accounts, |facts| decide(facts, &slack()))
}

fn chosen(accounts: &[Account], which: &Which) -> Choice {
    with_facts(accounts, |facts| choose(facts, &slack(), which, accounts))
}

fn with_facts<T>(accounts: &[Account], then: impl FnOnce(Facts<'_>) -> T) -> T {
    let verdicts = assess(accounts, &History::default());
    let page = ReconnectPage(Some("https://app.example/{toolkit}?u={user_id}".to_owned()));
    let user = UserId::new("ann");
    then(Facts { user: &user, verdicts: &verdicts, names: &AppNames::new(), page: &page })
}

fn reason_of(decision: &Decision) -> Option<Denial> {
    match decision {
        Decision::Denied { reason, .. } => Some(*reason),
        Decision::Allowed { .. } | Decision::Unknown { .. } => None,
    }
}

#[rstest]
#[case(vec![], Denial::NotConnected)]
#[case(vec![account("a", "ACTIVE").on("gmail", "ac_2", None)], Denial::NotConnected)]
#[case(vec![account("a", "EXPIRED").because(PERMANENT_AUTH_ERROR)], Denial::Broken)]
#[case(vec![account("a", "EXPIRED").because(INITIATION_TIMEOUT)], Denial::Unfinished)]
#[case(vec![account("a", "INITIATED")], Denial::Unfinished)]
#[case(vec![account("a", "FAILED")], Denial::AttemptFailed)]
#[case(vec![account("a", "INACTIVE")], Denial::ByChoice)]
#[case(vec![account("a", "ACTIVE").disabled()], Denial::ByChoice)]
#[case(vec![account("a", "ACTIVE").config_disabled()], Denial::OperatorFault)]
#[case(vec![account("a", "INACTIVE").because(AUTH_CONFIG_DISABLED)], Denial::OperatorFault)]
#[case(
    vec![account("a", "INITIATED").on("slack", "ac_2", Some("home")), account("b", "EXPIRED").on("slack", "ac_1", Some("work"))],
    Denial::Broken
)]
fn what_does_not_work_is_denied_with_its_reason(#[case] accounts: Vec<Account>, #[case] reason: Denial) {
    assert_eq!(reason_of(&decided(&accounts)), Some(reason));
}

#[test]
fn what_works_is_allowed_whatever_lies_beside_it() {
    let accounts = [account("old", "EXPIRED").made(0), account("new", "ACTIVE").made(1)];
    let usable = vec![Usable { account: "new".into(), alias: None }];
    assert_eq!(decided(&accounts), Decision::Allowed { accounts: usable });
}

#[test]
fn a_status_that_nobody_knows_is_no_denial() {
    let accounts = [account("a", "NOVEL"), account("b", "EXPIRED").on("slack", "ac_2", None)];
    assert!(matches!(decided(&accounts), Decision::Unknown { why: Unseen::UnknownStatus, .. }));
}

#[test]
fn a_denial_says_what_to_do_and_where_unless_only_the_operator_can() {
    let Decision::Denied { prompt, reconnect_url, account: about, .. } = decided(&[account("a", "EXPIRED")]) else {
        panic!("it is denied")
    };
    assert_eq!(prompt, "Your Slack connection has expired. Please reconnect Slack.");
    assert_eq!(reconnect_url.as_deref(), Some("https://app.example/slack?u=ann"));
    assert_eq!(about, Some(AccountId::new("a")));
    let Decision::Denied { reconnect_url, .. } = decided(&[account("a", "ACTIVE").config_disabled()]) else {
        panic!("it is denied")
    };
    assert_eq!(reconnect_url, None);
}

#[test]
fn a_named_account_is_used_and_never_another_in_its_place() {
    let work = account("work", "ACTIVE").on("slack", "ac_1", Some("work"));
    let home = account("home", "ACTIVE").on("slack", "ac_1", Some("home"));
    let dead = account("dead", "EXPIRED").on("slack", "ac_1", Some("work")).made(-1);
    let mail = account("mail", "ACTIVE").on("gmail", "ac_2", None);
    let all = [work, home, dead, mail];
    assert!(matches!(chosen(&all, &Which::Only), Choice::Several(several) if several.len() == 2));
    assert_eq!(chosen(&all, &Which::Alias("home".into())), Choice::One("home".into()));
    assert_eq!(chosen(&all, &Which::Account("work".into())), Choice::One("work".into()));
    for (which, reason) in [
        (Which::Account("dead".into()), Denial::Broken),
        (Which::Account("mail".into()), Denial::NotConnected),
        (Which::Account("of somebody else".into()), Denial::NotConnected),
        (Which::Alias("none".into()), Denial::NotConnected),
    ] {
        let Choice::No(decision) = chosen(&all, &which) else { panic!("{which:?} may not be used") };
        assert_eq!(reason_of(&decision), Some(reason), "{which:?}");
    }
}

fn gate(decisions: Vec<Decision>) -> Gate {
    let app = |decision| AppGate { app: slack(), name: "Slack".to_owned(), decision, as_of: None, stale: false };
    Gate { apps: decisions.into_iter().map(app).collect(), as_of: None, stale: false }
}

#[test]
fn an_unknown_goes_the_way_that_the_caller_chose_and_says_so() {
    let allowed = || Decision::Allowed { accounts: vec![] };
    let unknown = || Decision::Unknown { why: Unseen::RateLimited, detail: String::new() };
    let open = gate(vec![allowed(), unknown()]).permit(OnUnknown::Allow);
    assert_eq!((open.permitted, open.by), (true, DecidedBy::FailOpen));
    let closed = gate(vec![allowed(), unknown()]).permit(OnUnknown::Deny);
    assert_eq!((closed.permitted, closed.by), (false, DecidedBy::FailClosed));
    let denied = gate(vec![decided(&[]), unknown()]).permit(OnUnknown::Allow);
    assert_eq!((denied.permitted, denied.by), (false, DecidedBy::Verdict), "what is known to be denied stays denied");
    let yes = gate(vec![allowed()]).permit(OnUnknown::Deny);
    assert_eq!((yes.permitted, yes.by), (true, DecidedBy::Verdict));
}

fn any_account() -> impl Strategy<Value = Account> {
    let status = prop::sample::select(vec![
        "INITIALIZING",
        "INITIATED",
        "ACTIVE",
        "FAILED",
        "EXPIRED",
        "INACTIVE",
        "REVOKED",
        "NOVEL",
    ]);
    let alias = prop::sample::select(vec![None, Some("work"), Some("home")]);
    let app = prop::sample::select(vec!["slack", "gmail"]);
    (status, alias, app, any::<bool>(), any::<bool>(), 0..5_i64, 0..9_u8).prop_map(
        |(status, alias, app, off, config_off, day, id)| Account {
            is_disabled: off,
            auth_config_disabled: config_off,
            ..account(&format!("ca_{id}"), status).on(app, "ac_1", alias).made(day)
        },
    )
}

proptest! {
    #[test]
    fn an_app_is_allowed_exactly_if_an_account_of_it_works(mut accounts in prop::collection::vec(any_account(), 0..6)) {
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        accounts.dedup_by(|a, b| a.id == b.id);
        let works = accounts.iter().any(|account| account.works() && account.toolkit() == &slack());
        let decision = decided(&accounts);
        prop_assert_eq!(works, matches!(decision, Decision::Allowed { .. }));
        if let Decision::Allowed { accounts: usable } = decision {
            for one in usable {
                prop_assert!(accounts.iter().any(|account| account.id == one.account && account.works() && account.toolkit() == &slack()));
            }
        }
    }

    #[test]
    fn whatever_is_chosen_works_and_is_of_the_app(
        mut accounts in prop::collection::vec(any_account(), 0..6),
        which in prop::sample::select(vec![
            Which::Only, Which::Alias("work".into()), Which::Account("ca_3".into()), Which::Account("ca_4".into()),
        ]),
    ) {
        accounts.sort_by(|a, b| a.id.cmp(&b.id));
        accounts.dedup_by(|a, b| a.id == b.id);
        if let Choice::One(id) = chosen(&accounts, &which) {
            let account = accounts.iter().find(|account| account.id == id).expect("it is one of the user's");
            prop_assert!(account.works() && account.toolkit() == &slack());
            if let Which::Account(named) = which {
                prop_assert_eq!(id, named);
            }
        }
    }
}
