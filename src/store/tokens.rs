//! What the dispatcher reads of the devices of a job.

use tokio::time::Instant;

use super::Error;
use crate::domain::{DeviceId, DeviceToken, Environment, Platform, UserId};
use crate::store::Session;

/// A device as it is right before an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedDevice {
    /// The device.
    pub device: DeviceId,
    /// Its service.
    pub platform: Platform,
    /// Its environment; none for FCM.
    pub environment: Option<Environment>,
    /// Where to.
    pub token: DeviceToken,
    /// Whose it is now.
    pub user: Option<UserId>,
    /// Set aside?
    pub quarantined: bool,
}

/// Devices as they were at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedDevices {
    /// Before they were read.
    pub at: Instant,
    /// In the order of ids, each once; who is missing is gone.
    pub devices: Vec<LoadedDevice>,
}

impl LoadedDevices {
    /// This device, if it was there.
    pub fn get(&self, id: DeviceId) -> Option<&LoadedDevice> {
        let at = self.devices.binary_search_by_key(&id, |device| device.device).ok()?;
        self.devices.get(at)
    }
}

/// Ids that are nobody's, or not asked for, per id that is: up to here all between the first and the last are read,
/// which costs Postgres half of what finding each does.
const STRANGERS: i64 = 1;

struct Row {
    device_id: i64,
    platform: i16,
    environment: i16,
    token: String,
    user_id: Option<String>,
    quarantined: bool,
}

/// Loads devices by their sorted ids, in the order of ids; who is missing is gone. One statement.
///
/// # Errors
/// The database's.
pub async fn load(conn: &mut Session, ids: &[DeviceId]) -> Result<Vec<LoadedDevice>, Error> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let rows = match last.0 - first.0 < count.saturating_mul(1 + STRANGERS) {
        true => all_between(conn, *first, *last).await?,
        false => each(conn, ids).await?,
    };
    let mut devices = Vec::with_capacity(ids.len());
    for row in rows {
        if ids.binary_search(&DeviceId(row.device_id)).is_ok() {
            devices.push(row.into_device()?);
        }
    }
    devices.sort_unstable_by_key(|device| device.device);
    Ok(devices)
}

async fn all_between(conn: &mut Session, first: DeviceId, last: DeviceId) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select device_id, platform, environment, token, user_id, quarantined_at is not null as "quarantined!"
           from devices where device_id >= $1 and device_id <= $2"#,
        first.0,
        last.0
    );
    Ok(rows.fetch_all(conn).await?)
}

async fn each(conn: &mut Session, ids: &[DeviceId]) -> Result<Vec<Row>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select device_id, platform, environment, token, user_id, quarantined_at is not null as "quarantined!"
           from devices where device_id = any($1)"#,
        &ids
    );
    Ok(rows.fetch_all(conn).await?)
}

impl Row {
    fn into_device(self) -> Result<LoadedDevice, Error> {
        let odd = Error::Inconsistent { table: "devices", column: "platform", row: self.device_id };
        Ok(LoadedDevice {
            device: DeviceId(self.device_id),
            platform: Platform::from_code(self.platform).ok_or(odd)?,
            environment: Environment::from_code(self.environment),
            token: DeviceToken::stored(self.token),
            user: self.user_id.map(UserId::stored),
            quarantined: self.quarantined,
        })
    }
}
