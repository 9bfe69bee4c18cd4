//! The queue on a real Postgres, without providers and without HTTP: each section of docs/queue.md has a test that fails
//! without its rule, and a random model test covers all of them.

mod backlog;
mod cancellation;
mod counters;
mod expiry;
mod fan_outs;
mod flushing;
mod given_up;
mod lost_lease;
mod model;
mod nodes;
mod partitions;
mod poison;
mod receipt_words;
mod replay;
mod retention;
mod scheduled;
mod scheduled_retention;
mod topic_audiences;

pub(crate) use scheduled::{for_users as scheduled_for_users, resolve as resolve_scheduled};
