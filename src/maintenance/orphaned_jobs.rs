//! Duty: gives the jobs of dead nodes back to the queue.

use crate::domain::NodeId;
use crate::store;
use crate::store::Session;

/// Jobs of one statement.
const BATCH_JOBS: i64 = 1_000;

/// Gives back the jobs of nodes that have no row: rows that a failover lost, or that were deleted before a late commit.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    store::webhooks::free_of_dead(conn).await?;
    let holders = store::jobs::unknown_holders(conn).await?;
    if holders.is_empty() { Ok(()) } else { sweep(conn, &holders).await }
}

/// Gives the jobs of dead nodes back to the queue, and frees the webhooks that they held.
///
/// # Errors
/// Postgres is out of reach. Some jobs may have been given back.
pub async fn sweep(conn: &mut Session, dead: &[NodeId]) -> Result<(), store::Error> {
    store::webhooks::free_of(conn, dead).await?;
    let mut total = 0;
    loop {
        let swept = store::jobs::sweep(conn, dead, BATCH_JOBS).await?;
        total += swept;
        if swept < BATCH_JOBS.cast_unsigned() {
            break;
        }
    }
    if total > 0 {
        tracing::info!(jobs = total, "jobs of dead nodes wait again");
    }
    Ok(())
}
