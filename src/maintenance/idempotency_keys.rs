//! Duty: deletes idempotency keys that have been kept for a day.

use std::time::Duration;

use crate::store;
use crate::store::Session;

/// Keys are kept for at least this long.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time from the end of a pass to the next pass.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Keys of one statement. It takes a few milliseconds, and no request waits for it.
const BATCH_KEYS: i64 = 1_000;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session) -> Result<bool, store::Error> {
    let deleted = store::idempotency::delete_old(conn, KEPT.as_secs_f64(), BATCH_KEYS).await?;
    Ok(deleted >= BATCH_KEYS.cast_unsigned())
}
