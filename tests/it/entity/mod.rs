//! One user at a time: links, connections, the gate and tools, against the simulator and a real store.

mod crossing;
mod gate;
mod links;
mod requests;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connection_auditor::adapters::composio::Composio;
use connection_auditor::adapters::{queue, store};
use connection_auditor::audit::entity::{Entities, Entity, EntityParts, Initiate, Initiated};
use connection_auditor::audit::{Auditor, Outbox};
use connection_auditor::config;
use connection_auditor::domain::clock::{Clock, ManualClock};
use connection_auditor::domain::connection::ReconnectPage;
use connection_auditor::domain::gate::{AppGate, Decision, Gate};
use connection_auditor::domain::id::{AccountId, Toolkit, UserId};
use connection_auditor::domain::port::{JobStore, Store};
use connection_auditor::domain::retry::Retry;
use connection_auditor::simulator::{Mix, PopulationSpec, Shelf, Simulator, SimulatorOptions};
use secrecy::ExposeSecret;

/// A simulator, an embedded store and queue, and handles over them; the clock stands until it is moved.
struct Bench {
    simulator: Simulator,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    queue: Arc<dyn JobStore>,
    entities: Entities,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

/// A population of nobody in particular, one auth config an app, every request kept.
fn options() -> SimulatorOptions {
    let population = PopulationSpec { users: 20, mix: Mix::only(&["healthy_one"]), ..PopulationSpec::default() };
    SimulatorOptions { population, shelf: Shelf::One, record: true, ..SimulatorOptions::default() }
}

impl Bench {
    async fn start() -> Self {
        Self::with(options()).await
    }

    async fn with(options: SimulatorOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        Self::on(options, url, folder, Duration::from_secs(10)).await
    }

    async fn on(options: SimulatorOptions, url: String, folder: tempfile::TempDir, timeout: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Arc::new(ManualClock::at(options.population.anchor));
        let now = Arc::clone(&clock);
        let simulator = Simulator::start(options, Arc::new(move || now.now())).await.expect("the simulator starts");
        let database = config::Database { url: url.into(), acquire_timeout: timeout, ..config::Database::default() };
        store::migrate(&database).await.expect("the tables can be made");
        let store = store::connect(&database).await.expect("the database answers");
        let file = format!("sqlite:{}", folder.path().join("queue.sqlite").display());
        let settings = config::Queue { url: file.into(), ..config::Queue::default() };
        let queue = queue::connect(&settings).await.expect("the queue answers");
        let settings = config::Composio {
            url: simulator.url().parse().expect("a URL"),
            api_key: Some(simulator.api_key().into()),
            timeout,
            retry: Retry { max_attempts: 2, base: Duration::from_millis(5), max: Duration::from_millis(20) },
            ..config::Composio::default()
        };
        let composio = Composio::new(settings.clone(), clock.clone()).expect("a client");
        let policy = config::Policy::default();
        let auditor = Auditor::new(composio.clone(), Arc::clone(&store), policy, clock.clone(), false);
        let entities = Entities::new(EntityParts {
            auditor,
            composio,
            store: Arc::clone(&store),
            clock: clock.clone(),
            outbox: Outbox::new(Arc::clone(&store), Arc::clone(&queue)),
            reconnect_page: ReconnectPage(Some("https://app.example/connect?app={toolkit}&user={user_id}".to_owned())),
            request_timeout: settings.timeout,
        });
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let http = http.expect("a plain client");
        Self { simulator, clock, store, queue, entities, http, _folder: folder }
    }

    fn entity(&self, user: &str) -> Entity {
        self.entities.of(UserId::new(user))
    }

    fn clock_now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Time passes; a doubt and a look at the same instant could not be told apart.
    fn tick(&self) {
        self.clock.advance(TimeDelta::seconds(1));
    }

    /// The person follows a link and allows everything, or nothing.
    async fn follow(&self, initiated: &Initiated, consent: &str) {
        self.tick();
        let url = format!("{}?consent={consent}", initiated.link.url.expose_secret());
        let answer = self.http.post(url).send().await.expect("the hosted page answers");
        assert!(matches!(answer.status().as_u16(), 200 | 303), "{}", answer.status());
    }

    /// Connects an app for a user, to the end.
    async fn connect(&self, user: &str, app: &str) -> AccountId {
        let initiated = self.entity(user).initiate_connection(&Initiate::new(app.into(), None)).await.expect("a link");
        self.follow(&initiated, "granted").await;
        self.tick();
        initiated.link.account
    }

    /// The same, of another name beside the first.
    async fn connect_as(&self, user: &str, app: &str, alias: &str) -> AccountId {
        let initiate =
            Initiate { alias: Some(alias.to_owned()), allow_another: true, ..Initiate::new(app.into(), None) };
        let initiated = self.entity(user).initiate_connection(&initiate).await.expect("a link");
        self.follow(&initiated, "granted").await;
        self.tick();
        initiated.link.account
    }

    /// How many requests of a kind were made.
    fn requests(&self, endpoint: &str) -> u64 {
        self.simulator.counters().by_endpoint.get(endpoint).copied().unwrap_or_default()
    }
}

fn slack() -> Toolkit {
    Toolkit::new("slack")
}

/// The answer about the only app that was asked about.
fn only(gate: Gate) -> AppGate {
    let [app] = <[AppGate; 1]>::try_from(gate.apps).expect("one app was asked about");
    app
}

fn is_allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Allowed { .. })
}
