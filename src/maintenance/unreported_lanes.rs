//! Duty: ends the throttles and outages of lanes that no living node reports. Without it a lane would stay out of order for
//! ever once its nodes are gone, in its history too.

use crate::store;
use crate::store::Session;

pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    let forgotten = store::lanes::forget_unreported(conn).await?;
    if forgotten > 0 {
        tracing::info!(
            lanes = forgotten,
            "states of lanes ended: no living node reports these lanes any more"
        );
    }
    Ok(())
}
