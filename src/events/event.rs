//! Events as they are read, before they are written as JSON.

use chrono::{DateTime, Utc};

use crate::domain::{
    ActionFact, CorrectedFact, CredentialFact, DeviceId, EventPlace, EventType, GuardFact, KeyFact, LaneFact,
    NodeFact, QuarantineFact,
};
use crate::store::cleanups::CleanupRun;
use crate::store::deliveries::{Delivery, ReceiptSummary};
use crate::store::events::{EndedNotification, EventDevice};

/// An event of an app.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Where it stands in the log of its app.
    pub place: EventPlace,
    /// What type it is of.
    pub kind: EventType,
    /// When its fact was committed.
    pub at: DateTime<Utc>,
    /// What it tells.
    pub data: EventData,
}

/// What an event tells.
#[derive(Clone, PartialEq, Debug)]
pub enum EventData {
    /// The final outcomes of one receipt.
    Recorded(RecordedReceipt),
    /// A notification that has ended.
    Ended(EndedNotification),
    /// Devices that are not sent to any more.
    Quarantined(QuarantineFact, Devices),
    /// Devices that were restored or corrected.
    Corrected(CorrectedFact, Devices),
    /// A lane has another state.
    Lane(LaneFact),
    /// A pruning guard was engaged or released.
    Guard(GuardFact),
    /// A credential was tried.
    Credential(CredentialFact),
    /// A clean-up run has ended.
    Cleanup(Box<CleanupRun>),
    /// A node has started or died.
    Node(NodeFact),
    /// An API key was created or revoked.
    Key(KeyFact),
    /// An operator's action.
    Action(ActionFact),
    /// A fact that is shown as it is stored.
    Stored(serde_json::Map<String, serde_json::Value>),
}

/// The final outcomes of one receipt.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordedReceipt {
    /// What all its devices share.
    pub summary: ReceiptSummary,
    /// Its devices, as far as they are listed.
    pub devices: Vec<Delivery>,
}

/// The devices of an event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// Those that still exist, each with its place in the fact.
    pub known: Vec<(usize, DeviceId, EventDevice)>,
    /// Number of those that were deleted since, or that are more than an event lists.
    pub omitted: usize,
}
