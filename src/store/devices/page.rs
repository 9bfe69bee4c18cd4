//! Reads devices for a page of a fan-out (docs/queue.md#pages-of-topics).

use super::IdColumns;
use crate::domain::{AppId, DeviceId, UserId};
use crate::store::Error;
use crate::store::Session;

/// The next active devices after `after` up to `last` that were registered or imported, at most `limit`, ascending.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn next_active(
    conn: &mut Session,
    app: AppId,
    (after, last): (DeviceId, DeviceId),
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let devices = sqlx::query_scalar!(
        r#"select array(
             select device_id from devices
             where app_id = $1 and quarantined_at is null and source <> 1 and device_id > $2 and device_id <= $3
             order by device_id limit $4) as "devices!""#,
        app.0,
        after.0,
        last.0,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(devices.into_iter().map(DeviceId).collect())
}

/// The users of these devices, which are ascending, each once. A device without a user is missing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn users_of(conn: &mut Session, devices: &[DeviceId]) -> Result<Vec<(DeviceId, UserId)>, Error> {
    let ids = IdColumns::of(devices);
    let row = sqlx::query!(
        r#"with found as materialized (
             select device_id, user_id from devices where device_id = any($1)
             union all
             select device_id, user_id from devices
             where device_id >= $2 and device_id <= $3 and get_bit($4::bytea, device_id - $2) = 1)
           select coalesce(array_agg(device_id), '{}') as "devices!", coalesce(array_agg(user_id), '{}') as "users!"
           from found where user_id is not null"#,
        &ids.scattered,
        ids.first,
        ids.last,
        ids.wanted.as_deref()
    )
    .fetch_one(conn)
    .await?;
    let users = row.users.into_iter().map(UserId::stored);
    Ok(row.devices.into_iter().map(DeviceId).zip(users).collect())
}
