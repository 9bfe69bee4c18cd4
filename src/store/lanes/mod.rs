//! What nodes and operators agree on about lanes: pause, suspension and pruning guard.

mod changes;
mod reports;
mod told;

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{Class, CredentialResult, FactKind, LaneId, LaneState};
use crate::store::Session;

pub use changes::{delete_old_changes, forget_unreported};
pub use reports::{CountedLane, LaneReport, LaneSummary, is_paused_everywhere, report, summaries};
pub use told::{TriedCredential, tell_credentials, tell_pending};

/// A lane as the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredLaneState {
    /// The lane's number.
    pub lane: LaneId,
    /// Since when an operator has paused it. None: it is not paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Fingerprint of the credential that was rejected.
    pub suspended_fingerprint: Option<Vec<u8>>,
    /// The provider's reason for rejecting the credential.
    pub suspended_reason: Option<String>,
    /// When an operator last asked for an immediate attempt.
    pub retry_requested_at: Option<DateTime<Utc>>,
    /// Number of living nodes that have this lane.
    pub nodes: u32,
    /// Some: no more devices of the lane are quarantined on a verdict.
    pub pruning_guard: Option<StoredPruningGuard>,
    /// A change of its state is due to be told to the event log ([`tell_pending`]).
    pub is_change_due: bool,
}

/// The pruning guard of a lane while it is engaged (docs/queue.md#pruning-guard).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPruningGuard {
    /// The provider's reason that came too often.
    pub reason: String,
    /// The guard also holds back verdicts that leave no doubt.
    pub certain: bool,
    /// No node has found too many verdicts for ten minutes.
    pub quiet: bool,
}

/// Suspends a lane for one credential; nodes with another credential go on sending. The lane as a whole is suspended from now
/// on, because the node that says so holds this credential. The event log is told that the provider refuses the credential.
/// Returns whether that changed anything.
pub async fn suspend(
    conn: &mut Session,
    lane: LaneId,
    fingerprint: &[u8],
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query_scalar!(
        r#"
        with changed as (
          update lanes set suspended_at = now(), suspended_fingerprint = $2, suspended_reason = $3,
                           state = greatest(state, $4), state_reason = $3,
                           state_since = case when state >= $4 then state_since else now() end
          where lane_id = $1 and suspended_fingerprint is distinct from $2
          returning lane_id)
        select tell_credential(lane_id, $2, $5, $3)::text as told from changed
        "#,
        lane.0,
        fingerprint,
        reason,
        LaneState::Suspended.code(),
        CredentialResult::Refused.code()
    )
    .fetch_optional(&mut *conn)
    .await?;
    conn.note_events();
    Ok(done.is_some())
}

/// Ends a suspension for this credential, after the provider accepted it, and tells the event log of it. The lane counts as
/// running until a node reports otherwise. Returns whether there was one.
pub async fn end_suspension(conn: &mut Session, lane: LaneId, fingerprint: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query_scalar!(
        r#"
        with changed as (
          update lanes set suspended_at = null, suspended_fingerprint = null, suspended_reason = null,
                           state = case when state = $3 then $4 else state end,
                           state_since = case when state = $3 then now() else state_since end
          where lane_id = $1 and suspended_fingerprint = $2
          returning lane_id)
        select tell_credential(lane_id, $2, $5, null)::text as told from changed
        "#,
        lane.0,
        fingerprint,
        LaneState::Suspended.code(),
        LaneState::Running.code(),
        CredentialResult::Taken.code()
    )
    .fetch_optional(&mut *conn)
    .await?;
    conn.note_events();
    Ok(done.is_some())
}

/// Engages a lane's pruning guard, or extends it to verdicts that leave no doubt. The reason of the first engagement
/// stays, and that one is told to the event log.
pub async fn engage_pruning_guard(
    conn: &mut Session,
    lane: LaneId,
    reason: &str,
    certain: bool,
) -> Result<(), Error> {
    sqlx::query!(
        "
        with engaged as (
          update lanes
          set guard_engaged_at = coalesce(guard_engaged_at, now()), guard_confirmed_at = now(),
              guard_reason = case when guard_engaged_at is null then $2 else guard_reason end,
              guard_covers_certain = $3 or (guard_engaged_at is not null and guard_covers_certain)
          where lane_id = $1
          returning app_id, lane_id, guard_reason, guard_engaged_at = now() as is_new)
        insert into event_outbox (app_id, kind, fact)
        select app_id, $4, convert_to(json_build_object('lane', lane_id, 'reason', guard_reason)::text, 'UTF8')
        from engaged where is_new and logs_events()
        ",
        lane.0,
        reason,
        certain,
        FactKind::PruningBraked.code()
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}

/// Notes that a node still finds too many verdicts, while the guard is engaged. Returns whether it is engaged.
pub async fn confirm_pruning_guard(conn: &mut Session, lane: LaneId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update lanes set guard_confirmed_at = now() where lane_id = $1 and guard_engaged_at is not null",
        lane.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Releases the pruning guard, unless a node has found too many verdicts within ten minutes. The event log is told. Returns
/// whether the guard was released.
pub async fn release_pruning_guard(conn: &mut Session, lane: LaneId) -> Result<bool, Error> {
    let done = sqlx::query_scalar!(
        r#"
        with engaged as materialized (
          select lane_id, guard_reason from lanes
          where lane_id = $1 and guard_engaged_at is not null
            and coalesce(guard_confirmed_at <= now() - interval '10 minutes', true)
          for update),
        released as (
          update lanes set guard_engaged_at = null, guard_reason = null, guard_covers_certain = false,
                           guard_confirmed_at = null
          where lane_id = (select lane_id from engaged)
          returning app_id, lane_id),
        facts as (
          insert into event_outbox (app_id, kind, fact)
          select app_id, $2, convert_to(json_build_object(
                   'lane', lane_id, 'reason', (select guard_reason from engaged))::text, 'UTF8')
          from released where logs_events())
        select true as "is_released!" from released
        "#,
        lane.0,
        FactKind::PruningReleased.code()
    )
    .fetch_optional(&mut *conn)
    .await?;
    conn.note_events();
    Ok(done.is_some())
}

/// Pauses a lane, as an operator asks.
pub async fn pause(conn: &mut Session, lane: LaneId) -> Result<(), Error> {
    sqlx::query!("update lanes set paused_at = coalesce(paused_at, now()) where lane_id = $1", lane.0)
        .execute(&mut *conn)
        .await?;
    conn.note_events();
    Ok(())
}

/// Ends pause, suspension and pruning guard of a lane, as an operator asks, and requests an immediate attempt.
pub async fn clear_stops(conn: &mut Session, lane: LaneId) -> Result<(), Error> {
    sqlx::query!(
        "
        with locked as materialized (
          select app_id, lane_id, guard_engaged_at, guard_reason from lanes where lane_id = $1 for update),
        facts as (
          insert into event_outbox (app_id, kind, fact)
          select app_id, $4, convert_to(json_build_object('lane', lane_id, 'reason', guard_reason)::text, 'UTF8')
          from locked where guard_engaged_at is not null and logs_events())
        update lanes set paused_at = null, suspended_at = null, suspended_fingerprint = null, suspended_reason = null,
                         guard_engaged_at = null, guard_reason = null, guard_covers_certain = false,
                         guard_confirmed_at = null, retry_requested_at = clock_timestamp(),
                         state = case when state = $2 then $3 else state end,
                         state_since = case when state = $2 then now() else state_since end
        where lane_id = (select lane_id from locked)
        ",
        lane.0,
        LaneState::Suspended.code(),
        LaneState::Running.code(),
        FactKind::PruningReleased.code()
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}

/// Requests an immediate attempt in a lane, as an operator asks, and makes its waiting retry jobs due. Returns the
/// number of these jobs.
pub async fn request_retry(conn: &mut Session, lane: LaneId) -> Result<u64, Error> {
    sqlx::query!("update lanes set retry_requested_at = clock_timestamp() where lane_id = $1", lane.0)
        .execute(&mut *conn)
        .await?;
    let hastened = sqlx::query!(
        "
        with waiting_retries as materialized (
          select job_id from jobs
          where lane_id = $1 and class = $2 and node_id is null and due_at > now()
          order by job_id for update skip locked)
        update jobs set due_at = now() where job_id = any(array(select job_id from waiting_retries))
        ",
        lane.0,
        Class::Retry.code()
    )
    .execute(conn)
    .await?;
    Ok(hastened.rows_affected())
}

/// Tells other nodes that jobs wait in these lanes. Never part of another transaction
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
