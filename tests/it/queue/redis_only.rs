//! What only Redis can do to us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connection_auditor::adapters::queue::{ConnectError, connect};
use connection_auditor::domain::job::Lane;

use super::{A_WHILE, LANE, Queue, fetch_one, jobs, payloads, reclaim_one};
use crate::support::redis::Redis;

async fn refusal(queue: &Queue) -> (ConnectError, String) {
    let error = connect(&queue.settings).await.err().expect("it is refused");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    (error, text)
}

#[tokio::test]
async fn a_flushed_redis_is_used_as_a_new_queue_by_whoever_comes_first() {
    let redis = Redis::start();
    let queue = Queue::at(&redis.url());
    let store = queue.open().await;
    let before = store.generation().await.expect("generation");
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "a").await;
    let flush = || async { ::redis::cmd("FLUSHALL").query_async::<()>(&mut queue.redis().await).await.expect("flush") };
    flush().await;
    store.renew("a", std::slice::from_ref(&entry)).await.expect("renew");
    assert_ne!(store.generation().await.expect("generation"), before);
    flush().await;
    assert_eq!(store.reclaim(LANE, "a", 10).await.expect("reclaim"), []);
    flush().await;
    store.give_back(std::slice::from_ref(&entry)).await.expect("give back");
    flush().await;
    store.ack(&[entry]).await.expect("ack");
    store.depths().await.expect("depths");
    store.push(LANE, &jobs(["pushed before the group is there"])).await.expect("push");
    assert_eq!(fetch_one(&*store, "a").await.payload, "pushed before the group is there");
    let before = store.generation().await.expect("generation");
    let lost = format!("{{{}}}:jobs:{}", queue.settings.key_prefix, Lane::Notify.as_str());
    ::redis::cmd("DEL").arg(lost).query_async::<()>(&mut queue.redis().await).await.expect("deleted");
    assert_ne!(store.generation().await.expect("generation"), before, "a single lost stream shows too");
    // A reader that is blocked in the moment of the flush, too.
    let other = Arc::clone(&store);
    let push = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        flush().await;
        store.push(LANE, &jobs(["y"])).await.expect("push");
    };
    let (entry, ()) = tokio::join!(fetch_one(&*other, "a"), push);
    assert_eq!(entry.payload, "y");
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_the_remedy() {
    let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let (error, text) = refusal(&Queue::at(&redis.url())).await;
    assert!(matches!(error, ConnectError::Evicting { .. }), "{text}");
    assert!(text.contains("allkeys-lru") && text.contains("noeviction"), "{text}");
    let safe = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]);
    Queue::at(&safe.url()).open().await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_or_refuses_us_is_named_without_the_password() {
    let mut redis = Redis::start_with(&["--requirepass", "right-horse"]);
    Queue::at(&format!("redis://:right-horse@127.0.0.1:{}/", redis.port)).open().await;
    let wrong = Queue::at(&format!("redis://:wrong-horse@127.0.0.1:{}/", redis.port));
    let (error, refused) = refusal(&wrong).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{refused}");
    redis.kill();
    let started = Instant::now();
    let (error, away) = refusal(&wrong).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{away}");
    assert!(started.elapsed() < A_WHILE, "{:?}", started.elapsed());
    let (_, unreadable) = refusal(&Queue::at("redis://:wrong-horse@:x:y/")).await;
    for text in [&refused, &away, &unreadable] {
        assert!(!text.contains("horse"), "{text}");
    }
    for text in [&refused, &away] {
        assert!(text.contains(&format!("127.0.0.1:{}", redis.port)), "{text}");
    }
    let (error, text) = refusal(&Queue::at("amqp://user:wrong-horse@host/")).await;
    assert!(matches!(error, ConnectError::UnknownScheme { .. }), "{text}");
    assert!(text.contains("amqp") && !text.contains("horse"), "{text}");
    let (error, _) = refusal(&Queue::at("sqlite::memory:")).await;
    assert!(matches!(error, ConnectError::InMemory));
    let (error, _) = refusal(&Queue::at("sqlite:/no/such/folder/queue.sqlite")).await;
    assert!(matches!(error, ConnectError::File { .. }));
}

#[tokio::test]
async fn rediss_speaks_tls_and_trusts_public_authorities_only() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, own.cert.pem()).expect("written");
    std::fs::write(&key, own.signing_key.serialize_pem()).expect("written");
    let port = crate::support::server::free_port().to_string();
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let _redis =
        Redis::start_with(&[&tls[..], &["--tls-auth-clients", "no", "--tls-ca-cert-file", &certificate]].concat());
    let (error, text) = refusal(&Queue::at(&format!("rediss://localhost:{port}/"))).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    assert!(text.to_lowercase().contains("certificate"), "the handshake began, and ended at our check: {text}");
}

#[tokio::test]
async fn entries_that_somebody_else_wrote_do_not_block_the_lane() {
    let queue = Queue::on_redis().await;
    let store = queue.open().await;
    let stream = format!("{{{}}}:jobs:{}", queue.settings.key_prefix, LANE.as_str());
    let mut redis = queue.redis().await;
    for fields in [["other", "field"].map(str::as_bytes), [&[0xff, 0xfe], &[0]], [b"p", &[0x80, b'a']], [b"d", b"x"]] {
        ::redis::cmd("XADD").arg(&stream).arg("*").arg(&fields).query_async::<()>(&mut redis).await.expect("added");
    }
    store.push(LANE, &jobs(["ours"])).await.expect("push");
    let entries = store.fetch(LANE, "a", 10, A_WHILE).await.expect("fetch");
    assert_eq!(payloads(&entries), ["", "", "\u{fffd}a", "", "ours"]);
    let first = reclaim_one(&*store, "b", A_WHILE).await.expect("they can be reclaimed");
    assert_eq!(first.deliveries, 2);
    store.ack(&entries).await.expect("ack");
    assert_eq!(super::depth(&*store, LANE).await, (0, 0, 0));
}

#[tokio::test]
async fn consumers_that_are_gone_are_forgotten_and_those_that_hold_something_are_not() {
    let mut queue = Queue::on_redis().await;
    queue.settings.lease = Duration::from_millis(100);
    let store = queue.open().await;
    let consumers = || async {
        let stream = format!("{{{}}}:jobs:{}", queue.settings.key_prefix, Lane::Notify.as_str());
        let rows: Vec<std::collections::HashMap<String, ::redis::Value>> = ::redis::cmd("XINFO")
            .arg("CONSUMERS")
            .arg(stream)
            .arg("workers")
            .query_async(&mut queue.redis().await)
            .await
            .expect("consumers");
        rows.len()
    };
    store.push(Lane::Notify, &jobs(["x"])).await.expect("push");
    assert_eq!(store.fetch(Lane::Notify, "holder", 1, A_WHILE).await.expect("fetch").len(), 1);
    for number in 0..20 {
        let consumer = format!("gone-{number}");
        store.push(Lane::Notify, &jobs(["y"])).await.expect("push");
        let done = store.fetch(Lane::Notify, &consumer, 1, A_WHILE).await.expect("fetch");
        assert_eq!(payloads(&done), ["y"]);
        store.ack(&done).await.expect("ack");
    }
    assert_eq!(consumers().await, 21);
    let started = Instant::now();
    let mut held = 0;
    while consumers().await > 1 {
        held += store.reclaim(Lane::Notify, "alive", 1).await.expect("reclaim").len();
        assert!(started.elapsed() < A_WHILE, "{} are left", consumers().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(held > 0, "what the dead one held was taken over first");
}

#[tokio::test]
async fn a_user_with_the_documented_rights_is_enough() {
    let redis = Redis::start();
    let mut queue = Queue::at(&redis.url());
    let keys = format!("~{{{}}}:*", queue.settings.key_prefix);
    let rights = "on >horse +@stream +@sortedset +@scripting +@transaction +get +set +time";
    let mut command = ::redis::cmd("ACL");
    command.arg("SETUSER").arg("auditor").arg(rights.split(' ').collect::<Vec<_>>()).arg(keys);
    command.query_async::<()>(&mut queue.redis().await).await.expect("a user");
    queue.settings.url = format!("redis://auditor:horse@127.0.0.1:{}/", redis.port).into();
    let store = queue.open().await;
    store.push(LANE, &jobs(["x"])).await.expect("push");
    let entry = fetch_one(&*store, "a").await;
    store.renew("a", std::slice::from_ref(&entry)).await.expect("renew");
    let again = reclaim_one(&*store, "b", A_WHILE).await.expect("reclaim");
    store.give_back(&[again]).await.expect("give back");
    let entry = fetch_one(&*store, "a").await;
    store.delay(&entry, chrono::DateTime::UNIX_EPOCH).await.expect("delay");
    assert_eq!(store.promote().await.expect("promote"), 1);
    store.ack(&[fetch_one(&*store, "a").await]).await.expect("ack");
    assert_eq!(super::depth(&*store, LANE).await, (0, 0, 0));
}
