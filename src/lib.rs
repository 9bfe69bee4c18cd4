//! Pushpost: a durable dispatcher for mobile push notifications.
//!
//! # Layout
//!
//! Read the modules in this order. Each imports only from modules of a lower layer, with the exceptions that
//! `tests/layers/rules.rs` names. `tests/layers.rs` checks it.
//!
//! | layer | module | what it is |
//! |---|---|---|
//! | 0 | [`domain`] | values and rules; no I/O |
//! | 1 | [`store`] | all the SQL |
//! | 1 | [`provider::transport`] | TLS, HTTP/2 connections and their pool; knows no provider |
//! | 1 | [`settings`] | what reads a section of a configuration, whatever its keys are |
//! | 1 | [`telemetry`] | the log; traces; the metrics of a node |
//! | 2 | [`provider`] | what a provider states, and the list of built-in providers |
//! | 2 | a folder of [`provider`] for each, such as [`provider::apns`] | settings, credentials, request bytes, what an answer means |
//! | 2 | [`queue`] | accept, claim, lease, record |
//! | 2 | [`audience`] | from the selectors of a request to devices: small audiences at once, large ones page by page |
//! | 2 | [`registry`] | devices, users, topics, API keys |
//! | 2 | [`pruning`] | quarantine of devices with dead tokens, and the guard against mass verdicts |
//! | 3 | [`notifications`] | sending, status and deliveries: the rules below the handlers |
//! | 3 | [`events`] | the event log: its sequencer, pages of it, streams to clients that stay connected, and webhooks |
//! | 3 | [`api`], [`dispatch`], [`maintenance`] | HTTP in (above `notifications` and `events`); the lanes; the leader's duties |
//! | 4 | [`config`], [`runtime`] | wiring |
//! | 5 | [`cli`] | commands |
//!
//! These crates do not depend on this one:
//!
//! | crate | what it is |
//! |---|---|
//! | [`pushpost_embedded_postgres`] | a private Postgres when none is configured |
//! | [`pushpost_simulator`] | an independent APNs, FCM and OAuth server for demo, tests and benches |

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod domain;

pub mod settings;
pub mod store;
pub mod telemetry;

pub mod audience;
pub mod provider;
pub mod pruning;
pub mod queue;
pub mod registry;

pub mod api;
pub mod dispatch;
pub mod events;
pub mod maintenance;
pub mod notifications;

pub mod config;
pub mod runtime;

pub mod cli;

// The binary's allocator: a dependency of the package that the library does not name.
#[cfg(not(test))]
use mimalloc as _;
