//! How the targets of a notification become rows: jobs, receipts of those that end at once, and how they were addressed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::AcceptBatch;
use crate::domain::{
    DeviceId, JOB_DEVICES_MAX, LaneId, NodeId, NotificationId, Priority, RejectedToken, Target, TraceContext,
};

/// What all jobs of a notification share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobTerms {
    /// The notification's priority.
    pub priority: Priority,
    /// When they may be sent. None: now.
    pub due_at: Option<DateTime<Utc>>,
    /// Seconds from then until they expire.
    pub window_secs: u32,
    /// The span that accepted the notification. None: the notification is not traced.
    pub trace: Option<TraceContext>,
}

impl AcceptBatch {
    /// Adds the targets of a notification, and tokens without a device, which are targets that are rejected. `lease` names
    /// the node that a job is leased to from the start; none: the job waits.
    pub fn targets(
        &mut self,
        id: NotificationId,
        terms: JobTerms,
        targets: &[Target],
        rejected_tokens: &[RejectedToken],
        mut lease: impl FnMut(LaneId, &[DeviceId]) -> Option<NodeId>,
    ) {
        let mut lanes: BTreeMap<LaneId, Vec<DeviceId>> = BTreeMap::new();
        let mut refused: BTreeMap<(LaneId, &str), Vec<DeviceId>> = BTreeMap::new();
        for target in targets {
            let references = target.references.to_stored();
            if target.user.is_some() || references.is_some() {
                let user = target.user.as_ref().map(|user| user.as_str());
                self.target(id, target.device, user, references);
            }
            match &target.refused {
                Some(reason) => {
                    refused.entry((target.lane, reason.as_str())).or_default().push(target.device);
                }
                None => lanes.entry(target.lane).or_default().push(target.device),
            }
        }
        for (place, token) in rejected_tokens.iter().enumerate() {
            let stand_in = DeviceId::of_rejected_token(place, rejected_tokens.len());
            self.rejected_token(id, stand_in, token);
            refused.entry((LaneId::NONE, token.reason.as_str())).or_default().push(stand_in);
        }
        for ((lane, reason), mut devices) in refused {
            devices.sort_unstable();
            devices.chunks(JOB_DEVICES_MAX).for_each(|devices| self.refused(id, lane, reason, devices));
        }
        for (lane, mut devices) in lanes {
            devices.sort_unstable();
            for devices in devices.chunks(JOB_DEVICES_MAX) {
                let node = lease(lane, devices);
                self.job(id, lane, terms, node, devices);
            }
        }
    }
}
