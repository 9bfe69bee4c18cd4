//! Devices: one token of one app at one provider, perhaps a user's.

mod addressed;
mod batch;
mod list;
mod row;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use self::addressed::{
    Addressed, NewToken, addressed_ids, addressed_tokens, addressed_users, insert_sent, mark_sent,
};
pub use self::batch::{Inserted, TokenKey, by_tokens, insert_all, lock_tokens, save_all};
pub use self::list::{Filter, Page, list};
use self::row::{DeviceRow, devices_where};
use super::Error;
use crate::domain::{
    AppId, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, QuarantineReason, Source,
    TimeZone, UserId,
};

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
pub async fn find(conn: &mut PgConnection, app: AppId, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = devices_where!("app_id = $1 and device_id = $2", app.0, id.0).fetch_optional(conn).await?;
    row.map(Device::try_from).transpose()
}

/// Finds a device of an app, and keeps everybody else from changing it until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn lock(conn: &mut PgConnection, app: AppId, id: DeviceId) -> Result<Option<Device>, Error> {
    let row = devices_where!("app_id = $1 and device_id = $2 for no key update", app.0, id.0)
        .fetch_optional(conn)
        .await?;
    row.map(Device::try_from).transpose()
}

/// Deletes a device with its subscriptions. False: there is none.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &mut PgConnection, app: AppId, id: DeviceId) -> Result<bool, Error> {
    let gone = sqlx::query!(
        "with gone as (delete from devices where app_id = $1 and device_id = $2 returning device_id),
              unsubscribed as (delete from subscriptions where device_id in (select device_id from gone))
         select device_id from gone",
        app.0,
        id.0
    );
    Ok(gone.fetch_optional(conn).await?.is_some())
}

/// The time of the transaction, by the only clock whose times are stored.
///
/// # Errors
/// The database's.
pub async fn transaction_time(conn: &mut PgConnection) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?)
}
