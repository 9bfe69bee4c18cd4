//! Duty: deletes the minutes of lanes that no chart shows any more.

use crate::store;
use crate::store::Session;

/// Rows of one statement. It takes a few milliseconds.
const BATCH_ROWS: i64 = 5_000;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session) -> Result<bool, store::Error> {
    let deleted = store::lane_minutes::delete_old(conn, BATCH_ROWS).await?;
    Ok(deleted >= BATCH_ROWS.cast_unsigned())
}
