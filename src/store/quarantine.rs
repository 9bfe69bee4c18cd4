//! Setting devices aside on a provider's verdict, and bringing them back (docs/queue.md#pruning).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{DeviceId, LaneId, TokenVerdict};
use crate::store::Session;

/// Sets aside each device that still holds the token in question and was not registered after the evidence; answers
/// which. Who already was aside stays as they are.
///
/// One statement; rows are locked in id order, so that recorders with overlapping verdicts wait for each other rather
/// than deadlock. A device that nobody registered counts as older than any evidence. A timestamp from the future counts
/// as now: otherwise no registration could ever bring the device back.
///
/// # Errors
/// The database's.
pub async fn apply(conn: &mut Session, verdicts: &[TokenVerdict]) -> Result<Vec<DeviceId>, Error> {
    let mut latest: BTreeMap<DeviceId, &TokenVerdict> = BTreeMap::new();
    for verdict in verdicts {
        let kept = latest.entry(verdict.device).or_insert(verdict);
        if kept.since < verdict.since {
            *kept = verdict;
        }
    }
    if latest.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = latest.keys().map(|device| device.0).collect();
    let digests: Vec<Vec<u8>> = latest.values().map(|verdict| verdict.digest.0.to_vec()).collect();
    let since: Vec<DateTime<Utc>> = latest.values().map(|verdict| verdict.since).collect();
    let reasons: Vec<String> = latest.values().map(|verdict| verdict.reason.as_str().to_owned()).collect();
    let done = sqlx::query_scalar!(
        "with locked as materialized (
           select device_id, token_digest, registered_at from devices
           where device_id = any($1) and quarantined_at is null
           order by device_id for no key update),
         ours as (
           select l.device_id
           from unnest($1, $2::bytea[], $3::timestamptz[]) as v(device_id, token_digest, since)
           join locked l on l.device_id = v.device_id and l.token_digest = v.token_digest
                        and (l.registered_at is null or l.registered_at <= v.since))
         update devices
         set quarantined_at = now(),
             quarantine_reason = ($4::text[])[array_position($1, device_id)],
             evidence_at = least(($3)[array_position($1, device_id)], now())
         where device_id = any(array(select device_id from ours))
         returning device_id",
        &ids,
        &digests,
        &since,
        &reasons
    )
    .fetch_all(conn)
    .await?;
    Ok(done.into_iter().map(DeviceId).collect())
}

/// Brings back the devices of a lane that were set aside with this word within the last hour; answers how many. They
/// are as they were before. Those that a clean-up or a newer token set aside stay so.
///
/// One statement; rows are locked in id order. Found by their time first and locked by their ids then: ordered by id in
/// one step, the planner, which is to avoid sorts, walks over all devices.
///
/// # Errors
/// The database's.
pub async fn restore(conn: &mut Session, lane: LaneId, reason: &str) -> Result<u64, Error> {
    let done = sqlx::query!(
        "with lane as materialized (select app_id, platform, environment from lanes where lane_id = $1),
         found as materialized (
           select device_id from devices
           where app_id = (select app_id from lane)
             and quarantined_at is not null and quarantined_at > now() - interval '1 hour'
             and quarantine_reason = $2 and quarantine_run is null
             and platform = (select platform from lane) and environment = (select environment from lane)),
         locked as materialized (
           select device_id from devices
           where device_id = any(array(select device_id from found))
             and quarantine_reason = $2 and quarantine_run is null
           order by device_id for no key update)
         update devices set quarantined_at = null, quarantine_reason = null, evidence_at = null
         where device_id = any(array(select device_id from locked))",
        lane.0,
        reason
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
