//! Integration tests: the whole service against a real Postgres and the simulator.
//!
//! One binary, so that they share one Postgres server ([`database`]); a database for each test.

mod database;
mod devices;
mod queue;
mod shop;
