//! Duty: ends fan-outs after their time to live. A node that serves the app ends its fan-outs itself, so this concerns
//! only apps that no node serves.

use crate::store;
use crate::store::Session;

/// Ends all expired fan-outs, except those that another session has locked.
pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    store::fan_outs::expire(conn).await.map(|_| ())
}
