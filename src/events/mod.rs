//! The event log on a node.
//!
//! [`sequencer`] gives facts their places in the log (docs/queue.md#event-log). Facts are written by the statements of `store`.

pub mod sequencer;
