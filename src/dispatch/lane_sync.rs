//! Synchronises this node's lanes with the database: reports them, and reads what operators and other nodes decided. One
//! task and one statement for all lanes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::context::LaneContext;
use super::credentials::LaneCredentials;
use super::health::{LaneEvent, LaneGate, StoredSuspension};
use super::limits::concurrency::ConcurrencyLimit;
use super::limits::quota::Quota;
use crate::domain::{LaneId, Reason};
use crate::provider::Fingerprint;
use crate::pruning::PruningGuard;
use crate::store::lanes::{LaneReport, StoredLaneState, TriedCredential};
use crate::store::{self, Session};
use crate::telemetry::metrics::RefreshGuard;

/// Longest time until a node reads what is stored. Only an operator's decision has a notification, and takes effect at once
/// unless that is lost. A suspension or an engaged pruning guard of another node waits for this poll.
const INTERVAL: Duration = Duration::from_secs(3);
/// Until the first answer: lanes send nothing before.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// Synchronises the lanes that come through `started`, until told to stop.
pub(super) async fn run(
    context: LaneContext,
    mut started: mpsc::UnboundedReceiver<SyncedLane>,
    stop: CancellationToken,
) {
    let mut lanes: Vec<SyncedLane> = Vec::new();
    let mut is_known = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(lane) = started.recv() => {
                lanes.push(lane);
                is_known = false;
                // Lanes that start together are reported together.
                if !started.is_empty() {
                    continue;
                }
            }
            () = context.notifier.wait_for_decision(), if !lanes.is_empty() => {}
            () = sleep(if is_known { INTERVAL } else { FIRST_INTERVAL }), if !lanes.is_empty() => {}
        }
        // A decision that was carried out is reported at once.
        while !stop.is_cancelled() {
            match exchange(&context, &mut lanes).await {
                Ok(changed) => {
                    is_known = true;
                    if !changed {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "state of lanes not read from the database; they stay as they are");
                    break;
                }
            }
        }
    }
}

/// Says whether any lane's pause began or ended.
async fn exchange(context: &LaneContext, lanes: &mut [SyncedLane]) -> Result<bool, store::Error> {
    let asked_at = Instant::now();
    let reports: Vec<LaneReport> = lanes.iter_mut().map(SyncedLane::report).collect();
    let mut conn = context.pool.acquire().await.map_err(store::Error::from)?;
    let stored = store::lanes::report(&mut conn, context.node_lease.id(), &reports).await?;
    let stored: HashMap<LaneId, StoredLaneState> = stored.into_iter().map(|one| (one.lane, one)).collect();
    let mut changed = false;
    for lane in lanes.iter_mut() {
        if let Some(stored) = stored.get(&lane.gate.lane()) {
            // Before the gate opens for the first time, so that no attempt is made without knowing of an engaged guard.
            if lane.guard.read(stored.pruning_guard.as_ref(), asked_at) {
                context.pruning_guards.wake();
            }
            changed |= lane.read(stored);
        }
    }
    if conn.logs_events() && stored.values().any(|lane| lane.is_change_due) {
        store::lanes::tell_pending(&mut conn).await?;
    }
    tell_credentials(&mut conn, lanes).await?;
    Ok(changed)
}

/// Tells the event log of the candidates that were taken or refused since the last time.
async fn tell_credentials(conn: &mut Session, lanes: &[SyncedLane]) -> Result<(), store::Error> {
    for lane in lanes {
        let untold = lane.credentials.take_untold();
        if untold.is_empty() {
            continue;
        }
        let tried = untold.iter().map(|trial| TriedCredential {
            lane: lane.gate.lane(),
            fingerprint: trial.fingerprint.0.to_vec(),
            result: trial.result,
            reason: trial.reason.as_ref().map(|reason| reason.as_str().to_owned()),
        });
        let tried: Vec<TriedCredential> = tried.collect();
        if let Err(error) = store::lanes::tell_credentials(conn, &tried).await {
            lane.credentials.put_back_untold(untold);
            return Err(error);
        }
    }
    Ok(())
}

/// The parts of a lane that are synchronised, and what was last reported and read.
#[derive(Debug)]
pub(super) struct SyncedLane {
    gate: Arc<LaneGate>,
    guard: Arc<PruningGuard>,
    limit: Arc<ConcurrencyLimit>,
    credentials: Arc<LaneCredentials>,
    /// The quota that knows how many nodes send through the lane.
    shared_quota: Option<Arc<Quota>>,
    reported_at: Instant,
    /// Attempts that had ended by then.
    answered: u64,
    /// None: not read yet.
    is_paused: Option<bool>,
    retry_requested_at: Option<DateTime<Utc>>,
    /// The lane's state is in the metrics as long as this is held.
    _shown: RefreshGuard,
}

impl SyncedLane {
    pub(super) fn new(
        gate: Arc<LaneGate>,
        guard: Arc<PruningGuard>,
        limit: Arc<ConcurrencyLimit>,
        credentials: Arc<LaneCredentials>,
        shown: RefreshGuard,
    ) -> Self {
        let reported_at = Instant::now();
        Self {
            gate,
            guard,
            limit,
            credentials,
            shared_quota: None,
            reported_at,
            answered: 0,
            is_paused: None,
            retry_requested_at: None,
            _shown: shown,
        }
    }

    fn report(&mut self) -> LaneReport {
        let over_quota = self.credentials.quota().current().and_then(|quota| quota.over_quota());
        let health = self.gate.report().with_quota(over_quota);
        let answered = self.limit.answered_total();
        let seconds = self.reported_at.elapsed().as_secs_f32().max(0.001);
        let rate = (answered - self.answered) as f32 / seconds;
        (self.answered, self.reported_at) = (answered, Instant::now());
        LaneReport {
            lane: self.gate.lane(),
            state: health.state,
            why: health.why.map(|why| why.as_str().to_owned()),
            since_ms: millis(health.since.elapsed()),
            in_flight: count(self.limit.in_flight()),
            in_flight_max: count(self.limit.limit()),
            rate,
            connections: count(self.credentials.current().sender().stats().connections),
            credential: self.gate.fingerprint().0.to_vec(),
            credential_ok: health.credential.map(|(ok, _)| ok),
            checked_ms: health.credential.map(|(_, at)| millis(at.elapsed())),
        }
    }

    /// A suspension concerns only nodes that hold the credential which was rejected. Says whether the lane's pause began
    /// or ended.
    fn read(&mut self, stored: &StoredLaneState) -> bool {
        let paused = stored.paused_at.is_some();
        let suspension = suspension_of(stored, self.gate.fingerprint());
        self.gate.on(LaneEvent::RemoteState { paused, suspension });
        let quota = self.credentials.quota().current();
        self.share_quota(quota.as_ref(), stored);
        let before = self.is_paused.replace(paused);
        // A retry that was asked for before this node started is not this node's.
        if std::mem::replace(&mut self.retry_requested_at, stored.retry_requested_at)
            != stored.retry_requested_at
            && before.is_some()
        {
            self.gate.on(LaneEvent::RetryNow);
            if let Some(quota) = &quota {
                quota.end_wait();
            }
        }
        before != Some(paused)
    }

    fn share_quota(&mut self, quota: Option<&Arc<Quota>>, stored: &StoredLaneState) {
        let before = std::mem::replace(&mut self.shared_quota, quota.cloned());
        if let Some(before) = before.filter(|before| quota.is_none_or(|quota| !Arc::ptr_eq(before, quota))) {
            before.leave(stored.lane);
        }
        if let Some(quota) = quota {
            quota.share_among(stored.lane, stored.nodes);
        }
    }
}

/// What the lane's row says about a node with this credential.
fn suspension_of(stored: &StoredLaneState, in_use: Fingerprint) -> StoredSuspension {
    match stored.suspended_fingerprint.as_deref() {
        None => StoredSuspension::Empty,
        Some(rejected) if rejected == in_use.0 => {
            let reason = stored.suspended_reason.as_deref().unwrap_or_default();
            StoredSuspension::OfThisCredential(Reason::of_lane(reason))
        }
        Some(_) => StoredSuspension::OfAnotherCredential,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
