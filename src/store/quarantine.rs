//! Quarantines devices on a provider's verdict, and brings them back (docs/queue.md#pruning). Used by `pruning`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Error;
use super::events::DEVICES_PER_FACT;
use crate::domain::{CorrectionCause, DeviceId, FactKind, LaneId, QuarantineCause, TokenVerdict};
use crate::store::Session;

/// Quarantines each device that still has the token of the verdict and was not registered after the evidence. A device
/// that is quarantined already stays as it is. The event log is told, by lane. Returns the devices that were quarantined.
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
    let lanes: Vec<i32> = latest.values().map(|verdict| verdict.lane.0).collect();
    let done = sqlx::query_scalar!(
        r#"
         with locked as materialized (
           select device_id, token_digest, registered_at from devices
           where device_id = any($1) and quarantined_at is null
           order by device_id for no key update),
         confirmed as (
           select l.device_id
           from unnest($1, $2::bytea[], $3::timestamptz[]) as v(device_id, token_digest, since)
           join locked l on l.device_id = v.device_id and l.token_digest = v.token_digest
                        and (l.registered_at is null or l.registered_at <= v.since)),
         changed as (
           update devices
           set quarantined_at = now(),
               quarantine_reason = ($4::text[])[array_position($1, device_id)],
               evidence_at = least(($3)[array_position($1, device_id)], now())
           where device_id = any(array(select device_id from confirmed))
           returning device_id, app_id, quarantine_reason, evidence_at,
                     ($5::int[])[array_position($1, device_id)] as lane_id),
         numbered as (
           select *, row_number() over (partition by app_id, lane_id) as place from changed where logs_events()),
         facts as (
           insert into event_outbox (app_id, kind, devices, fact)
           select app_id, $6, array_agg(device_id order by device_id),
                  convert_to(json_build_object('cause', $7::text, 'lane', lane_id,
                                               'reasons', json_agg(quarantine_reason order by device_id),
                                               'evidence_at', json_agg(evidence_at order by device_id))::text, 'UTF8')
           from numbered group by app_id, lane_id, (place - 1) / $8)
         select device_id as "device_id!" from changed
        "#,
        &ids,
        &digests,
        &since,
        &reasons,
        &lanes,
        FactKind::Quarantined.code(),
        QuarantineCause::Provider.as_str(),
        DEVICES_PER_FACT
    )
    .fetch_all(&mut *conn)
    .await?;
    if !done.is_empty() {
        conn.note_events();
    }
    Ok(done.into_iter().map(DeviceId).collect())
}

/// Brings back the devices of a lane that were quarantined for this reason within the last hour: they are as before.
/// Devices that a clean-up or a replacement quarantined stay so. The event log is told. Returns how many came back.
///
/// One statement, which locks rows in id order. Devices are found by their time first, then locked by their ids: in one
/// step ordered by id, the planner, which avoids sorts, walks over all devices.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn restore(conn: &mut Session, lane: LaneId, reason: &str) -> Result<u64, Error> {
    let restored = sqlx::query_scalar!(
        r#"
         with lane as materialized (select app_id, platform, environment from lanes where lane_id = $1),
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
           order by device_id for no key update),
         changed as (
           update devices set quarantined_at = null, quarantine_reason = null, evidence_at = null
           where device_id = any(array(select device_id from locked))
           returning device_id, app_id),
         numbered as (select *, row_number() over () as place from changed where logs_events()),
         facts as (
           insert into event_outbox (app_id, kind, devices, fact)
           select app_id, $3, array_agg(device_id order by device_id),
                  convert_to(json_build_object('cause', $4::text)::text, 'UTF8')
           from numbered group by app_id, (place - 1) / $5)
         select count(*) as "restored!" from changed
        "#,
        lane.0,
        reason,
        FactKind::Restored.code(),
        CorrectionCause::Brake.as_str(),
        DEVICES_PER_FACT
    )
    .fetch_one(&mut *conn)
    .await?;
    if restored > 0 {
        conn.note_events();
    }
    Ok(restored.cast_unsigned())
}
