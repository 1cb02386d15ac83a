//! Real servers for the tests: each is started once, on a free port, and dies with the test process.

pub(crate) mod browser;
pub(crate) mod hooks;
pub(crate) mod mariadb;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod smtp;
pub(crate) mod world;
