//! The event log (docs/queue.md#event-log).
//!
//! - [`append`] writes a fact to the outbox, in the transaction of the fact. The statements of receipts do the same in
//!   themselves: [`super::record`], [`super::waiting_jobs`], [`super::accept`]. So do those that change many devices:
//!   [`super::quarantine`], [`super::environments`], [`super::cleanups`].
//! - [`sequence`] gives the facts of the outbox their places in the log.
//! - [`page`], [`oldest`] and [`head`] read the log.
//! - [`droppable_days`] and [`drop_day`] end its days.

mod days;
mod devices;
mod ended;
mod log;
mod outbox;
mod sequencer;

pub use days::{delete_waiting, drop_day, droppable_days, release_days};
pub use devices::{EventDevice, devices};
pub(in crate::store) use ended::EndRows;
pub use ended::{EndedNotification, ended};
pub use log::{LogEntry, ReceiptId, first_day, head, oldest, page, since};
pub use outbox::{DEVICES_PER_FACT, NewFact, append, append_action};
pub use sequencer::{Sequenced, sequence};
