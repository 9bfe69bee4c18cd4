//! The history of lanes. A trigger writes it where a lane's row changes; here it ends where no node knows a lane any more, is
//! read, and is deleted.

use super::Error;
use crate::domain::LaneState;
use crate::store::Session;

/// Ends throttles and outages that no living node reports any more, and suspensions that were ended meanwhile. Nothing is
/// known of such a lane until a node reports it. Returns how many lanes this concerns.
///
/// # Errors
/// Postgres is out of reach.
pub async fn forget_unreported(conn: &mut Session) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        update lanes l set state = null, state_reason = null
        where (state in ($1, $2) or state = $3 and suspended_at is null)
          and not exists (select from lane_reports r join nodes n using (node_id)
                          where r.lane_id = l.lane_id and n.dead_at is null)
        ",
        LaneState::Throttled.code(),
        LaneState::Broken.code(),
        LaneState::Suspended.code()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes up to `limit` states that ended before the oldest day of which notifications are kept: none of them can have been
/// held by these. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old_changes(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        with oldest as materialized (
          select min(to_date(right(relname::text, 8), 'YYYYMMDD')) at time zone 'UTC' as began_at
          from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'notifications'::regclass),
        old as materialized (
          select c.row from lanes l cross join lateral (
            select ctid as row from lane_changes
            where lane_id = l.lane_id and ended_at < (select began_at from oldest)
            order by ended_at limit $1 for update skip locked) c
          limit $1)
        delete from lane_changes where ctid = any(array(select row from old))
        ",
        limit
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
