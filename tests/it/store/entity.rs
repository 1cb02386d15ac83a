//! What one user's handle rests on: what is known and doubted, and links.

use connection_auditor::domain::id::LinkId;
use connection_auditor::domain::link::{InVain, LEAST_LEFT, LIFE, Link, LinkKey, MOST_LOST, Reserved, Wish};
use connection_auditor::domain::port::{Standing, ToolkitName};
use secrecy::ExposeSecret;

use super::*;

fn wish(name: &str, key: &str, now: DateTime<Utc>) -> Wish {
    Wish {
        id: LinkId(Uuid::now_v7()),
        user: user(name),
        key: LinkKey::chosen(key),
        content: LinkKey::derived(&"slack".into(), None, None, None),
        toolkit: "slack".into(),
        auth_config: "ac_1".into(),
        alias: Some("work".into()),
        used_up: None,
        lease: lease(now),
    }
}

fn link_to(account: &str, expires_at: Option<DateTime<Utc>>) -> Link {
    Link { url: format!("https://connect.example/{account}").into(), expires_at, account: account.into() }
}

async fn reserve(db: &Db, wish: &Wish, now: DateTime<Utc>) -> Reserved {
    db.reserve_link(wish, now).await.expect("answered")
}

fn won(reserved: &Reserved) -> LinkId {
    let Reserved::Won(id) = reserved else { panic!("it was not won: {reserved:?}") };
    *id
}

async fn standing(db: &Db, name: &str) -> Standing {
    db.standing(&user(name)).await.expect("read")
}

pub(super) async fn a_standing_holds_what_is_known_of_this_user_alone(db: &Db) {
    assert_eq!(standing(db, "ann").await, Standing::default());
    let name = ToolkitName { name: "Slack".into(), logo: Some("https://logo".into()), read_at: at(0) };
    db.remember_toolkit(&"slack".into(), &name).await.expect("remembered");
    for user in ["ann", "bob"] {
        let changed = vec![account("ca_1", "slack", Status::Active), account("ca_2", "gmail", Status::Expired)];
        let seen = UserRecord { changed, open: vec![incident("gmail")], ..seen(user, None, at(1)) };
        written(db.record(&record_of(vec![seen], at(1))).await.expect("recorded"));
    }
    let known = standing(db, "ann").await;
    let history = db.history(&[user("ann")]).await.expect("read").remove(&user("ann")).expect("known");
    assert_eq!(known.history, history, "the same as an audit decides upon");
    assert_eq!((known.history.accounts.len(), known.history.incidents.len()), (2, 1));
    assert_eq!(known.names, std::collections::HashMap::from([("slack".into(), name)]));
    assert_eq!((known.doubted_at, known.seen().observed_at), (None, Some(at(1))));
}

pub(super) async fn the_newest_doubt_stands_also_of_a_user_who_was_never_seen(db: &Db) {
    for second in [5, 9, 7] {
        db.doubt(&user("ann"), at(second)).await.expect("doubted");
    }
    assert_eq!(standing(db, "ann").await.doubted_at, Some(at(9)));
    assert_eq!(standing(db, "bob").await.doubted_at, None);
    written(db.record(&record_of(vec![seen("ann", None, at(8))], at(8))).await.expect("recorded"));
    assert!(standing(db, "ann").await.seen().is_doubted());
    written(db.record(&record_of(vec![seen("ann", Some(at(8)), at(10))], at(10))).await.expect("recorded"));
    assert!(!standing(db, "ann").await.seen().is_doubted(), "somebody has looked since");
}

pub(super) async fn a_user_has_one_re_check_at_a_time(db: &Db) {
    let first = check(&["ann"]);
    assert!(db.recheck(&user("ann"), &first, at(1)).await.expect("answered"));
    assert_eq!(standing(db, "ann").await.doubted_at, Some(at(1)));
    assert!(!db.recheck(&user("ann"), &check(&["ann"]), at(2)).await.expect("answered"), "one waits");
    assert_eq!(standing(db, "ann").await.doubted_at, Some(at(2)), "but it is doubted all the same");
    assert!(db.recheck(&user("bob"), &check(&["bob"]), at(2)).await.expect("answered"), "each user has their own");
    let (_, held) = claim_check(db, first.id, at(3)).await;
    assert!(!db.recheck(&user("ann"), &check(&["ann"]), at(4)).await.expect("answered"), "one is under way");
    let retry = Check { attempt: 1, ..check(&["ann"]) };
    let failed =
        Record { fence: Some((first.id, held.token)), retries: vec![retry.clone()], ..record_of(vec![], at(5)) };
    written(db.record(&failed).await.expect("recorded"));
    assert!(!db.recheck(&user("ann"), &check(&["ann"]), at(6)).await.expect("answered"), "it is tried again");
    let (_, held) = claim_check(db, retry.id, at(7)).await;
    let done = Record { fence: Some((retry.id, held.token)), ..record_of(vec![seen("ann", None, at(7))], at(7)) };
    written(db.record(&done).await.expect("recorded"));
    assert!(db.recheck(&user("ann"), &check(&["ann"]), at(8)).await.expect("answered"), "it is over");
}

pub(super) async fn of_sixteen_who_ask_for_a_re_check_one_is_heard(db: &Db) {
    let asking = (0..16).map(|_| async { db.recheck(&user("ann"), &check(&["ann"]), at(1)).await.expect("answered") });
    let heard = futures::future::join_all(asking).await.into_iter().filter(|heard| *heard).count();
    assert_eq!(heard, 1);
    assert_eq!(db.unqueued("g", at(9), at(9), 99).await.expect("read").len(), 1, "one check waits");
}

pub(super) async fn of_sixteen_who_wish_for_the_same_link_one_asks(db: &Db) {
    let wishes: Vec<Wish> = (0..16).map(|_| wish("ann", "k", at(0))).collect();
    let answers = futures::future::join_all(wishes.iter().map(|wish| reserve(db, wish, at(0)))).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Reserved::Won(_))).count(), 1);
    let until = wishes[0].lease.until;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Reserved::Won(_)) || matches!(answer, Reserved::Busy(at) if *at == until))
    );
    won(&reserve(db, &wish("bob", "k", at(0)), at(0)).await);
}

pub(super) async fn a_link_that_was_made_is_given_to_all_who_wish_for_it_until_it_expires(db: &Db) {
    let first = wish("ann", "k", at(0));
    let id = won(&reserve(db, &first, at(0)).await);
    assert!(db.keep_link(id, first.lease.token, &link_to("ca_1", None), at(1)).await.expect("kept"));
    let Reserved::Made(kept) = reserve(db, &wish("ann", "k", at(2)), at(2)).await else { panic!("it is made") };
    assert_eq!(kept.expires_at, Some(at(1) + LIFE), "where nobody says so, it lives as long as links do");
    let link = kept.good(at(2)).expect("it can be followed");
    assert_eq!((link.account.as_str(), link.url.expose_secret()), ("ca_1", "https://connect.example/ca_1"));
    let read = db.link(&user("ann"), &first.key).await.expect("read").expect("it is there");
    assert_eq!((read.alias.as_deref(), read.auth_config.as_str(), read.created_at), (Some("work"), "ac_1", at(0)));
    assert!(db.link(&user("bob"), &first.key).await.expect("read").is_none());
    let elsewhere = Wish { content: LinkKey::derived(&"gmail".into(), None, None, None), ..wish("ann", "k", at(2)) };
    assert!(matches!(reserve(db, &elsewhere, at(2)).await, Reserved::Other));
    let used = Wish { used_up: Some("ca_1".into()), ..wish("ann", "k", at(3)) };
    let id = won(&reserve(db, &used, at(3)).await);
    assert!(!db.keep_link(id, first.lease.token, &link_to("ca_x", None), at(3)).await.expect("answered"), "fenced");
    assert!(db.keep_link(id, used.lease.token, &link_to("ca_2", Some(at(700))), at(3)).await.expect("kept"));
    let late = at(700) - LEAST_LEFT;
    assert!(matches!(reserve(db, &wish("ann", "k", late), late - TimeDelta::seconds(1)).await, Reserved::Made(_)));
    won(&reserve(db, &wish("ann", "k", late), late).await);
}

pub(super) async fn a_link_that_may_have_been_made_is_asked_for_a_few_times_and_then_not_for_a_while(db: &Db) {
    let refused = wish("ann", "k", at(0));
    let id = won(&reserve(db, &refused, at(0)).await);
    db.give_up_link(id, refused.lease.token, InVain::Refused, at(0)).await.expect("given up");
    for _ in 0..MOST_LOST {
        let lost = wish("ann", "k", at(1));
        let id = won(&reserve(db, &lost, at(1)).await);
        db.give_up_link(id, lost.lease.token, InVain::Unclear, at(1)).await.expect("given up");
    }
    let Reserved::Lost(until) = reserve(db, &wish("ann", "k", at(2)), at(2)).await else { panic!("no more") };
    assert_eq!(until, at(1) + LIFE);
    won(&reserve(db, &wish("ann", "k", until), until).await);
}

pub(super) async fn a_wish_whose_asker_died_is_free_when_its_lease_lapses_and_counts_as_lost(db: &Db) {
    let mut now = at(0);
    for _ in 0..MOST_LOST {
        won(&reserve(db, &wish("ann", "k", now), now).await);
        assert!(matches!(reserve(db, &wish("ann", "k", now), now).await, Reserved::Busy(_)));
        now = lease(now).until;
    }
    assert!(matches!(reserve(db, &wish("ann", "k", now), now).await, Reserved::Lost(_)));
}

pub(super) async fn where_a_link_led_is_forgotten_when_it_expired_and_the_rest_with_the_users(db: &Db) {
    let first = wish("ann", "k", at(0));
    let id = won(&reserve(db, &first, at(0)).await);
    assert!(db.keep_link(id, first.lease.token, &link_to("ca_1", Some(at(600))), at(0)).await.expect("kept"));
    db.doubt(&user("ann"), at(0)).await.expect("doubted");
    let never = at(-1_000_000);
    let horizon =
        Horizon { sweeps: never, incidents: never, observations: never, users: never, alerts: never, links: at(600) };
    assert_eq!(db.prune(&horizon).await.expect("pruned"), 0, "it can still be followed");
    assert_eq!(db.prune(&Horizon { links: at(601), ..horizon }).await.expect("pruned"), 1);
    let kept = db.link(&user("ann"), &first.key).await.expect("read").expect("its account is still known");
    assert!(kept.url.is_none() && kept.account.is_some());
    assert_eq!(db.prune(&Horizon { users: at(1), links: at(601), ..horizon }).await.expect("pruned"), 2);
    assert!(db.link(&user("ann"), &first.key).await.expect("read").is_none());
}

pub(super) async fn a_trail_tells_of_links_without_where_they_led_and_an_erased_user_has_none(db: &Db) {
    for name in ["ann", "bob"] {
        let wish = wish(name, "k", at(0));
        let id = won(&reserve(db, &wish, at(0)).await);
        assert!(db.keep_link(id, wish.lease.token, &link_to("ca_1", None), at(1)).await.expect("kept"));
        db.doubt(&user(name), at(2)).await.expect("doubted");
    }
    let trail = db.trail(&user("ann"), 9).await.expect("read");
    assert_eq!(
        trail.links.iter().map(|link| link.account.as_ref().map(AccountId::as_str)).collect::<Vec<_>>(),
        [Some("ca_1")]
    );
    assert_eq!(trail.doubted_at, Some(at(2)));
    assert!(!serde_json::to_string(&trail).expect("JSON").contains("connect.example"), "a link is a secret");
    let erased = db.erase(&user("ann"), None).await.expect("erased");
    for table in ["auditor_links", "auditor_doubts"] {
        assert_eq!(erased.iter().find(|(name, _)| name == table).map(|(_, rows)| *rows), Some(1), "{table}");
    }
    let left = db.trail(&user("ann"), 9).await.expect("read");
    assert_eq!((left.links.len(), left.doubted_at), (0, None));
    assert_eq!(db.trail(&user("bob"), 9).await.expect("read").links.len(), 1);
}
