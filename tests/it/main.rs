//! The whole suite in one binary, so that it links once and starts each server once.

mod cli;
mod config;
mod floors;
mod mailer;
mod migrations;
mod pipeline;
mod python_sdk;
mod queue;
mod scheduler;
mod shutdown;
mod simulator;
mod store;
mod support;
mod users;
