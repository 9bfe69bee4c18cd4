//! Finds, locks, inserts and updates many devices at a time, with one statement each.
//!
//! A transaction that changes devices first locks the existing ones in id order, and then inserts new ones in the order
//! of platform and digest. So one of two such transactions may wait for the other one, but they never deadlock
//! (docs/queue.md#lock-order).

use chrono::{DateTime, Utc};

use super::row::{DeviceRow, devices_where};
use super::{Device, Quarantine};
use crate::domain::{
    AppId, AppVersion, DeviceId, Environment, Locale, Platform, TimeZone, TokenDigest, UserId,
};
use crate::store::Error;
use crate::store::Session;

/// What identifies a device within its app.
pub type TokenKey = (Platform, TokenDigest);

/// The devices with these tokens, and the devices that they replace, locked in id order until the transaction ends.
///
/// Each token is looked up by itself, and the devices found are locked by their ids. With one condition over lists, a
/// plan that was made while the table was empty walks over all devices of the app (docs/queue.md#stable-plans).
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_tokens(conn: &mut Session, app: AppId, tokens: &[TokenKey]) -> Result<Vec<Device>, Error> {
    let (platforms, digests) = token_columns(tokens);
    let rows = devices_where!(
        "device_id = any(array(
           select unnest(array[found.device_id, found.replaces_id])
           from unnest($2::smallint[], $3::bytea[]) as t(platform, token_digest)
           cross join lateral (
             select device_id, replaces_id from devices d
             where d.app_id = $1 and d.platform = t.platform and d.token_digest = t.token_digest limit 1) found))
         order by device_id for no key update",
        app.0,
        &platforms,
        &digests
    )
    .fetch_all(&mut *conn)
    .await?;
    rows.into_iter().map(|row| Device::from_row(row, conn.platforms())).collect()
}

/// The devices with these tokens, in no particular order. They are found as by [`lock_tokens`].
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn by_tokens(conn: &mut Session, app: AppId, tokens: &[TokenKey]) -> Result<Vec<Device>, Error> {
    let (platforms, digests) = token_columns(tokens);
    let rows = devices_where!(
        "device_id = any(array(
           select found.device_id from unnest($2::smallint[], $3::bytea[]) as t(platform, token_digest)
           cross join lateral (
             select device_id from devices d
             where d.app_id = $1 and d.platform = t.platform and d.token_digest = t.token_digest limit 1) found))",
        app.0,
        &platforms,
        &digests
    )
    .fetch_all(&mut *conn)
    .await?;
    rows.into_iter().map(|row| Device::from_row(row, conn.platforms())).collect()
}

/// Tokens as two columns: platform codes and digests.
pub(super) fn token_columns(tokens: &[TokenKey]) -> (Vec<i16>, Vec<Vec<u8>>) {
    tokens.iter().map(|(platform, digest)| (platform.code(), digest.0.to_vec())).unzip()
}

/// A device that was inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InsertedDevice {
    /// What identifies it within its app.
    pub token: TokenKey,
    /// The id that it got.
    pub id: DeviceId,
    /// When it was inserted (Postgres's clock).
    pub created_at: DateTime<Utc>,
}

/// Inserts devices of one app, given in the order of [`TokenKey`]. Their `id` and `created_at` are ignored. A device
/// that is missing in the answer has become known meanwhile, and is left as it is.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn insert_all(
    conn: &mut Session,
    app: AppId,
    devices: &[(TokenKey, &Device)],
) -> Result<Vec<InsertedDevice>, Error> {
    let columns = Columns::of(devices.iter().map(|(_, device)| *device));
    let platforms: Vec<i16> = devices.iter().map(|((platform, _), _)| platform.code()).collect();
    let digests: Vec<Vec<u8>> = devices.iter().map(|((_, digest), _)| digest.0.to_vec()).collect();
    let tokens: Vec<String> = devices.iter().map(|(_, device)| device.token.expose().to_owned()).collect();
    let rows = sqlx::query!(
        "insert into devices (app_id, platform, token, token_digest, environment, environment_proven, kind, source,
                              user_id, locale, timezone, app_version, registered_at, quarantined_at,
                              quarantine_reason, evidence_at, replaces_id, replaces_at)
         select $1, v.*
         from unnest($2::smallint[], $3::text[], $4::bytea[], $5::smallint[], $6::boolean[], $7::smallint[],
                     $8::smallint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[],
                     $14::timestamptz[], $15::text[], $16::timestamptz[], $17::bigint[], $18::timestamptz[]) as v
         on conflict (app_id, platform, token_digest) do nothing
         returning device_id, platform, token_digest, created_at",
        app.0,
        &platforms,
        &tokens,
        &digests,
        &columns.environments,
        &columns.proven,
        &columns.kinds,
        &columns.sources,
        &columns.users as &[Option<&str>],
        &columns.locales as &[Option<&str>],
        &columns.timezones as &[Option<&str>],
        &columns.app_versions as &[Option<&str>],
        &columns.registered_at as &[Option<DateTime<Utc>>],
        &columns.quarantined_at as &[Option<DateTime<Utc>>],
        &columns.quarantine as &[Option<&str>],
        &columns.evidence_at as &[Option<DateTime<Utc>>],
        &columns.replaces_ids as &[Option<i64>],
        &columns.replaces_at as &[Option<DateTime<Utc>>]
    )
    .fetch_all(&mut *conn)
    .await?;
    let inserted = rows.into_iter().map(|row| {
        let odd = |column| Error::Inconsistent { table: "devices", column, row: row.device_id };
        let digest = row.token_digest.as_slice().try_into().map_err(|_| odd("token_digest"))?;
        let platform = conn.platforms().from_code(row.platform).ok_or_else(|| odd("platform"))?;
        let (id, created_at) = (DeviceId(row.device_id), row.created_at);
        Ok(InsertedDevice { token: (platform, TokenDigest(digest)), id, created_at })
    });
    inserted.collect()
}

/// Updates locked devices, each at most once. A device that is not known from sends alone loses its day of the last
/// send. A device that is not in the same quarantine as before loses its clean-up run.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn save_all(conn: &mut Session, devices: &[&Device]) -> Result<(), Error> {
    let columns = Columns::of(devices.iter().copied());
    let ids: Vec<i64> = devices.iter().map(|device| device.id.0).collect();
    let tokens: Vec<String> = devices.iter().map(|device| device.token.expose().to_owned()).collect();
    sqlx::query!(
        "update devices d
         set token = v.token, environment = v.environment, environment_proven = v.environment_proven, kind = v.kind,
             source = v.source, user_id = v.user_id, locale = v.locale, timezone = v.timezone,
             app_version = v.app_version, registered_at = v.registered_at, quarantined_at = v.quarantined_at,
             quarantine_reason = v.quarantine_reason, evidence_at = v.evidence_at,
             replaces_id = v.replaces_id, replaces_at = v.replaces_at,
             quarantine_run = case when d.quarantined_at = v.quarantined_at then d.quarantine_run end,
             last_sent_on = case when v.source = 1 then d.last_sent_on end
         from unnest($1::bigint[], $2::smallint[], $3::boolean[], $4::smallint[], $5::smallint[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[],
                     $13::timestamptz[], $14::bigint[], $15::timestamptz[], $16::text[])
           as v(device_id, environment, environment_proven, kind, source, user_id, locale, timezone, app_version,
                registered_at, quarantined_at, quarantine_reason, evidence_at, replaces_id, replaces_at, token)
         where d.device_id = v.device_id and d.device_id = any($1)",
        &ids,
        &columns.environments,
        &columns.proven,
        &columns.kinds,
        &columns.sources,
        &columns.users as &[Option<&str>],
        &columns.locales as &[Option<&str>],
        &columns.timezones as &[Option<&str>],
        &columns.app_versions as &[Option<&str>],
        &columns.registered_at as &[Option<DateTime<Utc>>],
        &columns.quarantined_at as &[Option<DateTime<Utc>>],
        &columns.quarantine as &[Option<&str>],
        &columns.evidence_at as &[Option<DateTime<Utc>>],
        &columns.replaces_ids as &[Option<i64>],
        &columns.replaces_at as &[Option<DateTime<Utc>>],
        &tokens
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What may change of a device, column by column.
#[derive(Default)]
struct Columns<'a> {
    environments: Vec<i16>,
    proven: Vec<bool>,
    kinds: Vec<i16>,
    sources: Vec<i16>,
    users: Vec<Option<&'a str>>,
    locales: Vec<Option<&'a str>>,
    timezones: Vec<Option<&'a str>>,
    app_versions: Vec<Option<&'a str>>,
    registered_at: Vec<Option<DateTime<Utc>>>,
    quarantined_at: Vec<Option<DateTime<Utc>>>,
    quarantine: Vec<Option<&'a str>>,
    evidence_at: Vec<Option<DateTime<Utc>>>,
    replaces_ids: Vec<Option<i64>>,
    replaces_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(devices: impl Iterator<Item = &'a Device>) -> Self {
        let mut columns = Self::default();
        for device in devices {
            columns.push(device);
        }
        columns
    }

    fn push(&mut self, device: &'a Device) {
        let quarantine: Option<&Quarantine> = device.quarantine.as_ref();
        self.environments.push(Environment::code(device.environment));
        self.proven.push(device.environment_proven);
        self.kinds.push(device.kind.code());
        self.sources.push(device.source.code());
        self.users.push(device.user.as_ref().map(UserId::as_str));
        self.locales.push(device.locale.as_ref().map(Locale::as_str));
        self.timezones.push(device.timezone.as_ref().map(TimeZone::as_str));
        self.app_versions.push(device.app_version.as_ref().map(AppVersion::as_str));
        self.registered_at.push(device.registered_at);
        self.quarantined_at.push(quarantine.map(|quarantine| quarantine.at));
        self.quarantine.push(quarantine.map(|quarantine| quarantine.reason.0.as_str()));
        self.evidence_at.push(quarantine.and_then(|quarantine| quarantine.evidence_at));
        self.replaces_ids.push(device.replaces.map(|replaces| replaces.device.0));
        self.replaces_at.push(device.replaces.map(|replaces| replaces.at));
    }
}
