//! Duty: drops the partitions of idempotency keys in which each key is older than 24 h.

use std::time::Duration;

use super::HOUR;
use crate::store;
use crate::store::Session;

/// Time from the end of a pass to the next pass.
pub(super) const PERIOD: Duration = HOUR;

/// Drops the days before yesterday. One that another session holds is left for the next pass.
pub(super) async fn step(conn: &mut Session) -> Result<bool, store::Error> {
    for day in store::partitions::old_key_days(conn).await? {
        match store::partitions::drop_key_day(conn, day).await {
            Ok(()) => tracing::info!(%day, "partition of idempotency keys dropped: they are older than 24 h"),
            Err(error) if error.is_lock_timeout() => {
                tracing::warn!(%day, "partition of idempotency keys not dropped yet: another session holds it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
