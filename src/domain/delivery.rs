//! The statuses of deliveries and notifications, and how many deliveries of a notification have which status.

use super::wire_enum::wire_enum;

wire_enum! {
    /// The status of one device of one notification. The number stands in receipts
    /// ([`OutcomeByte`](super::OutcomeByte)).
    DeliveryStatus {
        /// The device waits for an attempt, or one is in flight.
        Pending = 0 "pending",
        /// The provider accepted the notification. That is no proof of delivery.
        Accepted = 1 "accepted",
        /// The provider or Pushpost refused it for this device. The token stays valid.
        Rejected = 2 "rejected",
        /// The provider says that the token is dead, or the device was quarantined already.
        TokenDead = 3 "token_dead",
        /// The time to live ended before a provider accepted it, and no attempt is in doubt.
        Expired = 4 "expired",
        /// It was stopped before a provider accepted it.
        Cancelled = 5 "cancelled",
        /// It was written to a provider that never answered, and the time to live or the attempts were used up.
        Unknown = 6 "unknown",
    }
}

wire_enum! {
    /// The status of a notification.
    NotificationStatus {
        /// It will be sent at a later time.
        Scheduled = 0 "scheduled",
        /// No attempt has begun.
        Queued = 1 "queued",
        /// At least one attempt has begun.
        Sending = 2 "sending",
        /// Every target has its final status.
        Done = 3 "done",
        /// It was cancelled by a request, and at least one delivery or a part of the audience was stopped.
        Cancelled = 4 "cancelled",
    }
}

/// The number of deliveries of a notification in each status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeliveryCounts {
    /// Deliveries that are not final.
    pub pending: u64,
    /// Deliveries that a provider accepted.
    pub accepted: u64,
    /// Deliveries without an answer.
    pub unknown: u64,
    /// Deliveries that were refused.
    pub rejected: u64,
    /// Deliveries to dead tokens.
    pub token_dead: u64,
    /// Deliveries that expired.
    pub expired: u64,
    /// Deliveries that were stopped.
    pub cancelled: u64,
}

impl DeliveryCounts {
    /// The number of devices: the sum of all statuses.
    pub fn targets(&self) -> u64 {
        self.pending
            + self.accepted
            + self.unknown
            + self.rejected
            + self.token_dead
            + self.expired
            + self.cancelled
    }
}
