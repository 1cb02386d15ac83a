//! The apalis backend: a feed that the intake fills and the worker empties. It cannot fail, so the worker cannot die of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use crate::domain::port::Entry;

/// Entries that were fetched and wait for a free handler; closing it ends the worker once its handlers are done.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    state: Arc<Mutex<State>>,
    /// From here on nothing begins, whoever notices first.
    soft: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    closed: bool,
    waker: Option<Waker>,
}

impl Feed {
    pub(super) fn new(soft: CancellationToken) -> Self {
        Self { state: Arc::default(), soft }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries; those that come after the end are handed back.
    pub(super) fn offer(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut state = self.state();
        if state.closed {
            return entries;
        }
        state.entries.extend(entries);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Vec::new()
    }

    /// Ends the feed and hands back what no handler has begun.
    pub(super) fn close(&self) -> Vec<Entry> {
        let mut state = self.state();
        state.closed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        state.entries.drain(..).collect()
    }
}

impl Backend for Feed {
    type Task = Task<Entry>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Entry>, Infallible>>> {
        let mut state = self.state();
        if state.closed || self.soft.is_cancelled() {
            return Poll::Ready(None);
        }
        if let Some(entry) = state.entries.pop_front() {
            let id = TaskId::from_string(entry.id.as_str());
            return Poll::Ready(Some(Ok(TaskBuilder::new(entry).task_id(id).build())));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_close(&mut self, _: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // The worker exits only when it was told to stop; that its feed has ended is not enough for it. It is running, so
        // it can be stopped.
        let _ = worker.stop();
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Feed {
    type Args = Entry;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
