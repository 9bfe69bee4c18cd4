//! Duty: deletes the states of lanes that no kept notification can have been held by.

use crate::store;
use crate::store::Session;

/// Rows of one statement. It takes a few milliseconds.
const BATCH_ROWS: i64 = 1_000;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session) -> Result<bool, store::Error> {
    let deleted = store::lanes::delete_old_changes(conn, BATCH_ROWS).await?;
    Ok(deleted >= BATCH_ROWS.cast_unsigned())
}
