//! All wiring, once: which part is handed what.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::composio::Composio;
use crate::adapters::hooks::Hooks;
use crate::adapters::mailer::Mailer;
use crate::adapters::queue::{self, WorkerSpec};
use crate::adapters::store::{self, ConnectError};
use crate::adapters::users::UsersSource;
use crate::audit::entity::{Entities, EntityParts};
use crate::audit::explain::Explainer;
use crate::audit::{Auditor, Desk, Guard, Names, Outbox, Reaudits, Reconnect};
use crate::config::{Config, HttpOps, NotifyMode};
use crate::domain::alert::Telling;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::connection::ReconnectPage;
use crate::domain::job::Lane;
use crate::domain::mail_links::{Buttons, Links};
use crate::domain::notification::hold;
use crate::domain::port::{JobHandler, JobStore, Store};
use crate::domain::token::Keyring;
use crate::http::{Listener, ops, public};
use crate::pipeline::alerter::conditions::Expected;
use crate::pipeline::alerter::{Alerter, Channels};
use crate::pipeline::checker::Checker;
use crate::pipeline::keeper::Keeper;
use crate::pipeline::notifier::{MailRules, Notifier};
use crate::pipeline::scheduler::Scheduler;
use crate::pipeline::sweeper::Sweeper;
use crate::shutdown::Shutdown;

/// A stage that a replica runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Rings at the ticks of the schedules and makes sweeps.
    Scheduler,
    /// Pages through the users of a sweep.
    Sweeper,
    /// Checks users.
    Checker,
    /// Sends notifications.
    Notifier,
    /// Pushes what the queue lost, ends sweeps, deletes what is old, alerts the operator.
    Keeper,
    /// Answers over HTTP: the API and the probes, and what the internet may ask if `http.public.url` is set.
    Http,
}

/// A store and a queue, connected: enough for every command that reads, asks or hands over.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The transport.
    pub queue: Arc<dyn JobStore>,
}

impl App {
    /// Connects to the database and the queue. The embedded database is brought up to date by itself; a server's is not: that is
    /// `connection-auditor migrate`, so that replicas of two versions never race.
    ///
    /// # Errors
    /// One of them cannot be reached, or is not as it must be.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let store = Self::open_store(&config).await?;
        let queue = queue::connect(&config.queue).await?;
        Ok(Self { config, clock: Arc::new(SystemClock), store, queue })
    }

    /// The store alone, for commands that need no queue and must work while it is away. See [`Self::connect`].
    ///
    /// # Errors
    /// It cannot be reached, or is not as it must be.
    pub async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
        match store::connect(&config.database).await {
            Err(ConnectError::NotMigrated { .. }) if store::is_embedded(&config.database) => {
                store::migrate(&config.database).await?;
                Ok(store::connect(&config.database).await?)
            }
            connected => Ok(connected?),
        }
    }

    /// Hands stored rows over to the queue.
    pub fn outbox(&self) -> Outbox {
        Outbox::new(Arc::clone(&self.store), Arc::clone(&self.queue))
    }

    /// Asks for checks ahead of sweeps.
    pub fn reaudits(&self) -> Reaudits {
        let size = self.config.check.users_per_job;
        Reaudits::new(Arc::clone(&self.store), self.outbox(), Arc::clone(&self.clock), size)
    }

    /// The app's users.
    ///
    /// # Errors
    /// Their database cannot be reached, or is not as the settings say.
    pub fn users(&self) -> anyhow::Result<Arc<UsersSource>> {
        Ok(Arc::new(UsersSource::connect(&self.config.users, &self.config.database.url)?))
    }

    /// Handles of single users.
    ///
    /// # Errors
    /// No key of composio is set, or it cannot be sent.
    pub fn entities(&self) -> anyhow::Result<Entities> {
        let composio = Composio::new(self.config.composio.clone(), Arc::clone(&self.clock))?;
        Ok(self.entities_over(&composio))
    }

    /// The same, over a client that others use too.
    pub fn entities_over(&self, composio: &Composio) -> Entities {
        Entities::new(EntityParts {
            auditor: self.auditor(composio),
            composio: composio.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            outbox: self.outbox(),
            reconnect_page: ReconnectPage(self.config.notify.reconnect_url.clone()),
            request_timeout: self.config.composio.timeout,
        })
    }

    fn auditor(&self, composio: &Composio) -> Auditor {
        let hold_all = self.config.notify.mode == NotifyMode::Hold;
        let policy = self.config.policy.clone();
        Auditor::new(composio.clone(), Arc::clone(&self.store), policy, Arc::clone(&self.clock), hold_all)
    }

    /// Runs these stages until told to stop; they finish what is in flight, unless told harder.
    ///
    /// # Errors
    /// A stage ended by itself.
    pub async fn run(&self, roles: &BTreeSet<Role>, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut stages = Stages { running: JoinSet::new(), shutdown: shutdown.clone() };
        let composio = match self.config.composio.api_key {
            Some(_) => Some(Composio::new(self.config.composio.clone(), Arc::clone(&self.clock))?),
            None => None,
        };
        if roles.contains(&Role::Http) {
            if let Some(listener) = self.public_listener(composio.as_ref()).await? {
                stages.start("http", listener.serve(shutdown.soft.clone()));
            }
            let alone = roles.len() == 1;
            if let Some(listener) = self.ops_listener(alone, composio.as_ref(), &shutdown.soft).await? {
                stages.start("ops", listener.serve(shutdown.soft.clone()));
            }
        }
        let tasks = TaskTracker::new();
        if roles.contains(&Role::Keeper) {
            let keeper = Keeper {
                store: Arc::clone(&self.store),
                queue: Arc::clone(&self.queue),
                outbox: self.outbox(),
                clock: Arc::clone(&self.clock),
                settings: self.config.keeper.clone(),
                retention: self.config.retention.clone(),
                guard: self.config.guard.clone(),
                hold: (self.config.notify.mode == NotifyMode::Hold).then(|| hold::GO_LIVE.to_owned()),
                lease: self.config.queue.lease,
            };
            stages.start("keeper", keeper.run(shutdown.soft.clone()));
            stages.start("alerter", self.alerter(&tasks)?.run(shutdown.soft.clone()));
        }
        let looks = [Role::Notifier, Role::Checker, Role::Sweeper].iter().any(|role| roles.contains(role));
        if looks {
            self.start_looking(roles, composio.as_ref().context("composio.api_key is not set")?, &mut stages, &tasks)?;
        }
        if roles.contains(&Role::Scheduler) {
            let scheduler = Scheduler::new(self.config.schedules.clone(), self.store.clone(), Arc::clone(&self.clock))?;
            stages.start_fallible("scheduler", scheduler.run(shutdown.soft.clone()));
        }
        stages.run_to_the_end().await
    }

    /// Starts the stages that ask Composio.
    fn start_looking(
        &self,
        roles: &BTreeSet<Role>,
        composio: &Composio,
        stages: &mut Stages,
        tasks: &TaskTracker,
    ) -> anyhow::Result<()> {
        let users = self.users()?;
        let auditor = self.auditor(composio);
        let lease = self.config.queue.lease;
        let desk = Desk::new(Arc::clone(&self.store), Arc::clone(&self.clock), lease, self.config.queue.max_deliveries);
        if roles.contains(&Role::Notifier) {
            let mailer = Mailer::new(&self.config.notify, &self.config.mail, tasks)?;
            let notifier = Notifier {
                rules: self.mail_rules(&mailer)?,
                names: Names::new(composio.clone(), Arc::clone(&self.store), Arc::clone(&self.clock)),
                auditor: auditor.clone(),
                guard: Guard::new(Arc::clone(&self.store), Arc::clone(&self.clock), self.config.guard.clone()),
                store: Arc::clone(&self.store),
                users: users.clone(),
                mailer,
                outbox: self.outbox(),
                desk: desk.clone(),
                clock: Arc::clone(&self.clock),
                policy: self.config.policy.clone(),
            };
            self.work(stages, Lane::Notify, self.config.notify.concurrency, Arc::new(notifier));
        }
        if roles.contains(&Role::Checker) {
            let checker: Arc<dyn JobHandler> = Arc::new(Checker {
                auditor: auditor.clone(),
                store: Arc::clone(&self.store),
                outbox: self.outbox(),
                desk,
                clock: Arc::clone(&self.clock),
                retry: self.config.check.retry,
            });
            self.work(stages, Lane::CheckNow, self.config.check.concurrency, Arc::clone(&checker));
            self.work(stages, Lane::CheckSweep, self.config.check.concurrency, checker);
        }
        if roles.contains(&Role::Sweeper) {
            let sweeper = Sweeper {
                auditor,
                store: Arc::clone(&self.store),
                users,
                outbox: self.outbox(),
                desk: Desk::new(Arc::clone(&self.store), Arc::clone(&self.clock), self.config.sweep.lease, u32::MAX),
                clock: Arc::clone(&self.clock),
                settings: self.config.sweep.clone(),
                page_size: self.config.users.page_size,
                users_per_job: self.config.check.users_per_job,
            };
            stages.start("sweeper", sweeper.run(stages.shutdown.soft.clone()));
        }
        Ok(())
    }

    /// What the internet may reach; none unless `http.public.url` says where that is.
    async fn public_listener(&self, composio: Option<&Composio>) -> anyhow::Result<Option<Listener>> {
        let settings = &self.config.http.public;
        if settings.url.is_none() {
            return Ok(None);
        }
        let reconnect = match links(&self.config) {
            Some(links) => Some(self.reconnect(links, composio)?),
            None => None,
        };
        let routes = public::router(public::Public {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            reconnect,
            app_name: self.config.notify.app_name.clone(),
            composio: self.config.composio.url.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            outbox: self.outbox(),
            webhook_secrets: self.config.composio.webhook_secrets.clone(),
            mail_events_secret: settings.mail_events_secret.clone(),
        });
        Ok(Some(Listener::bind(settings.listen, "http.public.listen", routes).await?))
    }

    /// Connects again what broke, for whoever opens the link of a mail.
    fn reconnect(&self, links: Links, composio: Option<&Composio>) -> anyhow::Result<Reconnect> {
        let composio = composio.context("composio.api_key is not set, and the pages at http.public.url need it")?;
        Ok(Reconnect {
            composio: composio.clone(),
            auditor: self.auditor(composio),
            store: Arc::clone(&self.store),
            users: self.users()?,
            outbox: self.outbox(),
            links,
            clock: Arc::clone(&self.clock),
        })
    }

    /// The API and the probes; none if `http.ops.listen` is off. Whoever starts a second worker on one machine has asked for no
    /// second API, so at the default address, unless it is all that the worker is for, it is told and not an error.
    async fn ops_listener(
        &self,
        alone: bool,
        composio: Option<&Composio>,
        stopping: &CancellationToken,
    ) -> anyhow::Result<Option<Listener>> {
        let settings = &self.config.http.ops;
        let Some(address) = settings.listen else { return Ok(None) };
        match Listener::bind(address, "http.ops.listen", ops::router(self.ops(composio, stopping), settings)).await {
            Err(error) if error.is_taken() && address == HttpOps::DEFAULT_LISTEN && !alone => {
                tracing::warn!(
                    event = "http.ops_elsewhere",
                    %address,
                    "somebody answers there already, so this worker has no API: set http.ops.listen, or \"off\""
                );
                Ok(None)
            }
            bound => Ok(Some(bound?)),
        }
    }

    /// What the API answers from.
    fn ops(&self, composio: Option<&Composio>, stopping: &CancellationToken) -> ops::Ops {
        let users = self.users().map_err(|error| format!("{error:#}"));
        ops::Ops {
            store: Arc::clone(&self.store),
            queue: Arc::clone(&self.queue),
            clock: Arc::clone(&self.clock),
            explainer: Explainer::new(Arc::clone(&self.store), users.clone(), &self.config),
            users,
            entities: composio.map(|composio| self.entities_over(composio)),
            reaudits: self.reaudits(),
            execute_timeout: self.config.composio.execute_timeout,
            stopping: stopping.clone(),
        }
    }

    fn work(&self, stages: &mut Stages, lane: Lane, concurrency: usize, handler: Arc<dyn JobHandler>) {
        let spec = WorkerSpec {
            name: lane.as_str().to_owned(),
            lane,
            concurrency,
            // A chunk takes seconds: one that waits in a busy worker could run in another.
            prefetch: 0,
            lease: self.config.queue.lease,
        };
        let stop = queue::Stop { soft: stages.shutdown.soft.clone(), hard: stages.shutdown.hard.clone() };
        stages.start_fallible(lane.as_str(), queue::work(spec, Arc::clone(&self.queue), handler, stop));
    }

    fn alerter(&self, tasks: &TaskTracker) -> anyhow::Result<Alerter> {
        let alerts = &self.config.alerts;
        Ok(Alerter {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            channels: alert_channels(&self.config, tasks)?,
            telling: Telling { group_wait: alerts.group_wait, repeat_interval: alerts.repeat_interval },
            expected: Expected { within: alerts.expected_within, has_schedules: !self.config.schedules.is_empty() },
            guard: self.config.guard.clone(),
            // Judging reads more than keeping does: ten seconds by default.
            interval: self.config.keeper.interval.saturating_mul(5),
        })
    }

    fn mail_rules(&self, mailer: &Mailer) -> anyhow::Result<MailRules> {
        let notify = &self.config.notify;
        Ok(MailRules {
            buttons: buttons(&self.config)?,
            domain: mailer.domain().to_owned(),
            only_to: notify.only_to.clone(),
            redirect_all_to: notify.redirect_all_to.as_deref().map(str::parse).transpose()?,
            on_ambiguous: notify.on_ambiguous,
            retry: notify.retry,
            max_per_hour: self.config.guard.max_mails_per_hour,
            zones: self.config.schedules.iter().map(|(name, one)| (name.clone(), one.time_zone)).collect(),
        })
    }
}

/// Where the buttons of mails lead: to our own pages, if they can be reached.
///
/// # Errors
/// They would lead nowhere.
pub fn buttons(config: &Config) -> anyhow::Result<Buttons> {
    Ok(match links(config) {
        Some(links) => Buttons::Ours(Box::new(links)),
        None => Buttons::App(config.notify.reconnect_url.clone().context("notify.reconnect_url is not set")?),
    })
}

/// The links to our own pages, if they can be reached.
pub fn links(config: &Config) -> Option<Links> {
    let public = &config.http.public;
    Some(Links::new(public.url.clone()?, Keyring::new(&public.token_keys)?, public.link_lifetime))
}

/// The ways to the operator that are configured.
///
/// # Errors
/// One of them is not as it must be.
pub fn alert_channels(config: &Config, tasks: &TaskTracker) -> anyhow::Result<Channels> {
    let operators =
        config.alerts.email.iter().map(|text| text.parse().context("alerts.email holds what is no address"));
    let operators = operators.collect::<anyhow::Result<Vec<_>>>()?;
    let mail = if operators.is_empty() {
        None
    } else {
        let mailer = Mailer::new(&config.notify, &config.mail, tasks);
        Some((mailer.context("alerts.email is set, so mails must be able to leave")?, operators))
    };
    Ok(Channels { mail, hooks: Hooks::new(&config.alerts, config.notify.app_name.as_deref())? })
}

/// The stages that run in this process.
struct Stages {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    shutdown: Shutdown,
}

impl Stages {
    fn start(&mut self, name: &'static str, stage: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            stage.await;
            (name, Ok(()))
        });
    }

    fn start_fallible<E>(&mut self, name: &'static str, stage: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<anyhow::Error> + Send + 'static,
    {
        self.running.spawn(async move { (name, stage.await.map_err(Into::into)) });
    }

    /// Waits for all of them. If one ends although nobody asked, the others are stopped, and that is an error.
    async fn run_to_the_end(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        loop {
            let ended = tokio::select! {
                () = self.shutdown.hard.cancelled() => {
                    tracing::warn!(event = "shutdown.hard", stages = self.running.len(), "leases give their work back");
                    self.running.shutdown().await;
                    return outcome;
                }
                ended = self.running.join_next() => ended,
            };
            let Some(ended) = ended else { return outcome };
            let (name, result) = ended.unwrap_or_else(|error| ("stage", Err(anyhow::Error::from(error))));
            let expected = self.shutdown.soft.is_cancelled();
            match result {
                Ok(()) if expected => tracing::debug!(event = "stage.stopped", name),
                result => {
                    let error = result.err().unwrap_or_else(|| anyhow::anyhow!("it ended by itself"));
                    tracing::error!(event = "stage.failed", name, error = format!("{error:#}"));
                    self.shutdown.soft.cancel();
                    outcome = Err(error.context(format!("the stage {name} ended")));
                }
            }
        }
    }
}
