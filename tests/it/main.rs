//! Integration tests: the whole service against a real Postgres and the simulator.
//!
//! One binary, so that they share one Postgres server ([`database`]); a database for each test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod database;
mod devices;
mod input;
mod migrations;
mod notifications;
mod plans;
mod process;
mod proxy;
mod queue;
mod seeds;
mod service;
mod sessions;
mod shop;
mod start;
mod whole;
