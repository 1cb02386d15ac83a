//! The button of a mail, and the way back: what is minted, what is shown, and to whom.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::incident::Resolution;
use connection_auditor::domain::token::{Grant, Subject};
use connection_auditor::simulator::{Faults, KeyState, Lie};
use reqwest::StatusCode;

use super::*;

const BROKEN: &[&str] = &["expired_permanent"];

#[tokio::test(flavor = "multi_thread")]
async fn the_button_leads_to_one_link_however_often_it_is_pressed_and_the_way_back_ends_the_incident() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    let page = site.get(mail.button()).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.heading().starts_with("Reconnect ") && page.text.contains("<form method=\"post\">"), "{}", page.text);
    assert_eq!(site.world.simulator.counters().links_minted, 0, "nobody asked for one yet");

    let pressed = futures::future::join_all((0..6).map(|_| site.post(mail.button()))).await;
    let links: BTreeSet<String> = pressed.iter().map(Page::location).collect();
    assert!(pressed.iter().all(|page| page.status == StatusCode::SEE_OTHER));
    assert_eq!((links.len(), site.world.simulator.counters().links_minted), (1, 1), "{links:?}");
    assert_eq!(site.post(mail.button()).await.location(), *links.first().expect("a link"), "it is given out again");

    let back = site.consent(links.first().expect("a link"), "granted").await;
    assert!(back.starts_with(&format!("{}/c/", site.url)), "{back}");
    let came_back = std::time::Instant::now();
    let clean = site.get(&back).await;
    assert_eq!(clean.status, StatusCode::SEE_OTHER);
    assert_eq!(site.ended(&user, Duration::from_secs(5)).await, Resolution::Reconnected);
    assert!(came_back.elapsed() < Duration::from_secs(5), "{:?}", came_back.elapsed());
    let page = site.outcome(&back).await;
    assert!(page.heading().ends_with(" is connected") && page.text.contains("works again"), "{}", page.text);

    // The same button again: there is nothing to do, and nothing is minted.
    for page in [site.get(mail.button()).await, site.post(mail.button()).await] {
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains("there is nothing to do"), "{}", page.text);
    }
    assert_eq!(site.world.simulator.counters().links_minted, 1);
    let clicks = site.world.store.trail(&user, 9).await.expect("read").clicks;
    assert_eq!(clicks.len(), 1);
    assert_eq!((clicks[0].incident, clicks[0].clicks), (Site::subject(mail.button()).incident, 7));
    assert_eq!(site.world.simulator.counters().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_scanners_that_open_every_link_change_nothing_and_mint_nothing() {
    let site = Site::mailed(3, &["expired_permanent", "different_aliases"]).await;
    let letters = site.mails();
    assert_eq!(letters.len(), 3);
    let links: Vec<String> =
        letters.values().flat_map(|mail| mail.buttons.iter().chain([&mail.stop])).cloned().collect();
    let (stored, counters) = (site.stored().await, site.world.simulator.counters());
    let mut served = 0;
    for round in 0..200 {
        let address = format!("198.51.{}.{}", round / 100, round % 100);
        for link in &links {
            let page = site.get_from(link, &address).await;
            assert!(matches!(page.status.as_u16(), 200 | 429), "{}: {}", page.status, page.text);
            served += u32::from(page.status == StatusCode::OK);
        }
    }
    assert!(served >= 20 * u32::try_from(links.len()).expect("few"), "most were served, not only refused: {served}");
    assert_eq!(site.stored().await, stored);
    assert_eq!(site.world.simulator.counters(), counters);
    assert_eq!(counters.links_minted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_what_it_was_made_for_and_for_as_long() {
    let site = Site::mailed(1, BROKEN).await;
    let (_, mail) = site.mail();
    let subject = Site::subject(mail.button());
    let now = SystemClock.now();
    let later = now + TimeDelta::days(1);
    let keys = Site::keys();
    let reconnect = keys.sign(Grant::Reconnect(subject), later);
    let outcome = keys.sign(Grant::Outcome(subject), later);
    let stop = keys.sign(Grant::Unsubscribe(subject.mail), later);
    for (page, right) in [("r", &reconnect), ("c", &outcome), ("u", &stop)] {
        assert_eq!(site.get(&site.page(page, right)).await.status, StatusCode::OK, "/{page}");
        for wrong in [&reconnect, &outcome, &stop].into_iter().filter(|token| *token != right) {
            assert_eq!(site.get(&site.page(page, wrong)).await.status, StatusCode::NOT_FOUND, "/{page}");
            assert_eq!(site.post_form(&site.page(page, wrong), "do=stop").await.status, StatusCode::NOT_FOUND);
        }
        let bent: String = right.chars().rev().collect();
        for nonsense in [bent.as_str(), "x", "..%2f..%2fetc", &"A".repeat(80), &"A".repeat(4_000)] {
            assert_eq!(site.get(&site.page(page, nonsense)).await.status, StatusCode::NOT_FOUND, "/{page} {nonsense}");
        }
    }
    let over = now - TimeDelta::seconds(1);
    for (page, grant) in
        [("r", Grant::Reconnect(subject)), ("c", Grant::Outcome(subject)), ("u", Grant::Unsubscribe(subject.mail))]
    {
        let expired = site.get(&site.page(page, &keys.sign(grant, over))).await;
        assert_eq!((expired.status, expired.heading()), (StatusCode::GONE, "This link has expired"), "/{page}");
        let pressed = site.post_form(&site.page(page, &keys.sign(grant, over)), "List-Unsubscribe=One-Click").await;
        assert_eq!(pressed.status, StatusCode::GONE);
    }
    let unknown = keys.sign(Grant::Reconnect(nobody()), later);
    assert_eq!(site.post(&site.page("r", &unknown)).await.status, StatusCode::GONE, "nothing is kept of it");
    let other = Keyring::new(&[SecretString::from("a key of another installation, as long")]).expect("a key");
    let foreign = other.sign(Grant::Reconnect(subject), later);
    assert_eq!(site.post(&site.page("r", &foreign)).await.status, StatusCode::NOT_FOUND);
    let older = Keyring::new(&[SecretString::from(KEYS[1])]).expect("a key").sign(Grant::Reconnect(subject), later);
    assert_eq!(site.get(&site.page("r", &older)).await.status, StatusCode::OK, "the older key is still believed");
    assert_eq!(site.world.simulator.counters().links_minted, 0);
    assert_eq!(site.world.store.suppressions(9, now).await.expect("listed"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_user_touches_and_shows_nothing_of_another() {
    let site = Site::set_up(2, BROKEN, |world| world.set("policy.min_interval", "0s")).await;
    site.world.swept().await;
    let mut mails = site.mails();
    let (ann, letter) = mails.pop_first().expect("one");
    let (bob, other) = mails.pop_first().expect("and another");
    let (one, two) = (Site::subject(letter.button()), Site::subject(other.button()));
    let before = site.world.store.trail(&bob, 99).await.expect("read");
    site.world.simulator.reset_counters();

    // Whatever mail it names, the connection is that of the incident, and the click is noted only for who got that mail.
    let crossed = site.links().retry(Subject { incident: one.incident, mail: two.mail }, SystemClock.now());
    for url in [letter.button(), crossed.as_str()] {
        let link = site.post(url).await;
        assert_eq!(link.status, StatusCode::SEE_OTHER, "{}", link.text);
        let back = site.consent(&link.location(), "granted").await;
        site.outcome(&back).await;
        if url == letter.button() {
            assert_eq!(site.ended(&ann, Duration::from_secs(5)).await, Resolution::Reconnected);
            site.world.simulator.break_user(&ann);
            site.world.swept().await;
        }
    }
    site.post_form(&letter.stop, "List-Unsubscribe=One-Click").await;
    let counters = site.world.simulator.counters();
    assert_eq!(counters.lists_by_user.get(&bob).copied().unwrap_or_default(), 1, "by the sweep alone");
    let after = site.world.store.trail(&bob, 99).await.expect("read");
    assert_eq!((after.incidents, after.notifications, after.clicks), (before.incidents, before.notifications, vec![]));
    assert_eq!((after.suppressions, after.links), (vec![], vec![]));
    assert_eq!(site.world.store.trail(&ann, 99).await.expect("read").suppressions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_healed_meanwhile_needs_no_link_and_is_over_at_once() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    assert!(site.world.simulator.heal_user(&user));
    assert!(site.get(mail.button()).await.heading().starts_with("Reconnect"), "a page says what is stored");
    let page = site.post(mail.button()).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("there is nothing to do"), "{}", page.text);
    assert_eq!(site.world.simulator.counters().links_minted, 0);
    assert_eq!(site.ended(&user, Duration::from_secs(1)).await, Resolution::Reconnected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_denies_access_is_told_so_and_tries_again_with_a_new_link() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    let first = site.post(mail.button()).await.location();
    let back = site.consent(&first, "denied").await;
    let page = site.outcome(&back).await;
    assert!(page.heading().ends_with("is not connected yet"), "{}", page.text);
    let retry = page.text.split("action=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    let second = site.post(&retry.replace("&#x2f;", "/")).await;
    assert_eq!(second.status, StatusCode::SEE_OTHER, "{}", second.text);
    assert_ne!(second.location(), first, "the first link is used up");
    let back = site.consent(&second.location(), "granted").await;
    assert!(site.outcome(&back).await.heading().ends_with("is connected"));
    assert_eq!(site.ended(&user, Duration::from_secs(5)).await, Resolution::Reconnected);
    assert_eq!(site.world.simulator.counters().links_minted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_as_somebody_else_is_told_so() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    let link = site.post(mail.button()).await.location();
    let back = site.consent(&link, "another").await;
    assert_eq!(site.get(&back).await.status, StatusCode::SEE_OTHER);
    site.ended(&user, Duration::from_secs(5)).await;
    let page = site.outcome(&back).await;
    assert!(page.heading().ends_with("is connected") && page.text.contains("another"), "{}", page.text);
    let said = page.text.split("</style>").nth(1).expect("a body");
    assert!(!said.contains('@'), "as whom is nobody's business: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_is_taken_is_left_out_and_the_connection_takes_its_place_all_the_same() {
    let site = Site::mailed(1, &["different_aliases"]).await;
    let (user, mail) = site.mail();
    let lies = [Lie::AliasTaken].into();
    site.world.simulator.set_faults(Faults { lies, ..Faults::default() });
    let link = site.post(mail.button()).await;
    assert_eq!(link.status, StatusCode::SEE_OTHER, "{}", link.text);
    let back = site.consent(&link.location(), "granted").await;
    assert!(site.outcome(&back).await.heading().ends_with("is connected"));
    assert_eq!(site.ended(&user, Duration::from_secs(5)).await, Resolution::Reconnected);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_composio_is_away_the_page_says_so_and_nothing_is_decided() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    site.world.simulator.set_faults(Faults { key: KeyState::Unknown, ..Faults::default() });
    let page = site.post(mail.button()).await;
    assert_eq!((page.status, page.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    assert!(page.heading().contains("try again"), "{}", page.text);
    assert!(site.incidents(&user).await[0].resolved.is_none());
    // It may read, and may not mint.
    site.world.simulator.set_faults(Faults { key: KeyState::ReadOnly, ..Faults::default() });
    assert_eq!(site.post(mail.button()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    site.world.simulator.set_faults(Faults::default());
    assert_eq!(site.post(mail.button()).await.status, StatusCode::SEE_OTHER, "what was refused can be asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_from_the_app_or_was_erased_gets_no_link() {
    let site = Site::mailed(2, BROKEN).await;
    let mails = site.mails();
    let mut database = SqliteConnection::connect(site.world.setting("database.url")).await.expect("the file opens");
    let ((gone, letter), (erased, other)) = {
        let mut both = mails.into_iter();
        (both.next().expect("one"), both.next().expect("and another"))
    };
    let deleted =
        sqlx::query("DELETE FROM auditor_users WHERE id = $1").bind(gone.as_str()).execute(&mut database).await;
    assert_eq!(deleted.expect("deleted").rows_affected(), 1);
    let page = site.post(letter.button()).await;
    assert_eq!((page.status, page.heading()), (StatusCode::GONE, "Nothing to do"));
    site.world.store.erase(&erased, None).await.expect("erased");
    for page in [
        site.get(other.button()).await,
        site.post(other.button()).await,
        site.get(&other.stop).await,
        site.post_form(&other.stop, "List-Unsubscribe=One-Click").await,
    ] {
        assert_eq!((page.status, page.heading()), (StatusCode::GONE, "Nothing is left to do here"));
    }
    assert_eq!(site.world.simulator.counters().links_minted, 0);
    assert_eq!(site.world.store.trail(&erased, 9).await.expect("read").suppressions, [], "nothing is kept anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_does_nothing() {
    let site = Site::mailed(1, BROKEN).await;
    let (_, mail) = site.mail();
    for headers in [&[("sec-fetch-site", "cross-site")][..], &[("origin", "https://evil.example")]] {
        let page = site.post_with(mail.button(), "", headers).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text);
        assert_eq!(site.post_with(&mail.stop, "do=stop", headers).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(site.world.simulator.counters().links_minted, 0);
    assert_eq!(site.world.store.suppressions(9, SystemClock.now()).await.expect("listed"), []);
    let own = [("sec-fetch-site", "same-origin"), ("origin", "null")];
    assert_eq!(site.post_with(mail.button(), "", &own).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_often_is_asked_to_wait() {
    let site = Site::mailed(1, BROKEN).await;
    let (_, mail) = site.mail();
    let mut last = site.get_from(mail.button(), "198.51.100.7").await;
    for _ in 0..200 {
        last = site.get_from(mail.button(), "198.51.100.7").await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(last.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    let other = site.page("r", &"A".repeat(80));
    assert_eq!(site.get_from(&other, "198.51.100.7").await.status, StatusCode::TOO_MANY_REQUESTS, "by address");
    assert_eq!(site.get_from(&other, "198.51.100.8").await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get_from(mail.button(), "198.51.100.8").await.status, StatusCode::TOO_MANY_REQUESTS, "by token");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_kept_from_harm_speaks_the_readers_language_and_names_nobody() {
    let site = Site::mailed(1, BROKEN).await;
    let (user, mail) = site.mail();
    let address = site.world.smtp.received()[0].to[0].clone();
    let now = SystemClock.now();
    let expired = Site::keys().sign(Site::grant(mail.button()), now - TimeDelta::days(1));
    let outcome = site.links().outcome(Site::subject(mail.button()), now);
    let pages = [
        mail.button().to_owned(),
        mail.stop.clone(),
        outcome.to_string(),
        site.page("r", &expired),
        site.page("u", "nonsense"),
    ];
    for url in &pages {
        let page = site.get(url).await;
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-robots-tag", "noindex, nofollow, noarchive"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(page.header(name), value, "{name} of {url}");
        }
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(page.header("set-cookie").is_empty());
        for secret in [user.as_str(), address.as_str(), "<script", "src=", "http://"] {
            let text = page.text.replace(&site.url, "");
            assert!(!text.contains(secret), "{secret:?} on {url}: {text}");
        }
        let german = site.client.get(url).header("accept-language", "de-AT,de;q=0.9").send().await;
        let german = german.expect("it answers").text().await.expect("a body");
        assert!(german.contains("<html lang=\"de\">"), "{german}");
    }
    let logs = site.world.logs();
    let token = mail.button().rsplit('/').next().expect("a token");
    assert!(logs.contains("/r/{token}") && !logs.contains(token), "a token is in no log");
    assert!(!logs.contains(&address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_can_be_stopped_by_one_click_as_rfc_8058_says() {
    let site = Site::set_up(1, BROKEN, |world| {
        // As it is behind a proxy that brings TLS.
        world.set("http.public.url", "https://connections.acme.example/mail/");
        world.set("notify.reconnect_url", "");
    })
    .await;
    site.world.swept().await;
    let (user, mail) = site.mail();
    let begin = "https://connections.acme.example/mail/";
    assert!(mail.button().starts_with(&format!("{begin}r/")), "{}", mail.button());
    let header = mail.list_unsubscribe.expect("the header").replace(['\r', '\n', ' ', '\t'], "");
    assert_eq!(header, format!("<{}>", mail.stop));
    assert_eq!(mail.post.as_deref(), Some("List-Unsubscribe=One-Click"));
    // The proxy takes its prefix away.
    let inside = mail.stop.replace(begin, &format!("{}/", site.url));
    let answer = site.post_form(&inside, "List-Unsubscribe=One-Click").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::OK, ""), "it may not redirect");
    let stopped = site.world.store.suppressions_of(&user, None, SystemClock.now()).await.expect("read");
    assert_eq!(stopped.len(), 1);
    assert_eq!((stopped[0].toolkit.clone(), stopped[0].until, stopped[0].source.as_str()), (None, None, "unsubscribe"));
}
