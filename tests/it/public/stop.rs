//! Stopping mails: what each choice stops, and that every choice can be undone.

use chrono::TimeDelta;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::suppression::{Suppression, SuppressionKind};
use reqwest::StatusCode;

use super::*;

impl Site {
    async fn in_force(&self, user: &UserId) -> Vec<Suppression> {
        self.world.store.suppressions_of(user, None, SystemClock.now()).await.expect("read")
    }

    /// Chooses on the page, and returns the page that follows.
    async fn choose(&self, stop: &str, form: &str) -> Page {
        let answer = self.post_form(stop, form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        self.get(url::Url::parse(stop).expect("a URL").join(&answer.location()).expect("a URL").as_str()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_stops_one_app_all_of_them_or_all_for_thirty_days_and_undoes_each() {
    let site = Site::mailed(1, &["broken_in_two_apps"]).await;
    let (user, mail) = site.mail();
    let page = site.get(&mail.stop).await;
    assert_eq!((page.status, page.heading()), (StatusCode::OK, "Emails about your connections"));
    assert_eq!(page.text.matches("You get emails about it").count(), mail.buttons.len(), "{}", page.text);
    let app = page.text.split("name=\"app\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an app");

    let stopped = site.choose(&mail.stop, &format!("do=stop&app={app}")).await;
    assert_eq!(stopped.text.matches("You get no emails about it").count(), 1, "{}", stopped.text);
    let in_force = site.in_force(&user).await;
    assert_eq!(in_force.len(), 1);
    assert_eq!(in_force[0].toolkit.as_ref().map(ToString::to_string).as_deref(), Some(app));
    assert_eq!((in_force[0].kind, in_force[0].until), (SuppressionKind::OptOut, None));
    let undone = site.choose(&mail.stop, &format!("do=resume&app={app}")).await;
    assert!(!undone.text.contains("You get no emails") && site.in_force(&user).await.is_empty(), "{}", undone.text);

    let snoozed = site.choose(&mail.stop, "do=snooze").await;
    assert!(snoozed.text.contains("You get none of these emails until"), "{}", snoozed.text);
    let until = site.in_force(&user).await[0].until.expect("it ends");
    let days = (until - SystemClock.now() + TimeDelta::minutes(1)).num_days();
    assert_eq!((days, site.in_force(&user).await[0].kind), (30, SuppressionKind::Snooze));
    assert!(!site.choose(&mail.stop, "do=wake").await.text.contains("until"));
    assert!(site.in_force(&user).await.is_empty());

    let all = site.choose(&mail.stop, "do=stop").await;
    assert_eq!(all.heading(), "You get no more of these emails");
    assert_eq!(site.in_force(&user).await[0].toolkit, None);
    assert_eq!(site.choose(&mail.stop, "do=resume").await.heading(), "Emails about your connections");
    assert!(site.in_force(&user).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_the_mail_or_no_choice_changes_nothing() {
    let site = Site::mailed(1, &["expired_permanent"]).await;
    let (user, mail) = site.mail();
    for form in ["", "do=stop&app=an-app-of-nobody", "do=sing", "List-Unsubscribe=No", "app=slack"] {
        assert_eq!(site.post_form(&mail.stop, form).await.status, StatusCode::SEE_OTHER, "{form}");
    }
    assert_eq!(site.in_force(&user).await, []);
    // A suppression that the operator made for another reason is not the reader's to lift.
    let bounced = site.world.command(&["suppressions", "add", "--user", user.as_str(), "--until", "5d"]);
    assert_eq!(bounced.status.code(), Some(0), "{bounced:?}");
    site.choose(&mail.stop, "do=resume").await;
    assert_eq!(site.in_force(&user).await.len(), 1, "a pause is ended as a pause alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_clicked_gets_no_mail_about_what_breaks_later() {
    let site = Site::set_up(2, &["expired_permanent"], |world| world.set("policy.min_interval", "0s")).await;
    site.world.swept().await;
    let mails = site.mails();
    let (stopped, letter) = mails.first_key_value().expect("a mail");
    let (other, _) = mails.last_key_value().expect("another");
    assert_eq!(site.post_form(&letter.stop, "List-Unsubscribe=One-Click").await.status, StatusCode::OK);
    for user in [stopped, other] {
        assert!(site.world.simulator.heal_user(user));
    }
    site.world.swept().await;
    for user in [stopped, other] {
        assert!(site.world.simulator.break_user(user));
    }
    site.world.swept().await;
    site.world.until_settled().await;
    let to: Vec<String> = site.world.smtp.received().iter().skip(2).map(|mail| mail.to[0].clone()).collect();
    let address = |user: &UserId| site.world.simulator.users().find(|one| one.id == *user).and_then(|one| one.email);
    assert_eq!(to, [address(other).expect("an address")]);
}
