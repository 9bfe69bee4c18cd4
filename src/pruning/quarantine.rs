//! Setting devices aside on a provider's verdict, bringing them back, correcting environments; and saying so in the log.

use std::collections::BTreeMap;

use crate::domain::{DeviceId, EnvironmentProof, LaneId, TokenVerdict};
use crate::store;
use crate::store::Session;

/// Sets aside the devices whose verdicts hold against their registration and their token; answers which. Meant to run
/// after the receipts, in a transaction of its own: a crash between costs one more verdict (docs/queue.md#pruning).
///
/// # Errors
/// The database's; nothing was set aside then.
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
            "dead tokens set aside"
        );
    }
    Ok(quarantined)
}

/// Brings back what a lane set aside with this word within the last hour (docs/queue.md#pruning).
///
/// # Errors
/// The database's; nothing was brought back then.
pub async fn restore(conn: &mut Session, lane: LaneId, name: &str, reason: &str) -> Result<(), store::Error> {
    let restored = store::quarantine::restore(conn, lane, reason).await?;
    tracing::warn!(lane = name, reason, restored, "what the braked lane {name} set aside came back");
    Ok(())
}

/// Corrects the environment of devices whose tokens APNs took in the other one (docs/queue.md#environment-probe).
///
/// # Errors
/// The database's; nothing was corrected then.
pub async fn prove(conn: &mut Session, proofs: &[EnvironmentProof]) -> Result<(), store::Error> {
    if !proofs.is_empty() {
        let corrected = store::environments::prove(conn, proofs).await?;
        tracing::info!(proofs = proofs.len(), corrected, "environments corrected");
    }
    Ok(())
}
