//! Devices: one token of one app at one provider, perhaps a user's.

mod addressed;
mod list;
mod row;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

pub use self::addressed::{
    Addressed, NewToken, addressed_ids, addressed_tokens, addressed_users, insert_sent, mark_sent,
};
pub use self::list::{Filter, Page, list};
use self::row::{DeviceRow, devices_where};
use super::Error;
use crate::domain::{
    AppId, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, QuarantineReason, Source,
    TimeZone, TokenDigest, UserId,
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

/// The devices with these tokens, locked in id order until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn lock_by_tokens(
    conn: &mut PgConnection,
    app: AppId,
    platform: Platform,
    digests: &[TokenDigest],
) -> Result<Vec<Device>, Error> {
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.0.to_vec()).collect();
    let rows = devices_where!(
        "app_id = $1 and platform = $2 and token_digest = any($3) order by device_id for no key update",
        app.0,
        platform.code(),
        &digests
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Device::try_from).collect()
}

/// The devices with these tokens, in no particular order: tokens of one platform.
///
/// # Errors
/// The database's.
pub async fn by_tokens(
    conn: &mut PgConnection,
    app: AppId,
    platform: Platform,
    digests: &[TokenDigest],
) -> Result<Vec<Device>, Error> {
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.0.to_vec()).collect();
    let rows = devices_where!(
        "app_id = $1 and platform = $2 and token_digest = any($3)",
        app.0,
        platform.code(),
        &digests
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Device::try_from).collect()
}

/// Stores a new device. Its `id` and `created_at` are ignored. None: there is one with this token.
///
/// # Errors
/// The database's.
pub async fn insert(conn: &mut PgConnection, device: &Device) -> Result<Option<Device>, Error> {
    let digest = device.token.digest();
    let row = sqlx::query!(
        "insert into devices (app_id, platform, environment, environment_proven, kind, source, token, token_digest,
                              user_id, locale, timezone, app_version, registered_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (app_id, platform, token_digest) do nothing
         returning device_id, created_at",
        device.app.0,
        device.platform.code(),
        Environment::code(device.environment),
        device.environment_proven,
        device.kind.code(),
        device.source.code(),
        device.token.expose(),
        digest.0.as_slice(),
        device.user.as_ref().map(UserId::as_str),
        device.locale.as_ref().map(Locale::as_str),
        device.timezone.as_ref().map(TimeZone::as_str),
        device.app_version.as_ref().map(AppVersion::as_str),
        device.registered_at
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Device { id: DeviceId(row.device_id), created_at: row.created_at, ..device.clone() }))
}

/// Writes a locked device back. Who is registered is no longer known from sends alone, and who is not set aside is so
/// by no clean-up.
///
/// # Errors
/// The database's.
pub async fn save(conn: &mut PgConnection, device: &Device) -> Result<(), Error> {
    let quarantine = device.quarantine.as_ref();
    sqlx::query!(
        "update devices
         set environment = $2, environment_proven = $3, kind = $4, source = $5, user_id = $6, locale = $7,
             timezone = $8, app_version = $9, registered_at = $10, quarantined_at = $11, quarantine = $12,
             evidence_at = $13,
             quarantine_run = case when quarantined_at = $11 then quarantine_run end,
             last_sent_on = case when $5::smallint = 1 then last_sent_on end
         where device_id = $1",
        device.id.0,
        Environment::code(device.environment),
        device.environment_proven,
        device.kind.code(),
        device.source.code(),
        device.user.as_ref().map(UserId::as_str),
        device.locale.as_ref().map(Locale::as_str),
        device.timezone.as_ref().map(TimeZone::as_str),
        device.app_version.as_ref().map(AppVersion::as_str),
        device.registered_at,
        quarantine.map(|quarantine| quarantine.at),
        quarantine.map(|quarantine| quarantine.reason.0.as_str()),
        quarantine.and_then(|quarantine| quarantine.evidence_at)
    )
    .execute(conn)
    .await?;
    Ok(())
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
