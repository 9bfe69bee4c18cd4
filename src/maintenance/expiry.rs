//! Ending jobs that waited until their time ran out.

use sqlx::PgConnection;

use crate::store;

const AT_ONCE: i64 = 500;

pub(super) async fn run(conn: &mut PgConnection) -> Result<(), store::Error> {
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
