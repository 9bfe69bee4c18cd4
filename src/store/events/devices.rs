//! Reads the devices that events are about, as they are now. The log has their numbers alone, so a device that was deleted or
//! erased since is in no event.

use std::collections::HashMap;

use crate::domain::{AppId, DeviceId, DeviceToken, Environment, Platform, UserId};
use crate::store::{Error, Session};

/// A device that an event is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventDevice {
    /// The service that issued its token.
    pub platform: Platform,
    /// The environment of an APNs token.
    pub environment: Option<Environment>,
    /// The user that it has now.
    pub user: Option<UserId>,
    /// Its token, of which events show the hint.
    pub token: DeviceToken,
}

/// Those of these devices that the app has, and that are of platforms that this node knows.
///
/// # Errors
/// Postgres is out of reach.
pub async fn devices(
    conn: &mut Session,
    app: AppId,
    ids: &[DeviceId],
) -> Result<HashMap<DeviceId, EventDevice>, Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let known = conn.platforms().clone();
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        "select device_id, platform, environment, user_id, token from devices
         where device_id = any($2) and app_id + 0::smallint = $1",
        app.0,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let devices = rows.into_iter().filter_map(|row| {
        let platform = known.from_code(row.platform)?;
        let device = EventDevice {
            platform,
            environment: platform.environment_from_code(row.environment),
            user: row.user_id.map(UserId::stored),
            token: DeviceToken::stored(row.token),
        };
        Some((DeviceId(row.device_id), device))
    });
    Ok(devices.collect())
}
