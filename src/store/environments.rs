//! Corrects the environment of devices after APNs accepted their token in the other one
//! (docs/queue.md#environment-probe). Used by `pruning`.

use std::collections::BTreeMap;

use super::Error;
use crate::domain::{DeviceId, Environment, EnvironmentProof};
use crate::store::Session;

/// Sets the environment of each device that still has the token and the environment that were tried, and marks it as
/// proven. One statement, which locks rows in id order. Returns how many devices changed.
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
    let done = sqlx::query!(
        "with locked as materialized (
           select device_id, token_digest, environment from devices
           where device_id = any($1) order by device_id for no key update),
         confirmed as (
           select l.device_id
           from unnest($1, $2::bytea[], $3::smallint[]) as v(device_id, token_digest, environment)
           join locked l on l.device_id = v.device_id and l.token_digest = v.token_digest
                        and l.environment = v.environment)
         update devices
         set environment = ($4::smallint[])[array_position($1, device_id)], environment_proven = true
         where device_id = any(array(select device_id from confirmed))",
        &ids,
        &digests,
        &stated,
        &proven
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
