//! Takes the most urgent device that is ready, once the lane has room for it, and spawns its attempt. So `high` waits for
//! one answer, never for a job.
//!
//! A task that has ended its attempt takes the next device itself while there is one: under load no task is woken or
//! spawned for a device.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::Attempter;
use super::credentials::LaneCredentials;
use super::health::{Admission, Generation, LaneGate};
use super::limits::concurrency::ConcurrencyLimit;
use super::limits::quota::{Quota, QuotaUnit};
use super::prefetch::queue::{Queued, ReadyQueue};
use super::ready_device::ReadyDevice;

/// The devices that a lane may send now: as many as are ready, and as its limits allow.
#[derive(Debug)]
pub(super) struct Supply<T = ReadyDevice> {
    pub(super) queue: Arc<ReadyQueue<T>>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) quota: Option<Arc<Quota>>,
}

impl<T: Queued> Supply<T> {
    /// Waits for the most urgent device, and for room for it. A lane without a device holds nothing of its project's
    /// quota, because other lanes share it.
    async fn next(&self) -> (T, Option<QuotaUnit<'_>>) {
        loop {
            self.limit.room().await;
            self.queue.wait().await;
            let unit = match &self.quota {
                Some(quota) => Some(quota.take().await),
                None => None,
            };
            // An attempt that has ended may have taken the device meanwhile, or the lane has stopped.
            if let Some(device) = self.queue.try_pop() {
                return (device, unit);
            }
        }
    }

    /// The most urgent device, for a task that keeps its permit; none: there is no device, or no room any more.
    fn try_next(&self) -> Option<T> {
        if self.limit.is_over_full() || self.queue.is_empty() {
            return None;
        }
        let unit = match &self.quota {
            Some(quota) => Some(quota.try_take()?),
            None => None,
        };
        let device = self.queue.try_pop()?;
        if let Some(unit) = unit {
            unit.spend();
        }
        Some(device)
    }
}

/// Sends the devices of one lane.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) gate: Arc<LaneGate>,
    pub(super) supply: Supply,
    pub(super) attempter: Arc<Attempter>,
    pub(super) credentials: Arc<LaneCredentials>,
}

impl Worker {
    /// Sends until told to stop, then waits for what is in flight and drops the rest, which stays in its jobs.
    pub(super) async fn run(self: Arc<Self>, attempts: TaskTracker, stop: CancellationToken) {
        loop {
            let (device, unit) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = self.supply.next() => next,
            };
            // Not admitted: the device is dropped and stays in its job, which is given back. The prefetcher makes probes.
            let Some(generation) = self.admitted() else { continue };
            if let Some(unit) = unit {
                unit.spend();
            }
            self.spawn(&attempts, device, generation);
        }
        self.supply.queue.close();
        self.supply.limit.drained().await;
        self.credentials.shutdown().await;
    }

    fn admitted(&self) -> Option<Generation> {
        match self.gate.admission() {
            (Admission::Send, generation) => Some(generation),
            _ => None,
        }
    }

    fn spawn(self: &Arc<Self>, attempts: &TaskTracker, device: ReadyDevice, generation: Generation) {
        let permit = self.supply.limit.enter();
        let worker = Arc::clone(self);
        attempts.spawn(async move {
            let mut next = Some((device, generation));
            while let Some((device, generation)) = next {
                worker.attempter.run(device, generation).await;
                next = worker.successor();
            }
            drop(permit);
        });
    }

    fn successor(&self) -> Option<(ReadyDevice, Generation)> {
        let generation = self.admitted()?;
        self.supply.try_next().map(|device| (device, generation))
    }
}
