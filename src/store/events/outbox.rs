//! Facts that wait for their place in the log.

use serde::Serialize;

use crate::domain::{AppId, DeviceId, FactKind};
use crate::store::{Error, Session};

/// A fact that has no row of its own.
#[derive(Clone, Copy, Debug)]
pub struct NewFact<'a, F> {
    /// The app that is told.
    pub app: AppId,
    /// Decides what `fact` is.
    pub kind: FactKind,
    /// The devices that it is about.
    pub devices: &'a [DeviceId],
    /// What else it tells: one of the structs beside [`FactKind`].
    pub fact: F,
}

/// Appends a fact to the outbox, so that it is told if and only if the transaction of the session is committed. Appends nothing
/// if the configuration keeps no events.
///
/// # Errors
/// Postgres is out of reach.
pub async fn append<F: Serialize>(conn: &mut Session, new: NewFact<'_, F>) -> Result<(), Error> {
    let devices: Vec<i64> = new.devices.iter().map(|device| device.0).collect();
    let fact = serde_json::to_vec(&new.fact).unwrap_or_default();
    sqlx::query!(
        "insert into event_outbox (app_id, kind, devices, fact) select $1, $2, $3, $4 where logs_events()",
        new.app.0,
        new.kind.code(),
        &devices,
        fact
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}
