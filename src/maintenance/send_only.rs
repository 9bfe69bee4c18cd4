//! Forgetting devices that are known from sends alone, 30 days after their last send.

use crate::domain::DeviceId;
use crate::store;
use crate::store::Session;

/// Days after the last send (PRODUCT.md, `tokens`). Longer than any time to live, so nothing waits for such a device.
const DAYS: i32 = 30;
const AT_ONCE: i64 = 1_000;

/// How far the present pass over these devices has come.
#[derive(Debug)]
pub(super) struct SendOnly(DeviceId);

impl SendOnly {
    pub(super) fn new() -> Self {
        Self(DeviceId(0))
    }

    /// One page. True: there is more.
    pub(super) async fn step(&mut self, conn: &mut Session) -> Result<bool, store::Error> {
        let page = store::devices::send_only(conn, self.0, DAYS, AT_ONCE).await?;
        let over: Vec<DeviceId> = page.iter().filter(|(_, is_over)| *is_over).map(|(id, _)| *id).collect();
        if !over.is_empty() {
            let deleted = store::devices::delete_send_only(conn, &over, DAYS).await?;
            tracing::info!(deleted, "send-only devices deleted {DAYS} days after their last send");
        }
        let is_full = page.len() as i64 == AT_ONCE;
        self.0 = page.last().filter(|_| is_full).map_or(DeviceId(0), |(id, _)| *id);
        Ok(is_full)
    }
}
