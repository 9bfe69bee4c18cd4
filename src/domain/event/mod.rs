//! What the event log holds of a fact. The API shows each fact as one or more events, which are rendered when they are read.

mod fact;

pub use fact::{
    ActionFact, CleanupFact, CorrectedFact, CorrectionCause, CredentialFact, CredentialResult, GuardFact,
    KeyFact, LaneFact, NodeFact, QuarantineCause, QuarantineFact,
};

use chrono::NaiveDate;

use super::wire_enum::wire_enum;

wire_enum! {
    /// What kind of fact an entry of the log tells. The name is the type of its events.
    FactKind {
        /// Receipts with final outcomes, each of which is an event.
        Recorded = 1 "delivery.recorded",
        /// Notifications that have ended, each of which is an event. A cancelled one is a `notification.cancelled`, which is
        /// found out when the event is read.
        Ended = 2 "notification.done",
        /// Devices that were quarantined: [`QuarantineFact`].
        Quarantined = 3 "device.quarantined",
        /// Devices that are no longer quarantined: [`CorrectedFact`].
        Restored = 4 "device.restored",
        /// Devices the environment of which was found out: [`CorrectedFact`].
        Corrected = 5 "device.corrected",
        /// A lane has another state: [`LaneFact`].
        LaneChanged = 6 "lane.changed",
        /// The pruning guard of a lane was engaged: [`GuardFact`].
        PruningBraked = 7 "pruning.braked",
        /// The pruning guard of a lane was released: [`GuardFact`].
        PruningReleased = 8 "pruning.released",
        /// A lane took or refused a new credential: [`CredentialFact`].
        CredentialChanged = 9 "credential.changed",
        /// A clean-up run has ended: [`CleanupFact`].
        CleanupDone = 10 "cleanup.done",
        /// A node has registered: [`NodeFact`], in the log of every app.
        NodeStarted = 11 "node.started",
        /// A node was declared dead: [`NodeFact`], in the log of every app.
        NodeDied = 12 "node.died",
        /// An API key was made: [`KeyFact`].
        KeyCreated = 13 "key.created",
        /// An API key was revoked: [`KeyFact`].
        KeyRevoked = 14 "key.revoked",
        /// A webhook fails.
        WebhookFailing = 15 "webhook.failing",
        /// A webhook that failed takes messages again.
        WebhookRecovered = 16 "webhook.recovered",
        /// A webhook gets no more messages.
        WebhookDisabled = 17 "webhook.disabled",
        /// An event was set aside, because a webhook refuses it.
        WebhookSetAside = 18 "webhook.set_aside",
        /// An operator's action has ended: [`ActionFact`].
        AdminAction = 19 "admin.action",
    }
}

/// A place in the log. Readers go on after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPosition {
    /// The number of an entry. Entries have rising numbers; 0 is before all of them.
    pub position: i64,
    /// The day (UTC) on which that entry was written to the log.
    pub day: NaiveDate,
}
