//! Quarantines devices on a provider's verdict, and brings them back (docs/queue.md#pruning). Used by `pruning`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{DeviceId, LaneId, TokenVerdict};
use crate::store::Session;

/// Quarantines each device that still has the token of the verdict and was not registered after the evidence. A device
/// that is quarantined already stays as it is. Returns the devices that were quarantined.
///
/// One statement, which locks rows in id order, so that nodes with overlapping verdicts wait for each other and don't
/// deadlock. A device that was never registered counts as older than any evidence. Evidence from the future counts as
/// evidence of now, because otherwise no registration could bring the device back.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
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
         confirmed as (
           select l.device_id
           from unnest($1, $2::bytea[], $3::timestamptz[]) as v(device_id, token_digest, since)
           join locked l on l.device_id = v.device_id and l.token_digest = v.token_digest
                        and (l.registered_at is null or l.registered_at <= v.since))
         update devices
         set quarantined_at = now(),
             quarantine_reason = ($4::text[])[array_position($1, device_id)],
             evidence_at = least(($3)[array_position($1, device_id)], now())
         where device_id = any(array(select device_id from confirmed))
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

/// Brings back the devices of a lane that were quarantined for this reason within the last hour: they are as before.
/// Devices that a clean-up or a replacement quarantined stay so. Returns how many came back.
///
/// One statement, which locks rows in id order. Devices are found by their time first, then locked by their ids: in one
/// step ordered by id, the planner, which avoids sorts, walks over all devices.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
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
