//! Devices: one token of one app at one provider, perhaps a user's.
//!
//! Where a statement names a device by its number, `app_id + 0` keeps the planner from indexes that begin with the app:
//! a plan made on an empty table would read all devices of an app (docs/queue.md#stable-plans).

mod addressed;
mod batch;
mod list;
mod retention;
mod row;

use chrono::{DateTime, Utc};

pub use self::addressed::{
    Addressed, NewToken, addressed_ids, addressed_tokens, addressed_users, insert_sent, mark_sent,
};
pub use self::batch::{InsertedDevice, TokenKey, by_tokens, insert_all, lock_tokens, save_all};
pub use self::list::{DeviceFilter, DevicePage, list};
pub use self::retention::{delete_quarantined, delete_send_only, send_only};
use self::row::{DeviceRow, devices_where};
use super::Error;
use super::topics::TopicId;
use crate::domain::{
    AppId, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, QuarantineReason, Source,
    TimeZone, UserId,
};
use crate::store::Session;

/// A device, but for its topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its row.
    pub id: DeviceId,
    /// Whose.
    pub app: AppId,
    /// The service that issued the token.
    pub platform: Platform,
    /// Its environment; none for FCM.
    pub environment: Option<Environment>,
    /// Has APNs accepted it there?
    pub environment_proven: bool,
    /// What the token is for.
    pub kind: Kind,
    /// How it came to be known.
    pub source: Source,
    /// The token; never changes.
    pub token: DeviceToken,
    /// Who has it.
    pub user: Option<UserId>,
    /// Language.
    pub locale: Option<Locale>,
    /// Time zone.
    pub timezone: Option<TimeZone>,
    /// The app's version.
    pub app_version: Option<AppVersion>,
    /// When it became known.
    pub created_at: DateTime<Utc>,
    /// When the app last handed over the token; none: nobody did, and any verdict counts.
    pub registered_at: Option<DateTime<Utc>>,
    /// Set aside?
    pub quarantine: Option<Quarantine>,
    /// The device that this one replaces as soon as both have the same user.
    pub replaces: Option<Replacement>,
}

/// What an app said of a device that has a user: another one takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replacement {
    /// The old device. It may be gone.
    pub device: DeviceId,
    /// When the app said so.
    pub at: DateTime<Utc>,
}

/// Since when and why a device is set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: QuarantineReason,
    /// The time that the evidence speaks of; none: [`Self::at`]. Only a later registration brings the device back.
    pub evidence_at: Option<DateTime<Utc>>,
}

/// Finds a device of an app.
///
/// # Errors
/// The database's.
pub async fn find(conn: &mut Session, app: AppId, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = devices_where!("device_id = $2 and app_id + 0::smallint = $1", app.0, id.0)
        .fetch_optional(conn)
        .await?;
    row.map(Device::try_from).transpose()
}

/// Finds a device of an app and the device that it is to replace, and keeps every other transaction from changing them
/// until this one ends. Locked in id order.
///
/// # Errors
/// The database's.
pub async fn lock(conn: &mut Session, app: AppId, id: DeviceId) -> Result<Vec<Device>, Error> {
    let rows = devices_where!(
        "app_id + 0::smallint = $1 and device_id = any(array(
           select unnest(array[device_id, replaces_id]) from devices
           where device_id = $2 and app_id + 0::smallint = $1))
         order by device_id for no key update",
        app.0,
        id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Device::try_from).collect()
}

/// Is one of these devices there?
///
/// # Errors
/// The database's.
pub async fn is_any(conn: &mut Session, app: AppId, ids: &[DeviceId]) -> Result<bool, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let found = sqlx::query_scalar!(
        r#"select exists (select from devices where device_id = any($2) and app_id + 0::smallint = $1) as "found!""#,
        app.0,
        &ids
    );
    Ok(found.fetch_one(conn).await?)
}

/// Deletes a device with its subscriptions. Answers the topics that it had; none: there is no such device.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &mut Session, app: AppId, id: DeviceId) -> Result<Option<Vec<TopicId>>, Error> {
    let gone = sqlx::query_scalar!(
        r#"with gone as (
                delete from devices where device_id = $2 and app_id + 0::smallint = $1 returning device_id),
              unsubscribed as (
                delete from subscriptions where device_id in (select device_id from gone) returning topic_id)
         select array(select topic_id from unsubscribed) as "topics!" from gone"#,
        app.0,
        id.0
    );
    Ok(gone.fetch_optional(conn).await?)
}

/// The time of the transaction, by the only clock whose times are stored.
///
/// # Errors
/// The database's.
pub async fn transaction_time(conn: &mut Session) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?)
}
