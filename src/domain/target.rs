//! The target of a delivery. `audience` finds targets and `queue` stores them.

use super::{DeviceId, LaneId, Reason, UserId};

/// A device of an audience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The id of the device.
    pub device: DeviceId,
    /// The lane that sends to it.
    pub lane: LaneId,
    /// The user through which the device was addressed, if any.
    pub user: Option<UserId>,
    /// The sender's own name for the token, repeated in the delivery.
    pub reference: Option<String>,
    /// The delivery ends `rejected` with this reason and without an attempt: the lane has no credentials, or the token
    /// is of another kind.
    pub refused: Option<Reason>,
}
