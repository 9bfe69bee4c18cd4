//! Ends jobs that waited until their time ran out. Used by the leader.

use super::Error;
use crate::store::Session;

/// Ends up to `limit` waiting jobs that have no time left: `expired`, or `unknown` if an attempt may have been sent,
/// also by a node that died since. A leased job is ended by the node that has it. Returns how many jobs ended.
///
/// An environment probe that was not made within a minute, because its lane stopped meanwhile, ends too: `token_dead`,
/// the verdict of the first environment. The device is not quarantined; the next attempt gets the verdict again.
///
/// # Errors
/// Postgres is out of reach.
pub async fn expire(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let ended = sqlx::query_scalar!(
        r#"
        with expired_jobs as materialized (
          select job_id from jobs where node_id is null and expires_at <= now()
          order by expires_at limit $1 for update skip locked),
        stranded_probes as materialized (
          select job_id from jobs
          where node_id is null and environment_probe_since is not null and due_at <= now() - interval '1 minute'
          order by due_at limit $1 for update skip locked),
        deleted_jobs as (
          delete from jobs
          where job_id = any(array(select job_id from expired_jobs) || array(select job_id from stranded_probes))
          returning *),
        -- The devices that have not left the job yet, and the outcome of them all: 3 token_dead, 4 expired, 6 unknown.
        ended as materialized (
          select j.*, case when j.done is null then j.devices else
                   array(select device from unnest(j.devices) with ordinality as u(device, place)
                         where get_bit(j.done, place::int - 1) = 0 order by place) end as open_devices,
                 case when in_doubt then 6 when environment_probe_since is not null then 3 when unanswered > 0 then 6
                      else 4 end as status
          from deleted_jobs j),
        -- Bit 7 of an outcome says that there was no attempt: a job in doubt may have had one.
        new_receipts as (
          insert into receipts (notification_id, job_id, lane_id, attempt, expired, unknown, token_dead, shape,
                                first_device, last_device, devices, outcomes, reasons, reason_indexes)
          select notification_id, job_id, lane_id, attempt,
                 case status when 4 then open_count else 0 end, case status when 6 then open_count else 0 end,
                 case status when 3 then open_count else 0 end,
                 shape_of(open_devices[1], open_devices[open_count], open_count), open_devices[1],
                 open_devices[open_count], open_devices,
                 decode(repeat(case when in_doubt then '0' else '8' end || status, open_count), 'hex'),
                 array[case when status = 6 then 'no_answer' else coalesce(last_reason, 'ttl') end],
                 decode(repeat('01', open_count), 'hex')
          from (select *, cardinality(open_devices) as open_count from ended) counted where open_count > 0)
        select count(*) as "count!" from deleted_jobs
        "#,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(ended.cast_unsigned())
}
