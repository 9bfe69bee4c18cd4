//! Ending what waited until its time ran out.

use super::Error;
use crate::store::Session;

/// Ends up to `limit` waiting jobs whose time has run out: `expired`, or `unknown` where an attempt may have been sent,
/// be it by a node that died since.
/// Leased jobs are their holder's to end. Returns how many.
///
/// A trial that nobody made within a minute, since its lane stopped meanwhile, is over too: what the first environment
/// said stands, `token_dead`. Nothing is set aside for it; the token's next attempt says it again.
pub async fn expire(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let ended = sqlx::query_scalar!(
        r#"
        with late as materialized (
          select job_id from jobs where node_id is null and expires_at <= now()
          order by expires_at limit $1 for update skip locked),
        trials as materialized (
          select job_id from jobs
          where node_id is null and trial_since is not null and due_at <= now() - interval '1 minute'
          order by due_at limit $1 for update skip locked),
        gone as (
          delete from jobs where job_id = any(array(select job_id from late) || array(select job_id from trials))
          returning *),
        rest as materialized (
          select g.*, case when g.done is null then g.devices else
                   array(select d from unnest(g.devices) with ordinality as u(d, o)
                         where get_bit(g.done, o::int - 1) = 0 order by o) end as left_over,
                 case when in_doubt then 6 when trial_since is not null then 3 when unsure > 0 then 6 else 4 end as status
          from gone g),
        receipt as (
          insert into receipts (notification_id, job_id, lane_id, attempt, expired, unknown, token_dead, shape,
                                first_device, last_device, devices, outcomes, reasons, reason_of)
          select notification_id, job_id, lane_id, attempt,
                 case status when 4 then k else 0 end, case status when 6 then k else 0 end,
                 case status when 3 then k else 0 end,
                 shape_of(left_over[1], left_over[k], k), left_over[1], left_over[k], left_over,
                 decode(repeat(case when in_doubt then '0' else '8' end || status, k), 'hex'),
                 array[case when status = 6 then 'no_answer' else coalesce(reason, 'ttl') end],
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
