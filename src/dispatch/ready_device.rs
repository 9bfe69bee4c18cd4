//! A device with its token, on its way from the prefetcher to an attempt.

use std::sync::Arc;

use tokio::time::Instant;

use super::rendered::RenderedNotification;
use crate::domain::{DeviceId, DeviceToken, NotificationId};
use crate::queue::recorder::DeviceTicket;

/// One device that can be sent. Dropped without an attempt, the device stays in its job, which is given back.
#[derive(Debug)]
pub(super) struct ReadyDevice {
    pub(super) ticket: DeviceTicket,
    pub(super) token: DeviceToken,
    pub(super) notification: Arc<RenderedNotification>,
    /// The job was handed over without a claim: the device takes up room of the lane's intake until it leaves the queue.
    pub(super) handed: bool,
    /// When the database was last asked about the device.
    pub(super) loaded_at: Instant,
}

impl ReadyDevice {
    /// Which device of which notification.
    pub(super) fn target(&self) -> (NotificationId, DeviceId) {
        (self.ticket.leased_job().job.notification, self.ticket.device())
    }
}
