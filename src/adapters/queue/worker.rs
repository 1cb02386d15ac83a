//! A worker: one stage works one lane off, with apalis as the engine.
//!
//! ```text
//!  store ──fetch, reclaim──► intake ──► feed ──► apalis: limit ▸ spawn ▸ settle ▸ catch panic ▸ trace ▸ handler
//!    ▲                                                               │
//!    ├──────────────── acknowledge, delay ◄── settlements ◄──────────┘
//!    └──────────────── renew ◄── hold (everything between fetch and acknowledgement)
//! ```
//!
//! The loops around apalis are tasks of their own: an outage of the queue is waited out there, and a lease does not depend
//! on how busy the worker is.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::layers::tracing::TraceLayer;
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeLayer;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::Service;
use uuid::Uuid;

use super::backend::Feed;
use super::hold::Hold;
use super::intake::Intake;
use super::outage::{Backoff, Caller, Outage};
use super::settle::{SettleLayer, Settlements};
use crate::domain::job::{Job, Lane};
use crate::domain::port::{Entry, Handled, JobHandler, JobStore};

/// How often delayed jobs are looked at.
const PROMOTION: Duration = Duration::from_millis(250);

/// Which work, and how much of it at once.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// The stage's name; each start makes a consumer name of its own of it.
    pub name: String,
    /// The lane to work off.
    pub lane: Lane,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// Jobs that are fetched ahead, on top of those that run. They wait under a lease where another worker cannot have them:
    /// none for jobs that take seconds, as many as run at once for jobs that take milliseconds.
    pub prefetch: usize,
    /// `queue.lease`, as the store has it; leases are renewed three times within it.
    pub lease: Duration,
}

/// How a worker is stopped.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing new, give back what has not begun, finish what runs, acknowledge, return.
    pub soft: CancellationToken,
    /// Drop what runs and return; leases give the work back.
    pub hard: CancellationToken,
}

/// A worker ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The engine gave up.
    #[error("the worker {worker} ended")]
    Engine {
        /// The stage's name.
        worker: String,
        /// Why.
        #[source]
        source: apalis_core::error::WorkerError,
    },
    /// One of the loops around it panicked.
    #[error("a task of the worker {worker} died")]
    Task {
        /// The stage's name.
        worker: String,
        /// Why.
        #[source]
        source: JoinError,
    },
}

/// Works a lane off until it is stopped. Dropping the future is the hardest stop: everything ends at once.
///
/// # Errors
/// Something broke that never should; an outage of the queue is none.
pub async fn work(
    spec: WorkerSpec,
    store: Arc<dyn JobStore>,
    handler: Arc<dyn JobHandler>,
    stop: Stop,
) -> Result<(), WorkerError> {
    let consumer = format!("{}-{}", spec.name, Uuid::now_v7().simple());
    let concurrency = spec.concurrency.max(1);
    let hold = Arc::new(Hold::new(concurrency + spec.prefetch));
    let settlements = Arc::new(Settlements::new(Arc::clone(&hold)));
    let outage = Arc::new(Outage::new(spec.name.clone()));
    let feed = Feed::new(stop.soft.clone());
    let finished = CancellationToken::new();

    let mut loops = JoinSet::new();
    let intake = Intake {
        store: Arc::clone(&store),
        lane: spec.lane,
        consumer: consumer.clone(),
        lease: spec.lease,
        hold: Arc::clone(&hold),
        feed: feed.clone(),
        outage: Arc::clone(&outage),
    };
    loops.spawn(intake.run(stop.soft.clone()));
    loops.spawn({
        let (store, hold, outage, finished) = (store.clone(), hold.clone(), outage.clone(), finished.clone());
        let consumer = consumer.clone();
        async move {
            let renewing = renew(&*store, &consumer, spec.lease, &hold, &outage);
            let _ = finished.run_until_cancelled(renewing).await;
        }
    });
    loops.spawn({
        let (store, outage, soft) = (store.clone(), outage.clone(), stop.soft.clone());
        async move {
            let _ = soft.run_until_cancelled(promote(&*store, &outage)).await;
        }
    });
    loops.spawn({
        let (settlements, finished) = (settlements.clone(), finished.clone());
        async move { settlements.run(&*store, &outage, finished).await }
    });

    let mut engine = engine(&consumer, concurrency, feed, settlements, handler);
    let mut running = true;
    loop {
        tokio::select! {
            () = stop.hard.cancelled() => return Ok(()),
            ended = &mut engine, if running => {
                running = false;
                finished.cancel();
                ended.map_err(|source| WorkerError::Engine { worker: spec.name.clone(), source })?;
            }
            ended = loops.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(source)) => return Err(WorkerError::Task { worker: spec.name, source }),
                None => return Ok(()),
            },
        }
    }
}

/// The apalis worker. Layers from the outside in; `parallelize` gives each handler a task of its own.
fn engine(
    name: &str,
    concurrency: usize,
    feed: Feed,
    settlements: Arc<Settlements>,
    handler: Arc<dyn JobHandler>,
) -> BoxFuture<'static, Result<(), apalis_core::error::WorkerError>> {
    let tracker = TaskTracker::new();
    let worker = WorkerBuilder::new(name)
        .backend(feed)
        .concurrency(concurrency)
        .layer(ParallelizeLayer::new(move |working| AbortOnDropHandle::new(tracker.spawn(working))))
        .layer(SettleLayer(settlements))
        .catch_panic()
        .layer(TraceLayer::new().make_span_with(job_span).on_failure(()))
        .build(Handler(handler));
    worker.run().boxed()
}

/// Renews everything that is held, three times a lease; a failed try is repeated sooner.
async fn renew(store: &dyn JobStore, consumer: &str, lease: Duration, hold: &Hold, outage: &Outage) {
    let mut backoff = Backoff::new();
    loop {
        tokio::time::sleep(lease / 3).await;
        loop {
            let entries = hold.entries();
            if entries.is_empty() {
                break;
            }
            let answer = store.renew(consumer, &entries).await;
            if outage.noted(Caller::Renewal, answer).is_some() {
                backoff.reset();
                break;
            }
            backoff.wait().await;
        }
    }
}

/// Brings delayed jobs in when their time has come. Every worker does it for every lane: it is cheap, and never nobody's job.
async fn promote(store: &dyn JobStore, outage: &Outage) {
    let mut backoff = Backoff::new();
    loop {
        if outage.noted(Caller::Promotion, store.promote().await).is_some() {
            backoff.reset();
            tokio::time::sleep(PROMOTION).await;
        } else {
            backoff.wait().await;
        }
    }
}

/// The span of one job, with the id of its row if it is a job of ours; a foreign payload may hold anything and is not shown.
fn job_span(task: &Task<Entry>) -> tracing::Span {
    let entry = &task.args;
    let job = Job::parse(entry.lane, &entry.payload).map(|job| job.id().to_string()).unwrap_or_default();
    tracing::info_span!("job", lane = entry.lane.as_str(), job, deliveries = entry.deliveries)
}

/// The handler as a service.
#[derive(Clone)]
struct Handler(Arc<dyn JobHandler>);

impl Service<Task<Entry>> for Handler {
    type Response = Handled;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Handled, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Entry>) -> Self::Future {
        let handler = Arc::clone(&self.0);
        Box::pin(async move { Ok(handler.handle(task.args).await) })
    }
}
