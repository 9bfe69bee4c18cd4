//! What nodes and operators agree upon about lanes: pause, suspension and brake.

mod reports;

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{Class, LaneId};
use crate::store::Session;

pub use reports::{LaneReport, LaneSummary, is_paused_everywhere, report, summaries};

/// A lane's standing in the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLaneState {
    /// Which lane.
    pub lane: LaneId,
    /// Since when an admin has it paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Fingerprint of the credential that was rejected.
    pub suspended_fingerprint: Option<Vec<u8>>,
    /// What the provider said of it.
    pub suspended_reason: Option<String>,
    /// When an operator last wanted it tried at once.
    pub retry_requested_at: Option<DateTime<Utc>>,
    /// Living nodes that have this lane.
    pub nodes: u32,
    /// Some: no more tokens are set aside in it.
    pub pruning_guard: Option<StoredPruningGuard>,
}

/// A lane's brake on mass verdicts (docs/queue.md#pruning-guard).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPruningGuard {
    /// The provider's word that there was too much of.
    pub reason: String,
    /// Verdicts that leave no doubt are held back too.
    pub certain: bool,
    /// No node has found too much of it for ten minutes.
    pub quiet: bool,
}

/// Suspends a lane for one credential: nodes that hold another go on. Says whether it was not so already.
pub async fn suspend(
    conn: &mut Session,
    lane: LaneId,
    fingerprint: &[u8],
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        update lanes set suspended_at = now(), suspended_fingerprint = $2, suspended_reason = $3
        where lane_id = $1 and suspended_fingerprint is distinct from $2
        ",
        lane.0,
        fingerprint,
        reason
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a suspension that was for this credential: the provider took it after all.
pub async fn end_suspension(conn: &mut Session, lane: LaneId, fingerprint: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        update lanes set suspended_at = null, suspended_fingerprint = null, suspended_reason = null
        where lane_id = $1 and suspended_fingerprint = $2
        ",
        lane.0,
        fingerprint
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts a lane's brake on, or on for verdicts that leave no doubt as well; who put it on first has named the reason.
pub async fn engage_pruning_guard(
    conn: &mut Session,
    lane: LaneId,
    reason: &str,
    certain: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "
        update lanes
        set guard_engaged_at = coalesce(guard_engaged_at, now()), guard_confirmed_at = now(),
            guard_reason = case when guard_engaged_at is null then $2 else guard_reason end,
            guard_covers_certain = $3 or (guard_engaged_at is not null and guard_covers_certain)
        where lane_id = $1
        ",
        lane.0,
        reason,
        certain
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that there still is too much of what the lane's brake is on for. False: it is off, an admin took it off.
pub async fn confirm_pruning_guard(conn: &mut Session, lane: LaneId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update lanes set guard_confirmed_at = now() where lane_id = $1 and guard_engaged_at is not null",
        lane.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the brake off, unless some node has found too much within ten minutes. Says whether it did.
pub async fn release_pruning_guard(conn: &mut Session, lane: LaneId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        update lanes set guard_engaged_at = null, guard_reason = null, guard_covers_certain = false,
                         guard_confirmed_at = null
        where lane_id = $1 and guard_engaged_at is not null
          and coalesce(guard_confirmed_at <= now() - interval '10 minutes', true)
        ",
        lane.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// An admin stops a lane.
pub async fn pause(conn: &mut Session, lane: LaneId) -> Result<(), Error> {
    sqlx::query!("update lanes set paused_at = coalesce(paused_at, now()) where lane_id = $1", lane.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// An admin starts a lane: whatever stopped it is forgotten, and it is tried at once.
pub async fn clear_stops(conn: &mut Session, lane: LaneId) -> Result<(), Error> {
    sqlx::query!(
        "
        update lanes set paused_at = null, suspended_at = null, suspended_fingerprint = null, suspended_reason = null,
                         guard_engaged_at = null, guard_reason = null, guard_covers_certain = false,
                         guard_confirmed_at = null, retry_requested_at = clock_timestamp()
        where lane_id = $1
        ",
        lane.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An admin wants a lane that waits tried at once, and with it whatever in it waits for another attempt. Answers how
/// many jobs that were.
pub async fn request_retry(conn: &mut Session, lane: LaneId) -> Result<u64, Error> {
    sqlx::query!("update lanes set retry_requested_at = clock_timestamp() where lane_id = $1", lane.0)
        .execute(&mut *conn)
        .await?;
    let hastened = sqlx::query!(
        "
        with late as materialized (
          select job_id from jobs
          where lane_id = $1 and class = $2 and node_id is null and due_at > now()
          order by job_id for update skip locked)
        update jobs set due_at = now() where job_id = any(array(select job_id from late))
        ",
        lane.0,
        Class::Retry.code()
    )
    .execute(conn)
    .await?;
    Ok(hastened.rows_affected())
}

/// Tells other nodes that these lanes have work waiting. Never part of another transaction
/// (docs/queue.md#no-notify-in-transactions).
pub async fn notify(
    conn: &mut Session,
    channel: &str,
    lanes: impl IntoIterator<Item = LaneId>,
) -> Result<(), Error> {
    let lanes: Vec<i32> = lanes.into_iter().map(|lane| lane.0).collect();
    sqlx::query!("select pg_notify($1, lane::text) from unnest($2::int[]) lane", channel, &lanes)
        .execute(conn)
        .await?;
    Ok(())
}
