//! What the API says of a device of a notification, and of a notification as a whole.

use super::wire_enum::wire_enum;

wire_enum! {
    /// What became of one device of one notification. The number is a receipt's byte.
    DeliveryStatus {
        /// Waiting, in flight, or between two attempts.
        Pending = 0 "pending",
        /// The provider took it.
        Accepted = 1 "accepted",
        /// Refused for this device; the token stays.
        Rejected = 2 "rejected",
        /// The provider calls the token dead, or it already was set aside.
        TokenDead = 3 "token_dead",
        /// Time ran out before a provider took it, and no attempt is in doubt.
        Expired = 4 "expired",
        /// Stopped before a provider took it.
        Cancelled = 5 "cancelled",
        /// Written to a provider that never answered, and time or tries were used up.
        Unknown = 6 "unknown",
    }
}

wire_enum! {
    /// Where a notification stands.
    NotificationStatus {
        /// Its time is still to come.
        Scheduled = 0 "scheduled",
        /// Nothing of it was tried yet.
        Queued = 1 "queued",
        /// Some of it was.
        Sending = 2 "sending",
        /// Every target has its outcome.
        Done = 3 "done",
        /// Stopped on request, and something of it was.
        Cancelled = 4 "cancelled",
    }
}

/// How many devices of a notification ended how. `targets` is the sum of the others, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Not ended yet.
    pub pending: u64,
    /// Taken by the provider.
    pub accepted: u64,
    /// Never answered.
    pub unknown: u64,
    /// Refused.
    pub rejected: u64,
    /// Dead tokens.
    pub token_dead: u64,
    /// Out of time.
    pub expired: u64,
    /// Stopped.
    pub cancelled: u64,
}

impl Counts {
    /// The sum.
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
