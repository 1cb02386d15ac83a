//! Starting a connection: one link a wish, and clear words where there is none.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use connection_auditor::adapters::composio::ComposioError;
use connection_auditor::audit::entity::{EntityError, Initiate, Initiated, LinkOrigin};
use connection_auditor::domain::account::Status;
use connection_auditor::domain::link::{LinkKey, MOST_LOST};
use connection_auditor::simulator::{FaultKind, Faults, Shelf, SimulatorOptions};
use secrecy::ExposeSecret;
use url::Url;

use super::{Bench, options, slack};

fn back() -> Option<Url> {
    Some(Url::parse("https://app.example/back?mine=1").expect("a URL"))
}

fn wish() -> Initiate {
    Initiate::new(slack(), back())
}

fn where_to(initiated: &Initiated) -> &str {
    initiated.link.url.expose_secret()
}

#[tokio::test]
async fn a_link_leads_to_an_account_of_this_user_which_is_stored_for_reference() {
    let bench = Bench::start().await;
    let ann = bench.entity("ann");
    let initiated = ann.initiate_connection(&wish()).await.expect("a link");
    assert!(where_to(&initiated).starts_with(bench.simulator.url()));
    assert_eq!(initiated.origin, LinkOrigin::Made);
    assert_eq!(initiated.link.expires_at, Some(bench.clock_now() + TimeDelta::minutes(10)));
    let key = LinkKey::derived(&slack(), None, back().as_ref(), None);
    let kept = bench.store.link(ann.user(), &key).await.expect("read").expect("it is kept");
    assert_eq!(kept.account.as_ref(), Some(&initiated.link.account));
    assert_eq!(ann.account(&initiated.link.account).await.expect("theirs").status, Status::Initializing);
    bench.follow(&initiated, "granted").await;
    assert_eq!(ann.account(&initiated.link.account).await.expect("theirs").status, Status::Active);
}

#[tokio::test]
async fn a_retry_gets_the_same_link_and_makes_nothing_twice() {
    let bench = Bench::start().await;
    let ann = bench.entity("ann");
    let first = ann.initiate_connection(&wish()).await.expect("a link");
    let again = ann.initiate_connection(&wish()).await.expect("the same link");
    assert_eq!((where_to(&again), again.origin), (where_to(&first), LinkOrigin::Kept));
    assert_eq!(bench.simulator.counters().links_minted, 1);
    let keyed = Initiate { idempotency_key: Some("order 7".to_owned()), ..wish() };
    let other = ann.initiate_connection(&keyed).await.expect("another link");
    assert_ne!(where_to(&other), where_to(&first), "another key is another wish");
    assert_eq!(where_to(&ann.initiate_connection(&keyed).await.expect("the same")), where_to(&other));
    let bob = bench.entity("bob").initiate_connection(&keyed).await.expect("a link");
    assert_ne!(where_to(&bob), where_to(&other), "keys of different users never meet");
    assert_eq!(bench.simulator.counters().links_minted, 3);
    let elsewhere = Initiate { toolkit: "gmail".into(), ..keyed };
    assert!(matches!(ann.initiate_connection(&elsewhere).await, Err(EntityError::KeyReused)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_wish_the_same_at_once_one_asks_and_all_get_one_link() {
    let bench = Bench::start().await;
    let wishes = (0..32).map(|_| {
        let ann = bench.entity("ann");
        async move { ann.initiate_connection(&wish()).await.expect("a link") }
    });
    let links = futures::future::join_all(wishes).await;
    let different: std::collections::BTreeSet<&str> = links.iter().map(where_to).collect();
    assert_eq!(different.len(), 1);
    assert_eq!(bench.simulator.counters().links_minted, 1);
    assert_eq!(links.iter().filter(|link| link.origin == LinkOrigin::Made).count(), 1);
}

#[tokio::test]
async fn a_link_that_expired_or_was_followed_is_not_given_again() {
    let bench = Bench::start().await;
    let ann = bench.entity("ann");
    let first = ann.initiate_connection(&wish()).await.expect("a link");
    bench.clock.advance(TimeDelta::seconds(9 * 60 + 30));
    let second = ann.initiate_connection(&wish()).await.expect("a fresh link");
    assert_ne!(where_to(&first), where_to(&second), "half a minute is too little to follow it");
    bench.follow(&second, "denied").await;
    let third = ann.initiate_connection(&wish()).await.expect("a fresh link");
    assert_ne!(where_to(&second), where_to(&third), "it was used up");
    bench.follow(&third, "granted").await;
    let refused = ann.initiate_connection(&wish()).await;
    let Err(EntityError::AlreadyConnected { accounts, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(accounts, [third.link.account.as_str()]);
    let another = Initiate { allow_another: true, ..wish() };
    let fourth = ann.initiate_connection(&another).await.expect("another connection");
    assert_ne!(fourth.link.account, third.link.account);
}

#[tokio::test]
async fn answers_that_are_lost_do_not_make_links_without_end() {
    let bench = Bench::start().await;
    let ann = bench.entity("ann");
    for fault in [FaultKind::TruncatedJson, FaultKind::ResetMidBody, FaultKind::TruncatedJson] {
        bench.simulator.set_faults(Faults::outage_of_writes(fault));
        let lost = ann.initiate_connection(&wish()).await;
        assert!(matches!(lost, Err(EntityError::Composio(ComposioError::Ambiguous { .. }))), "{lost:?}");
    }
    for _ in 0..3 {
        let refused = ann.initiate_connection(&wish()).await;
        let Err(EntityError::LinkLost { until }) = refused else { panic!("{refused:?}") };
        assert_eq!(until, bench.clock_now() + TimeDelta::minutes(10));
    }
    assert_eq!(
        bench.simulator.counters().links_minted,
        u64::from(MOST_LOST),
        "no request was sent twice, and no fourth"
    );
    bench.simulator.set_faults(Faults::default());
    bench.entity("bob").initiate_connection(&wish()).await.expect("nobody else has to wait");
    bench.clock.advance(TimeDelta::minutes(11));
    ann.initiate_connection(&wish()).await.expect("after the life of a link it is asked for again");
}

#[tokio::test]
async fn who_died_while_asking_holds_the_wish_no_longer_than_the_request_may_take() {
    let bench = Bench::start().await;
    bench.simulator.set_faults(Faults::outage_of_writes(FaultKind::Silent));
    let ann = bench.entity("ann");
    let died = tokio::time::timeout(std::time::Duration::from_secs(1), ann.initiate_connection(&wish())).await;
    assert!(died.is_err(), "whoever asked is gone, and its answer never came");
    bench.simulator.set_faults(Faults::default());
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(300), ann.initiate_connection(&wish())).await;
    assert!(waiting.is_err(), "it may still come");
    bench.clock.advance(TimeDelta::seconds(16));
    ann.initiate_connection(&wish()).await.expect("it will not come any more");
    assert_eq!(bench.simulator.counters().links_minted, 1, "the silent request was never worked on");
}

#[tokio::test]
async fn what_is_refused_does_not_count_as_lost() {
    let bench = Bench::start().await;
    let ann = bench.entity("ann");
    for _ in 0..u64::from(MOST_LOST) + 2 {
        bench.simulator.set_faults(Faults::key(connection_auditor::simulator::KeyState::ReadOnly));
        let refused = ann.initiate_connection(&wish()).await;
        assert!(matches!(refused, Err(EntityError::Composio(ComposioError::Unauthorized { .. }))), "{refused:?}");
    }
    bench.simulator.set_faults(Faults::default());
    ann.initiate_connection(&wish()).await.expect("nothing was made so far, so nothing is in the way");
    assert_eq!(bench.simulator.counters().links_minted, 1);
}

#[tokio::test]
async fn an_app_without_a_usable_auth_config_or_with_several_is_said_by_name() {
    let shelves = BTreeMap::from([
        ("slack".to_owned(), Shelf::All),
        ("gmail".to_owned(), Shelf::Disabled),
        ("github".to_owned(), Shelf::Empty),
    ]);
    let bench = Bench::with(SimulatorOptions { shelves, ..options() }).await;
    let ann = bench.entity("ann");
    let said = async |app: &str| {
        ann.initiate_connection(&Initiate::new(app.into(), None)).await.expect_err("there is no link").to_string()
    };
    insta::assert_snapshot!([said("slack").await, said("gmail").await, said("github").await].join("\n"));
    let Err(EntityError::SeveralAuthConfigs { configs, .. }) = ann.initiate_connection(&wish()).await else {
        panic!("there are several")
    };
    let chosen = Initiate { auth_config: Some(configs[1].id.clone()), ..wish() };
    assert_eq!(ann.initiate_connection(&chosen).await.expect("a link").auth_config, configs[1].id);
    let wrong = Initiate { auth_config: Some("ac_unknown".into()), ..wish() };
    assert!(matches!(ann.initiate_connection(&wrong).await, Err(EntityError::OtherAuthConfig { .. })));
}

#[tokio::test]
async fn a_redirect_that_is_no_web_page_is_refused_before_anything_is_asked() {
    let bench = Bench::start().await;
    let evil = Initiate { redirect: Url::parse("javascript:alert(1)").ok(), ..wish() };
    assert!(matches!(bench.entity("ann").initiate_connection(&evil).await, Err(EntityError::BadRedirect)));
    assert_eq!(bench.simulator.counters().requests, 0);
}
