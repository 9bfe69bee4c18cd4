//! A device of an audience. `registry` finds targets and `queue` stores them; they meet here, not in each other.

use super::{DeviceId, LaneId, Reason, UserId};

/// One device of an audience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The device.
    pub device: DeviceId,
    /// Its lane.
    pub lane: LaneId,
    /// Through whom it was addressed, if it was through a user.
    pub user: Option<UserId>,
    /// The sender's own word for it.
    pub reference: Option<String>,
    /// Ends `rejected` with this reason, unsent (its lane has no credentials, or its token is for something else).
    pub refused: Option<Reason>,
}
