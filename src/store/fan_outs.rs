//! Audiences that are resolved page by page. Each page is one short transaction that holds the lock of the fan-out's
//! row, so there is no lease to renew, fence or expire. Each page goes to the fan-out of the highest priority
//! (docs/queue.md#fan-out).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{
    AppId, Class, DeviceId, Environment, FanOut, JOB_DEVICES_MAX, LaneId, LaneKey, NotificationId, Platform,
    Priority,
};
use crate::store::Session;

/// A fan-out with the lock of its row, for one page.
#[derive(Debug)]
pub struct LockedFanOut {
    /// The notification that is sent.
    pub id: NotificationId,
    /// The app that sends it.
    pub app: AppId,
    /// The priority of its jobs.
    pub priority: Priority,
    /// When its jobs may be sent.
    pub due_at: DateTime<Utc>,
    /// When its jobs expire.
    pub expires_at: DateTime<Utc>,
    /// That time is over.
    pub late: bool,
    /// The last device that existed when the first page was read. Later ones are no targets.
    pub last: DeviceId,
    /// All devices up to this one have been looked at.
    pub reached: DeviceId,
    /// The audience. None: no version of Pushpost writes such a value.
    pub audience: Option<FanOut>,
}

/// The result of one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FanOutPage {
    /// Number of devices that were looked at.
    pub seen: i64,
    /// The last device that was looked at.
    pub reached: Option<DeviceId>,
    /// Number of devices that became targets.
    pub found: i64,
    /// The lanes that got jobs.
    pub lanes: Vec<LaneId>,
}

/// Locks the due fan-out of the highest priority among these apps, except those in `not` and those that other
/// transactions have locked. The first page fixes the last device: devices that come later are no targets.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_next(
    conn: &mut Session,
    apps: &[AppId],
    not: &[NotificationId],
) -> Result<Option<LockedFanOut>, Error> {
    let apps: Vec<i16> = apps.iter().map(|app| app.0).collect();
    let not: Vec<Uuid> = not.iter().map(|id| id.0).collect();
    let row = sqlx::query!(
        r#"
        select f.notification_id as "notification_id!", f.app_id as "app_id!", f.priority as "priority!",
               f.due_at as "due_at!", f.expires_at as "expires_at!", f.expires_at <= now() as "late!",
               f.reached_device_id as "reached!",
               f.audience as "audience!",
               coalesce(f.last_device_id, (select max(device_id) from devices
                                        where app_id = f.app_id and quarantined_at is null and source <> 1), 0) as "last!"
        from unnest(array[10, 5, 1]::smallint[]) p
        cross join lateral (
          select * from fan_outs
          where priority = p and due_at <= now() and app_id = any($1) and notification_id <> all($2)
          order by due_at limit 1 for update skip locked) f
        limit 1
        "#,
        &apps,
        &not
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let odd = Error::Inconsistent { table: "fan_outs", column: "priority", row: i64::from(row.priority) };
    Ok(Some(LockedFanOut {
        id: NotificationId(row.notification_id),
        app: AppId(row.app_id),
        priority: Priority::from_code(row.priority).ok_or(odd)?,
        due_at: row.due_at,
        expires_at: row.expires_at,
        late: row.late,
        last: DeviceId(row.last),
        reached: DeviceId(row.reached),
        audience: serde_json::from_slice(&row.audience).ok(),
    }))
}

/// Writes the jobs of the next `size` devices of a locked fan-out, cut into lists per lane. A device is a target if it
/// is in the audience when its page is read. Devices of lanes that are missing in `lanes` get no job.
///
/// # Errors
/// Postgres is out of reach. Nothing of the page is written then.
pub async fn write_page(
    conn: &mut Session,
    fan_out: &LockedFanOut,
    audience: &FanOut,
    lanes: &[(LaneKey, LaneId)],
    size: i64,
) -> Result<FanOutPage, Error> {
    let wanted = |key: &LaneKey| {
        audience.platforms.as_ref().is_none_or(|some| some.iter().any(|name| name == key.platform().as_str()))
    };
    let lanes: Vec<&(LaneKey, LaneId)> = lanes.iter().filter(|(key, _)| wanted(key)).collect();
    let platforms: Vec<i16> = lanes.iter().map(|(key, _)| key.platform().code()).collect();
    let environments: Vec<i16> = lanes.iter().map(|(key, _)| Environment::code(key.environment())).collect();
    let with_kinds: Vec<i16> = lanes
        .iter()
        .map(|(key, _)| key.platform())
        .filter(|platform| platform.has_kinds())
        .map(Platform::code)
        .collect();
    let numbers: Vec<i32> = lanes.iter().map(|(_, id)| id.0).collect();
    let except_users: Vec<String> =
        audience.except_users.iter().map(|user| user.as_str().to_owned()).collect();
    let except_devices: Vec<i64> = audience.except_devices.iter().map(|device| device.0).collect();
    let row = sqlx::query!(
        r#"
        with page as materialized (
          select device_id, platform, environment, kind, user_id from devices
          where app_id = $1 and quarantined_at is null and source <> 1 and device_id > $2 and device_id <= $3
          order by device_id limit $4),
        devices_by_lane as materialized (
          select l.lane_id, array(
            select device_id from page d
            where d.platform = l.platform and d.environment = l.environment
              and (d.platform <> all($8::smallint[]) or d.kind = $9)
              and (d.user_id is null or d.user_id <> all($10::text[]))
              and d.device_id <> all($11::bigint[])
            order by device_id) as devices
          from unnest($5::smallint[], $6::smallint[], $7::int[]) as l(platform, environment, lane_id)),
        -- Lists of at most $17 devices.
        new_jobs as (
          insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, device_count, devices)
          select $12, lane_id, $13, $14, $15, $16, cardinality(part)::smallint, part
          from (select lane_id, devices[start : start + $17::int - 1] as part
                from devices_by_lane, generate_series(1, cardinality(devices), $17::int) start) parts
          returning lane_id, device_count)
        select s.seen as "seen!", s.reached, (select coalesce(sum(device_count), 0) from new_jobs) as "found!",
               array(select distinct lane_id from new_jobs) as "lanes!"
        from (select count(*) as seen, max(device_id) as reached from page) s
        "#,
        fan_out.app.0,
        fan_out.reached.0,
        fan_out.last.0,
        size,
        &platforms,
        &environments,
        &numbers,
        &with_kinds,
        audience.kind.code(),
        &except_users,
        &except_devices,
        fan_out.id.0,
        fan_out.priority.code(),
        Class::Bulk.code(),
        fan_out.due_at,
        fan_out.expires_at,
        JOB_DEVICES_MAX as i32,
    )
    .fetch_one(conn)
    .await?;
    Ok(FanOutPage {
        seen: row.seen,
        reached: row.reached.map(DeviceId),
        found: row.found,
        lanes: row.lanes.into_iter().map(LaneId).collect(),
    })
}

/// Stores how far a locked fan-out has come.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn advance(
    conn: &mut Session,
    id: NotificationId,
    reached: DeviceId,
    last: DeviceId,
    found: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "update fan_outs
         set reached_device_id = $2, last_device_id = $3, target_count = target_count + $4::bigint
         where notification_id = $1",
        id.0,
        reached.0,
        last.0,
        found
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the fan-outs that have no time left, because their jobs would expire at once, except locked ones. These are
/// fan-outs of apps that no node serves.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn expire(conn: &mut Session) -> Result<(), Error> {
    sqlx::query!(
        "with expired as materialized (
           select notification_id from fan_outs where expires_at <= now() for update skip locked),
         ended as (
           delete from fan_outs where notification_id = any(array(select notification_id from expired))
           returning notification_id, target_count)
         update notifications n set target_count = e.target_count
         from ended e where n.notification_id = e.notification_id"
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a locked fan-out: the notification has all its targets now.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn finish(conn: &mut Session, id: NotificationId, found: i64) -> Result<(), Error> {
    sqlx::query!(
        "with ended as (delete from fan_outs where notification_id = $1 returning target_count)
         update notifications set target_count = (select target_count from ended) + $2::bigint
         where notification_id = $1",
        id.0,
        found
    )
    .execute(conn)
    .await?;
    Ok(())
}
