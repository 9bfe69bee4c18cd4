//! Duty: deletes devices that are known from sends alone, 30 days after their last send.

use crate::domain::DeviceId;
use crate::store;
use crate::store::Session;

/// Days after the last send. That is longer than any time to live (28 days), so no job refers to such a device.
const AGE_DAYS: i32 = 30;
/// Devices that one step reads.
const PAGE_DEVICES: i64 = 1_000;

/// The position of the present pass over these devices.
#[derive(Debug)]
pub(super) struct SendOnlyDevices(DeviceId);

impl SendOnlyDevices {
    pub(super) fn new() -> Self {
        Self(DeviceId(0))
    }

    /// Reads one page and deletes its old devices. True: there are more pages.
    pub(super) async fn step(&mut self, conn: &mut Session) -> Result<bool, store::Error> {
        let page = store::devices::send_only(conn, self.0, AGE_DAYS, PAGE_DEVICES).await?;
        let old: Vec<DeviceId> = page.iter().filter(|(_, is_old)| *is_old).map(|(id, _)| *id).collect();
        if !old.is_empty() {
            let deleted = store::devices::delete_send_only(conn, &old, AGE_DAYS).await?;
            tracing::info!(deleted, "send-only devices deleted {AGE_DAYS} days after their last send");
        }
        let is_full = page.len() as i64 == PAGE_DEVICES;
        self.0 = page.last().filter(|_| is_full).map_or(DeviceId(0), |(id, _)| *id);
        Ok(is_full)
    }
}
