//! Duty: ends jobs that still wait when their time to live is over.

use crate::store;
use crate::store::Session;

/// Jobs of one statement.
const BATCH_JOBS: i64 = 500;

/// Ends all expired jobs.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    let mut total = 0;
    loop {
        let ended = store::waiting_jobs::expire(conn, BATCH_JOBS).await?;
        total += ended;
        if ended < BATCH_JOBS.cast_unsigned() {
            break;
        }
    }
    if total > 0 {
        tracing::info!(jobs = total, "the time to live of waiting jobs ended");
    }
    Ok(())
}
