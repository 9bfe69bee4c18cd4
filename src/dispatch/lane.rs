//! A lane: takes a permit, then the most urgent device that is ready, and spawns its attempt. So `high` waits for one
//! answer, never for a job.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt;
use super::gate::{Gate, Phase};
use super::ready::{Ready, ReadyQueue};
use super::third_party::ThirdParty;
use super::{LaneSetup, Shared};
use crate::queue::intake::Intake;

/// One lane of this node.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) setup: LaneSetup,
    pub(super) shared: Shared,
    pub(super) gate: Arc<Gate>,
    pub(super) intake: Arc<Intake>,
    pub(super) ready: ReadyQueue,
    pub(super) third_party: ThirdParty,
    permits: Arc<Semaphore>,
}

impl Lane {
    pub(super) fn new(shared: Shared, setup: LaneSetup, intake: Arc<Intake>) -> Self {
        let name = setup.name();
        let fingerprint = setup.senders.fingerprint();
        let gate = Gate::new(setup.id(), name.clone(), fingerprint, Arc::clone(&intake));
        let permits = Arc::new(Semaphore::new(shared.max_in_flight));
        let ready = ReadyQueue::new(Arc::clone(&intake), shared.max_in_flight);
        let third_party = ThirdParty::default();
        Self { name, setup, shared, gate: Arc::new(gate), intake, ready, third_party, permits }
    }
}

/// Sends until told to stop, then waits for what is in flight and drops the rest: it stays in its jobs.
pub(super) async fn run(lane: Arc<Lane>, tasks: TaskTracker, stop: CancellationToken) {
    let most = u32::try_from(lane.shared.max_in_flight).unwrap_or(u32::MAX);
    loop {
        let next = async {
            let permit = Arc::clone(&lane.permits).acquire_owned().await.ok()?;
            Some((permit, lane.ready.pop().await))
        };
        let (permit, ready) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        send(&lane, &tasks, permit, ready).await;
    }
    lane.ready.clear();
    // All permits back: nothing is in flight.
    let _all = lane.permits.acquire_many(most).await;
    lane.setup.senders.shutdown().await;
}

async fn send(lane: &Arc<Lane>, tasks: &TaskTracker, permit: OwnedSemaphorePermit, ready: Ready) {
    let (phase, epoch) = lane.gate.phase();
    match phase {
        Phase::Open => {
            let lane = Arc::clone(lane);
            tasks.spawn(async move {
                attempt::run(&lane, ready, epoch).await;
                drop(permit);
            });
        }
        Phase::Probe => {
            if lane.gate.start_probe() {
                attempt::run(lane, ready, epoch).await;
                lane.gate.end_probe();
            }
        }
        // Dropped: the device stays in its job, which is given back.
        Phase::Closed(_) => drop(ready),
    }
}
