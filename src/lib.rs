//! connection-auditor finds the connected accounts of an app's users that no longer work, and tells their owners, once.
//!
//! ```text
//!  cron tick ─► scheduler ─► sweeper ─► queue "check" ─► checker ─► queue "notify" ─► notifier ─► a mail
//!                               pages of users             verdicts                     re-read, digest
//!               keeper: what the database says is due and the queue does not have is pushed again
//! ```
//!
//! The database is the truth, the queue is transport. Stages meet only in the queue and the store.
//!
//! The floors, from the ground up; each uses only those below it (`tests/it/floors.rs` holds them to it):
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 0 | [`domain`] | types and rules; no I/O |
//! | 1 | [`config`] | settings, valid once read |
//! | 2 | [`adapters`] | store, queue, composio, mailer, hooks, users: they do not know each other |
//! | 3 | [`audit`] | use cases that several stages need |
//! | 4 | [`pipeline`] | scheduler, sweeper, checker, notifier, keeper, alerter: they do not know each other |
//! | 5 | [`http`], [`telemetry`] | what is answered over HTTP; logs |
//! | 6 | [`cli`], [`app`], [`shutdown`] | the binary: parse, wire, run, exit |
//!
//! For one user at a time (connect an app, a settings page, a gate before an action, tools) see [`audit::entity`], which also says what
//! the words of older articles (*entity*, *app*, *connection*) are today.
//!
//! [`simulator`] stands beside: a Composio on loopback, for the demo, the tests and the benchmarks.

pub mod adapters;
pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod pipeline;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
