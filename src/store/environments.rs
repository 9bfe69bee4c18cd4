//! Corrects the environment of devices after APNs accepted their token in the other one
//! (docs/queue.md#environment-probe). Used by `pruning`.

use std::collections::BTreeMap;

use super::Error;
use super::events::DEVICES_PER_FACT;
use crate::domain::{CorrectionCause, DeviceId, Environment, EnvironmentProof, FactKind};
use crate::store::Session;

/// Sets the environment of each device that still has the token and the environment that were tried, and marks it as
/// proven. One statement, which locks rows in id order and tells the event log. Returns how many devices changed.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn prove(conn: &mut Session, proofs: &[EnvironmentProof]) -> Result<u64, Error> {
    let latest: BTreeMap<DeviceId, &EnvironmentProof> =
        proofs.iter().map(|proof| (proof.device, proof)).collect();
    let ids: Vec<i64> = latest.keys().map(|device| device.0).collect();
    let digests: Vec<Vec<u8>> = latest.values().map(|proof| proof.digest.0.to_vec()).collect();
    let stated: Vec<i16> = latest.values().map(|proof| Environment::code(Some(proof.stated))).collect();
    let proven: Vec<i16> = latest.values().map(|proof| Environment::code(Some(proof.proven))).collect();
    let corrected = sqlx::query_scalar!(
        r#"
         with locked as materialized (
           select device_id, token_digest, environment from devices
           where device_id = any($1) order by device_id for no key update),
         confirmed as (
           select l.device_id
           from unnest($1, $2::bytea[], $3::smallint[]) as v(device_id, token_digest, environment)
           join locked l on l.device_id = v.device_id and l.token_digest = v.token_digest
                        and l.environment = v.environment),
         changed as (
           update devices
           set environment = ($4::smallint[])[array_position($1, device_id)], environment_proven = true
           where device_id = any(array(select device_id from confirmed))
           returning device_id, app_id),
         numbered as (
           select *, row_number() over (partition by app_id) as place from changed where logs_events()),
         facts as (
           insert into event_outbox (app_id, kind, devices, fact)
           select app_id, $5, array_agg(device_id order by device_id),
                  convert_to(json_build_object('cause', $6::text)::text, 'UTF8')
           from numbered group by app_id, (place - 1) / $7)
         select count(*) as "corrected!" from changed
        "#,
        &ids,
        &digests,
        &stated,
        &proven,
        FactKind::Corrected.code(),
        CorrectionCause::Environment.as_str(),
        DEVICES_PER_FACT
    )
    .fetch_one(&mut *conn)
    .await?;
    if corrected > 0 {
        conn.note_events();
    }
    Ok(corrected.cast_unsigned())
}
