//! Stores a lane's suspensions, and their ends, for all nodes.
//!
//! An attempt issues no SQL: it changes the gate, and this task, one per lane, writes what the gate says when it writes.
//! So the order of events does not matter, and what is stored last is this node's latest decision.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::LaneGate;
use crate::domain::Reason;
use crate::provider::Fingerprint;
use crate::store::{self, SessionPool};

/// Time between two tries while the database does not take a decision.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What this node has decided about a credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::dispatch) struct SuspensionDecision {
    pub(in crate::dispatch) fingerprint: Fingerprint,
    /// The provider's word; none: the credential is not, or no longer, rejected.
    pub(in crate::dispatch) rejected: Option<Reason>,
}

/// Runs until told to stop, and stores then what is left. Stop it when no attempt of the lane is under way any more.
pub(in crate::dispatch) async fn run(gate: Arc<LaneGate>, pool: SessionPool, stop: CancellationToken) {
    let mut is_behind = false;
    loop {
        tokio::select! {
            () = gate.suspension_decided() => {}
            () = sleep(RETRY_INTERVAL), if is_behind => {}
            () = stop.cancelled() => break,
        }
        let was_behind = std::mem::replace(&mut is_behind, !store_all(&gate, &pool).await);
        if is_behind && !was_behind {
            tracing::warn!(
                lane = gate.name(),
                hint = "check the connection to Postgres; it is tried again each second",
                "a suspension of the lane, or its end, is not stored: other nodes do not know it yet"
            );
        }
    }
    store_all(&gate, &pool).await;
}

/// False: something is left to store.
async fn store_all(gate: &LaneGate, pool: &SessionPool) -> bool {
    while let Some(decision) = gate.take_unstored() {
        if let Err(error) = store(gate, pool, &decision).await {
            tracing::debug!(lane = gate.name(), %error, "suspension not stored");
            gate.put_back_unstored(decision.fingerprint);
            return false;
        }
        gate.mark_stored(decision.fingerprint);
    }
    true
}

async fn store(
    gate: &LaneGate,
    pool: &SessionPool,
    decision: &SuspensionDecision,
) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let fingerprint = &decision.fingerprint.0;
    match &decision.rejected {
        Some(reason) => store::lanes::suspend(&mut conn, gate.lane(), fingerprint, reason.as_str()).await?,
        None => store::lanes::end_suspension(&mut conn, gate.lane(), fingerprint).await?,
    };
    Ok(())
}
