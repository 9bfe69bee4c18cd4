//! Duty: tells the event log of lanes that changed twice within 5 s, once these are over.

use crate::store;
use crate::store::Session;

pub(super) async fn run(conn: &mut Session) -> Result<(), store::Error> {
    match conn.logs_events() {
        true => store::lanes::tell_pending(conn).await,
        false => Ok(()),
    }
}
