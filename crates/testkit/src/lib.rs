//! What the integration tests and the benches share: databases, services, processes, and ways to break them.
//!
//! A dev-dependency of `pushpost`, on which it depends. Unit tests below `src` don't use it.
//!
//! | module | what it is |
//! |---|---|
//! | [`database`] | one Postgres for a test run, one migrated database for each test |
//! | [`apps`] | the app `shop`, its devices and registrations |
//! | [`installation`] | a database, the simulator and a configuration: what a service stands on |
//! | [`service`] | the whole service in this process, with the simulator: [`service::TestService`] |
//! | [`api`] | the HTTP API alone, asked through its router: [`api::TestApi`] |
//! | [`request`], [`answer`] | one HTTP request, exactly as a test wants it, and its answer |
//! | `documented` | compares each answer with the OpenAPI document |
//! | [`scrape`] | the samples of one answer of `/metrics` |
//! | [`schema`] | judges JSON by the schemas of the OpenAPI document |
//! | [`queue`] | the queue without providers and HTTP: [`queue::TestQueue`] |
//! | [`user_tokens`] | tokens by which an app proves its user |
//! | [`collector`] | a receiver of traces, which can refuse and hang |
//! | [`processes`] | `pushpost` as child processes: on one machine, as a cluster |
//! | [`postgres_proxy`] | a way to Postgres that is cut, falls silent, or becomes read-only |
//! | [`held_time`] | a clock that moves only when a test says so |
//! | [`json`] | what an answer must contain |
//! | [`log_watch`] | fails a test on a warning or an error that it did not expect |
//! | `hang_guard` | ends a run in which a test hangs |
//! | [`wait`] | waiting for a state, never for a time |
//! | [`seeds`] | seeds of random tests |
//! | [`webhook_libraries`] | the libraries by which receivers verify webhooks, for Python and Node |
//! | [`webhook_receiver`] | a receiver of webhooks that answers as it is told to |

#![expect(missing_docs, reason = "a comment that repeats the name is noise")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod answer;
pub mod api;
pub mod apps;
pub mod collector;
pub mod database;
mod documented;
mod hang_guard;
pub mod held_time;
pub mod installation;
pub mod json;
pub mod log_watch;
pub mod postgres_proxy;
pub mod processes;
pub mod queue;
pub mod request;
pub mod schema;
pub mod scrape;
pub mod seeds;
pub mod service;
pub mod user_tokens;
pub mod wait;
pub mod webhook_libraries;
pub mod webhook_receiver;
