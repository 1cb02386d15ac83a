//! How long the gate takes when the store answers: `cargo bench --bench gate [-- ACCOUNTS]`, 10⁶ accounts by default.
//!
//! Fills a PostgreSQL of its own (on a free port, gone afterwards) and a SQLite with users of four accounts each, one in ten of
//! them broken, and asks the gate about users drawn at random, first one at a time, then eight at once: in this process, and then over
//! HTTP of a worker of its own. Nothing is asked of Composio: there is none.

mod fill;
mod over_http;
#[expect(
    dead_code,
    clippy::panic,
    reason = "the tests' own server: a benchmark needs less of it, and may panic as well"
)]
#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod postgres;
    pub(crate) mod server;
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use connection_auditor::adapters::composio::Composio;
use connection_auditor::adapters::{queue, store};
use connection_auditor::audit::entity::{Entities, EntityParts};
use connection_auditor::audit::{Auditor, Outbox};
use connection_auditor::config;
use connection_auditor::domain::clock::SystemClock;
use connection_auditor::domain::connection::ReconnectPage;
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::gate::Overall;
use connection_auditor::domain::id::{Toolkit, UserId};
use futures::{StreamExt, TryStreamExt};
use over_http::Api;
use rand::RngExt;

/// Every user has one account of each.
const APPS: [&str; 4] = ["slack", "gmail", "github", "notion"];

/// How many calls are measured.
const CALLS: u32 = 20_000;

/// How many go before, so that caches are as they are in a process that has been running.
const WARM_UP: u32 = 2_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this measures, and takes minutes: cargo bench --bench gate");
        return Ok(());
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let accounts = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000_usize);
    let users = accounts / APPS.len();
    println!("{accounts} accounts of {users} users; {CALLS} calls of the gate, in microseconds");
    println!(
        "{:<12} {:<11} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "store", "way", "at once", "p50", "p90", "p99", "max", "calls/s"
    );

    let folder = tempfile::tempdir()?;
    let sqlite = format!("sqlite:{}", folder.path().join("store.sqlite").display());
    measure("SQLite", sqlite, users, &folder).await?;
    let server = tokio::task::spawn_blocking(support::postgres::Postgres::start).await?;
    measure("PostgreSQL", server.database().await, users, &folder).await?;
    tokio::task::spawn_blocking(move || drop(server)).await?;
    Ok(())
}

async fn measure(name: &str, url: String, users: usize, folder: &tempfile::TempDir) -> anyhow::Result<()> {
    let database = config::Database { url: url.clone().into(), ..config::Database::default() };
    store::migrate(&database).await?;
    fill::fill(&url, users, &APPS).await?;
    let store = store::connect(&database).await?;
    let file = format!("sqlite:{}", folder.path().join("queue.sqlite").display());
    let queue = queue::connect(&config::Queue { url: file.clone().into(), ..config::Queue::default() }).await?;
    let clock = Arc::new(SystemClock);
    // Nobody listens there: a gate that asked Composio would be unknown, and is refused below.
    let settings = config::Composio {
        url: "http://127.0.0.1:9".parse()?,
        api_key: Some("ak_nobody".into()),
        ..config::Composio::default()
    };
    let composio = Composio::new(settings, clock.clone())?;
    let entities = Entities::new(EntityParts {
        auditor: Auditor::new(composio.clone(), store.clone(), config::Policy::default(), clock.clone(), false),
        composio,
        store: store.clone(),
        clock,
        outbox: Outbox::new(store, queue),
        reconnect_page: ReconnectPage(Some("https://app.example/connect?app={toolkit}&user={user_id}".to_owned())),
        request_timeout: Duration::from_secs(20),
    });
    for at_once in [1, 8] {
        let ask = async || one(&entities, users).await;
        print(name, "in process", at_once, &mut calls(at_once, ask).await?);
    }
    let api = Api::start(&url, &file).await?;
    for at_once in [1, 8] {
        let ask = async || api.ask(&fill::name(rand::rng().random_range(0..users)), APPS[0]).await;
        print(name, "over HTTP", at_once, &mut calls(at_once, ask).await?);
    }
    Ok(())
}

/// Calls that were measured.
struct Took {
    each: Vec<Duration>,
    all: Duration,
}

async fn calls(at_once: usize, ask: impl AsyncFn() -> anyhow::Result<Duration>) -> anyhow::Result<Took> {
    let run = |calls: u32| futures::stream::iter(0..calls).map(|_| ask()).buffer_unordered(at_once);
    run(WARM_UP).try_collect::<Vec<_>>().await?;
    let began = Instant::now();
    let each = run(CALLS).try_collect().await?;
    Ok(Took { each, all: began.elapsed() })
}

fn print(store: &str, way: &str, at_once: usize, took: &mut Took) {
    took.each.sort_unstable();
    let at = |share: usize| took.each[(took.each.len() - 1) * share / 100].as_micros();
    println!(
        "{store:<12} {way:<11} {at_once:>8} {:>8} {:>8} {:>8} {:>8} {:>10.0}",
        at(50),
        at(90),
        at(99),
        at(100),
        f64::from(CALLS) / took.all.as_secs_f64()
    );
}

/// One call, about a user drawn at random.
async fn one(entities: &Entities, users: usize) -> anyhow::Result<Duration> {
    let user = UserId::new(fill::name(rand::rng().random_range(0..users)));
    let apps = [Toolkit::new(APPS[0])];
    let began = Instant::now();
    let gate = entities.of(user).gate(&apps, Freshness::Within(Duration::from_secs(86_400))).await?;
    let took = began.elapsed();
    anyhow::ensure!(gate.overall() != Overall::Unknown, "the store did not answer: {gate:?}");
    Ok(took)
}
