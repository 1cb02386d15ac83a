//! What trips, what does not, and when it is over.

use rstest::rstest;

use super::*;

fn leaf(toolkit: &str, auth_config: &str, broke: u64, backlog: u64, healthy: u64) -> Leaf {
    Leaf { toolkit: toolkit.to_owned(), auth_config: auth_config.to_owned(), broke, backlog, healthy, held: 0 }
}

/// A leaf whose trip holds so many.
fn held(toolkit: &str, auth_config: &str, held: u64, healthy: u64) -> Leaf {
    Leaf { held, ..leaf(toolkit, auth_config, 0, 0, healthy) }
}

fn judged(leaves: &[Leaf], breadth: Breadth) -> Vec<(String, u64, u64)> {
    let tripped = GuardRules::default().judge(leaves, breadth);
    tripped.into_iter().map(|one| (one.scope.to_string(), one.broken, one.healthy)).collect()
}

fn scopes(leaves: &[Leaf]) -> Vec<String> {
    judged(leaves, Breadth::Every).into_iter().map(|(scope, ..)| scope).collect()
}

#[rstest]
#[case::too_few(19, 0, false)]
#[case::enough(20, 0, true)]
#[case::just_at_the_share(20, 180, false)]
#[case::just_above_the_share(20, 179, true)]
#[case::nothing_broke(0, 0, false)]
fn a_scope_trips_at_the_number_and_above_the_share(#[case] broke: u64, #[case] healthy: u64, #[case] trips: bool) {
    assert_eq!(!scopes(&[leaf("slack", "ac_1", broke, 0, healthy)]).is_empty(), trips);
}

#[rstest]
#[case::at_the_share(20, 20, false)]
#[case::above_the_share(21, 20, true)]
#[case::too_few(19, 0, false)]
fn backlog_has_a_share_of_its_own(#[case] backlog: u64, #[case] healthy: u64, #[case] trips: bool) {
    let expected = if trips { vec!["slack, broken long ago".to_owned()] } else { vec![] };
    assert_eq!(scopes(&[leaf("slack", "ac_1", 0, backlog, healthy)]), expected);
}

#[test]
fn backlog_is_judged_over_all_auth_configs_of_an_app_and_counts_in_no_other_scope() {
    let leaves = [leaf("slack", "ac_1", 0, 15, 5), leaf("slack", "ac_2", 19, 15, 5), leaf("gmail", "ac_3", 0, 0, 1000)];
    assert_eq!(judged(&leaves, Breadth::Every), [("slack, broken long ago".to_owned(), 30, 10)]);
}

#[test]
fn auth_configs_that_are_too_small_alone_trip_their_app_together() {
    let leaves =
        [leaf("slack", "ac_1", 12, 0, 20), leaf("slack", "ac_2", 12, 0, 20), leaf("gmail", "ac_3", 0, 0, 1000)];
    assert_eq!(judged(&leaves, Breadth::Every), [("slack".to_owned(), 24, 40)]);
}

#[test]
fn apps_that_are_too_small_alone_trip_everything_together() {
    let leaves: Vec<Leaf> = (0..4).map(|n| leaf(&format!("app{n}"), "ac", 6, 0, 10)).collect();
    assert_eq!(judged(&leaves, Breadth::Every), [("all apps".to_owned(), 24, 40)]);
    assert_eq!(judged(&leaves, Breadth::UpToToolkits), []);
}

#[test]
fn what_an_auth_config_holds_counts_neither_in_its_app_nor_in_all() {
    // Were the 100 counted, the other auth config's 3 would trip the app with them, and all would trip too.
    let leaves = [leaf("slack", "ac_1", 100, 0, 10), leaf("slack", "ac_2", 3, 0, 50), leaf("gmail", "ac_3", 0, 0, 300)];
    assert_eq!(judged(&leaves, Breadth::Every), [("slack through ac_1".to_owned(), 100, 10)]);
}

#[test]
fn what_an_app_holds_does_not_count_in_all() {
    let leaves = [
        leaf("slack", "ac_1", 15, 0, 10),
        leaf("slack", "ac_2", 15, 0, 10),
        leaf("gmail", "ac_3", 19, 0, 200),
        leaf("notion", "ac_4", 1, 0, 0),
    ];
    assert_eq!(judged(&leaves, Breadth::Every), [("slack".to_owned(), 30, 20)]);
}

#[test]
fn an_app_of_which_more_trips_than_one_auth_config_trips_as_a_whole() {
    let leaves =
        [leaf("slack", "ac_1", 100, 0, 10), leaf("slack", "ac_2", 15, 0, 10), leaf("slack", "ac_3", 15, 0, 10)];
    assert_eq!(judged(&leaves, Breadth::Every), [("slack".to_owned(), 130, 30)]);
}

#[rstest]
#[case::of_one(1, 0, true)]
#[case::half_as_badly(3, 3, true)]
#[case::less_than_half_as_badly(2, 3, false)]
#[case::not_at_all(0, 5, false)]
#[case::nobody_is_left(0, 0, false)]
fn a_small_rest_of_an_app_is_held_with_the_auth_config_that_trips_if_it_fares_as_badly(
    #[case] broke: u64,
    #[case] healthy: u64,
    #[case] whole: bool,
) {
    let rest = || leaf("slack", "ac_2", broke, 0, healthy);
    let first = [leaf("slack", "ac_1", 90, 0, 10), rest()];
    let expected =
        if whole { ("slack".to_owned(), 90 + broke, 10 + healthy) } else { ("slack through ac_1".to_owned(), 90, 10) };
    for breadth in [Breadth::Every, Breadth::UpToToolkits] {
        assert_eq!(judged(&first, breadth), std::slice::from_ref(&expected));
    }
    // And later, when the trip stands and holds them.
    let later = [held("slack", "ac_1", 90, 10), rest()];
    let expected = if whole { vec![expected] } else { vec![] };
    assert_eq!(judged(&later, Breadth::Every), expected);
    assert_eq!(judged(&later, Breadth::UpToToolkits), expected);
}

#[test]
fn what_is_held_of_one_app_says_nothing_of_another() {
    let leaves = [held("slack", "ac_1", 90, 10), leaf("gmail", "ac_2", 3, 0, 3)];
    assert_eq!(judged(&leaves, Breadth::Every), []);
}

#[test]
fn the_healthy_of_a_held_scope_still_speak_for_the_wider_one() {
    // 25 of 265 are below a tenth only with the healthy ones of the auth config that tripped; and they fare better than it.
    let leaves =
        [leaf("slack", "ac_1", 80, 0, 100), leaf("slack", "ac_2", 13, 0, 70), leaf("slack", "ac_3", 12, 0, 70)];
    assert_eq!(scopes(&leaves), ["slack through ac_1"]);
}

#[test]
fn so_many_healthy_ones_as_are_enough_let_nothing_trip() {
    for (share, first) in [(0.1, 0.5), (0.5, 0.05), (0.333, 0.9)] {
        let rules = GuardRules { max_share: share, max_share_first: first, min_incidents: 1, ..GuardRules::default() };
        for broken in [1, 7, 20, 1234] {
            let healthy = rules.enough_healthy(broken);
            for leaf in [leaf("a", "ac", broken, 0, healthy), leaf("a", "ac", 0, broken, healthy)] {
                assert_eq!(rules.judge(&[leaf], Breadth::Every), [], "{broken} {share}");
            }
        }
    }
}

#[rstest]
#[case::nobody_mended(100, 100, false)]
#[case::just_enough_are_broken(1000, 50, false)]
#[case::less_than_half_the_share(1001, 50, true)]
#[case::as_many_as_trip(100, 20, false)]
#[case::fewer_than_trip(100, 19, true)]
#[case::all_mended(100, 0, true)]
#[case::nothing_was_held(0, 0, true)]
fn a_trip_is_over_when_few_are_still_broken(#[case] slots: u64, #[case] still_broken: u64, #[case] over: bool) {
    assert_eq!(GuardRules::default().is_over(slots, still_broken), over);
}

#[test]
fn no_number_at_all_is_never_too_many() {
    let rules = GuardRules { min_incidents: 0, ..GuardRules::default() };
    assert_eq!(rules.judge(&[leaf("slack", "ac", 0, 0, 0)], Breadth::Every), []);
    assert!(rules.is_over(10, 0));
    assert!(!rules.is_over(10, 1));
}

#[test]
fn a_share_is_of_both_and_written_as_people_write_it() {
    let tripped = Tripped { scope: Scope::All, broken: 25, healthy: 75 };
    assert_eq!(percent(tripped.share()), "25%");
    assert_eq!(percent(0.025), "2.5%");
}
