//! Loads the devices of jobs right before they are sent. Used by `dispatch::prefetch`.

use tokio::time::Instant;

use super::Error;
use crate::domain::{DeviceId, DeviceToken, Environment, Platform, Platforms, UserId};
use crate::store::Session;

/// What an attempt must know about a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedDevice {
    /// The device's id.
    pub device: DeviceId,
    /// The provider that issued the token.
    pub platform: Platform,
    /// The token's environment; None for FCM.
    pub environment: Option<Environment>,
    /// The token that is sent to.
    pub token: DeviceToken,
    /// The user that the device belongs to now.
    pub user: Option<UserId>,
    /// Nothing may be sent to the device.
    pub quarantined: bool,
}

/// Devices as they were at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedDevices {
    /// A moment before they were read.
    pub at: Instant,
    /// Ascending by id, each once. A device that is missing was deleted.
    pub devices: Vec<LoadedDevice>,
}

impl LoadedDevices {
    /// A device by its id. None: it was deleted.
    pub fn get(&self, id: DeviceId) -> Option<&LoadedDevice> {
        let at = self.devices.binary_search_by_key(&id, |device| device.device).ok()?;
        self.devices.get(at)
    }
}

/// Greatest number of ids in a range that are not asked for, per id that is. Up to this ratio the whole range is read,
/// which costs Postgres half as much as finding each id.
const GAP_RATIO_MAX: i64 = 1;

struct TokenRow {
    device_id: i64,
    platform: i16,
    environment: i16,
    token: String,
    user_id: Option<String>,
    quarantined: bool,
}

/// Loads devices by their sorted ids, in one statement. Returns them ascending by id; deleted devices are missing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn load(conn: &mut Session, ids: &[DeviceId]) -> Result<Vec<LoadedDevice>, Error> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let rows = match last.0 - first.0 < count.saturating_mul(1 + GAP_RATIO_MAX) {
        true => all_between(&mut *conn, *first, *last).await?,
        false => each(&mut *conn, ids).await?,
    };
    let mut devices = Vec::with_capacity(ids.len());
    let known = conn.platforms();
    for row in rows {
        if ids.binary_search(&DeviceId(row.device_id)).is_ok() {
            devices.push(row.into_device(known)?);
        }
    }
    devices.sort_unstable_by_key(|device| device.device);
    Ok(devices)
}

async fn all_between(conn: &mut Session, first: DeviceId, last: DeviceId) -> Result<Vec<TokenRow>, Error> {
    let rows = sqlx::query_as!(
        TokenRow,
        r#"select device_id, platform, environment, token, user_id, quarantined_at is not null as "quarantined!"
           from devices where device_id >= $1 and device_id <= $2"#,
        first.0,
        last.0
    );
    Ok(rows.fetch_all(conn).await?)
}

async fn each(conn: &mut Session, ids: &[DeviceId]) -> Result<Vec<TokenRow>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query_as!(
        TokenRow,
        r#"select device_id, platform, environment, token, user_id, quarantined_at is not null as "quarantined!"
           from devices where device_id = any($1)"#,
        &ids
    );
    Ok(rows.fetch_all(conn).await?)
}

impl TokenRow {
    fn into_device(self, known: &Platforms) -> Result<LoadedDevice, Error> {
        let odd = Error::Inconsistent { table: "devices", column: "platform", row: self.device_id };
        let platform = known.from_code(self.platform).ok_or(odd)?;
        Ok(LoadedDevice {
            device: DeviceId(self.device_id),
            platform,
            environment: platform.environment_from_code(self.environment),
            token: DeviceToken::stored(self.token),
            user: self.user_id.map(UserId::stored),
            quarantined: self.quarantined,
        })
    }
}
