//! The days' partitions: a week ahead, and gone when their retention has passed.

use sqlx::{PgConnection, PgPool};

use crate::store;

/// Makes the days that are missing. A lock time-out is no fault: the next hour, or the next node, tries again, and a
/// week is ahead.
pub(super) async fn make(pool: &PgPool) -> Result<(), store::Error> {
    // A round may be given up in the middle of a transaction: its connection must not be anybody else's then.
    let mut conn = pool.acquire().await.map_err(store::Error::from)?.detach();
    for day in store::partitions::missing_days(&mut conn).await? {
        match store::partitions::create_day(&mut conn, day).await {
            Ok(()) => tracing::info!(%day, "partitions made"),
            Err(error) if is_lock_timeout(&error) => {
                tracing::warn!(%day, "partitions not made yet: somebody holds the tables");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Drops days whose retention has passed and on which nothing waiting depends.
pub(super) async fn drop_old(conn: &mut PgConnection, retention_days: i32) -> Result<(), store::Error> {
    for day in store::partitions::droppable_days(conn, retention_days).await? {
        match store::partitions::drop_day(conn, day).await {
            Ok(()) => tracing::info!(%day, "partitions dropped: their retention has passed"),
            Err(error) if is_lock_timeout(&error) => {
                tracing::warn!(%day, "partitions not dropped yet: somebody holds them");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_lock_timeout(error: &store::Error) -> bool {
    error.sqlstate().as_deref() == Some("55P03")
}
