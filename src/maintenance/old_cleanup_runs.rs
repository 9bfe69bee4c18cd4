//! Duty: deletes clean-up runs that ended a year ago, or longer ago if quarantined devices are kept for longer: as long as
//! there may be something to restore.

use std::time::Duration;

use crate::store;
use crate::store::Session;

/// Runs are kept for at least this long.
const KEPT_MIN: Duration = Duration::from_secs(365 * 86_400);
/// Runs of one statement.
const BATCH_RUNS: i64 = 1_000;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session, quarantine: Duration) -> Result<bool, store::Error> {
    let kept = KEPT_MIN.max(quarantine);
    let deleted = store::cleanups::delete_old(conn, kept.as_secs_f64(), BATCH_RUNS).await?;
    Ok(deleted >= BATCH_RUNS.cast_unsigned())
}
