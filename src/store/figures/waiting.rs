//! What waits in each lane: how much is due, since when, and how much is due later.

use std::collections::BTreeMap;

use crate::domain::{Class, LaneId, Priority};
use crate::store::{Error, Session};

/// Most jobs that are counted one by one. It takes about 0.1 s. With more, pages of the table are sampled.
const COUNTED_JOBS_MAX: i64 = 50_000;
/// Most pages of `jobs` that are sampled: 8 MB.
const SAMPLED_PAGES: f64 = 1_000.0;
/// Most leased jobs that are looked at for the oldest one: more than the nodes of a large installation hold.
const LEASED_JOBS_MAX: i64 = 20_000;

/// The jobs of one lane and priority. Leased jobs are included.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WaitingFigures {
    /// Devices that are due and have no outcome.
    pub due_devices: u64,
    /// Seconds since the oldest of them was due. None: none is due.
    pub oldest_seconds: Option<f64>,
    /// Devices that are due later and wait for their first attempt.
    pub scheduled_devices: u64,
    /// Devices that are due later because an attempt failed.
    pub backoff_devices: u64,
    /// The numbers of devices are estimates. The age is exact.
    pub is_estimated: bool,
}

/// The waiting jobs of each lane and priority that has any. Exact up to 50,000 jobs.
///
/// # Errors
/// Postgres is out of reach.
pub async fn waiting(conn: &mut Session) -> Result<BTreeMap<(LaneId, Priority), WaitingFigures>, Error> {
    match count_waiting(conn).await? {
        Some(figures) => Ok(figures),
        None => estimate_waiting(conn).await,
    }
}

struct WaitingRow {
    lane_id: i32,
    priority: i16,
    due_devices: f64,
    oldest_seconds: Option<f64>,
    scheduled_devices: f64,
    backoff_devices: f64,
}

/// Counts the jobs of each lane and priority. None: there are more than 50,000.
///
/// # Errors
/// Postgres is out of reach.
pub async fn count_waiting(
    conn: &mut Session,
) -> Result<Option<BTreeMap<(LaneId, Priority), WaitingFigures>>, Error> {
    let rows = sqlx::query!(
        r#"
        -- The condition is always true. It makes the planner walk along the index, up to the limit.
        with counted_jobs as materialized (
          select lane_id, priority, class, due_at, device_count - coalesce(bit_count(done), 0) as devices
          from jobs where job_id > 0 limit $1::bigint + 1)
        select lane_id as "lane_id!", priority as "priority!",
               coalesce(sum(devices) filter (where due_at <= now()), 0)::float8 as "due_devices!",
               extract(epoch from now() - min(due_at) filter (where due_at <= now()))::float8 as oldest_seconds,
               coalesce(sum(devices) filter (where due_at > now() and class <> $2), 0)::float8 as "scheduled_devices!",
               coalesce(sum(devices) filter (where due_at > now() and class = $2), 0)::float8 as "backoff_devices!",
               (select count(*) > $1 from counted_jobs) as "is_too_many!"
        from counted_jobs group by lane_id, priority
        "#,
        COUNTED_JOBS_MAX,
        Class::Retry.code()
    )
    .fetch_all(conn)
    .await?;
    if rows.iter().any(|row| row.is_too_many) {
        return Ok(None);
    }
    let rows = rows.into_iter().map(|row| WaitingRow {
        lane_id: row.lane_id,
        priority: row.priority,
        due_devices: row.due_devices,
        oldest_seconds: row.oldest_seconds,
        scheduled_devices: row.scheduled_devices,
        backoff_devices: row.backoff_devices,
    });
    Ok(Some(by_range(rows, false)))
}

/// Estimates the numbers of devices from pages that are drawn at random, as [`crate::store::backlog`] does. The oldest due
/// time is read from the claim index, and from the leased jobs.
///
/// # Errors
/// Postgres is out of reach.
pub async fn estimate_waiting(
    conn: &mut Session,
) -> Result<BTreeMap<(LaneId, Priority), WaitingFigures>, Error> {
    let rows = sqlx::query_as!(
        WaitingRow,
        r#"
        with pages as materialized (
          select greatest(1, pg_relation_size('jobs') / current_setting('block_size')::int / $1::float8) as ratio),
        sampled as materialized (
          select lane_id, priority, device_count - coalesce(bit_count(done), 0) as devices,
                 case when due_at <= now() then 0 when class = $2 then 2 else 1 end as waits_for
          from jobs tablesample system (
            least(100, 100 * $1::float8 / greatest(1, pg_relation_size('jobs') / current_setting('block_size')::int)))),
        estimates as (
          select lane_id, priority, sum(devices) filter (where waits_for = 0) as due_devices,
                 sum(devices) filter (where waits_for = 1) as scheduled_devices,
                 sum(devices) filter (where waits_for = 2) as backoff_devices
          from sampled group by lane_id, priority),
        -- The first waiting job of each range of the claim index, and the jobs that nodes hold.
        first_jobs as (
          select lane_id, range_priority as priority, first_job.due_at
          from lanes cross join unnest(array[0, 1, 2]::smallint[]) range_class
          cross join unnest(array[10, 5, 1]::smallint[]) range_priority
          cross join lateral (
            select due_at from jobs j
            where j.lane_id = lanes.lane_id and class = range_class and priority = range_priority and node_id is null
              and due_at <= now()
            order by due_at limit 1) first_job
          union all
          select lane_id, priority, due_at from (
            select lane_id, priority, due_at from jobs
            where node_id = any(array(select node_id from nodes)) limit $3) leased
          where due_at <= now()),
        oldest as (select lane_id, priority, min(due_at) as due_at from first_jobs group by lane_id, priority)
        select lane_id as "lane_id!", priority as "priority!",
               -- A small range may have no job in the sample, but its oldest job tells that there is one.
               coalesce(greatest(round(e.due_devices * ratio), (o.due_at is not null)::int), 0)::float8 as "due_devices!",
               extract(epoch from now() - o.due_at)::float8 as oldest_seconds,
               coalesce(round(e.scheduled_devices * ratio), 0)::float8 as "scheduled_devices!",
               coalesce(round(e.backoff_devices * ratio), 0)::float8 as "backoff_devices!"
        from estimates e full join oldest o using (lane_id, priority) cross join pages
        "#,
        SAMPLED_PAGES,
        Class::Retry.code(),
        LEASED_JOBS_MAX
    )
    .fetch_all(conn)
    .await?;
    Ok(by_range(rows.into_iter(), true))
}

fn by_range(
    rows: impl Iterator<Item = WaitingRow>,
    is_estimated: bool,
) -> BTreeMap<(LaneId, Priority), WaitingFigures> {
    let figures = rows.filter_map(|row| {
        let figures = WaitingFigures {
            due_devices: row.due_devices as u64,
            oldest_seconds: row.oldest_seconds,
            scheduled_devices: row.scheduled_devices as u64,
            backoff_devices: row.backoff_devices as u64,
            is_estimated,
        };
        Some(((LaneId(row.lane_id), Priority::from_code(row.priority)?), figures))
    });
    figures.collect()
}
