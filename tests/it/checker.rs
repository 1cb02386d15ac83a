//! What an API that misbehaves can and cannot do: it can stop an audit, never make one wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use connection_auditor::domain::id::SweepId;
use connection_auditor::domain::sweep::{Sweep, SweepState};
use connection_auditor::simulator::{Faults, KeyState, Lie, Mix};

use crate::support::world::{On, World};

async fn world() -> World {
    let mut world = World::new(On::Embedded, 300).await;
    world.impatient();
    world
}

async fn paused(world: &World, id: SweepId) -> Sweep {
    world
        .until("the sweep pauses", Duration::from_secs(60), || async {
            world.store.sweep(id).await.ok()?.filter(|sweep| sweep.state == SweepState::Paused)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_pauses_the_sweep_and_a_good_one_resumes_it() {
    let mut world = World::new(On::Embedded, 3_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 12);
    world.set("composio.reserved_in_flight", 2);
    world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 500).await;
    world.simulator.set_faults(Faults::key(KeyState::Expired));
    let sweep = paused(&world, id).await;
    let note = sweep.note.expect("it says why");
    assert!(note.contains("401") && note.contains("composio.api_key"), "{note}");
    world.simulator.set_faults(Faults::default());
    let sweep = world.settled(id, Duration::from_secs(120)).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_filters_are_ignored_nothing_is_audited() {
    let mut world = world().await;
    world.simulator.set_faults(Faults::lie(Lie::IgnoreFilters));
    world.start_worker();
    let id = world.sweep_now().await;
    let sweep = paused(&world, id).await;
    assert!(sweep.note.is_some_and(|note| note.contains("ignores filters")));
    assert_eq!((sweep.tally.users_done(), world.smtp.count()), (0, 0));
    world.simulator.set_faults(Faults::default());
    world.settled(id, Duration::from_secs(60)).await;
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_are_ignored_on_the_day_on_which_rows_lose_their_owner_mail_nobody() {
    let mut world = world().await;
    world
        .simulator
        .set_faults(Faults { lies: BTreeSet::from([Lie::IgnoreFilters, Lie::DropUserId]), ..Faults::default() });
    world.start_worker();
    let users: Vec<String> = world.simulator.users().take(20).map(|user| user.id.to_string()).collect();
    let mut arguments = vec!["check"];
    arguments.extend(users.iter().map(String::as_str).filter(|user| !user.contains(',')));
    assert_eq!(world.command(&arguments).status.code(), Some(0));
    world
        .until("the re-audit is put off", Duration::from_secs(30), || async {
            world.logs().contains("check.postponed").then_some(())
        })
        .await;
    assert!(world.store.open_incidents().await.expect("they are counted").is_empty());
    assert_eq!(world.smtp.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_longer_say_whose_they_are_still_belong_to_the_one_user_asked_for() {
    let mut world = world().await;
    world.set("check.retry.max_attempts", 2);
    world.simulator.set_faults(Faults::lie(Lie::DropUserId));
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!(sweep.state, SweepState::Completed);
    // A SHARED account that does not say whose it is leaves a doubt, and a doubt is no verdict.
    let doubted: BTreeSet<_> = world
        .simulator
        .users()
        .filter(|user| {
            world.simulator.population().persona_of(&user.id).is_some_and(|kind| kind.name.contains("shared"))
        })
        .map(|user| user.id)
        .collect();
    assert!(sweep.tally.given_up > 0 && sweep.tally.given_up <= doubted.len() as u64, "{}", sweep.tally.given_up);
    let mailed: BTreeSet<_> = world.mails(0).into_iter().map(|mail| mail.to).collect();
    let due: BTreeSet<_> = world.simulator.truth().mailed.into_keys().collect();
    assert!(mailed.is_subset(&due), "wrongly mailed: {:?}", mailed.difference(&due));
    assert!(due.difference(&mailed).all(|user| doubted.contains(user)), "not mailed: {:?}", due.difference(&mailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_row_of_somebody_else_is_not_believed() {
    let mut world = World::new(On::Embedded, 2_000).await;
    world.impatient();
    world.set("composio.max_in_flight", 12);
    world.set("composio.reserved_in_flight", 2);
    world.start_worker();
    let id = world.sweep_now().await;
    world.checked(id, 300).await;
    world.simulator.set_faults(Faults::lie(Lie::ForeignRows));
    paused(&world, id).await;
    let due = world.simulator.truth().mailed;
    for mail in world.mails(0) {
        assert!(due.contains_key(&mail.to), "{:?} was mailed wrongly", mail.to);
        assert!(mail.links.iter().all(|(_, user)| *user == mail.to));
    }
    world.simulator.set_faults(Faults::default());
    let sweep = world.settled(id, Duration::from_secs(120)).await;
    assert_eq!((sweep.state, sweep.tally.given_up), (SweepState::Completed, 0));
    world.assert_mailed_by_the_truth(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_repeat_shift_or_miss_rows_end_as_not_checked_or_right() {
    for lie in
        [Lie::RepeatCursor, Lie::WrongTotal, Lie::TruncateList, Lie::ShiftRows, Lie::DuplicateRows, Lie::AbsentCursor]
    {
        let mut world = world().await;
        world.set("check.retry.max_attempts", 2);
        world.set("sweep.give_up_after", "3s");
        world.simulator.set_faults(Faults::lie(lie));
        world.start_worker();
        world.swept().await;
        let due = world.simulator.truth().mailed;
        for mail in world.mails(0) {
            let apps: Vec<&str> = mail.links.iter().map(|(app, _)| app.as_str()).collect();
            let due: Vec<&str> = due.get(&mail.to).into_iter().flatten().map(|due| due.toolkit.as_str()).collect();
            assert!(
                apps.iter().all(|app| due.contains(app)),
                "{lie:?}: {:?} was mailed about {apps:?}, not {due:?}",
                mail.to
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_status_changes_nothing_and_is_counted() {
    let mut world = World::mixed(On::Embedded, 20, Mix::only(&["unknown_status"])).await;
    world.impatient();
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!((sweep.state, sweep.tally.opened), (SweepState::Completed, 0));
    assert!(sweep.tally.unknown_statuses.values().sum::<u64>() >= 20, "{:?}", sweep.tally.unknown_statuses);
    assert_eq!(world.smtp.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_vanish_close_their_incident_as_removed() {
    let mut world = World::mixed(On::Embedded, 5, Mix::only(&["expired_permanent"])).await;
    world.impatient();
    world.start_worker();
    let sweep = world.swept().await;
    assert_eq!(sweep.tally.opened, 5);
    let user = world.simulator.truth().mailed.into_iter().next().expect("five are due");
    let account = user.1.into_iter().next().expect("one thing each").account;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().build().expect("a client");
    let url = format!("{}/api/v3.1/connected_accounts/{account}", world.simulator.url());
    let deleted = client.delete(url).header("x-api-key", world.simulator.api_key()).send().await.expect("an answer");
    assert!(deleted.status().is_success());
    let second = world.swept().await;
    assert_eq!((second.tally.opened, second.tally.closed), (0, 1));
    assert_eq!(world.smtp.count(), 5);
}
