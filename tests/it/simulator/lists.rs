//! Reading: items, filters, order, pages, SHARED accounts, one account by its id.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Value, json};

use super::{Bench, texts};

#[tokio::test]
async fn an_item_has_every_field_of_the_published_schema() {
    let bench = Bench::start().await;
    let user = bench.user("expired_permanent");
    for version in ["v3", "v3.1"] {
        let answer = bench.get(&format!("/api/{version}/connected_accounts?user_ids={user}")).await;
        let body = answer.json();
        assert_eq!(
            (&body["total_items"], &body["total_pages"], &body["current_page"], &body["next_cursor"]),
            (&json!(1), &json!(1), &json!(1), &Value::Null)
        );
        let item = &body["items"][0];
        let fields: BTreeSet<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = "toolkit auth_config id authScheme word_id alias user_id status experimental created_at updated_at \
                        state data status_reason is_disabled";
        assert_eq!(fields, expected.split_whitespace().collect());
        assert_eq!(item["user_id"], user.as_str());
        assert_eq!(item["status"], "EXPIRED");
        assert_eq!(item["status_reason"], "Permanent auth error during token refresh");
        assert_eq!(item["experimental"]["account_type"], "PRIVATE");
        assert_eq!(item["state"]["val"]["status"], "EXPIRED");
        assert_eq!(item["auth_config"]["auth_scheme"], "OAUTH2");
        assert_eq!(item["auth_config"]["is_disabled"], false);
        assert!(item["id"].as_str().unwrap().starts_with("ca_") && item["id"].as_str().unwrap().len() == 15);
        let created = item["created_at"].as_str().unwrap();
        assert!(created.ends_with('Z') && created.len() == 24, "{created}");
        assert!(DateTime::parse_from_rfc3339(created).is_ok());
    }
}

#[tokio::test]
async fn filters_may_be_comma_joined_or_repeated_and_unknown_parameters_are_ignored() {
    let bench = Bench::start().await;
    let (one, two) = (bench.user("healthy_one"), bench.user("expired_permanent"));
    let joined = format!("{one},{two}");
    let by_comma = bench.list(&[("user_ids", &joined)]).await.items();
    let repeated = bench.list(&[("user_ids", &one), ("user_ids", &two), ("user_id", "nobody")]).await.items();
    assert_eq!(by_comma.len(), 2);
    assert_eq!(by_comma, repeated);
    let expired = bench.list(&[("user_ids", &joined), ("statuses", "EXPIRED,FAILED")]).await.items();
    assert_eq!(texts(&expired, "user_id"), [&two]);
    let item = &expired[0];
    for (name, value) in [
        ("toolkit_slugs", &item["toolkit"]["slug"]),
        ("auth_config_ids", &item["auth_config"]["id"]),
        ("connected_account_ids", &item["id"]),
    ] {
        let found = bench.list(&[("user_ids", &joined), (name, value.as_str().unwrap())]).await.items();
        assert!(found.contains(item), "{name}");
        assert!(bench.list(&[("user_ids", &joined), (name, "nothing")]).await.items().is_empty(), "{name}");
    }
    let everything = bench.list(&[("user_id", &one), ("status", "EXPIRED")]).await.json();
    assert!(everything["total_items"].as_u64().unwrap() > 300, "misspelt filters let everything through");
}

#[tokio::test]
async fn somebody_nobody_knows_has_an_empty_list() {
    let bench = Bench::start().await;
    let answer = bench.list(&[("user_ids", "canary-who-cannot-exist"), ("account_type", "ALL")]).await;
    assert!(answer.items().is_empty());
    assert_eq!(answer.json()["total_items"], 0);
}

#[tokio::test]
async fn ids_come_through_whatever_is_in_them_except_a_comma() {
    let bench = Bench::start().await;
    for persona in [
        "id_with_spaces",
        "id_unicode",
        "id_leading_zeros",
        "id_mixed_case",
        "id_reserved_characters",
        "id_is_an_address",
    ] {
        let user = bench.user(persona);
        let items = bench.list(&[("user_ids", &user)]).await.items();
        assert_eq!(texts(&items, "user_id"), [&user, &user], "{persona}");
    }
    let user = bench.user("id_with_comma");
    assert!(user.contains(','));
    assert!(bench.list(&[("user_ids", &user)]).await.items().is_empty(), "read as two users, neither of whom exists");
    let shown = bench.user("account_id_starts_with_a_dash");
    let items = bench.list(&[("user_ids", &shown)]).await.items();
    assert!(items.iter().any(|item| item["id"].as_str().unwrap().starts_with("ca_-")));
    assert!(items.iter().any(|item| item["id"].as_str().unwrap().starts_with("ca__")));
}

#[tokio::test]
async fn the_newest_come_first_unless_asked_otherwise() {
    let bench = Bench::start().await;
    let user = bench.user("expired_then_abandoned_attempt");
    let newest = bench.list(&[("user_ids", &user)]).await.items();
    let oldest =
        bench.list(&[("user_ids", &user), ("order_by", "created_at"), ("order_direction", "asc")]).await.items();
    assert_eq!(newest.iter().rev().cloned().collect::<Vec<_>>(), oldest);
    assert!(newest[0]["created_at"].as_str() > newest[1]["created_at"].as_str());
    for pair in
        [("order_by", "id"), ("order_direction", "up"), ("account_type", "OURS"), ("limit", "0"), ("cursor", "x")]
    {
        let answer = bench.list(&[pair]).await;
        assert_eq!(answer.status, 400, "{pair:?}");
        assert_eq!(answer.json()["error"]["status"], 400);
    }
}

#[tokio::test]
async fn pages_are_clamped_counted_and_walked_by_an_opaque_cursor() {
    let bench = Bench::of(&["many_accounts"], 1).await;
    let user = bench.user("many_accounts");
    let pairs = [("user_ids", user.as_str()), ("limit", "1000"), ("order_direction", "asc")];
    let first = bench.list(&pairs).await;
    assert_eq!(first.items().len(), 50, "a larger limit is cut down");
    assert_eq!((&first.json()["total_items"], &first.json()["total_pages"]), (&json!(130), &json!(3)));
    let pages = bench.pages(&pairs).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 30]);
    let ids: BTreeSet<String> = pages.concat().iter().map(|item| item["id"].to_string()).collect();
    assert_eq!(ids.len(), 130, "no row twice, none left out");
    assert_eq!(bench.list(&[("user_ids", &user)]).await.items().len(), 20, "the default page");
    // The old row of what was reconnected is on the first page, the reconnect on the last: one page alone misleads.
    let toolkit = |status: &str, page: &[Value]| {
        let rows = page.iter().filter(|item| {
            item["status"] == status
                && item["status_reason"] != json!("Connection initiation did not complete within 10 minutes")
        });
        rows.map(|item| item["toolkit"]["slug"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert!(toolkit("EXPIRED", &pages[0]).len() == 2 && toolkit("ACTIVE", &pages[0]).is_empty());
    assert!(toolkit("EXPIRED", &pages[0]).is_superset(&toolkit("ACTIVE", &pages[2])));
}

#[tokio::test]
async fn the_whole_project_can_be_walked_and_every_row_is_seen_once() {
    let bench = Bench::start().await;
    let rows = bench.pages(&[("account_type", "ALL"), ("order_direction", "asc"), ("limit", "50")]).await.concat();
    let ids: BTreeSet<&str> = texts(&rows, "id").into_iter().collect();
    assert_eq!(ids.len(), rows.len());
    let private = bench.list(&[]).await.json()["total_items"].as_u64().unwrap();
    let shared = bench.list(&[("account_type", "SHARED")]).await.json()["total_items"].as_u64().unwrap();
    assert!(shared > 0);
    assert_eq!(private + shared, rows.len() as u64);
    let broken = bench.pages(&[("statuses", "EXPIRED,FAILED"), ("account_type", "ALL")]).await.concat();
    let expected = rows.iter().filter(|row| ["EXPIRED", "FAILED"].contains(&row["status"].as_str().unwrap())).count();
    assert_eq!(broken.len(), expected);
    // A mutation is seen at once, though project-wide lists are remembered.
    bench.simulator.heal(3);
    assert_eq!(bench.list(&[]).await.json()["total_items"].as_u64().unwrap(), private + 3);
}

#[tokio::test]
async fn shared_accounts_are_listed_only_when_asked_for_and_under_their_owners_id() {
    let bench = Bench::start().await;
    let user = bench.user("foreign_shared_broken");
    assert_eq!(bench.list(&[("user_ids", &user)]).await.items().len(), 1);
    let all = bench.list(&[("user_ids", &user), ("account_type", "ALL")]).await.items();
    let foreign = all.iter().find(|item| item["experimental"]["account_type"] == "SHARED").unwrap();
    let owner = foreign["user_id"].as_str().unwrap();
    assert_ne!(owner, user);
    let theirs = bench.list(&[("user_ids", owner), ("account_type", "ALL")]).await.items();
    assert_eq!(theirs, std::slice::from_ref(foreign));
    let own = bench.user("own_shared_broken");
    let shared = bench.list(&[("user_ids", &own), ("account_type", "SHARED")]).await.items();
    assert_eq!(texts(&shared, "user_id"), [&own]);
}

#[tokio::test]
async fn what_is_missing_from_rows_is_missing_and_what_is_unknown_is_there() {
    let bench = Bench::start().await;
    let row = |persona: &'static str| {
        let user = bench.user(persona);
        let bench = &bench;
        async move { bench.list(&[("user_ids", &user)]).await.items().remove(0) }
    };
    assert!(row("rows_without_user_id").await.get("user_id").is_none());
    assert!(row("expired_reason_absent").await.get("status_reason").is_none());
    assert_eq!(row("expired_without_reason").await.get("status_reason"), Some(&Value::Null));
    assert_eq!(row("unknown_status").await["status"], "SUSPENDED");
    assert_eq!(row("unknown_scheme").await["auth_config"]["auth_scheme"], "QUANTUM_OAUTH");
    assert_eq!(row("auth_config_disabled").await["auth_config"]["is_disabled"], true);
    assert_eq!(row("disabled_while_active").await["is_disabled"], true);
}

#[tokio::test]
async fn one_account_is_found_by_its_id_and_another_is_not() {
    let bench = Bench::start().await;
    let user = bench.user("account_id_starts_with_a_dash");
    let item = bench.list(&[("user_ids", &user)]).await.items().remove(0);
    let mut one = bench.get(&format!("/api/v3/connected_accounts/{}", item["id"].as_str().unwrap())).await.json();
    assert_eq!(one.as_object_mut().unwrap().remove("params"), Some(json!({})));
    assert_eq!(one, item);
    let answer = bench.get("/api/v3.1/connected_accounts/ca_gone").await;
    assert_eq!(answer.status, 404);
    let error = &answer.json()["error"];
    assert_eq!(error["message"], "Connected account \"ca_gone\" not found");
    assert_eq!((&error["code"], &error["slug"]), (&json!(606), &json!("ConnectedAccount_ResourceNotFound")));
    assert_eq!(error["request_id"], answer.header("x-request-id"));
    assert_eq!(bench.get("/api/v3.1/nothing_here").await.json()["error"]["code"], 404);
}
