//! The whole way in a real browser: from the mail to "connected". Every page is looked at in pictures, which are kept in the
//! target folder (`target/tmp/pages`).

use chrono::TimeDelta;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::SuppressionId;
use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::suppression::{Suppression, SuppressionKind, Whom};
use connection_auditor::domain::token::Grant;
use fantoccini::Locator;

use super::*;
use crate::support::browser::{Browser, Look};

/// The mail as a program would show it, from a file.
fn mail_file(letter: &Letter) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mail.html");
    std::fs::write(&path, &letter.html).expect("it is written");
    let url = format!("file://{}", path.display());
    (folder, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_mail_to_connected_in_a_browser_and_no_reminder_follows() {
    let site = Site::set_up(1, &["expired_permanent"], |world| {
        world.set("policy.reminders", "4s,8s");
        world.set("policy.min_interval", "0s");
    })
    .await;
    site.world.swept().await;
    let (user, letter) = site.mail();
    let browser = Browser::open(Look::WIDE).await;
    let (_folder, mail) = mail_file(&letter);
    browser.go(&mail).await;
    let app = site.get(letter.button()).await.heading().trim_start_matches("Reconnect ").to_owned();
    // The mail is in the language of its reader, the page in that of the browser.
    browser.follow(letter.button()).await;
    browser.heading(&format!("Reconnect {app}")).await;
    assert_eq!(site.world.simulator.counters().links_minted, 0);
    browser.press(&format!("Reconnect {app}")).await;
    browser.heading(&format!("Connect {app}")).await;
    let consent = browser.client.current_url().await.expect("a URL");
    assert!(consent.as_str().starts_with(&format!("{}/link/", site.world.simulator.url())), "{consent}");
    let pressed = std::time::Instant::now();
    browser.press("Allow").await;
    browser.heading(&format!("{app} is connected")).await;
    assert_eq!(site.ended(&user, Duration::from_secs(5)).await, Resolution::Reconnected);
    assert!(pressed.elapsed() < Duration::from_secs(10), "{:?}", pressed.elapsed());
    let here = browser.client.current_url().await.expect("a URL");
    assert!(here.as_str().starts_with(&format!("{}/c/", site.url)) && !here.as_str().contains("status"), "{here}");
    let (_, resolved) = site.incidents(&user).await[0].resolved.map(|(at, how)| (how, at)).expect("it has ended");
    let opened = site.world.store.trail(&user, 9).await.expect("read");
    assert!(opened.clicks.len() == 1 && resolved >= opened.clicks[0].at);
    browser.close().await;

    // Long after the reminders would have been due, nothing else was sent.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(site.world.smtp.count(), 1);
    assert_eq!(site.world.simulator.counters().links_minted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_narrow_and_wide_windows_light_and_dark() {
    let site = Site::mailed(2, &["broken_in_two_apps"]).await;
    let mails = site.mails();
    let (user, letter) = mails.first_key_value().expect("a mail");
    let (_, other) = mails.last_key_value().expect("another");
    let now = SystemClock.now();
    let subject = Site::subject(letter.button());
    let outcome = site.links().outcome(subject, now).to_string();
    let expired = site.page("r", &Site::keys().sign(Grant::Reconnect(subject), now - TimeDelta::days(1)));
    let forgotten = site.page("r", &Site::keys().sign(Grant::Reconnect(nobody()), now + TimeDelta::days(1)));
    let connected = {
        let link = site.post(other.button()).await.location();
        let back = site.consent(&link, "another").await;
        site.outcome(&back).await;
        back.split('?').next().expect("a URL").to_owned()
    };
    let looks = [false, true].into_iter().flat_map(|narrow| [false, true].map(|dark| (narrow, dark)));
    for (narrow, dark) in looks {
        let browser = Browser::open(Look { narrow, dark, language: if dark { "de" } else { "en" } }).await;
        let visit = async |name: &str, url: &str| {
            browser.go(url).await;
            browser.client.wait().for_element(Locator::Css("h1")).await.expect("a heading");
            browser.picture(name).await;
            assert!(!browser.overflows().await, "{name} is wider than a window (narrow: {narrow})");
        };
        visit("reconnect", letter.button()).await;
        visit("stop", &letter.stop).await;
        visit("broken", &outcome).await;
        visit("connected-as-another", &connected).await;
        visit("works", other.button()).await;
        visit("expired", &expired).await;
        visit("unknown", &site.page("r", "cut-off")).await;
        visit("forgotten", &forgotten).await;
        site.world.store.doubt(user, SystemClock.now()).await.expect("noted");
        visit("looking", &outcome).await;
        visit("still-looking", &format!("{outcome}?n=20")).await;
        site.world.swept().await;
        for (kind, name) in [(SuppressionKind::Snooze, "stop-snoozed"), (SuppressionKind::OptOut, "stopped")] {
            let now = SystemClock.now();
            let wish = Suppression {
                id: SuppressionId(uuid::Uuid::now_v7()),
                whom: Whom::User(user.clone()),
                kind,
                toolkit: None,
                until: (kind == SuppressionKind::Snooze).then(|| now + TimeDelta::days(30)),
                source: "test".to_owned(),
                detail: None,
                created_at: now,
            };
            site.world.store.suppress(&wish).await.expect("kept");
            visit(name, &letter.stop).await;
            site.world.store.lift(&wish.whom, Some(kind), None, SystemClock.now()).await.expect("lifted");
        }
        browser.close().await;
    }
}
