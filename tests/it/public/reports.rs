//! Did it work: clicks and reconnections by app, stage and template, on the command line.

use serde_json::Value;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_who_pressed_the_button_and_who_came_back() {
    let site = Site::mailed(3, &["expired_permanent"]).await;
    let mails = site.mails();
    let letters: Vec<&Letter> = mails.values().collect();
    let users: Vec<&UserId> = mails.keys().collect();
    // One reconnects by the button, one presses it and goes away, one reconnects in the app.
    let link = site.post(letters[0].button()).await.location();
    let back = site.consent(&link, "granted").await;
    site.outcome(&back).await;
    site.ended(users[0], Duration::from_secs(5)).await;
    site.post(letters[1].button()).await;
    site.world.simulator.heal_user(users[2]);
    site.world.swept().await;

    let ran = site.world.command(&["report", "reconnects", "--json"]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let rows = report["reconnects"].as_array().expect("rows");
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("mailed"), sum("clicked")), (3, 2));
    assert!(rows.iter().all(|row| row["stage"] == 0
        && row["template"].as_str().is_some_and(|name| name.starts_with("en-") || name.starts_with("de-"))));
    assert!(rows.iter().all(|row| row["within"][0]["of"] == 0), "none is a day old: {report}");
    let coverage = report["coverage"].as_array().expect("rows");
    assert_eq!(coverage.iter().map(|row| row["missed"].as_u64().expect("a number")).sum::<u64>(), 3, "no event told");
    let ran = site.world.command(&["report", "reconnects"]);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("first mail") && text.contains("too early") && text.contains("clicked"), "{text}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no event of Composio"), "{ran:?}");
    let none = site.world.command(&["report", "reconnects", "--since", "0s"]);
    assert!(String::from_utf8_lossy(&none.stdout).contains("no mail has left since"), "{none:?}");
}
