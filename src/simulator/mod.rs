//! A Composio on loopback: for the demo, the tests and the benchmarks.
//!
//! It answers as `composio-api.md` says the API answers, down to its traps: EXPIRED rows that are only abandoned attempts,
//! old rows left behind by a reconnect, SHARED accounts of others, missing `user_id`s, clamped limits, cursors that are
//! page numbers, secrets in bodies. A request passes from top to bottom:
//!
//! ```text
//!  connection   TCP that can be cut
//!  gate         count · delay · limit · key · fault          faults  limit  counters
//!  routes       the endpoints        consent  the hosted page        control  /__sim
//!  webhooks     where events are sent, and sending them
//!  list         filters, order, pages      tools  what is run with an account      asked  what was asked
//!  world        what has happened since                      truth   who should be mailed
//!  population   users and accounts, computed from a seed     persona the kinds of users, with the truth beside them
//! ```
//!
//! Who should be mailed is written by hand beside each persona and shares no code with the product's verdicts, so that it
//! can contradict them. Nothing here uses the rest of the crate but ids.

mod account;
mod answer;
mod asked;
mod catalog;
mod chance;
mod connection;
mod consent;
mod control;
mod counters;
mod faults;
mod gate;
mod limit;
mod list;
mod persona;
mod population;
mod routes;
mod tools;
mod truth;
mod webhooks;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use account::PLANTED;
pub use asked::Asked;
pub use catalog::Shelf;
pub use counters::Counters;
pub use faults::{FaultKind, Faults, KeyState, Lie, Masking};
pub use limit::RateLimit;
pub use persona::{Kind, Persona, personas};
pub use population::{AppUser, Favourite, Mix, Population, PopulationSpec};
pub use truth::{Due, Truth};

use crate::domain::id::UserId;
use connection::{CuttableListener, Scissors};
use counters::Tally;
use limit::Limiter;
use list::PageSize;
use world::World;

/// The key that the simulator takes unless it is given another.
pub const DEFAULT_API_KEY: &str = "ak_simulator_0000000000";

/// What time it is for the simulator: attempts time out by it, and accounts that heal or break carry it.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How long an answer takes: anything between the two, drawn for each request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

impl Latency {
    fn draw(self, request: u64) -> Duration {
        let span = self.to.saturating_sub(self.from);
        self.from + span.mul_f64(chance::fraction(chance::mix(request, 71, 72)))
    }
}

/// How the simulator is set up.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one key that is right.
    pub api_key: String,
    /// Who there is.
    pub population: PopulationSpec,
    /// A larger `limit` is cut down to this, silently.
    pub page_cap: usize,
    /// The page size where no `limit` is given.
    pub page_default: usize,
    /// How long answers take.
    pub latency: Latency,
    /// How many are given.
    pub rate_limit: RateLimit,
    /// What is wrong from the start.
    pub faults: Faults,
    /// Which auth configs the project has of every app.
    pub shelf: Shelf,
    /// Of which apps it has others, by slug.
    pub shelves: BTreeMap<String, Shelf>,
    /// Keep every request, for [`Simulator::asked`].
    pub record: bool,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            api_key: DEFAULT_API_KEY.to_owned(),
            population: PopulationSpec::default(),
            page_cap: 50,
            page_default: 20,
            latency: Latency::default(),
            rate_limit: RateLimit::default(),
            faults: Faults::default(),
            shelf: Shelf::default(),
            shelves: BTreeMap::new(),
            record: false,
        }
    }
}

impl SimulatorOptions {
    fn shelf(&self, slug: &str) -> Shelf {
        self.shelves.get(slug).copied().unwrap_or(self.shelf)
    }

    fn page_size(&self) -> PageSize {
        PageSize { default: self.page_default.max(1), cap: self.page_cap.max(1) }
    }
}

/// Why the simulator could not be started.
#[derive(Debug, Error)]
pub enum SimulatorError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What all requests share.
struct Inner {
    options: SimulatorOptions,
    world: World,
    faults: RwLock<Faults>,
    tally: Arc<Tally>,
    limiter: Limiter,
    record: asked::Record,
    requests: AtomicU64,
    now: Now,
    url: String,
    stop: CancellationToken,
    hooks: webhooks::Hooks,
    tasks: TaskTracker,
}

impl Inner {
    fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst)
    }

    fn faults(&self) -> Faults {
        self.faults.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_faults(&self, faults: Faults) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Waits, but not past the end.
    async fn delay(&self, how_long: Duration) {
        if !how_long.is_zero() {
            let _ = tokio::time::timeout(how_long, self.stop.cancelled()).await;
        }
    }

    fn heal(&self, count: usize) -> Vec<UserId> {
        self.world.heal(count, self.now())
    }

    fn heal_user(&self, user: &UserId) -> bool {
        self.world.heal_user(user, self.now())
    }

    fn break_some(self: &Arc<Self>, count: usize) -> Vec<UserId> {
        let broken = self.world.break_some(count, self.now(), |user| self.tally.was_asked_for(user));
        for (_, account) in &broken {
            webhooks::tell_expired(self, account);
        }
        broken.into_iter().map(|(user, _)| user).collect()
    }

    fn break_user(self: &Arc<Self>, user: &UserId) -> bool {
        let broken = self.world.break_user(user, self.now(), |user| self.tally.was_asked_for(user));
        if let Some(account) = &broken {
            webhooks::tell_expired(self, account);
        }
        broken.is_some()
    }
}

/// A running simulator. Dropping it stops it without waiting; [`Simulator::stop`] waits.
pub struct Simulator {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

impl Simulator {
    /// Listens and serves until it is stopped or dropped. `now` is usually `Arc::new(move || clock.now())`, so that a test
    /// that moves its clock moves the simulator's as well.
    ///
    /// # Errors
    /// [`SimulatorError::Listen`] when the address cannot be listened on.
    pub async fn start(options: SimulatorOptions, now: Now) -> Result<Self, SimulatorError> {
        let address = options.listen;
        let refused = |source| SimulatorError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            world: World::new(Population::new(options.population.clone())),
            faults: RwLock::new(options.faults.clone()),
            tally: Arc::new(Tally::default()),
            limiter: Limiter::new(options.rate_limit),
            record: asked::Record::default(),
            requests: AtomicU64::new(0),
            now,
            url: format!("http://{address}"),
            stop: stop.clone(),
            hooks: webhooks::Hooks::default(),
            tasks: TaskTracker::new(),
            options,
        });
        let router = routes::api(&inner).merge(consent::pages(&inner)).merge(control::routes(&inner));
        let service = router.into_make_service_with_connect_info::<Scissors>();
        let tasks = inner.tasks.clone();
        tasks.spawn(async move {
            // Serving ends with the token; axum gives no other end to report.
            let _ =
                axum::serve(CuttableListener(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await;
        });
        tasks.close();
        Ok(Self { inner, tasks })
    }

    /// Where it is, without a path: what `composio.url` and `COMPOSIO_BASE_URL` are set to.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The key it takes.
    pub fn api_key(&self) -> &str {
        &self.inner.options.api_key
    }

    /// The users and accounts as they were at first.
    pub fn population(&self) -> &Population {
        self.inner.world.population()
    }

    /// The rows of the app's users table.
    pub fn users(&self) -> impl Iterator<Item = AppUser> + '_ {
        self.population().users()
    }

    /// Who should be mailed as things stand.
    pub fn truth(&self) -> Truth {
        self.inner.world.truth()
    }

    /// What it was asked so far.
    pub fn counters(&self) -> Counters {
        self.inner.tally.read()
    }

    /// What it was asked so far, request by request; empty unless [`SimulatorOptions::record`] is set.
    pub fn asked(&self) -> Vec<Asked> {
        self.inner.record.read()
    }

    /// Counts from zero again.
    pub fn reset_counters(&self) {
        self.inner.tally.reset();
        self.inner.record.reset();
    }

    /// What is wrong at the moment.
    pub fn faults(&self) -> Faults {
        self.inner.faults()
    }

    /// From the next request on, this is wrong and nothing else.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.set_faults(faults);
    }

    /// Heals so many users with exactly one broken connection: a new ACTIVE account beside the old row. Returns them,
    /// fewer if there are not so many; the truth follows.
    pub fn heal(&self, count: usize) -> Vec<UserId> {
        self.inner.heal(count)
    }

    /// Heals everything one user is to be mailed about. `false`: there was nothing.
    pub fn heal_user(&self, user: &UserId) -> bool {
        self.inner.heal_user(user)
    }

    /// Breaks one connection each of so many users who were healthy from the start: an ACTIVE account becomes EXPIRED in
    /// place. Returns them, fewer if there are not so many; the truth follows. Users whose account would be superseded by
    /// another unless both were seen ACTIVE together are taken only once a list has asked for them.
    pub fn break_some(&self, count: usize) -> Vec<UserId> {
        self.inner.break_some(count)
    }

    /// Breaks one connection of one user, also of one who was healed before. `false`: there is none that could break.
    pub fn break_user(&self, user: &UserId) -> bool {
        self.inner.break_user(user)
    }

    /// All accounts of an app are expired since an instant, as when its provider is away for long or its secret was rotated. The
    /// truth stays as it is: nobody should be mailed about that. `false`: no app has this slug.
    pub fn expire_app(&self, slug: &str, since: DateTime<Utc>) -> bool {
        self.inner.world.expire_app(slug, since)
    }

    /// The app is back: its accounts are as they were. `false`: it had not expired.
    pub fn revive_app(&self, slug: &str) -> bool {
        self.inner.world.revive_app(slug)
    }

    /// How to point a worker or an SDK at it, for people.
    pub fn instructions(&self) -> String {
        let (url, key) = (self.url(), self.api_key());
        format!(
            "Composio, simulated, on {url} ({users} users, seed {seed})\n\
             \n\
             worker      [composio] url = \"{url}\", api_key = \"{key}\"\n\
             any SDK     COMPOSIO_BASE_URL={url} COMPOSIO_API_KEY={key}\n\
             users       curl {url}/__sim/users.csv\n\
             truth       curl {url}/__sim/truth\n\
             personas    curl {url}/__sim/personas\n\
             counters    curl {url}/__sim/counters\n\
             faults      curl {url}/__sim/faults -d '{{\"rate\": 0.1, \"kinds\": [\"internal_error\", \"slow\"]}}'\n\
             heal        curl -X POST '{url}/__sim/heal?n=5'\n\
             break       curl -X POST '{url}/__sim/break?n=5'\n\
             outage      curl -X POST '{url}/__sim/expire?app=slack', over: '{url}/__sim/revive?app=slack'\n",
            users = self.population().spec().users,
            seed = self.population().spec().seed,
        )
    }

    /// Stops it: nothing new is taken, what is under way has a second to end.
    pub async fn stop(self) {
        self.inner.stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

/// Serves until `stop`; `announce` gets the instructions once it listens. This is the `simulator` subcommand.
///
/// # Errors
/// [`SimulatorError::Listen`] when the address cannot be listened on.
pub async fn serve(
    options: SimulatorOptions,
    now: Now,
    stop: CancellationToken,
    announce: impl FnOnce(&Simulator),
) -> Result<(), SimulatorError> {
    let simulator = Simulator::start(options, now).await?;
    announce(&simulator);
    stop.cancelled().await;
    simulator.stop().await;
    Ok(())
}
