//! The queue on a real Postgres, without providers and without HTTP: each numbered scenario of the queue protocol
//! (docs/queue.md in the comments below) with a test that fails without its rule, and a random model test over all of them.

mod backlog;
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
