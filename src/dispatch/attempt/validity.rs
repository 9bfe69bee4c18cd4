//! Whether an attempt may still be made: one question, asked when the attempt begins, and once more when its request is
//! written, which may be seconds later.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::dispatch::health::{Generation, LaneGate};
use crate::domain::NodeId;
use crate::queue::node_lease::NodeLease;

/// Under which conditions an attempt was admitted.
pub(super) struct AttemptValidity<'a> {
    pub(super) node_lease: &'a NodeLease,
    /// The id under which this node leased the job.
    pub(super) node: NodeId,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) gate: &'a LaneGate,
    pub(super) generation: Generation,
}

impl AttemptValidity<'_> {
    /// False: the lane's state has changed, the job may be another node's, or the device's time is up. The moment is the
    /// caller's, because reading the clock costs as much as the rest.
    pub(super) fn is_valid(&self, moment: Instant) -> bool {
        self.node_lease.may_start_at(self.node, moment)
            && self.node_lease.clock().at(moment) < self.expires_at
            && self.gate.is_current(self.generation)
    }
}
