//! Duty: deletes devices that have been quarantined for `retention.quarantine`.

use std::time::Duration;

use crate::store;
use crate::store::Session;

/// Devices of one statement, all of one app. Their rows are locked while it runs.
const BATCH_DEVICES: i64 = 500;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session, quarantine: Duration) -> Result<bool, store::Error> {
    let deleted = store::devices::delete_quarantined(conn, quarantine.as_secs_f64(), BATCH_DEVICES).await?;
    if deleted > 0 {
        tracing::info!(deleted, "quarantined devices deleted: their retention has passed");
    }
    Ok(deleted >= BATCH_DEVICES.cast_unsigned())
}
