//! What nodes and operators agree upon about lanes: pause and suspension.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Error;
use crate::domain::LaneId;

/// A lane's standing in the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which lane.
    pub lane: LaneId,
    /// Since when an admin has it paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Fingerprint of the credential that was rejected.
    pub suspended_for: Option<Vec<u8>>,
    /// What the provider said of it.
    pub suspended_reason: Option<String>,
}

/// The standing of these lanes.
pub async fn standing(conn: &mut PgConnection, lanes: &[LaneId]) -> Result<Vec<Standing>, Error> {
    let lanes: Vec<i32> = lanes.iter().map(|lane| lane.0).collect();
    let rows = sqlx::query!(
        "select lane_id, paused_at, suspended_for, suspended_reason from lanes where lane_id = any($1)",
        &lanes
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Standing {
            lane: LaneId(row.lane_id),
            paused_at: row.paused_at,
            suspended_for: row.suspended_for,
            suspended_reason: row.suspended_reason,
        })
        .collect())
}

/// Suspends a lane for one credential: nodes that hold another go on. Says whether it was not so already.
pub async fn suspend(
    conn: &mut PgConnection,
    lane: LaneId,
    fingerprint: &[u8],
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        update lanes set suspended_at = now(), suspended_for = $2, suspended_reason = $3
        where lane_id = $1 and suspended_for is distinct from $2
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
pub async fn resume(conn: &mut PgConnection, lane: LaneId, fingerprint: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query!(
        "
        update lanes set suspended_at = null, suspended_for = null, suspended_reason = null
        where lane_id = $1 and suspended_for = $2
        ",
        lane.0,
        fingerprint
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Tells other nodes that these lanes have work waiting. Never part of another transaction (docs/queue.md 15).
pub async fn notify(
    conn: &mut PgConnection,
    channel: &str,
    lanes: impl IntoIterator<Item = LaneId>,
) -> Result<(), Error> {
    let lanes: Vec<i32> = lanes.into_iter().map(|lane| lane.0).collect();
    sqlx::query!("select pg_notify($1, lane::text) from unnest($2::int[]) lane", channel, &lanes)
        .execute(conn)
        .await?;
    Ok(())
}
