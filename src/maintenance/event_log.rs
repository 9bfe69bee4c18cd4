//! Duty: drops the days of the event log that have been kept long enough. If no events are kept, what waits for the log goes too.

use std::time::Duration;

use crate::store::{self, Session, events};

const SECONDS_PER_DAY: u64 = 86_400;
/// Rows that one statement deletes; that takes a few milliseconds.
const BATCH: i64 = 1_000;

/// Drops the oldest day that is due. True: there is more to do.
pub async fn step(conn: &mut Session, retention: Duration) -> Result<bool, store::Error> {
    if retention.is_zero() && events::delete_waiting(conn, BATCH).await? {
        return Ok(true);
    }
    let days = i32::try_from(retention.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(i32::MAX);
    let due = events::droppable_days(conn, days).await?;
    let Some(day) = due.first() else { return Ok(false) };
    match events::drop_day(conn, *day).await {
        Ok(()) => tracing::info!(%day, "a day of the event log is dropped: its retention has passed"),
        Err(error) if error.is_lock_timeout() => {
            tracing::warn!(%day, "a day of the event log is not dropped yet: another session holds it");
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    events::release_days(conn).await?;
    Ok(due.len() > 1)
}
