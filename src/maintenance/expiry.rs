//! Ending jobs that waited until their time ran out.

use crate::store;
use crate::store::Session;

const AT_ONCE: i64 = 500;

pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    let mut total = 0;
    loop {
        let ended = store::expiry::expire(conn, AT_ONCE).await?;
        total += ended;
        if ended < AT_ONCE.cast_unsigned() {
            break;
        }
    }
    if total > 0 {
        tracing::info!(jobs = total, "the time of waiting jobs ran out");
    }
    Ok(())
}
