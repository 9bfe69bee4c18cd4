//! Audiences that are resolved page by page. Each page is one short transaction that holds the lock of the fan-out's
//! row, so there is no lease to renew, fence or expire. Each page goes to the fan-out of the highest priority
//! (docs/queue.md#fan-out).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use super::devices::IdColumns;
use crate::domain::{
    AppId, Class, DeviceId, Environment, FanOut, JOB_DEVICES_MAX, LaneId, LaneKey, NotificationId, Platform,
    Priority, ScheduledAudience, TraceContext, UserId,
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
    /// The span that accepted the notification. None: the notification is not traced.
    pub trace: Option<TraceContext>,
    /// Number of pages that were read.
    pub page_count: i32,
    /// It is a scheduled notification, and its audience was not resolved yet ([`super::scheduled`]).
    pub is_scheduled: bool,
    /// The audience. None: no version of Pushpost writes such a value, or the audience was not resolved yet.
    pub audience: Option<FanOut>,
}

/// Which devices a page may make targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageDevices<'a> {
    /// So many devices after those that the fan-out has reached.
    Next(i64),
    /// Devices that were found already.
    Found {
        /// In ascending order, each once.
        devices: &'a [DeviceId],
        /// Those of `devices` that are in the audience only because of their user. Each is a target only while the user has
        /// it.
        through_users: &'a [(DeviceId, UserId)],
    },
}

/// The result of one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FanOutPage {
    /// Number of active devices that were read.
    pub seen: i64,
    /// The last device that was read.
    pub reached: Option<DeviceId>,
    /// Number of devices that became targets.
    pub found: i64,
    /// The lanes that got jobs.
    pub lanes: Vec<LaneId>,
}

/// Locks the due fan-out of the highest priority among these apps, except those in `not`, those that other
/// transactions have locked, and those of a format above the one that this version knows. Within a priority, scheduled
/// notifications go before pages: a broadcast of many pages would hold up the devices that they name. The first page fixes
/// the last device: devices that come later are no targets.
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
               f.reached_device_id as "reached!", f.is_scheduled as "is_scheduled!",
               f.audience as "audience!", f.trace as "trace?", f.page_count as "page_count!",
               coalesce(f.last_device_id, (select max(device_id) from devices
                                        where app_id = f.app_id and quarantined_at is null and source <> 1), 0) as "last!"
        from unnest(array[10, 10, 5, 5, 1, 1]::smallint[], array[true, false, true, false, true, false]) as range(p, scheduled)
        cross join lateral (
          select * from fan_outs
          where priority = p and is_scheduled = scheduled and due_at <= now() and app_id = any($1) and notification_id <> all($2)
            and format <= case when is_scheduled then $4::smallint else $3::smallint end
          order by due_at limit 1 for update skip locked) f
        limit 1
        "#,
        &apps,
        &not,
        FanOut::FORMAT,
        ScheduledAudience::FORMAT
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
        trace: row.trace.as_deref().and_then(TraceContext::from_stored),
        page_count: row.page_count,
        is_scheduled: row.is_scheduled,
        audience: (!row.is_scheduled).then(|| serde_json::from_slice(&row.audience).ok()).flatten(),
    }))
}

/// The lanes of an audience, as columns.
struct LaneColumns {
    platforms: Vec<i16>,
    environments: Vec<i16>,
    numbers: Vec<i32>,
    /// The platforms that have kinds of token.
    with_kinds: Vec<i16>,
}

impl LaneColumns {
    /// Those of `lanes` that the audience may go to.
    fn of(audience: &FanOut, lanes: &[(LaneKey, LaneId)]) -> Self {
        let some = audience.platforms.as_deref();
        let wanted =
            |platform: Platform| some.is_none_or(|some| some.iter().any(|name| name == platform.as_str()));
        let lanes: Vec<&(LaneKey, LaneId)> = lanes.iter().filter(|(key, _)| wanted(key.platform())).collect();
        let platforms = || lanes.iter().map(|(key, _)| key.platform());
        Self {
            platforms: platforms().map(Platform::code).collect(),
            environments: lanes.iter().map(|(key, _)| Environment::code(key.environment())).collect(),
            numbers: lanes.iter().map(|(_, id)| id.0).collect(),
            with_kinds: platforms().filter(|platform| platform.has_kinds()).map(Platform::code).collect(),
        }
    }
}

/// Writes the jobs of a page of a locked fan-out, cut into lists per lane. A device is a target if it is active now.
/// Devices of lanes that are missing in `lanes` get no job. The users that targets were found through are stored with them.
///
/// # Errors
/// Postgres is out of reach. Nothing of the page is written then.
pub async fn write_page(
    conn: &mut Session,
    fan_out: &LockedFanOut,
    audience: &FanOut,
    lanes: &[(LaneKey, LaneId)],
    devices: PageDevices<'_>,
) -> Result<FanOutPage, Error> {
    let lanes = LaneColumns::of(audience, lanes);
    let except_users: Vec<_> = audience.except_users.iter().map(|user| user.as_str().to_owned()).collect();
    let except_devices: Vec<i64> = audience.except_devices.iter().map(|device| device.0).collect();
    let (size, found, through_users) = match devices {
        PageDevices::Next(size) => (Some(size), IdColumns::default(), &[][..]),
        PageDevices::Found { devices, through_users } => (None, IdColumns::of(devices), through_users),
    };
    let through: Vec<i64> = through_users.iter().map(|(device, _)| device.0).collect();
    let users: Vec<String> = through_users.iter().map(|(_, user)| user.as_str().to_owned()).collect();
    // `in (select …) is true` and `not in` use a hash table. `= any`, `<> all` and perhaps a join compare all pairs.
    let row = sqlx::query!(
        r#"
        with next as materialized (
          select device_id, platform, environment, kind, user_id from devices
          where $4::bigint is not null and app_id = $1 and quarantined_at is null and source <> 1
            and device_id > $2 and device_id <= $3
          order by device_id limit $4),
        found as materialized (
          select device_id, platform, environment, kind, user_id, quarantined_at, source from devices
          where device_id = any($18::bigint[])
          union all
          select device_id, platform, environment, kind, user_id, quarantined_at, source from devices
          where device_id >= $21::bigint and device_id <= $22::bigint and get_bit($23::bytea, device_id - $21) = 1),
        page as materialized (
          select * from next
          union all
          select device_id, platform, environment, kind, user_id from found
          where quarantined_at is null and source <> 1
            and (device_id not in (select unnest($19::bigint[]))
                 or (device_id, user_id) in (select * from unnest($19::bigint[], $20::text[])))),
        devices_by_lane as materialized (
          select l.lane_id, array(
            select device_id from page d
            where d.platform = l.platform and d.environment = l.environment
              and (d.platform <> all($8::smallint[]) or d.kind = $9)
              and (d.user_id is null or d.user_id not in (select unnest($10::text[])))
              and d.device_id not in (select unnest($11::bigint[]))
            order by device_id) as devices
          from unnest($5::smallint[], $6::smallint[], $7::int[]) as l(platform, environment, lane_id)),
        -- Lists of at most $17 devices.
        new_jobs as (
          insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, trace, device_count, devices, found_at)
          select $12, lane_id, $13, $14, $15, $16, $24, cardinality(part)::smallint, part, now()
          from (select lane_id, devices[start : start + $17::int - 1] as part
                from devices_by_lane, generate_series(1, cardinality(devices), $17::int) start) parts
          returning lane_id, device_count),
        new_targets as (
          insert into targets (notification_id, device_id, user_id)
          select $12, t.device_id, t.user_id from unnest($19::bigint[], $20::text[]) as t(device_id, user_id)
          where (t.device_id in (select unnest(devices) from devices_by_lane)) is true
          returning true),
        marked as (
          -- By the id alone, both indexes of an empty day cost the planner the same, and it may read one of them whole.
          update notifications set by_user = true
          where notification_id = $12 and app_id = $1 and not by_user and exists (select from new_targets))
        select s.seen as "seen!", s.reached, (select coalesce(sum(device_count), 0) from new_jobs) as "found!",
               array(select distinct lane_id from new_jobs) as "lanes!"
        from (select count(*) as seen, max(device_id) as reached from page) s
        "#,
        fan_out.app.0,
        fan_out.reached.0,
        fan_out.last.0,
        size,
        &lanes.platforms,
        &lanes.environments,
        &lanes.numbers,
        &lanes.with_kinds,
        audience.kind.code(),
        &except_users,
        &except_devices,
        fan_out.id.0,
        fan_out.priority.code(),
        Class::Bulk.code(),
        fan_out.due_at,
        fan_out.expires_at,
        JOB_DEVICES_MAX as i32,
        &found.scattered,
        &through,
        &users,
        found.first,
        found.last,
        found.wanted.as_deref(),
        fan_out.trace.map(|trace| trace.to_stored().to_vec()),
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
         set reached_device_id = $2, last_device_id = $3, target_count = target_count + $4::bigint,
             page_count = page_count + 1
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
/// fan-outs of apps that no node serves. Scheduled ones are left to the nodes for some minutes, because the devices that
/// they name are targets that expire.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn expire(conn: &mut Session) -> Result<(), Error> {
    let is_any = sqlx::query_scalar!("select true from fan_outs where expires_at <= now() limit 1");
    if is_any.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    let ended = sqlx::query!(
        "with expired as materialized (
           select notification_id from fan_outs
           where expires_at <= now() and (not is_scheduled or expires_at <= now() - interval '10 minutes')
           limit 1000 for update skip locked),
         ended as (
           delete from fan_outs where notification_id = any(array(select notification_id from expired))
           returning notification_id, app_id, target_count),
         new_facts as (
           insert into event_outbox (app_id, kind, notifications)
           select app_id, 1, array_agg(notification_id) from ended where logs_events() group by app_id)
         select notification_id, app_id, target_count from ended"
    )
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<Uuid> = ended.iter().map(|row| row.notification_id).collect();
    let counts: Vec<i32> = ended.iter().map(|row| row.target_count).collect();
    let apps: Vec<i16> = ended.iter().map(|row| row.app_id).collect();
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else {
        return Ok(tx.rollback().await?);
    };
    sqlx::query!(
        "update notifications set target_count = ($2::int[])[array_position($1, notification_id)]
         where notification_id = any($1) and notification_id >= $3 and notification_id <= $4 and app_id = any($5)",
        &ids,
        &counts,
        first,
        last,
        &apps
    )
    .execute(&mut *tx)
    .await?;
    tx.note_events();
    Ok(tx.commit().await?)
}

/// Ends a locked fan-out: the notification has all its targets now.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn finish(conn: &mut Session, id: NotificationId, found: i64) -> Result<(), Error> {
    sqlx::query!(
        "with ended as (delete from fan_outs where notification_id = $1 returning app_id, target_count),
         new_facts as (
           insert into event_outbox (app_id, kind, notifications)
           select app_id, 1, array[$1::uuid] from ended where logs_events())
         update notifications set target_count = (select target_count from ended) + $2::bigint
         where notification_id = $1 and app_id = (select app_id from ended)",
        id.0,
        found
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}
