//! Deleting devices that have been quarantined for `retention.quarantine`.

use std::time::Duration;

use crate::store;
use crate::store::Session;

/// Devices of an app and statement: their rows are locked while it runs.
const AT_ONCE: i64 = 500;

/// One statement. True: there is more.
pub(super) async fn step(conn: &mut Session, quarantine: Duration) -> Result<bool, store::Error> {
    let deleted = store::devices::delete_quarantined(conn, quarantine.as_secs_f64(), AT_ONCE).await?;
    if deleted > 0 {
        tracing::info!(deleted, "quarantined devices deleted: their retention has passed");
    }
    Ok(deleted >= AT_ONCE.cast_unsigned())
}
