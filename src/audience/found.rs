//! What one transaction of a fan-out found.

use crate::domain::{LaneId, TraceContext};

/// What one transaction found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The lanes that got jobs.
    pub(super) lanes: Vec<LaneId>,
    /// The devices in them.
    pub(super) devices: u64,
    /// What was found of notifications that are traced.
    pub(super) traced: Vec<TracedPage>,
}

/// What was found of a notification that is traced.
#[derive(Debug)]
pub(super) struct TracedPage {
    /// The span that accepted the notification.
    pub(super) send: TraceContext,
    /// The number of the page, from 1. 0: the devices that a scheduled notification names.
    pub(super) page: i64,
    /// Devices that became targets.
    pub(super) targets: u64,
}
