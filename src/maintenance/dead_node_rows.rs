//! Duty: deletes what dead nodes have left in the database: their lane reports at once, and their rows after a day.

use crate::store;
use crate::store::Session;

/// Deletes the rows of nodes that hold no jobs.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    store::nodes::purge(conn).await.map(|_| ())
}
