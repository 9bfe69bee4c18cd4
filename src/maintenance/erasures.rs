//! Duty: forgets which devices and users were erased, once no notification from before the erasure is left.

use crate::store;
use crate::store::Session;

/// Notes about devices, and as many about users, of one statement.
const BATCH_NOTES: i64 = 1_000;

/// Runs one statement. True: there is more to delete.
pub(super) async fn step(conn: &mut Session) -> Result<bool, store::Error> {
    let deleted = store::erasures::delete_old(conn, BATCH_NOTES).await?;
    Ok(deleted >= BATCH_NOTES.cast_unsigned())
}
