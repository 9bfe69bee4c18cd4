//! Integration tests: the whole service against a real Postgres and the simulator.
//!
//! One binary, so that the tests share one Postgres server; each test has a database of its own. What they share is the crate
//! `pushpost-testkit`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod batch;
mod chaos;
mod cleanups;
mod crash;
mod dashboard;
mod devices;
mod documents;
mod event_streams;
mod events;
mod idempotency;
mod input;
mod metrics;
mod migrations;
mod notification_list;
mod notifications;
mod plans;
mod postgres_proxy;
mod previews;
mod process;
mod queue;
mod sessions;
mod start;
mod testkit;
mod traces;
mod webhooks;
mod whole;
