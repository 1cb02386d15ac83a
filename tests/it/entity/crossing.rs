//! No call ever crosses from one user to another: not among thousands at once, and not when Composio itself mixes them up.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use connection_auditor::audit::entity::{EntityError, Executed, Initiate, ToolCall};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::gate::{Decision, Unseen};
use connection_auditor::domain::id::{ToolSlug, Toolkit, UserId};
use connection_auditor::domain::tool::Which;
use connection_auditor::simulator::{Faults, Lie};
use futures::StreamExt;
use serde_json::{Map, Value, json};

use super::{Bench, options, slack};
use crate::support::postgres;

/// So many users, and ten calls for each.
const USERS: usize = 1000;
const CALLS: usize = 10_000;

/// How many calls are under way at once: all of them.
const AT_ONCE: usize = CALLS;

fn name(user: usize) -> String {
    format!("user-{user:04}-x")
}

fn call() -> ToolCall {
    ToolCall {
        tool: ToolSlug::new("SLACK_SEND_MESSAGE"),
        arguments: Map::from_iter([("text".to_owned(), json!("hello"))]),
        which: Which::Only,
        version: None,
        freshness: Freshness::Within(std::time::Duration::from_secs(3600)),
    }
}

/// One call of the mix; everything that it brings must be the user's own.
async fn one(bench: &Bench, number: usize, accounts: &BTreeMap<String, String>) -> Result<(), String> {
    let user = name(number % USERS);
    let entity = bench.entities.of(UserId::new(user.as_str()));
    let own = &accounts[&user];
    let wrong = |what: &dyn std::fmt::Debug| Err(format!("{user}: {what:?}"));
    match (number / USERS) % 5 {
        0 => {
            let told = entity.connections(Freshness::Now).await.map_err(|error| format!("{user}: {error}"))?;
            let ids: Vec<&str> =
                told.connections.iter().filter(|one| one.app == slack()).map(|one| one.account_id.as_str()).collect();
            if ids != [own.as_str()] {
                return wrong(&told);
            }
        }
        1 => {
            let gate = entity.gate(&[slack()], Freshness::Now).await.map_err(|error| format!("{user}: {error}"))?;
            match &gate.apps[0].decision {
                Decision::Allowed { accounts } if accounts.len() == 1 && accounts[0].account.as_str() == own => {}
                _ => return wrong(&gate),
            }
        }
        2 => {
            let executed = entity.execute(&call()).await.map_err(|error| format!("{user}: {error}"))?;
            let Executed::Done { answer, .. } = &executed else { return wrong(&executed) };
            let answer: Value = serde_json::from_str(answer.get()).map_err(|error| error.to_string())?;
            if answer["data"]["ran_as"] != user.as_str() || answer["data"]["connected_account_id"] != own.as_str() {
                return wrong(&answer);
            }
        }
        3 => {
            let initiate = Initiate::new(Toolkit::new("gmail"), None);
            entity.initiate_connection(&initiate).await.map_err(|error| format!("{user}: {error}"))?;
        }
        _ => {
            let account = entity.account(&own.as_str().into()).await.map_err(|error| format!("{user}: {error}"))?;
            if account.id.as_str() != own {
                return wrong(&account);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_calls_for_a_thousand_users_at_once_none_crosses() {
    let url = postgres::database().await;
    let folder = tempfile::tempdir().expect("a folder");
    // All of them wait for ten connections to one database at the same time: that takes as long as it takes.
    let bench = Bench::on(options(), url, folder, std::time::Duration::from_secs(300)).await;
    let connecting = futures::stream::iter(0..USERS).map(|user| {
        let bench = &bench;
        async move {
            let user = name(user);
            let initiate = Initiate::new(slack(), None);
            let initiated = bench.entity(&user).initiate_connection(&initiate).await.expect("a link");
            bench.follow(&initiated, "granted").await;
            (user, initiated.link.account.to_string())
        }
    });
    // The clock moves a second with each link that is followed; links live ten minutes.
    let accounts: BTreeMap<String, String> = connecting.buffer_unordered(16).collect().await;
    assert_eq!(accounts.values().collect::<BTreeSet<_>>().len(), USERS);
    bench.clock.advance(TimeDelta::seconds(1));
    bench.simulator.reset_counters();

    let calls = futures::stream::iter(0..CALLS).map(|number| one(&bench, number, &accounts));
    let failures: Vec<String> =
        calls.buffer_unordered(AT_ONCE).filter_map(|outcome| async move { outcome.err() }).collect().await;
    assert!(failures.is_empty(), "{} of {CALLS}: {:#?}", failures.len(), &failures[..failures.len().min(5)]);

    // What the simulator saw: whoever is named by a request, and whatever account, belong together.
    let owner_of: BTreeMap<&str, &str> =
        accounts.iter().map(|(user, account)| (account.as_str(), user.as_str())).collect();
    let (mut checked, mut crossed) = (0, Vec::new());
    for asked in bench.simulator.asked() {
        let users = asked.users();
        if users.len() > 1 {
            crossed.push(asked.clone());
        }
        if let (Some(account), Some(user)) = (asked.account(), users.first()) {
            checked += 1;
            if owner_of.get(account.as_str()).is_some_and(|owner| owner != user) {
                crossed.push(asked);
            }
        }
    }
    assert!(crossed.is_empty(), "{} crossed: {:#?}", crossed.len(), crossed.first());
    assert_eq!(checked, CALLS / 5, "every tool that ran named its user and its account");
    let executed = bench.simulator.counters().executed_by_account;
    assert!(
        executed.len() == USERS && executed.values().all(|times| *times == 2),
        "each ran as often as it was called"
    );
    assert_eq!(bench.simulator.counters().links_minted, USERS as u64, "ten calls for a link make one");
}

#[tokio::test]
async fn somebody_elses_rows_are_an_error_out_of_every_call_and_never_data() {
    let bench = Bench::start().await;
    let account = bench.connect("ann", "slack").await;
    let ann = bench.entity("ann");
    let gmail = Initiate::new(Toolkit::new("gmail"), None);
    for lies in [
        vec![Lie::OthersList],
        vec![Lie::OthersList, Lie::DropUserId],
        vec![Lie::ForeignRows],
        vec![Lie::IgnoreFilters],
        vec![Lie::IgnoreFilters, Lie::DropUserId],
    ] {
        bench.simulator.set_faults(Faults { lies: lies.iter().copied().collect(), ..Faults::default() });
        bench.tick();
        assert!(ann.connections(Freshness::Now).await.is_err(), "{lies:?}: nothing was known, nothing is told");
        let gate = ann.gate(&[slack()], Freshness::Now).await.expect("answered");
        assert!(matches!(gate.apps[0].decision, Decision::Unknown { why: Unseen::Foreign, .. }), "{lies:?}: {gate:?}");
        let executed = ann.execute(&call()).await.expect("answered");
        assert!(matches!(executed, Executed::Unknown(_)), "{lies:?}: {executed:?}");
        let refused = ann.initiate_connection(&gmail).await;
        assert!(matches!(refused, Err(EntityError::Composio(_))), "{lies:?}: {refused:?}");
    }
    assert_eq!(bench.requests("POST /tools/execute/{id}"), 0, "nothing ran");
    let minted = bench.simulator.counters().links_minted;
    assert_eq!(minted, 1, "nothing was made but the link of the beginning");

    bench.simulator.set_faults(Faults::lie(Lie::OthersAccount));
    assert!(ann.account(&account).await.is_err());
    bench.simulator.set_faults(Faults {
        lies: [Lie::OthersAccount, Lie::DropUserId, Lie::OthersList].into(),
        ..Faults::default()
    });
    assert!(ann.account(&account).await.is_err(), "who does not say whose it is must be on the user's own list");
    bench.simulator.set_faults(Faults::lie(Lie::OthersLink));
    for _ in 0..2 {
        let refused = ann.initiate_connection(&gmail).await;
        assert!(matches!(refused, Err(EntityError::Composio(_))), "a link to somebody else's account: {refused:?}");
    }
    bench.simulator.set_faults(Faults::lie(Lie::OthersTool));
    bench.tick();
    assert!(ann.execute(&call()).await.is_err());
    bench.simulator.set_faults(Faults::default());
    bench.tick();
    let ran = ann.execute(&call()).await.expect("all is well again");
    assert!(matches!(ran, Executed::Done { account: used, .. } if used == account));
}
