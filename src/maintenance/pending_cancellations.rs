//! Duty: ends what waits of cancelled notifications, if the request that cancelled them did not see it: retries that were
//! recorded later, jobs that a node gave back later, and the rest of a request that ended with its node.

use crate::queue::cancellation;
use crate::store;
use crate::store::Session;

/// Visits all notifications that may still have jobs.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    cancellation::sweep(conn).await
}
