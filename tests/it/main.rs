//! The whole suite in one binary, so that it links once and starts each server once.

#![expect(clippy::panic, reason = "a test that cannot go on says why, also in the functions that tests share")]

mod alerts;
mod checker;
mod cli;
mod config;
mod entity;
mod examples;
mod floors;
mod guard;
mod http;
mod keeper;
mod mailer;
mod migrations;
mod notifier;
mod pipeline;
mod public;
mod python_sdk;
mod queue;
mod scheduler;
mod shutdown;
mod simulator;
mod store;
mod support;
mod suppressions;
mod sweeper;
mod users;
mod week;
