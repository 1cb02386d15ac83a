//! `explain` over a real sweep of every kind of user that the simulator has.

use std::process::Output;

use connection_auditor::domain::id::UserId;
use connection_auditor::domain::notification::NotificationState;
use connection_auditor::simulator::{Mix, Persona, personas};
use serde_json::Value;

use super::{Place, keys};
use crate::support::world::{On, World};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn text(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn story(world: &World, user: &str) -> Value {
    let output = world.command(&["explain", "--json", "--", user]);
    assert_eq!(code(&output), 0, "{output:?}");
    serde_json::from_str(&text(&output)).unwrap()
}

/// What is to be said of a user who is not mailed, by hand; a persona that is not named here is healthy.
fn said_of_silent(persona: &Persona) -> &'static str {
    match persona.name {
        "no_accounts" => "no_connections",
        "many_accounts_healthy" => "unfinished",
        "different_alias_beside_none" => "superseded",
        "expired_by_user"
        | "failed_by_user"
        | "expired_then_inactive"
        | "expired_then_revoked"
        | "expired_then_disabled" => "by_choice",
        name if name.contains("auth_config_disabled") || name.contains("disabled_auth_config") => "operator_fault",
        name if name.starts_with("unfinished") => "unfinished",
        name if name.starts_with("superseded") => "superseded",
        name if name.starts_with("unknown") => "unknown",
        name if ["inactive", "disabled", "revoked"].iter().any(|chosen| name.starts_with(chosen)) => "by_choice",
        _ => "healthy",
    }
}

fn expected(world: &World, user: &UserId, persona: &Persona) -> &'static str {
    let truth = world.simulator.truth();
    match () {
        () if truth.unaskable.contains(user) => "not_read",
        () if truth.unreachable.contains(user) => "unreachable",
        () if truth.mailed.contains_key(user) => "mailed",
        () => said_of_silent(persona),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_user_is_explained_after_a_sweep() {
    let kinds = personas().count() as u64;
    let mut world = World::mixed(On::Embedded, kinds, Mix::default()).await;
    // Of one user of each kind far too many are broken: that is not what this is about.
    world.set("guard.min_incidents", 10_000);
    world.set("schedules.daily.cron", "0 9 * * *");
    world.start_worker();
    world.swept().await;
    world.assert_mailed_by_the_truth(0);

    let mut wrong = Vec::new();
    // A user with a comma in the id, or with an address that is none, is not imported.
    let imported = |email: Option<&str>| email.is_none_or(|email| email.contains('@'));
    let users = world.simulator.users().filter(|user| !user.id.as_str().contains(','));
    for user in users.filter(|user| imported(user.email.as_deref())) {
        let persona = world.simulator.population().persona_of(&user.id).expect("everybody has one");
        let story = story(&world, user.id.as_str());
        let right = expected(&world, &user.id, persona);
        let email = user.email.filter(|email| email.contains('@') && *email != user.id.as_str());
        let shown = story.to_string();
        assert!(email.is_none_or(|email| !shown.contains(&email)), "an address is shown: {shown}");
        if story["gist"] != right {
            wrong.push(format!("{}: {} instead of {right}: {}", persona.name, story["gist"], story["headline"]));
        }
        match right {
            "mailed" => assert!(shown.contains("\"message_id\":\"<"), "{shown}"),
            _ => assert!(story["outlook"]["mail_at"].is_null(), "{}: {shown}", persona.name),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let nobody = world.command(&["explain", "nobody"]);
    assert_eq!(code(&nobody), 2);
    let nobody = text(&nobody);
    assert!(nobody.contains("Never checked. The app has no such user"), "{nobody}");
    assert!(nobody.contains("The next sweep is due on"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_reconnects_is_followed_through_mail_and_recovery() {
    let mut world = World::mixed(On::Servers, 6, Mix::only(&["expired_permanent"])).await;
    world.set("schedules.daily.cron", "0 9 * * *");
    world.start_worker();
    world.swept().await;
    let user = world.mails(0).first().expect("somebody was mailed").to.clone();
    let before = story(&world, user.as_str());
    assert_eq!(before["gist"], "mailed");
    let reminder = before["outlook"]["mail_at"].as_str().expect("a reminder is to come").to_owned();
    let sent = before["timeline"].as_array().unwrap().iter().find(|event| event["state"] == "sent").unwrap();
    let sent: chrono::DateTime<chrono::Utc> = sent["at"].as_str().unwrap().parse().unwrap();
    let reminder: chrono::DateTime<chrono::Utc> = reminder.parse().unwrap();
    // The ladder counts from when the mail was handed over, which is a moment before the server took it.
    assert!((reminder - sent - chrono::TimeDelta::days(3)).abs() < chrono::TimeDelta::seconds(30), "{before}");

    assert!(world.simulator.heal_user(&user));
    world.swept().await;
    let after = story(&world, user.as_str());
    assert_eq!((&after["gist"], &after["outlook"]["mail_at"]), (&Value::from("recovered"), &Value::Null), "{after}");
    assert!(after["headline"].as_str().unwrap().starts_with("Mailed about"), "{after}");
    assert_eq!(world.reasons(NotificationState::Sent).await.values().sum::<u64>(), 6);
    for key in keys(&after) {
        let help = Place::new().run(&["explain", "--help"]).out;
        assert!(help.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key), "{key} is not told");
    }
}
