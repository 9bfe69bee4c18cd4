//! Ends what waits for erased devices.
//!
//! No index finds jobs by device: it would cost each of the inserts. So an erasure reads all jobs once, page by page. The lanes
//! end what it does not reach (docs/queue.md#token-load).

use crate::domain::{AppId, DeliveryStatus, DeviceId, JobId, LaneId};
use crate::store::Error;
use crate::store::Session;

/// A part of the jobs, as an erasure reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobsPage {
    /// Waiting jobs that have one of the devices.
    pub found: Vec<JobId>,
    /// The last job of the page. None: there is none after the page before.
    pub last: Option<JobId>,
}

/// The last job that there is. None: there is no job.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn last_job(conn: &mut Session) -> Result<Option<JobId>, Error> {
    let last = sqlx::query_scalar!("select job_id from jobs where job_id > 0 order by job_id desc limit 1");
    Ok(last.fetch_optional(conn).await?.map(JobId))
}

/// Reads the next `limit` jobs of all apps after `after`, and finds those of the app that wait and have one of the devices.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn with_devices(
    conn: &mut Session,
    app: AppId,
    devices: &[DeviceId],
    after: JobId,
    limit: i64,
) -> Result<JobsPage, Error> {
    let devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
    let row = sqlx::query!(
        r#"with page as materialized (
             select job_id, lane_id, node_id, devices from jobs where job_id > $3 order by job_id limit $4),
           own as materialized (
             select job_id, devices from page
             where node_id is null and lane_id = any(array(select lane_id from lanes where app_id = $1)))
           select (select max(job_id) from page) as last,
                  array(select distinct o.job_id from own o cross join lateral unnest(o.devices) as u(device)
                        join unnest($2::bigint[]) as erased(device) on erased.device = u.device) as "found!""#,
        app.0,
        &devices,
        after.0,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(JobsPage { found: row.found.into_iter().map(JobId).collect(), last: row.last.map(JobId) })
}

/// Ends these devices in those of these jobs that wait: `cancelled`, or `unknown` if an attempt may have been sent. A job that a
/// lane has taken meanwhile is left to the lane. Returns how many were cancelled.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn cancel(conn: &mut Session, jobs: &[JobId], devices: &[DeviceId]) -> Result<u64, Error> {
    let jobs: Vec<i64> = jobs.iter().map(|job| job.0).collect();
    let devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        r#"
        with locked as materialized (select * from jobs where job_id = any($1) for update skip locked),
        -- In a step of its own: a plan that is made while there are no jobs would walk over all that wait.
        waiting as materialized (select * from locked where node_id is null),
        -- Per job: the erased devices that are still in it, and a bit for each of them.
        ending as materialized (
          select l.job_id,
                 array_agg(u.device order by u.place) filter (where erased.device is not null) as open_devices,
                 string_agg((erased.device is not null)::int::text, '' order by u.place)::varbit as bits
          from waiting l cross join lateral unnest(l.devices) with ordinality as u(device, place)
          left join unnest($2::bigint[]) as erased(device)
            on erased.device = u.device and (l.done is null or get_bit(l.done, u.place::int - 1) = 0)
          group by l.job_id),
        ended as materialized (
          select l.*, e.open_devices, cardinality(e.open_devices) as open_count, coalesce(l.done | e.bits, e.bits) as new_done,
                 l.in_doubt or l.unanswered > 0 as may_be_sent
          from ending e join waiting l on l.job_id = e.job_id where e.open_devices is not null),
        finished_jobs as (
          delete from jobs
          where job_id = any(array(select job_id from ended where bit_count(new_done) = device_count))),
        partly_done_jobs as (
          update jobs j set version = j.version + 1, done = e.new_done from ended e
          where j.job_id = any(array(select job_id from ended where bit_count(new_done) < device_count))
            and j.job_id = e.job_id),
        -- 5 cancelled, 6 unknown. Bit 7 of an outcome says that there was no attempt: a job in doubt may have had one.
        new_receipts as (
          insert into receipts (notification_id, job_id, lane_id, attempt, cancelled, unknown, shape, first_device,
                                last_device, devices, outcomes, reasons, reason_indexes, last_reason, ready_at)
          select notification_id, job_id, lane_id, attempt, case when may_be_sent then 0 else open_count end,
                 case when may_be_sent then open_count else 0 end,
                 shape_of(open_devices[1], open_devices[open_count], open_count), open_devices[1],
                 open_devices[open_count], open_devices,
                 decode(repeat(case when in_doubt then '06' when may_be_sent then '86' else '85' end, open_count), 'hex'),
                 array[case when may_be_sent then 'no_answer' else 'device_gone' end],
                 decode(repeat('01', open_count), 'hex'), last_reason, ready_at(class, due_at, found_at)
          from ended
          returning notification_id, receipt_id, lane_id),
        new_facts as (
          insert into event_outbox (app_id, kind, notifications, receipts)
          select (select app_id from lanes l where l.lane_id = r.lane_id), 1, array_agg(notification_id),
                 array_agg(receipt_id)
          from new_receipts r where logs_events() group by 1)
        select lane_id as "lane_id!", may_be_sent as "may_be_sent!", sum(open_count)::bigint as "devices!"
        from ended group by lane_id, may_be_sent
        "#,
        &jobs,
        &devices
    )
    .fetch_all(&mut *conn)
    .await?;
    if !rows.is_empty() {
        conn.note_events();
    }
    let mut cancelled = 0;
    for row in rows {
        let (lane, devices) = (LaneId(row.lane_id), row.devices.cast_unsigned());
        if row.may_be_sent {
            conn.count_delivery(lane, DeliveryStatus::Unknown, devices);
        } else {
            conn.count_delivery(lane, DeliveryStatus::Cancelled, devices);
            cancelled += devices;
        }
    }
    Ok(cancelled)
}
