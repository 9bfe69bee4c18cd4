//! The event log on a node.
//!
//! [`sequencer`] gives facts their places (docs/queue.md#event-log). [`reader`] reads pages of the log and makes events of its
//! entries. [`streams`] serves the clients that stay connected: one reader per app reads what is new, once for all of them. [`webhooks`]
//! posts to receivers what they have not got yet. What an event looks like as JSON is the API's matter, which hands in an
//! [`EventWriter`].

mod actions;
mod candidates;
mod event;
mod filter;
mod reader;
mod recent;
mod rendering;
pub mod sequencer;
mod short_lived;
pub mod streams;
pub mod webhooks;

pub use crate::domain::DeviceDetail;
pub use actions::tell_action;
pub use event::{Devices, Event, EventData, RecordedReceipt};
pub use filter::EventFilter;
pub use reader::{EventPage, EventReader, EventWriter, ReadError, WrittenEvent};

use streams::EventStreams;

/// The event log of a node that keeps one.
#[derive(Clone, Debug)]
pub struct EventLog {
    /// Reads pages of it.
    pub reader: EventReader,
    /// Serves clients that stay connected.
    pub streams: EventStreams,
}
