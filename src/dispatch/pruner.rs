//! Sets dead tokens aside, after the receipts that say so are on record, in a transaction of its own, so that a bulk
//! change of devices can never stall recording (docs/queue.md 9e).
//!
//! A credential or payload fault never gets here. Doubtful kinds of verdict apply only while they are few.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::domain::{Certainty, LaneId, Verdict};
use crate::{registry, store};

/// Doubtful verdicts of a lane that apply within [`WINDOW`], whatever else it answers.
const FEW: usize = 5;
const WINDOW: Duration = Duration::from_secs(600);

/// Runs until the recorder is gone and everything it sent has been applied.
pub(super) async fn run(pool: PgPool, mut verdicts: mpsc::Receiver<Vec<Verdict>>) {
    let mut doubts = Doubts::default();
    // The recorder, which holds the other end, ends first: what it sent is applied before this ends.
    while let Some(mut batch) = verdicts.recv().await {
        while let Ok(more) = verdicts.try_recv() {
            batch.extend(more);
        }
        batch.retain(|verdict| doubts.applies(verdict));
        if batch.is_empty() {
            continue;
        }
        let done = async {
            let mut conn = pool.acquire().await.map_err(store::Error::from)?;
            registry::pruning::quarantine(&mut conn, &batch).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, verdicts = batch.len(), "dead tokens not set aside; their next attempt says it again");
        }
    }
}

/// How many doubtful verdicts each lane had lately.
#[derive(Debug, Default)]
struct Doubts {
    lanes: HashMap<LaneId, VecDeque<Instant>>,
}

impl Doubts {
    fn applies(&mut self, verdict: &Verdict) -> bool {
        if verdict.certainty == Certainty::Certain {
            return true;
        }
        let recent = self.lanes.entry(verdict.lane).or_default();
        while recent.front().is_some_and(|at| at.elapsed() > WINDOW) {
            recent.pop_front();
        }
        if recent.len() >= FEW {
            return false;
        }
        recent.push_back(Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DeviceId, DeviceToken, Platform, Reason};

    fn verdict(lane: i32, certainty: Certainty) -> Verdict {
        Verdict {
            device: DeviceId(1),
            lane: LaneId(lane),
            digest: DeviceToken::parse(Platform::Apns, "aa").expect("hexadecimal").digest(),
            since: chrono::DateTime::UNIX_EPOCH,
            reason: Reason::new("BadDeviceToken"),
            certainty,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn doubtful_verdicts_apply_while_they_are_few_in_their_lane() {
        let mut doubts = Doubts::default();
        for _ in 0..FEW {
            assert!(doubts.applies(&verdict(1, Certainty::Doubtful)));
        }
        assert!(!doubts.applies(&verdict(1, Certainty::Doubtful)));
        assert!(doubts.applies(&verdict(1, Certainty::Certain)));
        assert!(doubts.applies(&verdict(2, Certainty::Doubtful)), "another lane has its own measure");
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        assert!(doubts.applies(&verdict(1, Certainty::Doubtful)));
    }
}
