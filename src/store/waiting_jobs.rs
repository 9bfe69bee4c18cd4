//! Ends jobs that wait: their time ran out, or their notification was cancelled. A leased job is ended by the node that
//! has it.

use uuid::Uuid;

use super::Error;
use crate::domain::{DeliveryStatus, LaneId, NotificationId};
use crate::store::Session;

/// Waiting jobs that were ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EndedJobs {
    /// Number of jobs.
    pub jobs: u64,
    /// Number of their devices that ended `cancelled`.
    pub cancelled: u64,
}

/// What the statement of `end_jobs!` counts: all its jobs, and the devices of one lane and status, if there are any.
struct EndedRow {
    jobs: i64,
    lane_id: Option<i32>,
    status: Option<i16>,
    devices: Option<i64>,
}

impl EndedJobs {
    /// Adds up what a statement ended, and counts the devices.
    fn of(conn: &mut Session, rows: Vec<EndedRow>) -> Self {
        let mut ended = Self::default();
        if rows.iter().any(|row| row.devices.is_some()) {
            conn.note_events();
        }
        for EndedRow { jobs, lane_id, status, devices } in rows {
            ended.jobs = jobs.cast_unsigned();
            let (Some(lane), Some(status), Some(devices)) =
                (lane_id, status.and_then(DeliveryStatus::from_code), devices)
            else {
                continue;
            };
            let devices = devices.cast_unsigned();
            conn.count_delivery(LaneId(lane), status, devices);
            if status == DeliveryStatus::Cancelled {
                ended.cancelled += devices;
            }
        }
        ended
    }
}

/// The statement that ends jobs. `$chosen` locks them, as `chosen_jobs`. `$status` is the outcome of all devices that have
/// not left the job yet (3 token_dead, 4 expired, 5 cancelled), and `$reason` its reason. An attempt that may have been
/// sent, also by a node that died since, makes it `unknown` (6) instead (docs/queue.md#attempts-in-doubt).
macro_rules! end_jobs {
    (chosen: $chosen:tt, status: $status:tt, reason: $reason:tt, $conn:expr $(, $argument:expr)*) => {
        sqlx::query_as!(
            EndedRow,
            "with "
                + $chosen
                + r#",
        deleted_jobs as (
          delete from jobs where job_id = any(array(select job_id from chosen_jobs)) returning *),
        ended as materialized (
          select j.*, case when j.done is null then j.devices else
                   array(select device from unnest(j.devices) with ordinality as u(device, place)
                         where get_bit(j.done, place::int - 1) = 0 order by place) end as open_devices,
                 case when in_doubt then 6 "#
                + $status
                + r#" end as status
          from deleted_jobs j),
        counted as materialized (select *, cardinality(open_devices) as open_count from ended),
        -- Bit 7 of an outcome says that there was no attempt: a job in doubt may have had one.
        new_receipts as (
          insert into receipts (notification_id, job_id, lane_id, attempt, expired, unknown, token_dead, cancelled, shape,
                                first_device, last_device, devices, outcomes, reasons, reason_indexes, last_reason,
                                ready_at)
          select notification_id, job_id, lane_id, attempt,
                 case status when 4 then open_count else 0 end, case status when 6 then open_count else 0 end,
                 case status when 3 then open_count else 0 end, case status when 5 then open_count else 0 end,
                 shape_of(open_devices[1], open_devices[open_count], open_count), open_devices[1],
                 open_devices[open_count], open_devices,
                 decode(repeat(case when in_doubt then '0' else '8' end || status, open_count), 'hex'),
                 array[case when status = 6 then 'no_answer' else "#
                + $reason
                + r#" end],
                 decode(repeat('01', open_count), 'hex'), last_reason, ready_at(class, due_at, found_at)
          from counted where open_count > 0
          returning notification_id, receipt_id, lane_id),
        new_facts as (
          insert into event_outbox (app_id, kind, notifications, receipts)
          select (select app_id from lanes l where l.lane_id = r.lane_id), 1, array_agg(notification_id),
                 array_agg(receipt_id)
          from new_receipts r where logs_events() group by 1)
        select (select count(*) from deleted_jobs) as "jobs!", e.lane_id as "lane_id?", e.status as "status?",
               e.devices as "devices?"
        from (select 1) one
        left join (select lane_id, status::smallint as status, sum(open_count)::bigint as devices
                   from counted where open_count > 0 group by lane_id, status) e on true"#
            $(, $argument)*
        )
        .fetch_all(&mut *$conn)
    };
}

/// Ends up to `limit` waiting jobs that have no time left: `expired`, or `unknown` if an attempt may have been sent. Returns
/// how many jobs ended.
///
/// An environment probe that was not made within a minute, because its lane stopped meanwhile, ends too: `token_dead`,
/// the verdict of the first environment. The device is not quarantined; the next attempt gets the verdict again.
///
/// # Errors
/// Postgres is out of reach.
pub async fn expire(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let ended = end_jobs!(
        chosen: r#"
        expired_jobs as materialized (
          select job_id from jobs where node_id is null and expires_at <= now()
          order by expires_at limit $1 for update skip locked),
        stranded_probes as materialized (
          select job_id from jobs
          where node_id is null and environment_probe_since is not null and due_at <= now() - interval '1 minute'
          order by due_at limit $1 for update skip locked),
        chosen_jobs as (select job_id from expired_jobs union select job_id from stranded_probes)"#,
        status: "when environment_probe_since is not null then 3 when unanswered > 0 then 6 else 4",
        reason: "coalesce(last_reason, 'ttl')",
        conn,
        limit
    )
    .await?;
    Ok(EndedJobs::of(conn, ended).jobs)
}

/// Ends up to `limit` waiting jobs of these cancelled notifications: `cancelled`, or `unknown` if an attempt may have been
/// sent. Jobs that another transaction has locked are left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn cancel(conn: &mut Session, ids: &[NotificationId], limit: i64) -> Result<EndedJobs, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let ended = end_jobs!(
        chosen: r#"
        -- Not `node_id is null`: a plan that is made while there are no jobs would read all waiting ones by another index.
        chosen_jobs as materialized (
          select job_id from jobs where notification_id = any($2) and coalesce(node_id, 0) = 0
          limit $1 for update skip locked)"#,
        status: "when unanswered > 0 then 6 else 5",
        reason: "'requested'",
        conn,
        limit,
        &ids
    )
    .await?;
    Ok(EndedJobs::of(conn, ended))
}
