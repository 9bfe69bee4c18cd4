//! What operators and other nodes decided about lanes, read for all of them at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::gate::Gate;
use crate::domain::{LaneId, Reason};
use crate::store;

/// A pause takes effect within this time on every node.
const EVERY: Duration = Duration::from_secs(3);
/// Until the first answer, lanes stay closed: ask more often.
const AT_FIRST: Duration = Duration::from_millis(200);

pub(super) async fn run(shared: Shared, gates: Vec<Arc<Gate>>, stop: CancellationToken) {
    let lanes: Vec<LaneId> = gates.iter().map(|gate| gate.lane()).collect();
    let mut known = false;
    loop {
        let asked_at = Instant::now();
        match read(&shared.pool, &lanes).await {
            Ok(standing) => {
                known = true;
                for gate in &gates {
                    agree(gate, standing.get(&gate.lane()));
                    agree_on_brake(&shared, gate.lane(), standing.get(&gate.lane()), asked_at);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the lanes' standing could not be read; they stay as they are")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(if known { EVERY } else { AT_FIRST }) => {}
        }
    }
}

async fn read(
    pool: &PgPool,
    lanes: &[LaneId],
) -> Result<HashMap<LaneId, store::lanes::Standing>, store::Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let standing = store::lanes::standing(&mut conn, lanes).await?;
    Ok(standing.into_iter().map(|standing| (standing.lane, standing)).collect())
}

/// A suspension concerns only nodes that hold the credential which was rejected.
fn agree(gate: &Gate, standing: Option<&store::lanes::Standing>) {
    let Some(standing) = standing else { return };
    let for_ours = standing.suspended_for.as_deref() == Some(&gate.fingerprint().0[..]);
    let why = Reason::new(standing.suspended_reason.as_deref().unwrap_or_default());
    gate.agree(standing.paused_at.is_some(), for_ours.then_some(why));
}

fn agree_on_brake(
    shared: &Shared,
    lane: LaneId,
    standing: Option<&store::lanes::Standing>,
    asked_at: Instant,
) {
    let Some(standing) = standing else { return };
    if shared.brakes.of(lane, None).agree(standing.brake.as_ref(), asked_at) {
        shared.brakes.errands.notify_one();
    }
}
