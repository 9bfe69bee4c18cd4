//! Erases users: deletes what belongs to them, and notes what past notifications must not show any more.
//!
//! The rows that are addressed through a user (`targets`) stay as they are, because no index finds them by user. Such an index
//! made the insert of 500,000 rows take 16.1 s instead of 10.6 s (Postgres 15, one backend, two busy cores). Instead `erased_users` and `erased_devices` are looked up where deliveries are read
//! (`super::deliveries`).

mod pending;
mod retention;

use std::collections::HashSet;

use uuid::Uuid;

pub use self::pending::{JobsPage, cancel, last_job, with_devices};
pub use self::retention::delete_old;
use super::Error;
use super::topics::TopicId;
use crate::domain::{AppId, DeviceId, NotificationId, UserId};
use crate::store::Session;

/// Devices that were deleted together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedDevices {
    /// Number of devices.
    pub count: u64,
    /// The topics that they were subscribed to.
    pub topics: Vec<TopicId>,
}

/// Hides a user in notifications that were accepted until now.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn hide_user(conn: &mut Session, app: AppId, user: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "insert into erased_users (app_id, user_digest) values ($1, user_digest($1, $2))
         on conflict (app_id, user_digest) do update set erased_at = now()",
        app.0,
        user.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of these users that were erased after the notification beside them was accepted.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn erased_among(
    conn: &mut Session,
    app: AppId,
    named: Vec<(NotificationId, UserId)>,
) -> Result<HashSet<(NotificationId, UserId)>, Error> {
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let (ids, users): (Vec<Uuid>, Vec<String>) =
        named.into_iter().map(|(id, user)| (id.0, user.as_str().to_owned())).unzip();
    let rows = sqlx::query!(
        r#"select n.notification_id as "id!", n.user_id as "user!"
           from unnest($2::uuid[], $3::text[]) as n(notification_id, user_id)
           cross join lateral (
             select erased_at from erased_users e
             where e.app_id = $1 and e.user_digest = user_digest($1, n.user_id) offset 0) erased
           where n.notification_id < id_floor(erased_at + interval '1 ms')"#,
        app.0,
        &ids,
        &users
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (NotificationId(row.id), UserId::stored(row.user))).collect())
}

/// Up to `limit` devices that are bound to a user, in no particular order.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn devices_of(
    conn: &mut Session,
    app: AppId,
    user: &UserId,
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select device_id from devices where app_id = $1 and user_id = $2 limit $3",
        app.0,
        user.as_str(),
        limit
    );
    Ok(ids.fetch_all(conn).await?.into_iter().map(DeviceId).collect())
}

/// Locks those of these devices that the app has, in id order until the transaction ends. Returns those that still belong to
/// the user. The user is no condition of the statement: a plan that is made while there are no devices would use the index
/// of users, and read all of it.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_devices(
    conn: &mut Session,
    app: AppId,
    user: &UserId,
    ids: &[DeviceId],
) -> Result<Vec<DeviceId>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        r#"select device_id, user_id is not distinct from $2 as "is_of_user!" from devices
           where device_id = any($3) and app_id + 0::smallint = $1 order by device_id for update"#,
        app.0,
        user.as_str(),
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter(|row| row.is_of_user).map(|row| DeviceId(row.device_id)).collect())
}

/// Deletes devices of the user that the transaction has locked, with their subscriptions, and notes that they were erased. The
/// lock is a statement of its own, so that this one sees subscriptions that were committed while the lock was waited for.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn delete_devices(
    conn: &mut Session,
    app: AppId,
    user: &UserId,
    locked: &[DeviceId],
) -> Result<DeletedDevices, Error> {
    let ids: Vec<i64> = locked.iter().map(|device| device.0).collect();
    let row = sqlx::query!(
        r#"with noted as (
             insert into erased_devices (device_id, app_id, user_digest)
             select device_id, $1, user_digest($1, $2) from unnest($3::bigint[]) as l(device_id) on conflict do nothing),
           unsubscribed as (delete from subscriptions where device_id = any($3) returning topic_id),
           gone as (delete from devices where device_id = any($3) returning device_id)
           select (select count(*) from gone) as "count!",
                  array(select distinct topic_id from unsubscribed) as "topics!""#,
        app.0,
        user.as_str(),
        &ids
    )
    .fetch_one(conn)
    .await?;
    Ok(DeletedDevices { count: row.count.cast_unsigned(), topics: row.topics })
}

/// Ends up to `limit` subscriptions of a user. Returns their topics.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn end_subscriptions(
    conn: &mut Session,
    app: AppId,
    user: &UserId,
    limit: i64,
) -> Result<Vec<TopicId>, Error> {
    let topics = sqlx::query_scalar!(
        "with locked as materialized (
           select topic_id from user_subscriptions where app_id = $1 and user_id = $2
           order by topic_id limit $3 for update)
         delete from user_subscriptions
         where app_id = $1 and user_id = $2 and topic_id = any(array(select topic_id from locked)) returning topic_id",
        app.0,
        user.as_str(),
        limit
    );
    Ok(topics.fetch_all(conn).await?)
}

/// The next devices after the given one that were deleted with the user, ascending; also by an erasure that did not come to
/// its end.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn deleted_devices(
    conn: &mut Session,
    app: AppId,
    user: &UserId,
    after: DeviceId,
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select device_id from erased_devices
         where app_id = $1 and user_digest = user_digest($1, $2) and device_id > $3 order by device_id limit $4",
        app.0,
        user.as_str(),
        after.0,
        limit
    );
    Ok(ids.fetch_all(conn).await?.into_iter().map(DeviceId).collect())
}
