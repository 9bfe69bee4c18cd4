//! Sets dead tokens aside and corrects environments, after the receipts that say so are on record, in transactions of
//! its own, so that a bulk change of devices can never stall recording (docs/queue.md 9e).
//!
//! A credential or payload fault never gets here. What a braked lane says against tokens goes no further.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::brake::{Brake, Brakes, Errands};
use crate::domain::{Finding, LaneId, Proof, Verdict};
use crate::store::SessionPool;
use crate::{registry, store};

/// After this time, what the database did not take of a brake is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until the recorder is gone and everything it sent has been applied.
pub(super) async fn run(pool: SessionPool, brakes: &Brakes, mut findings: mpsc::Receiver<Vec<Finding>>) {
    let mut behind = false;
    // The recorder, which holds the other end, ends first: what it sent is applied before this ends.
    loop {
        tokio::select! {
            batch = findings.recv() => match batch {
                Some(mut batch) => {
                    while let Ok(more) = findings.try_recv() {
                        batch.extend(more);
                    }
                    apply(&pool, brakes, batch).await;
                }
                None => break,
            },
            () = brakes.errands.notified() => {}
            () = sleep(AGAIN), if behind => {}
        }
        behind = !settle(&pool, brakes).await;
    }
    settle(&pool, brakes).await;
}

async fn apply(pool: &SessionPool, brakes: &Brakes, batch: Vec<Finding>) {
    let mut by_lane: BTreeMap<LaneId, Vec<Verdict>> = BTreeMap::new();
    let mut proofs: Vec<Proof> = Vec::new();
    for finding in batch {
        match finding {
            Finding::Dead(verdict) => by_lane.entry(verdict.lane).or_default().push(verdict),
            Finding::Lives(proof) => proofs.push(proof),
        }
    }
    let sifted = by_lane.into_iter().flat_map(|(lane, verdicts)| brakes.of(lane, None).sift(verdicts));
    let verdicts: Vec<Verdict> = sifted.collect();
    if verdicts.is_empty() && proofs.is_empty() {
        return;
    }
    let done = async {
        let mut conn = pool.acquire().await.map_err(store::Error::from)?;
        registry::pruning::quarantine(&mut conn, &verdicts).await?;
        registry::pruning::prove(&mut conn, &proofs).await
    };
    if let Err(error) = done.await {
        let (verdicts, proofs) = (verdicts.len(), proofs.len());
        tracing::warn!(
            %error, verdicts, proofs, "not all that was found about tokens is noted; their next attempt finds it again"
        );
    }
}

/// Does what brakes ask for. False: something is to be tried again.
async fn settle(pool: &SessionPool, brakes: &Brakes) -> bool {
    let mut settled = true;
    for brake in brakes.all() {
        let errands = brake.take_errands();
        if errands == Errands::default() {
            continue;
        }
        if let Err(error) = act(pool, &brake, &errands).await {
            tracing::warn!(%error, lane = brake.name(), "other nodes are not told of a brake yet; it is tried again");
            brake.put_back(errands);
            settled = false;
        }
    }
    settled
}

/// Each step can be repeated, and nothing is restored before the lane is braked for everybody.
async fn act(pool: &SessionPool, brake: &Brake, errands: &Errands) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    if let Some((word, certain)) = &errands.put_on {
        store::lanes::brake(&mut conn, brake.lane(), word, *certain).await?;
        brake.was_put_on();
    }
    for word in &errands.restore {
        registry::pruning::restore(&mut conn, brake.lane(), brake.name(), word).await?;
    }
    let taken_off = (errands.hold && !store::lanes::hold_brake(&mut conn, brake.lane()).await?)
        || (errands.release && store::lanes::release_brake(&mut conn, brake.lane()).await?);
    if taken_off {
        brake.was_taken_off();
    }
    Ok(())
}
