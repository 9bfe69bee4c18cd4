//! What this node tells of its lanes, and what operators and other nodes decided about them: one statement for all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::dispatch::LaneContext;
use crate::dispatch::lane::Lane;
use crate::domain::{LaneId, Reason};
use crate::store;
use crate::store::lanes::{LaneReport, StoredLaneState};

/// A decision takes effect within this time on every node, whatever becomes of its wake-up.
const EVERY: Duration = Duration::from_secs(3);
/// Until the first answer, lanes stay closed: ask more often.
const AT_FIRST: Duration = Duration::from_millis(200);

/// Tells of the lanes that were `started`, from then on until told to stop.
pub(super) async fn run(
    shared: LaneContext,
    mut started: mpsc::UnboundedReceiver<Arc<Lane>>,
    stop: CancellationToken,
) {
    let mut lanes: Vec<Watched> = Vec::new();
    let mut known = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(lane) = started.recv() => {
                lanes.push(Watched::new(lane));
                known = false;
                // All that start together are told of together.
                if !started.is_empty() {
                    continue;
                }
            }
            () = shared.notifier.wait_for_decision(), if !lanes.is_empty() => {}
            () = sleep(if known { EVERY } else { AT_FIRST }), if !lanes.is_empty() => {}
        }
        // What was decided has been done, or read for the first time: the next report says so at once.
        while !stop.is_cancelled() {
            match exchange(&shared, &mut lanes).await {
                Ok(changed) => {
                    known = true;
                    if !changed {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the lanes' standing could not be read; they stay as they are");
                    break;
                }
            }
        }
    }
}

/// Says whether any lane's pause began or ended by it.
async fn exchange(shared: &LaneContext, lanes: &mut [Watched]) -> Result<bool, store::Error> {
    let asked_at = Instant::now();
    let reports: Vec<LaneReport> = lanes.iter_mut().map(Watched::report).collect();
    let mut conn = shared.pool.acquire().await.map_err(store::Error::from)?;
    let standing = store::lanes::report(&mut conn, shared.node_lease.id(), &reports).await?;
    let standing: HashMap<LaneId, StoredLaneState> =
        standing.into_iter().map(|one| (one.lane, one)).collect();
    let mut changed = false;
    for watched in lanes {
        if let Some(standing) = standing.get(&watched.lane.gate.lane()) {
            // Before the gate opens for the first time: what a brake forbids is known to the first attempt.
            if watched.lane.guard.agree(standing.pruning_guard.as_ref(), asked_at) {
                shared.pruning_guards.errands.notify_one();
            }
            changed |= watched.agree(standing);
        }
    }
    Ok(changed)
}

/// A lane, with what was told and heard of it before.
struct Watched {
    lane: Arc<Lane>,
    reported: Instant,
    ended: u64,
    paused: Option<bool>,
    retry_requested_at: Option<DateTime<Utc>>,
}

impl Watched {
    fn new(lane: Arc<Lane>) -> Self {
        Self { lane, reported: Instant::now(), ended: 0, paused: None, retry_requested_at: None }
    }

    fn report(&mut self) -> LaneReport {
        let told = self.lane.setup.quota.as_ref().and_then(|quota| quota.told());
        let gate = self.lane.gate.report().with_quota(told);
        let ended = self.lane.ended.load(Ordering::Relaxed);
        let seconds = self.reported.elapsed().as_secs_f32().max(0.001);
        let rate = (ended - self.ended) as f32 / seconds;
        (self.ended, self.reported) = (ended, Instant::now());
        LaneReport {
            lane: self.lane.gate.lane(),
            state: gate.state,
            why: gate.why.map(|why| why.as_str().to_owned()),
            since_ms: millis(gate.since.elapsed()),
            in_flight: count(self.lane.limit.in_flight()),
            rate,
            connections: count(self.lane.setup.credentials.present().sender().stats().connections),
            credential: self.lane.gate.fingerprint().0.to_vec(),
            credential_ok: gate.credential.map(|(ok, _)| ok),
            checked_ms: gate.credential.map(|(_, at)| millis(at.elapsed())),
        }
    }

    /// A suspension concerns only nodes that hold the credential which was rejected. Says whether the lane's pause
    /// began or ended.
    fn agree(&mut self, standing: &StoredLaneState) -> bool {
        let gate = &self.lane.gate;
        let paused = standing.paused_at.is_some();
        let for_ours = standing.suspended_fingerprint.as_deref() == Some(&gate.fingerprint().0[..]);
        let why = Reason::of_lane(standing.suspended_reason.as_deref().unwrap_or_default());
        gate.agree(paused, for_ours.then_some(why));
        if let Some(quota) = &self.lane.setup.quota {
            quota.share_among(standing.lane, standing.nodes);
        }
        let before = self.paused.replace(paused);
        // What was wanted before this node came is no business of its.
        if std::mem::replace(&mut self.retry_requested_at, standing.retry_requested_at)
            != standing.retry_requested_at
            && before.is_some()
        {
            gate.try_now();
            if let Some(quota) = &self.lane.setup.quota {
                quota.try_now();
            }
        }
        before != Some(paused)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
