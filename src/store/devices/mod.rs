//! Devices: one token of one app at one provider, perhaps a user's.
//!
//! Where a statement names a device by its id, `app_id + 0` keeps the planner from indexes that begin with the app. A
//! plan that is made while the table is empty would use them and read all devices of the app
//! (docs/queue.md#stable-plans).

mod addressed;
mod batch;
mod id_columns;
mod list;
mod page;
mod retention;
mod row;

use chrono::{DateTime, Utc};

pub use self::addressed::{
    Addressed, NewToken, addressed_ids, addressed_tokens, addressed_users, insert_sent, mark_sent,
    mark_sent_on,
};
pub use self::batch::{InsertedDevice, TokenKey, by_tokens, insert_all, lock_tokens, save_all};
pub(super) use self::id_columns::IdColumns;
pub use self::list::{DeviceFilter, DevicePage, ListedDevices, list};
pub use self::page::{next_active, users_of};
pub use self::retention::{delete_quarantined, delete_send_only, send_only};
use self::row::{DeviceRow, devices_where};
use super::Error;
use super::topics::TopicId;
use crate::domain::{
    AppId, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, QuarantineReason, Source,
    TimeZone, UserId,
};
use crate::store::Session;

/// A device without its topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// The number of its row.
    pub id: DeviceId,
    /// The app that the token belongs to.
    pub app: AppId,
    /// The provider that issued the token.
    pub platform: Platform,
    /// The token's environment; None for FCM.
    pub environment: Option<Environment>,
    /// APNs has accepted the token in this environment.
    pub environment_proven: bool,
    /// What the token is used for.
    pub kind: Kind,
    /// How the device became known.
    pub source: Source,
    /// The token, which never changes.
    pub token: DeviceToken,
    /// The user that the device belongs to.
    pub user: Option<UserId>,
    /// The language that the app reported.
    pub locale: Option<Locale>,
    /// The time zone that the app reported.
    pub timezone: Option<TimeZone>,
    /// The version of the app on the device.
    pub app_version: Option<AppVersion>,
    /// When the device became known.
    pub created_at: DateTime<Utc>,
    /// When the app last handed over the token. None: never, so that any verdict applies.
    pub registered_at: Option<DateTime<Utc>>,
    /// Why nothing is sent to the device. None: it is in use.
    pub quarantine: Option<Quarantine>,
    /// The device that this one replaces as soon as both have the same user.
    pub replaces: Option<Replacement>,
}

/// The device that another one replaces, as an app said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// The old device, which may be deleted already.
    pub device: DeviceId,
    /// When the app said so.
    pub at: DateTime<Utc>,
}

/// Since when and why nothing is sent to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// When the quarantine began.
    pub at: DateTime<Utc>,
    /// The provider's reason, or ours.
    pub reason: QuarantineReason,
    /// The time that the evidence speaks of. None: [`Self::at`]. Only a later registration brings the device back.
    pub evidence_at: Option<DateTime<Utc>>,
}

/// Finds a device of an app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find(conn: &mut Session, app: AppId, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = devices_where!("device_id = $2 and app_id + 0::smallint = $1", app.0, id.0)
        .fetch_optional(&mut *conn)
        .await?;
    row.map(|row| Device::from_row(row, conn.platforms())).transpose()
}

/// Locks a device of an app, and the device that it replaces, in id order until the transaction ends.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock(conn: &mut Session, app: AppId, id: DeviceId) -> Result<Vec<Device>, Error> {
    let rows = devices_where!(
        "app_id + 0::smallint = $1 and device_id = any(array(
           select unnest(array[device_id, replaces_id]) from devices
           where device_id = $2 and app_id + 0::smallint = $1))
         order by device_id for no key update",
        app.0,
        id.0
    )
    .fetch_all(&mut *conn)
    .await?;
    rows.into_iter().map(|row| Device::from_row(row, conn.platforms())).collect()
}

/// Locks those of these devices that the app has, in id order until the transaction ends. Returns them ascending.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_ids(conn: &mut Session, app: AppId, ids: &[DeviceId]) -> Result<Vec<DeviceId>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let found = sqlx::query_scalar!(
        "select device_id from devices where device_id = any($2) and app_id + 0::smallint = $1
         order by device_id for no key update",
        app.0,
        &ids
    );
    Ok(found.fetch_all(conn).await?.into_iter().map(DeviceId).collect())
}

/// True if the app has any of these devices.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn is_any(conn: &mut Session, app: AppId, ids: &[DeviceId]) -> Result<bool, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let found = sqlx::query_scalar!(
        r#"select exists (select from devices where device_id = any($2) and app_id + 0::smallint = $1) as "found!""#,
        app.0,
        &ids
    );
    Ok(found.fetch_one(conn).await?)
}

/// Deletes a device that the transaction has locked, with its subscriptions. Returns the topics that it had. The lock is a
/// statement of its own, so that this one sees subscriptions that were committed while the lock was waited for.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn delete(conn: &mut Session, locked: DeviceId) -> Result<Vec<TopicId>, Error> {
    let topics = sqlx::query_scalar!(
        r#"with gone as (delete from devices where device_id = $1),
              unsubscribed as (delete from subscriptions where device_id = $1 returning topic_id)
         select array(select topic_id from unsubscribed) as "topics!""#,
        locked.0
    );
    Ok(topics.fetch_one(conn).await?)
}

/// The time of the transaction, by Postgres's clock.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn transaction_time(conn: &mut Session) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?)
}
