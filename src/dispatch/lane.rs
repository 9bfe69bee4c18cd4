//! A lane: waits for room, then takes the most urgent device that is ready, and spawns its attempt. So `high` waits for
//! one answer, never for a job.
//!
//! A task that has ended its attempt takes the next device itself while there is one to take: under load nobody is woken
//! and nothing is spawned for a device.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispatch::attempt;
use crate::dispatch::environment_probe::ProbePeers;
use crate::dispatch::fcm_apns_key::FcmApnsKey;
use crate::dispatch::health::{Admission, Generation, LaneGate};
use crate::dispatch::limits::concurrency::ConcurrencyLimit;
use crate::dispatch::prefetch::queue::{ReadyDevice, ReadyQueue};
use crate::dispatch::{LaneContext, LaneSetup};
use crate::pruning::PruningGuard;
use crate::queue::lane_intake::LaneIntake;

/// So many windows are read ahead. While one is sent the next is claimed and loaded, which on a busy machine takes about as
/// long; of more than that, a lane that sends slowly would have to look at more again each second.
const PREFETCH_LIMITS: usize = 2;

/// One lane of this node.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) setup: LaneSetup,
    pub(super) shared: LaneContext,
    pub(super) gate: Arc<LaneGate>,
    pub(super) guard: Arc<PruningGuard>,
    pub(super) peers: Arc<ProbePeers>,
    pub(super) intake: Arc<LaneIntake>,
    pub(super) ready: ReadyQueue,
    pub(super) third_party: FcmApnsKey,
    pub(super) limit: Arc<ConcurrencyLimit>,
    /// Attempts that have ended.
    pub(super) ended: AtomicU64,
}

impl Lane {
    pub(super) fn new(shared: LaneContext, setup: LaneSetup, peers: &Arc<ProbePeers>) -> Self {
        let name = setup.name();
        let read_ahead = shared.max_in_flight.saturating_mul(PREFETCH_LIMITS);
        let intake = Arc::new(LaneIntake::new(setup.id(), read_ahead));
        let fingerprint = setup.credentials.fingerprint();
        let gate = LaneGate::new(setup.id(), name.clone(), fingerprint, Arc::clone(&intake));
        let limit = Arc::new(ConcurrencyLimit::new(shared.max_in_flight));
        let ready = ReadyQueue::new(Arc::clone(&intake), read_ahead);
        let (guard, peers) = (shared.pruning_guards.of(setup.id(), Some(&name)), Arc::clone(peers));
        let (gate, ended) = (Arc::new(gate), AtomicU64::new(0));
        let third_party = FcmApnsKey::default();
        Self { name, setup, shared, gate, guard, peers, intake, ready, third_party, limit, ended }
    }

    /// The most urgent device, once there is room for it in the window and in the project's quota.
    async fn next(&self) -> ReadyDevice {
        self.limit.room().await;
        if let Some(quota) = &self.setup.quota {
            quota.take().await;
        }
        self.ready.pop().await
    }

    /// The most urgent device, for a task that keeps its place in the window; none: it has to give it up.
    fn successor(&self) -> Option<(ReadyDevice, Generation)> {
        let (Admission::Send, generation) = self.gate.phase() else { return None };
        if self.limit.is_over_full() || self.ready.is_empty() {
            return None;
        }
        if self.setup.quota.as_ref().is_some_and(|quota| !quota.try_take()) {
            return None;
        }
        self.ready.try_pop().map(|ready| (ready, generation))
    }
}

/// Sends until told to stop, then waits for what is in flight and drops the rest: it stays in its jobs.
pub(super) async fn run(lane: Arc<Lane>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let ready = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ready = lane.next() => ready,
        };
        send(&lane, &tasks, ready);
    }
    lane.ready.close();
    lane.limit.drained().await;
    lane.setup.credentials.shutdown().await;
}

fn send(lane: &Arc<Lane>, tasks: &TaskTracker, ready: ReadyDevice) {
    let (Admission::Send, generation) = lane.gate.phase() else {
        // Dropped: the device stays in its job, which is given back. The feeder sends the probe.
        return;
    };
    let place = lane.limit.enter();
    let lane = Arc::clone(lane);
    tasks.spawn(async move {
        let mut next = Some((ready, generation));
        while let Some((ready, generation)) = next {
            attempt::run(&lane, ready, generation).await;
            next = lane.successor();
        }
        drop(place);
    });
}
