//! Connections and the gate: from the store, live, doubted, and when nobody can look.

use std::time::Duration;

use connection_auditor::audit::entity::{EntityError, Reported};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::gate::{Decision, Denial, OnUnknown, Overall, Unseen};
use connection_auditor::domain::id::{Toolkit, UserId};
use connection_auditor::domain::job::Lane;
use connection_auditor::domain::verdict::Verdict;
use connection_auditor::simulator::{FaultKind, Faults, KeyState, Lie};

use super::{Bench, is_allowed, only, slack};

const MINUTE: Freshness = Freshness::Within(Duration::from_secs(60));

fn why(decision: &Decision) -> Option<Unseen> {
    match decision {
        Decision::Unknown { why, .. } => Some(*why),
        Decision::Allowed { .. } | Decision::Denied { .. } => None,
    }
}

fn denial(decision: &Decision) -> Option<Denial> {
    match decision {
        Decision::Denied { reason, .. } => Some(*reason),
        Decision::Allowed { .. } | Decision::Unknown { .. } => None,
    }
}

#[tokio::test]
async fn what_was_seen_answers_until_it_is_too_old_or_doubted() {
    let bench = Bench::start().await;
    let account = bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    let lists = || bench.simulator.counters().lists_by_user[&UserId::new("ann")];
    let before = lists();
    let gate = only(ann.gate(&[slack()], MINUTE).await.expect("answered"));
    let Decision::Allowed { accounts } = &gate.decision else { panic!("{gate:?}") };
    assert_eq!((accounts[0].account.clone(), lists()), (account, before + 1), "nobody had looked: it was looked at");
    for _ in 0..3 {
        assert!(is_allowed(&only(ann.gate(&[slack()], MINUTE).await.expect("answered")).decision));
    }
    assert_eq!(lists(), before + 1, "the store answers");
    bench.clock.advance(chrono::TimeDelta::seconds(61));
    ann.gate(&[slack()], MINUTE).await.expect("answered");
    assert_eq!(lists(), before + 2, "it was too old");
    bench.tick();
    bench.store.doubt(ann.user(), bench.clock_now()).await.expect("doubted");
    bench.tick();
    let doubted = only(ann.gate(&[slack()], Freshness::Stored).await.expect("answered"));
    assert_eq!((why(&doubted.decision), doubted.stale), (Some(Unseen::Doubted), true), "never a wrong yes");
    assert!(is_allowed(&only(ann.gate(&[slack()], MINUTE).await.expect("answered")).decision));
    assert_eq!(lists(), before + 3, "it was doubted");
    ann.gate(&[slack()], Freshness::Now).await.expect("answered");
    assert_eq!(lists(), before + 4);
}

#[tokio::test]
async fn whoever_waits_for_an_answer_is_told_in_time_that_there_is_none() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    bench.simulator.set_faults(Faults::outage(FaultKind::Silent));
    let ann = bench.entity("ann");
    let apps = [slack()];
    let gate = tokio::time::timeout(Duration::from_secs(15), ann.gate(&apps, Freshness::Now));
    let gate = only(gate.await.expect("before a person gives up").expect("answered"));
    assert_eq!(why(&gate.decision), Some(Unseen::Unavailable));
}

#[tokio::test]
async fn several_apps_are_answered_by_one_look_in_the_order_asked_for() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    bench.simulator.reset_counters();
    let apps = ["GitHub", "slack", "gmail"].map(Toolkit::new);
    let gate = bench.entity("ann").gate(&apps, Freshness::Now).await.expect("answered");
    let said: Vec<_> = gate.apps.iter().map(|app| (app.app.as_str(), is_allowed(&app.decision))).collect();
    assert_eq!(said, [("github", false), ("slack", true), ("gmail", false)]);
    assert_eq!(gate.overall(), Overall::Denied);
    assert_eq!(bench.requests("GET /connected_accounts"), 1);
    assert!(matches!(bench.entity("ann").gate(&[], Freshness::Now).await, Err(EntityError::NothingAsked)));
}

#[tokio::test]
async fn a_live_look_opens_and_closes_incidents_as_an_audit_does() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    assert!(is_allowed(&only(ann.gate(&[slack()], Freshness::Now).await.expect("answered")).decision));
    bench.simulator.expire_app("slack", bench.clock_now());
    bench.tick();
    let gate = only(ann.gate(&[slack()], Freshness::Now).await.expect("answered"));
    assert_eq!(denial(&gate.decision), Some(Denial::Broken));
    let open = bench.store.standing(ann.user()).await.expect("read").history.open_incidents().count();
    assert_eq!(open, 1, "what the gate saw, the auditor knows, and mails about");
    let connections = ann.connections(Freshness::Stored).await.expect("known");
    let [slack_row] = &connections.connections[..] else { panic!("{connections:?}") };
    assert_eq!((slack_row.verdict, slack_row.name.as_str()), (Verdict::Broken, "Slack"));
    assert_eq!(slack_row.logo.as_deref(), Some("https://logos.composio.dev/api/slack"));
    assert_eq!(slack_row.reconnect_url.as_deref(), Some("https://app.example/connect?app=slack&user=ann"));
    assert!(!connections.stale);
    bench.simulator.revive_app("slack");
    bench.tick();
    assert!(is_allowed(&only(ann.gate(&[slack()], Freshness::Now).await.expect("answered")).decision));
    assert_eq!(bench.store.standing(ann.user()).await.expect("read").history.open_incidents().count(), 0);
}

#[tokio::test]
async fn whatever_keeps_us_from_looking_is_unknown_and_never_a_yes_or_a_no() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    for seen_before in [false, true] {
        for (faults, reason) in [
            (Faults::outage(FaultKind::TooManyRequests), Unseen::RateLimited),
            (Faults::outage(FaultKind::InternalError), Unseen::Unavailable),
            (Faults::outage(FaultKind::HtmlBadGateway), Unseen::Unavailable),
            (Faults::outage(FaultKind::ResetMidBody), Unseen::Unavailable),
            (Faults::outage(FaultKind::TruncatedJson), Unseen::Unavailable),
            (Faults::key(KeyState::Unknown), Unseen::KeyRefused),
            (Faults::lie(Lie::ForeignRows), Unseen::Foreign),
            (Faults::lie(Lie::OthersList), Unseen::Foreign),
            (Faults::lie(Lie::IgnoreFilters), Unseen::Foreign),
            (Faults::lie(Lie::WrongTotal), Unseen::Unavailable),
        ] {
            bench.simulator.set_faults(faults.clone());
            bench.tick();
            let gate = ann.gate(&[slack(), "gmail".into()], Freshness::Now).await.expect("answered");
            for app in &gate.apps {
                assert_eq!(why(&app.decision), Some(reason), "{faults:?}: {app:?}");
                assert_eq!((app.stale, app.as_of.is_some()), (true, seen_before));
            }
            assert!(gate.permit(OnUnknown::Allow).permitted && !gate.permit(OnUnknown::Deny).permitted);
            let connections = ann.connections(Freshness::Now).await;
            if seen_before {
                let told = connections.expect("what is known is told");
                assert!(told.stale && told.why_stale.is_some() && told.connections.len() == 1, "{told:?}");
            } else {
                assert!(connections.is_err(), "nothing is known");
            }
        }
        bench.simulator.set_faults(Faults::default());
        bench.tick();
        assert!(is_allowed(&only(ann.gate(&[slack()], Freshness::Now).await.expect("answered")).decision));
    }
}

#[tokio::test]
async fn who_was_never_seen_is_unknown_if_nobody_is_to_look() {
    let bench = Bench::start().await;
    let gate = only(bench.entity("nobody").gate(&[slack()], Freshness::Stored).await.expect("answered"));
    assert_eq!((why(&gate.decision), gate.as_of), (Some(Unseen::NeverSeen), None));
    assert!(matches!(bench.entity("nobody").connections(Freshness::Stored).await, Err(EntityError::NeverSeen)));
    let live = only(bench.entity("nobody").gate(&[slack()], MINUTE).await.expect("answered"));
    assert_eq!(denial(&live.decision), Some(Denial::NotConnected), "somebody looked, and there is nothing");
    let comma = only(bench.entity("a,b").gate(&[slack()], MINUTE).await.expect("answered"));
    assert_eq!(why(&comma.decision), Some(Unseen::Refused), "such an id cannot be asked for");
}

#[tokio::test]
async fn what_the_app_reports_is_looked_at_again_once_at_a_time() {
    let bench = Bench::start().await;
    bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    assert!(is_allowed(&only(ann.gate(&[slack()], MINUTE).await.expect("answered")).decision));
    bench.tick();
    let Reported::Recheck(id) = ann.report(&slack()).await.expect("taken") else { panic!("it is the first") };
    assert_eq!(ann.report(&slack()).await.expect("taken"), Reported::UnderWay);
    assert_eq!(bench.store.unfinished_checks(&[id]).await.expect("read"), [id]);
    let depths = bench.queue.depths().await.expect("read");
    let waiting = depths.iter().find(|depth| depth.lane == Lane::CheckNow).map(|depth| depth.waiting);
    assert_eq!(waiting, Some(1), "one job, ahead of sweeps");
    let bob = bench.entity("bob").report(&slack()).await.expect("taken");
    assert!(matches!(bob, Reported::Recheck(_)), "each user has one of their own");
    bench.tick();
    let doubted = only(ann.gate(&[slack()], Freshness::Stored).await.expect("answered"));
    assert_eq!(why(&doubted.decision), Some(Unseen::Doubted), "the store does not answer what is doubted");
}
