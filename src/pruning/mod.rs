//! Quarantines devices that have tokens which the provider calls dead, and corrects environments. A task of its own does it after
//! the receipts are on record, in transactions of its own, so that changing many devices never delays recording
//! (docs/queue.md#pruning).
//!
//! Devices of apps that were not opened for long are another matter: [`cleanups`].
//!
//! Verdicts about a credential or a payload do not come here. While the [`guard`] of a lane is engaged, its doubtful
//! verdicts do not apply.

pub mod cleanups;
mod guard;
pub mod quarantine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use self::guard::PendingActions;
pub use self::guard::{PruningGuard, PruningGuards, TokenSignal};
use crate::domain::{DeviceId, EnvironmentProof, Finding, LaneId, TokenVerdict};
use crate::store::{self, SessionPool};
use crate::telemetry::metrics::{Metrics, reason_label};

/// Time before actions that the database did not take are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Counts the devices that are quarantined on verdicts.
#[derive(Debug)]
pub struct PrunedMeter {
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// The reasons that the providers are known to give.
    pub reasons: Vec<&'static str>,
}

impl PrunedMeter {
    fn count(&self, guards: &PruningGuards, verdicts: &[TokenVerdict], quarantined: &[DeviceId]) {
        let mut verdicts: BTreeMap<DeviceId, &TokenVerdict> =
            verdicts.iter().map(|verdict| (verdict.device, verdict)).collect();
        for verdict in quarantined.iter().filter_map(|device| verdicts.remove(device)) {
            let lane = self.metrics.lanes.lane(guards.get_or_add(verdict.lane, None).name());
            lane.pruned(reason_label(verdict.reason.as_str(), &self.reasons)).inc();
        }
    }
}

/// Runs until the recorder has ended and everything that it sent has been applied.
pub async fn run(
    pool: SessionPool,
    guards: Arc<PruningGuards>,
    mut findings: mpsc::Receiver<Vec<Finding>>,
    meter: PrunedMeter,
) {
    let mut behind = false;
    loop {
        tokio::select! {
            batch = findings.recv() => match batch {
                Some(mut batch) => {
                    while let Ok(more) = findings.try_recv() {
                        batch.extend(more);
                    }
                    apply(&pool, &guards, batch, &meter).await;
                }
                None => break,
            },
            () = guards.changed() => {}
            () = sleep(RETRY_INTERVAL), if behind => {}
        }
        behind = !carry_out_all(&pool, &guards).await;
    }
    carry_out_all(&pool, &guards).await;
}

async fn apply(pool: &SessionPool, guards: &PruningGuards, batch: Vec<Finding>, meter: &PrunedMeter) {
    let mut by_lane: BTreeMap<LaneId, Vec<TokenVerdict>> = BTreeMap::new();
    let mut proofs: Vec<EnvironmentProof> = Vec::new();
    for finding in batch {
        match finding {
            Finding::Dead(verdict) => by_lane.entry(verdict.lane).or_default().push(verdict),
            Finding::EnvironmentConfirmed(proof) => proofs.push(proof),
        }
    }
    let applicable =
        by_lane.into_iter().flat_map(|(lane, verdicts)| guards.get_or_add(lane, None).filter(verdicts));
    let verdicts: Vec<TokenVerdict> = applicable.collect();
    if verdicts.is_empty() && proofs.is_empty() {
        return;
    }
    let done = async {
        let mut conn = pool.acquire().await.map_err(store::Error::from)?;
        let quarantined = quarantine::quarantine(&mut conn, &verdicts).await?;
        meter.count(guards, &verdicts, &quarantined);
        quarantine::correct_environments(&mut conn, &proofs).await
    };
    if let Err(error) = done.await {
        let (verdicts, proofs) = (verdicts.len(), proofs.len());
        tracing::warn!(
            %error,
            verdicts,
            proofs,
            detail = "the next attempts at the devices find it again",
            "verdicts about tokens not stored"
        );
    }
}

/// Carries out pending actions. False: some have to be tried again.
async fn carry_out_all(pool: &SessionPool, guards: &PruningGuards) -> bool {
    let mut is_done = true;
    for guard in guards.all() {
        let actions = guard.take_actions();
        if actions == PendingActions::default() {
            continue;
        }
        if let Err(error) = carry_out(pool, &guard, &actions).await {
            let detail = "other nodes do not know of it yet; it is tried again each second";
            tracing::warn!(%error, lane = guard.name(), detail, "change of a pruning guard not stored");
            guard.put_back(actions);
            is_done = false;
        }
    }
    is_done
}

/// Each step can be repeated. Nothing is restored before the guard is engaged on all nodes.
async fn carry_out(
    pool: &SessionPool,
    guard: &PruningGuard,
    actions: &PendingActions,
) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    if let Some((reason, certain)) = &actions.engage {
        store::lanes::engage_pruning_guard(&mut conn, guard.lane(), reason, *certain).await?;
        guard.mark_stored();
    }
    for reason in &actions.restore {
        quarantine::restore(&mut conn, guard.lane(), guard.name(), reason).await?;
    }
    let is_released = (actions.confirm
        && !store::lanes::confirm_pruning_guard(&mut conn, guard.lane()).await?)
        || (actions.release && store::lanes::release_pruning_guard(&mut conn, guard.lane()).await?);
    if is_released {
        guard.mark_released();
    }
    Ok(())
}
