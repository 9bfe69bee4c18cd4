//! Takes the most urgent device that is ready, once the lane has room for it, and spawns its attempt. So a `high`
//! device waits at most until one attempt in flight ends.
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
use super::limits::quota::{LaneQuota, QuotaUnit};
use super::prefetch::queue::{Queued, ReadyQueue};
use super::ready_device::ReadyDevice;

/// The devices that a lane may send now: as many as are ready, and as its limits allow.
#[derive(Debug)]
pub(super) struct Supply<T = ReadyDevice> {
    pub(super) queue: Arc<ReadyQueue<T>>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) quota: Arc<LaneQuota>,
}

/// A device, and the message of the project's quota that is reserved for it.
type Supplied<T = ReadyDevice> = (T, Option<QuotaUnit>);

impl<T: Queued> Supply<T> {
    /// Waits for the most urgent device, and for room for it. A lane without a device holds nothing of its project's
    /// quota, because other lanes share it. A lane that changes to another project waits for the quota of that one.
    async fn next(&self) -> Supplied<T> {
        let mut quotas = self.quota.watch();
        loop {
            self.limit.room().await;
            let quota = quotas.borrow_and_update().clone();
            let unit = match quota {
                Some(quota) if !self.queue.is_empty() => tokio::select! {
                    unit = quota.take() => Some(unit),
                    _ = quotas.changed() => continue,
                },
                Some(_) => {
                    self.queue.pushed().await;
                    continue;
                }
                None => None,
            };
            // None: an attempt that has ended took the device, or the lane has stopped.
            match self.queue.try_pop() {
                Some(device) => return (device, unit),
                None => drop(unit),
            }
            self.queue.pushed().await;
        }
    }

    /// The most urgent device, for a task that keeps its permit; none: there is no device, or no room any more.
    fn try_next(&self) -> Option<Supplied<T>> {
        if self.limit.is_over_full() || self.queue.is_empty() {
            return None;
        }
        let unit = match self.quota.current() {
            Some(quota) => Some(quota.try_take()?),
            None => None,
        };
        Some((self.queue.try_pop()?, unit))
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
            self.spawn(&attempts, (device, unit), generation);
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

    fn spawn(self: &Arc<Self>, attempts: &TaskTracker, first: Supplied, generation: Generation) {
        let permit = self.supply.limit.enter();
        let worker = Arc::clone(self);
        attempts.spawn(async move {
            let mut next = Some((first, generation));
            while let Some(((device, unit), generation)) = next {
                worker.attempter.run(device, generation, unit).await;
                next = worker.successor();
            }
            drop(permit);
        });
    }

    fn successor(&self) -> Option<(Supplied, Generation)> {
        let generation = self.admitted()?;
        self.supply.try_next().map(|next| (next, generation))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::{Duration, Instant, advance};

    use super::*;
    use crate::dispatch::limits::quota::Quota;
    use crate::domain::{Class, LaneId, Priority, Reason};
    use crate::queue::lane_intake::LaneIntake;

    #[derive(Debug)]
    struct Device;

    impl Queued for Device {
        fn range(&self) -> (Class, Priority) {
            (Class::Direct, Priority::Normal)
        }

        fn handed(&self) -> bool {
            false
        }

        fn loaded(&self) -> Instant {
            Instant::now()
        }
    }

    /// A lane of a project with this quota.
    fn supply(quota: &Arc<Quota>) -> Supply<Device> {
        let queue = ReadyQueue::new(Arc::new(LaneIntake::new(LaneId(1), 10)), 10);
        let limit = Arc::new(ConcurrencyLimit::new(10));
        let quota = Arc::new(LaneQuota::new(Some(Arc::clone(quota))));
        Supply { queue: Arc::new(queue), limit, quota }
    }

    /// One message a second, of which one may be saved up.
    fn quota() -> Arc<Quota> {
        Arc::new(Quota::new(60))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_holds_nothing_of_the_quota_of_its_project() {
        let quota = quota();
        let (idle, busy) = (supply(&quota), supply(&quota));
        advance(Duration::from_secs(1)).await;
        let mut waiting = std::pin::pin!(idle.next());
        assert!(waiting.as_mut().now_or_never().is_none(), "it has no device");
        busy.queue.push([Device]);
        let (_, unit) = busy.next().now_or_never().expect("the message is there for the busy lane");
        unit.expect("a project with a quota").spend();
        idle.queue.push([Device]);
        assert!(waiting.as_mut().now_or_never().is_none(), "the next message is a second away");
        advance(Duration::from_secs(1)).await;
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_leaves_while_its_lane_waits_for_the_quota_costs_nothing() {
        let quota = quota();
        let (stopped, busy) = (supply(&quota), supply(&quota));
        stopped.queue.push([Device]);
        let mut waiting = std::pin::pin!(stopped.next());
        assert!(waiting.as_mut().now_or_never().is_none(), "nothing is saved up");
        stopped.queue.clear();
        advance(Duration::from_secs(1)).await;
        assert!(waiting.as_mut().now_or_never().is_none(), "it has no device any more");
        busy.queue.push([Device]);
        assert!(busy.next().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_changes_its_project_waits_no_more_for_the_old_one() {
        let (old, new) = (quota(), quota());
        let supply = supply(&old);
        old.wait_until(Instant::now() + Duration::from_secs(3600), &Reason::new("429"));
        advance(Duration::from_secs(1)).await;
        supply.queue.push([Device]);
        let mut waiting = std::pin::pin!(supply.next());
        assert!(waiting.as_mut().now_or_never().is_none(), "the project is over its quota");
        supply.quota.replace(Some(Arc::clone(&new)));
        assert!(waiting.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_without_an_attempt_is_left_to_other_lanes() {
        let quota = quota();
        let (stopped, busy) = (supply(&quota), supply(&quota));
        advance(Duration::from_secs(1)).await;
        stopped.queue.push([Device]);
        drop(stopped.next().await);
        busy.queue.push([Device]);
        let (_, unit) = busy.try_next().expect("the message is there for the busy lane");
        busy.queue.push([Device]);
        assert!(busy.try_next().is_none(), "it is reserved until the attempt is made");
        drop(unit);
        let (_, unit) = busy.try_next().expect("no attempt was made");
        unit.expect("a project with a quota").spend();
        busy.queue.push([Device]);
        assert!(busy.try_next().is_none(), "it is spent");
        assert!(!busy.queue.is_empty(), "the device waits");
    }
}
