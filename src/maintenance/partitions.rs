//! Duty: creates the partitions of the coming week. Every node does it.

use crate::store;
use crate::store::Session;

/// Creates the days that are missing. A lock time-out is no error: the duty is repeated after an hour, and the
/// partitions are needed only a week later.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    for day in store::partitions::missing_days(conn).await? {
        match store::partitions::create_day(conn, day).await {
            Ok(()) => tracing::info!(%day, "partitions made"),
            Err(error) if error.is_lock_timeout() => {
                tracing::warn!(%day, "partitions not made yet: another session holds the tables");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
