//! Ending what waited until its time ran out.

use sqlx::PgConnection;

use super::Error;

/// Ends up to `limit` waiting jobs whose time has run out: `expired`, or `unknown` where an attempt may have been sent.
/// Leased jobs are their holder's to end. Returns how many.
pub async fn expire(conn: &mut PgConnection, limit: i64) -> Result<u64, Error> {
    let ended = sqlx::query_scalar!(
        r#"
        with c as materialized (
          select job_id from jobs where node_id is null and expires_at <= now()
          order by expires_at limit $1 for update skip locked),
        gone as (delete from jobs where job_id = any(array(select job_id from c)) returning *),
        rest as materialized (
          select g.*, case when g.done is null then g.devices else
                   array(select d from unnest(g.devices) with ordinality as u(d, o)
                         where get_bit(g.done, o::int - 1) = 0 order by o) end as left_over
          from gone g),
        receipt as (
          insert into receipts (notification_id, job_id, lane_id, attempt, expired, unknown, shape, first_device,
                                last_device, devices, outcomes, reasons, reason_of)
          select notification_id, job_id, lane_id, attempt,
                 case when unsure > 0 then 0 else k end, case when unsure > 0 then k else 0 end,
                 shape_of(left_over[1], left_over[k], k), left_over[1], left_over[k], left_over,
                 decode(repeat(case when unsure > 0 then '86' else '84' end, k), 'hex'),
                 array[case when unsure > 0 then 'no_answer' else coalesce(reason, 'ttl') end],
                 decode(repeat('01', k), 'hex')
          from (select *, cardinality(left_over) as k from rest) x where k > 0)
        select count(*) as "count!" from gone
        "#,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(ended.cast_unsigned())
}
