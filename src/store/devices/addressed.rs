//! Reads and writes devices for the resolution of an audience.
//!
//! Rows are reached by `= any(...)` over an index, never by a join (docs/queue.md#stable-plans).

use chrono::NaiveDate;

use super::batch::{TokenKey, token_columns};
use crate::domain::{
    AppId, DeviceId, DeviceToken, Environment, Kind, Platform, Platforms, Source, TokenDigest, UserId,
};
use crate::store::Error;
use crate::store::Session;
use crate::store::tokens::LoadedDevice;

/// A device that a notification addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addressed {
    /// What an attempt must know about the device.
    pub loaded: LoadedDevice,
    /// What its token is used for.
    pub kind: Kind,
    /// The digest that finds its token.
    pub digest: TokenDigest,
    /// The device is known from sends alone, and no send was today.
    pub sent_before_today: bool,
}

/// A token that no app has registered, on its first send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// The provider that issued the token.
    pub platform: Platform,
    /// The token's environment; None for FCM.
    pub environment: Option<Environment>,
    /// What the token is used for.
    pub kind: Kind,
    /// The token itself.
    pub token: DeviceToken,
}

macro_rules! addressed_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            AddressedRow,
            "select device_id, platform, environment, kind, token, token_digest, user_id,
                    quarantined_at is not null as \"quarantined!\",
                    (source = 1 and coalesce(last_sent_on < current_date, true)) as \"sent_before_today!\"
             from devices where " + $condition,
            $($argument),+
        )
    };
}

struct AddressedRow {
    device_id: i64,
    platform: i16,
    environment: i16,
    kind: i16,
    token: String,
    token_digest: Vec<u8>,
    user_id: Option<String>,
    quarantined: bool,
    sent_before_today: bool,
}

/// The devices of this app with these ids.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn addressed_ids(
    conn: &mut Session,
    app: AppId,
    ids: &[DeviceId],
) -> Result<Vec<Addressed>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows =
        addressed_where!("app_id = $1 and device_id = any($2)", app.0, &ids).fetch_all(&mut *conn).await?;
    rows.into_iter().filter_map(|row| Addressed::from_row(row, conn.platforms()).transpose()).collect()
}

/// The devices of these users.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn addressed_users(
    conn: &mut Session,
    app: AppId,
    users: &[UserId],
) -> Result<Vec<Addressed>, Error> {
    let users: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let rows =
        addressed_where!("app_id = $1 and user_id = any($2)", app.0, &users).fetch_all(&mut *conn).await?;
    rows.into_iter().filter_map(|row| Addressed::from_row(row, conn.platforms()).transpose()).collect()
}

/// The known devices with these tokens. They are found as by [`super::lock_tokens`].
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn addressed_tokens(
    conn: &mut Session,
    app: AppId,
    tokens: &[TokenKey],
) -> Result<Vec<Addressed>, Error> {
    let (platforms, digests) = token_columns(tokens);
    let rows = addressed_where!(
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
    rows.into_iter().filter_map(|row| Addressed::from_row(row, conn.platforms()).transpose()).collect()
}

/// Makes devices of tokens on their first send. The tokens are sorted by platform and digest, so that two sends with
/// the same tokens wait for each other and don't deadlock. A device that became known meanwhile is left as it is, and
/// is not returned. A transaction of its own (docs/queue.md#lock-order), unless the caller is in one.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn insert_sent(
    conn: &mut Session,
    app: AppId,
    tokens: &[NewToken],
) -> Result<Vec<Addressed>, Error> {
    let column = |read: fn(&NewToken) -> i16| tokens.iter().map(read).collect::<Vec<i16>>();
    let platforms = column(|new| new.platform.code());
    let environments = column(|new| Environment::code(new.environment));
    let kinds = column(|new| new.kind.code());
    let texts: Vec<String> = tokens.iter().map(|new| new.token.expose().to_owned()).collect();
    let digests: Vec<Vec<u8>> = tokens.iter().map(|new| new.token.digest().0.to_vec()).collect();
    let rows = sqlx::query_as!(
        AddressedRow,
        r#"insert into devices (app_id, platform, environment, kind, source, token, token_digest, last_sent_on)
           select $1, v.platform, v.environment, v.kind, $2, v.token, v.digest, current_date
           from unnest($3::smallint[], $4::smallint[], $5::smallint[], $6::text[], $7::bytea[])
             as v(platform, environment, kind, token, digest)
           on conflict (app_id, platform, token_digest) do nothing
           returning device_id, platform, environment, kind, token, token_digest, user_id,
                     false as "quarantined!", false as "sent_before_today!""#,
        app.0,
        Source::Send.code(),
        &platforms,
        &environments,
        &kinds,
        &texts,
        &digests
    )
    .fetch_all(&mut *conn)
    .await?;
    rows.into_iter().filter_map(|row| Addressed::from_row(row, conn.platforms()).transpose()).collect()
}

/// Notes that these devices, which are known from sends alone, were sent to today. Locks rows in id order.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn mark_sent(conn: &mut Session, ids: &[DeviceId]) -> Result<(), Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    sqlx::query!(
        "with locked as materialized (
           select device_id from devices
           where device_id = any($1) and source = 1 and coalesce(last_sent_on < current_date, true)
           order by device_id for no key update)
         update devices set last_sent_on = current_date
         where device_id = any(array(select device_id from locked))",
        &ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that those of these devices that are known from sends alone will be sent to on a later day (UTC). So they are kept
/// until then. Locks rows in id order.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn mark_sent_on(conn: &mut Session, ids: &[DeviceId], day: NaiveDate) -> Result<(), Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    sqlx::query!(
        "with locked as materialized (
           select device_id from devices
           where device_id = any($1) and source = 1 and coalesce(last_sent_on < $2, true)
           order by device_id for no key update)
         update devices set last_sent_on = $2
         where device_id = any(array(select device_id from locked))",
        &ids,
        day
    )
    .execute(conn)
    .await?;
    Ok(())
}

impl Addressed {
    /// What finds its token.
    pub fn token_key(&self) -> TokenKey {
        (self.loaded.platform, self.digest)
    }

    /// Reads a row; `known` are the platforms of this node. None: it is a device of a provider that this node lacks,
    /// which other nodes reach.
    fn from_row(row: AddressedRow, known: &Platforms) -> Result<Option<Self>, Error> {
        let Some(platform) = known.from_code(row.platform) else { return Ok(None) };
        let odd = |column| Error::Inconsistent { table: "devices", column, row: row.device_id };
        let digest = row.token_digest.as_slice().try_into().map_err(|_| odd("token_digest"))?;
        let loaded = LoadedDevice {
            device: DeviceId(row.device_id),
            platform,
            environment: platform.environment_from_code(row.environment),
            token: DeviceToken::stored(row.token),
            user: row.user_id.map(UserId::stored),
            quarantined: row.quarantined,
        };
        Ok(Some(Self {
            loaded,
            kind: Kind::from_code(row.kind).ok_or_else(|| odd("kind"))?,
            digest: TokenDigest(digest),
            sent_before_today: row.sent_before_today,
        }))
    }
}
