//! Facts that wait for their place in the log.

use serde::Serialize;

use crate::domain::{ActionFact, AppId, DeviceId, FactKind};
use crate::store::{Error, Session};

/// Devices that one fact names, at most: as many as the event of a fact lists. So an event leaves no device out, unless the
/// device was deleted.
pub const DEVICES_PER_FACT: i64 = 500;

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

/// Appends an operator's action to the outbox: of the app with this name, or without one of every app.
///
/// # Errors
/// Postgres is out of reach.
pub async fn append_action(conn: &mut Session, app: Option<&str>, action: &ActionFact) -> Result<(), Error> {
    let fact = serde_json::to_vec(action).unwrap_or_default();
    sqlx::query!(
        "insert into event_outbox (app_id, kind, fact)
         select app_id, $2, $3 from apps where logs_events() and ($1::text is null or name = $1)",
        app,
        FactKind::AdminAction.code(),
        fact
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
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
