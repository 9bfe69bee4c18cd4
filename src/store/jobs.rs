//! Claims, releases and lists jobs.
//!
//! No join drives access to `jobs`: rows are reached by `= any` of sorted ids, or by a full range of a claim index with
//! LIMIT. So a plan that is cached while the table is empty never scans a full one (docs/queue.md#stable-plans).

use bit_vec::BitVec;
use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{
    Class, DeviceId, Job, JobId, LaneId, NodeId, NotificationId, Priority, Reason, SUSPECT_NODE_DEATHS,
    TraceContext,
};
use crate::store::Session;

/// One range of the claim index, and how many jobs of it to take.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest {
    /// The lane of the range.
    pub lane: LaneId,
    /// The class of the range.
    pub class: Class,
    /// The priority of the range.
    pub priority: Priority,
    /// Room in devices. At least one job is taken if any is due.
    pub room: i32,
    /// Most jobs to lock and look at.
    pub jobs_max: i32,
    /// Only jobs that fell due at or after this time, which skips the dead rows of earlier claims. None: all.
    pub since: Option<DateTime<Utc>>,
    /// The node that claims.
    pub node: NodeId,
}

/// Leases due jobs to a node, the earliest due first. Jobs that other transactions have locked are skipped. A job that
/// may have killed its nodes is taken alone (docs/queue.md#isolated-attempt).
pub async fn claim(conn: &mut Session, claim: ClaimRequest) -> Result<Vec<Job>, Error> {
    let rows = sqlx::query!(
        r#"
        -- The first due jobs of the range, locked.
        with candidates as materialized (
          select job_id, device_count, node_deaths >= $8 as suspect from jobs
          where lane_id = $1 and node_id is null and class = $2 and priority = $3
            and due_at <= now() and due_at >= coalesce($6::timestamptz, '-infinity')
          order by due_at, job_id limit $5 for update skip locked),
        -- Jobs are taken while the devices of the jobs before them leave room. A suspect job is taken only as the first one,
        -- and alone.
        chosen as (
          select job_id, sum(device_count) over (rows unbounded preceding) - device_count as devices_before,
                 row_number() over (rows unbounded preceding) = 1
                   or not bool_or(suspect) over (rows unbounded preceding) as is_free
          from candidates)
        update jobs j set node_id = $7, version = version + 1
        where j.job_id = any(array(select job_id from chosen where devices_before < $4 and is_free))
        returning j.job_id, j.notification_id, j.version, j.attempt, j.unanswered, j.in_doubt, j.node_deaths, j.due_at,
                  j.expires_at, j.last_reason, j.environment_probe_since, j.trace, j.devices, j.done as "done: BitVec"
        "#,
        claim.lane.0,
        claim.class.code(),
        claim.priority.code(),
        i64::from(claim.room.max(1)) as _,
        i64::from(claim.jobs_max),
        claim.since,
        claim.node.0,
        SUSPECT_NODE_DEATHS,
    )
    .fetch_all(conn)
    .await?;
    let mut jobs: Vec<Job> = rows
        .into_iter()
        .map(|row| Job {
            id: JobId(row.job_id),
            notification: NotificationId(row.notification_id),
            lane: claim.lane,
            priority: claim.priority,
            class: claim.class,
            version: row.version,
            attempt: row.attempt.cast_unsigned(),
            unanswered: row.unanswered.cast_unsigned(),
            in_doubt: row.in_doubt,
            node_deaths: row.node_deaths.cast_unsigned(),
            due_at: row.due_at,
            expires_at: row.expires_at,
            last_reason: row.last_reason.as_deref().map(Reason::new),
            environment_probe_since: row.environment_probe_since,
            trace: row.trace.as_deref().and_then(TraceContext::from_stored),
            devices: row.devices.into_iter().map(DeviceId).collect(),
            done: row.done,
        })
        .collect();
    jobs.sort_unstable_by_key(|job| (job.due_at, job.id));
    Ok(jobs)
}

/// A range of the claim index with a job that is due or falls due within a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueRange {
    /// The lane of the range.
    pub lane: LaneId,
    /// The class of the range.
    pub class: Class,
    /// The priority of the range.
    pub priority: Priority,
    /// Milliseconds until its first job is due; 0 if it is due.
    pub in_ms: u32,
}

/// What is due, or falls due within a second.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueWork {
    /// Ranges of the claim index.
    pub ranges: Vec<DueRange>,
    /// Milliseconds until a fan-out is due. None: no fan-out is.
    pub fan_out_in_ms: Option<u32>,
    /// Facts wait for their place in the event log.
    pub has_facts: bool,
}

/// Reads for all lanes together what is due or falls due within a second, fan-outs included. An idle node asks this
/// once a second and little else (docs/queue.md#idle-load).
pub async fn read_due(conn: &mut Session, lanes: &[LaneId]) -> Result<DueWork, Error> {
    let lanes: Vec<i32> = lanes.iter().map(|lane| lane.0).collect();
    let rows = sqlx::query!(
        r#"
        -- The first waiting job of each range of the claim index.
        select lane as "lane!", range_class as "class!", range_priority as "priority!",
               greatest(0, extract(epoch from first_job.due_at - now()) * 1000)::float8 as "in_ms!"
        from unnest($1::int[]) lane
        cross join unnest(array[0, 1, 2]::smallint[]) range_class
        cross join unnest(array[10, 5, 1]::smallint[]) range_priority
        cross join lateral (
          select due_at from jobs
          where lane_id = lane and class = range_class and priority = range_priority and node_id is null
            and due_at <= now() + interval '1 second'
          order by due_at limit 1) first_job
        union all
        -- The first fan-out of each range of the index of waiting ones, told by lane 0.
        select 0, 0::smallint, range_priority,
               greatest(0, extract(epoch from first_fan_out.due_at - now()) * 1000)::float8
        from unnest(array[10, 5, 1]::smallint[]) range_priority
        cross join unnest(array[true, false]) range_scheduled
        cross join lateral (
          select due_at from fan_outs
          where priority = range_priority and is_scheduled = range_scheduled and due_at <= now() + interval '1 second'
          order by due_at limit 1) first_fan_out
        union all
        -- Facts that wait for the event log, told by lane -1.
        select -1, 0::smallint, 0::smallint, 0
        where logs_events()
          and (exists (select from event_outbox where outbox_id > 0 limit 1)
               or exists (select from event_ending where after_outbox >= 0 limit 1))
        "#,
        &lanes
    )
    .fetch_all(conn)
    .await?;
    let mut work = DueWork::default();
    for row in rows {
        let in_ms = row.in_ms.ceil() as u32;
        if row.lane == -1 {
            work.has_facts = true;
        } else if row.lane == 0 {
            work.fan_out_in_ms = Some(work.fan_out_in_ms.map_or(in_ms, |known| known.min(in_ms)));
        } else if let (Some(class), Some(priority)) =
            (Class::from_code(row.class), Priority::from_code(row.priority))
        {
            work.ranges.push(DueRange { lane: LaneId(row.lane), class, priority, in_ms });
        }
    }
    Ok(work)
}

/// Releases jobs: they wait again, with place, attempt and done bits unchanged. Fenced by owner and version. `jobs`
/// ascend by id. Returns the jobs that were released.
pub async fn release(conn: &mut Session, node: NodeId, jobs: &[(JobId, i32)]) -> Result<Vec<JobId>, Error> {
    let ids: Vec<i64> = jobs.iter().map(|(id, _)| id.0).collect();
    let versions: Vec<i32> = jobs.iter().map(|(_, version)| *version).collect();
    let rows = sqlx::query_scalar!(
        r#"
        with incoming as (select * from unnest($2::bigint[], $3::int[]) as i(job_id, version)),
        locked_jobs as materialized (
          select job_id, node_id, version from jobs where job_id = any($2) order by job_id for update),
        owned as materialized (
          select l.job_id from incoming i
          join locked_jobs l on l.job_id = i.job_id and l.node_id = $1 and l.version = i.version)
        update jobs set node_id = null, version = version + 1
        where job_id = any(array(select job_id from owned)) returning job_id
        "#,
        node.0,
        &ids,
        &versions
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(JobId).collect())
}

/// The jobs that are leased to this node, with their versions, in no particular order. With an order by id, the planner
/// might walk over all jobs in that order.
pub async fn leased_by(conn: &mut Session, node: NodeId) -> Result<Vec<(JobId, i32)>, Error> {
    let rows =
        sqlx::query!("select job_id, version from jobs where node_id = $1", node.0).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (JobId(row.job_id), row.version)).collect())
}

/// Nodes that have leased jobs and no row, ascending: a failover lost the row, or it was purged before a late commit.
/// Steps from node to node along the index of leased jobs, so the number of jobs does not matter.
///
/// # Errors
/// Postgres is out of reach.
pub async fn unknown_holders(conn: &mut Session) -> Result<Vec<NodeId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        with recursive holders as (
          (select node_id from jobs where node_id is not null order by node_id limit 1)
          union all
          select (select j.node_id from jobs j where j.node_id > h.node_id order by j.node_id limit 1)
          from holders h where h.node_id is not null)
        select node_id as "node_id!" from holders h
        where node_id is not null and not exists (select from nodes n where n.node_id = h.node_id)
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(NodeId).collect())
}

/// Sweeps up to `limit` jobs of dead nodes: they wait again. `node_deaths` counts deaths without progress
/// (docs/queue.md#isolated-attempt). A dead node did not give the jobs back, so their devices may have been sent: they
/// are in doubt.
///
/// In two steps: found by their nodes, then locked by their ids. In one step ordered by id, the planner, which avoids
/// sorts, walks over all waiting jobs, every few seconds for the day for which a dead node is swept.
pub async fn sweep(conn: &mut Session, dead: &[NodeId], limit: i64) -> Result<u64, Error> {
    let dead: Vec<i32> = dead.iter().map(|node| node.0).collect();
    let swept = sqlx::query!(
        "
        with found as materialized (select job_id from jobs where node_id = any($1) limit $2),
        locked_jobs as materialized (
          select job_id from jobs
          where job_id = any(array(select job_id from found)) and node_id = any($1) order by job_id for update)
        update jobs set node_id = null, version = version + 1, node_deaths = least(node_deaths::int + 1, 32767)::smallint,
                        in_doubt = true
        where job_id = any(array(select job_id from locked_jobs))
        ",
        &dead,
        limit
    )
    .execute(conn)
    .await?;
    Ok(swept.rows_affected())
}
