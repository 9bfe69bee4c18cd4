//! Duty: what webhooks leave behind: attempts beyond their ring, set-aside events that the log has dropped, and rows of webhooks
//! that no configuration has any more.

use std::time::Duration;

use crate::store;
use crate::store::{Session, webhooks};

/// A webhook that was taken out of the configuration may come back within this time and goes on where it stopped, as far as the
/// log is kept.
const UNDECLARED_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// `events`: how long the event log is kept.
pub(super) async fn run(conn: &mut Session, events: Duration) -> Result<(), store::Error> {
    webhooks::delete_old_attempts(conn, events.as_secs_f64()).await?;
    webhooks::refresh_idle(conn).await?;
    let first_day = store::events::first_day(conn).await?;
    webhooks::drop_lost(conn, first_day).await?;
    webhooks::forget_undeclared(conn, events.max(UNDECLARED_KEPT).as_secs_f64()).await?;
    Ok(())
}
