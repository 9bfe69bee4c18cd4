//! The event log (docs/queue.md#event-log).
//!
//! - [`append`] writes a fact to the outbox, in the transaction of the fact. The statements of receipts do the same in
//!   themselves: [`super::record`], [`super::waiting_jobs`], [`super::accept`].
//! - [`sequence`] gives the facts of the outbox their places in the log.
//! - [`page`], [`oldest`] and [`head`] read the log.

mod log;
mod outbox;
mod sequencer;

pub use log::{LogEntry, ReceiptId, first_day, head, oldest, page, since};
pub use outbox::{NewFact, append};
pub use sequencer::{Sequenced, sequence};
