//! Sets dead tokens aside and corrects environments, after the receipts that say so are on record, in transactions of
//! its own, so that a bulk change of devices can never stall recording (docs/queue.md#pruning).
//!
//! A credential or payload fault never gets here. What a braked lane says against tokens goes no further.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use self::guard::Errands;
pub use self::guard::{PruningGuard, PruningGuards, TokenSignal};
use crate::domain::{EnvironmentProof, Finding, LaneId, TokenVerdict};
use crate::store::{self, SessionPool};

mod guard;
pub mod quarantine;

/// After this time, what the database did not take of a brake is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the recorder is gone and everything it sent has been applied.
pub async fn run(pool: SessionPool, guards: Arc<PruningGuards>, mut findings: mpsc::Receiver<Vec<Finding>>) {
    let mut behind = false;
    // The recorder, which holds the other end, ends first: what it sent is applied before this ends.
    loop {
        tokio::select! {
            batch = findings.recv() => match batch {
                Some(mut batch) => {
                    while let Ok(more) = findings.try_recv() {
                        batch.extend(more);
                    }
                    apply(&pool, &guards, batch).await;
                }
                None => break,
            },
            () = guards.changed() => {}
            () = sleep(AGAIN), if behind => {}
        }
        behind = !settle(&pool, &guards).await;
    }
    settle(&pool, &guards).await;
}

async fn apply(pool: &SessionPool, guards: &PruningGuards, batch: Vec<Finding>) {
    let mut by_lane: BTreeMap<LaneId, Vec<TokenVerdict>> = BTreeMap::new();
    let mut proofs: Vec<EnvironmentProof> = Vec::new();
    for finding in batch {
        match finding {
            Finding::Dead(verdict) => by_lane.entry(verdict.lane).or_default().push(verdict),
            Finding::EnvironmentConfirmed(proof) => proofs.push(proof),
        }
    }
    let sifted = by_lane.into_iter().flat_map(|(lane, verdicts)| guards.of(lane, None).sift(verdicts));
    let verdicts: Vec<TokenVerdict> = sifted.collect();
    if verdicts.is_empty() && proofs.is_empty() {
        return;
    }
    let done = async {
        let mut conn = pool.acquire().await.map_err(store::Error::from)?;
        quarantine::quarantine(&mut conn, &verdicts).await?;
        quarantine::prove(&mut conn, &proofs).await
    };
    if let Err(error) = done.await {
        let (verdicts, proofs) = (verdicts.len(), proofs.len());
        tracing::warn!(
            %error, verdicts, proofs, "not all that was found about tokens is noted; their next attempt finds it again"
        );
    }
}

/// Does what brakes ask for. False: something is to be tried again.
async fn settle(pool: &SessionPool, guards: &PruningGuards) -> bool {
    let mut settled = true;
    for guard in guards.all() {
        let errands = guard.take_errands();
        if errands == Errands::default() {
            continue;
        }
        if let Err(error) = act(pool, &guard, &errands).await {
            tracing::warn!(%error, lane = guard.name(), "other nodes are not told of a brake yet; it is tried again");
            guard.put_back(errands);
            settled = false;
        }
    }
    settled
}

/// Each step can be repeated, and nothing is restored before the lane is braked for everybody.
async fn act(pool: &SessionPool, guard: &PruningGuard, errands: &Errands) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    if let Some((word, certain)) = &errands.engaged {
        store::lanes::engage_pruning_guard(&mut conn, guard.lane(), word, *certain).await?;
        guard.was_engaged();
    }
    for word in &errands.restore {
        quarantine::restore(&mut conn, guard.lane(), guard.name(), word).await?;
    }
    let taken_off = (errands.hold && !store::lanes::confirm_pruning_guard(&mut conn, guard.lane()).await?)
        || (errands.release && store::lanes::release_pruning_guard(&mut conn, guard.lane()).await?);
    if taken_off {
        guard.was_released();
    }
    Ok(())
}
