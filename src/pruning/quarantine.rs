//! Quarantines devices on a provider's verdict, brings them back, and corrects environments.

use std::collections::BTreeMap;

use crate::domain::{DeviceId, EnvironmentProof, LaneId, TokenVerdict};
use crate::store;
use crate::store::Session;

/// Quarantines devices with verdicts that are later than their registration and about their present token. Returns the
/// devices that were quarantined. Call it after the receipts are stored, in a transaction of its own: a crash between the
/// two costs one more attempt (docs/queue.md#pruning).
///
/// # Errors
/// The database did not take it; no device was quarantined.
pub async fn quarantine(
    conn: &mut Session,
    verdicts: &[TokenVerdict],
) -> Result<Vec<DeviceId>, store::Error> {
    let quarantined = store::quarantine::apply(conn, verdicts).await?;
    if !verdicts.is_empty() {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in verdicts {
            *reasons.entry(verdict.reason.as_str()).or_default() += 1;
        }
        tracing::info!(
            verdicts = verdicts.len(),
            quarantined = quarantined.len(),
            ?reasons,
            "devices with dead tokens quarantined"
        );
    }
    Ok(quarantined)
}

/// Brings back devices that a lane quarantined for this reason within the last hour (docs/queue.md#pruning-guard).
///
/// # Errors
/// The database did not take it; no device came back.
pub async fn restore(conn: &mut Session, lane: LaneId, name: &str, reason: &str) -> Result<(), store::Error> {
    let restored = store::quarantine::restore(conn, lane, reason).await?;
    tracing::warn!(lane = name, reason, restored, "quarantined devices restored");
    Ok(())
}

/// Corrects the environment of devices with tokens that APNs took in the other one (docs/queue.md#environment-probe).
///
/// # Errors
/// The database did not take it; no device was corrected.
pub async fn correct_environments(
    conn: &mut Session,
    proofs: &[EnvironmentProof],
) -> Result<(), store::Error> {
    if !proofs.is_empty() {
        let corrected = store::environments::prove(conn, proofs).await?;
        tracing::info!(proofs = proofs.len(), corrected, "environments corrected");
    }
    Ok(())
}
