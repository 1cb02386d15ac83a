//! The operator's levers: what the guard holds is seen, released or discarded, and all mail is paused and resumed.

use std::process::Output;
use std::time::Duration;

use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::simulator::{Favourite, Mix, PopulationSpec};
use serde_json::Value;

use crate::support::world::{On, World};

const LIMIT: Duration = Duration::from_secs(60);
const USERS: u64 = 50;

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An installation in which one app of everybody has expired at once, and the guard holds it.
async fn tripped() -> (World, String) {
    let favourite = Some(Favourite { app: "slack", percent_of_users: 100 });
    let mix = Mix::only(&["healthy_one"]);
    let population = PopulationSpec { seed: 7, users: USERS, mix, anchor: SystemClock.now(), favourite };
    let mut world = World::of(On::Embedded, population).await;
    world.set("guard.ramp_wait", "3s");
    world.set("keeper.interval", "500ms");
    world.start_worker();
    world.swept().await;
    assert_eq!(code(&world.command(&["guard", "list"])), 0, "nothing is held");
    assert!(world.simulator.expire_app("slack", SystemClock.now()));
    world.swept().await;
    assert_eq!(world.smtp.count(), 0, "nobody is mailed");
    let listed = world.command(&["guard", "list", "--json"]);
    assert_eq!(code(&listed), 2, "{listed:?}");
    let trips = json(&listed);
    let id = trips[0]["id"].as_str().unwrap().to_owned();
    (world, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_holds_is_seen_and_released_in_two_steps_while_a_pause_stops_all() {
    let (world, id) = tripped().await;
    let held = json(&world.command(&["guard", "show", &id, "--json"]));
    assert_eq!((&held["held"], &held["users"]), (&Value::from(USERS), &Value::from(USERS)), "{held}");
    let shown = world.command(&["guard", "show", &id[..18]]);
    let page = out(&shown);
    assert!(code(&shown) == 0 && page.contains("50 of 50 connections broke (100%)"), "{page}");
    assert!(page.contains("EXPIRED") && page.contains("guard release"), "{page}");
    let user = held["sample"][0][0].as_str().unwrap();
    let why = json(&world.command(&["explain", user, "--json"]));
    assert_eq!(why["gist"], "held", "{why}");
    assert!(why["headline"].as_str().unwrap().contains("50 of 50 connections (100%)"), "{why}");
    let status = out(&world.command(&["status"]));
    assert!(
        status.contains("Held by the outage guard") && status.contains("50 connections of 50 users held"),
        "{status}"
    );

    let unknown = world.command(&["guard", "release", "ffff"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("there is no trip \"ffff\"") && err(&unknown).contains(&id), "{unknown:?}");

    assert_eq!(code(&world.command(&["pause", "--note", "wrong page"])), 0);
    let paused = out(&world.command(&["status"]));
    assert!(paused.starts_with("Paused: no mail leaves since") && paused.contains("(wrong page)"), "{paused}");
    let released = world.command(&["guard", "release", &id, "--by", "ann"]);
    assert_eq!(code(&released), 0, "{released:?}");
    assert!(out(&released).starts_with("20 users released"), "{released:?}");
    assert!(out(&released).contains("the rest, 30 users, follows"), "{released:?}");
    let why = json(&world.command(&["explain", user, "--json"]));
    assert!(why["outlook"]["text"].as_str().unwrap().starts_with("All mails are paused since"), "{why}");
    assert_eq!(world.smtp.count(), 0, "nothing leaves while it is paused");

    assert!(out(&world.command(&["resume"])).starts_with("mails leave again"));
    assert_eq!(out(&world.command(&["resume"])), "mails were not paused\n");
    world.until("everybody is mailed", LIMIT, || async { (world.smtp.count() as u64 >= USERS).then_some(()) }).await;
    world.until_settled().await;
    assert_eq!(world.smtp.count() as u64, USERS, "each of them once");
    let over = json(&world.command(&["guard", "list", "--all", "--json"]));
    assert_eq!(over[0]["ended"][1], "ann", "{over}");
    let again = world.command(&["guard", "release", &id]);
    assert!(code(&again) == 1 && err(&again).contains("is over: released"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_holds_is_discarded_only_with_yes_and_then_for_ever() {
    let (world, id) = tripped().await;
    let asked = world.command(&["guard", "discard", &id]);
    assert_eq!(code(&asked), 64);
    assert!(err(&asked).contains("nothing was done: 50 users would never be mailed about 50 connections"), "{asked:?}");
    let done = world.command(&["guard", "discard", &id, "--yes"]);
    assert_eq!((code(&done), out(&done).as_str()), (0, "50 connections discarded: nobody is mailed about them\n"));
    assert_eq!(out(&world.command(&["guard", "list"])), "the guard holds nothing\n");
    world.swept().await;
    assert_eq!(world.smtp.count(), 0);
}
