//! The stages of a node's shutdown, each with its tasks. Used by `service`, which ends them, and `core`, which spawns the
//! tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;

use super::supervisor::{Supervisor, TaskFailure};
use super::threads::{Part, PartThreads};

/// After a failed start: how long health answers under way may take.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The tasks of a node by the stage of the shutdown in which they end, in this order.
#[derive(Debug)]
pub(super) struct ShutdownStages {
    /// Take jobs and send them.
    pub(super) lanes: Supervisor,
    /// Answer the requests of clients.
    pub(super) api: Supervisor,
    /// Commit what requests have handed in.
    pub(super) accept: Supervisor,
    /// Read the event log for streams and webhooks.
    pub(super) events: Supervisor,
    /// Record outcomes, and quarantine tokens.
    pub(super) record: Supervisor,
    /// Heartbeat, wake-ups, maintenance.
    pub(super) heartbeat: Supervisor,
    /// Threads of the lanes and the recorder; kept until the node ends.
    lane_threads: PartThreads,
    /// The same for what reads the event log.
    _event_threads: PartThreads,
}

impl ShutdownStages {
    /// Without tasks; `failure` is set by the first task that ends by itself.
    ///
    /// # Errors
    /// The system refuses the threads.
    pub(super) fn start(failure: &Arc<TaskFailure>) -> anyhow::Result<Self> {
        let start =
            |part| PartThreads::start(part).with_context(|| format!("cannot start threads: {part:?}"));
        let (lane_threads, event_threads) = (start(Part::Lanes)?, start(Part::Events)?);
        let stage = |threads: &Handle| Supervisor::new(threads, Arc::clone(failure));
        let own = Handle::current();
        // The recorder has as much to do as the lanes, so it runs on their threads.
        let [lanes, record] = [(); 2].map(|()| stage(lane_threads.handle()));
        let events = stage(event_threads.handle());
        let [api, accept, heartbeat] = [(); 3].map(|()| stage(&own));
        Ok(Self {
            lanes,
            api,
            accept,
            events,
            record,
            heartbeat,
            lane_threads,
            _event_threads: event_threads,
        })
    }

    /// The runtime of the lanes and the recorder.
    pub(super) fn lane_runtime(&self) -> Id {
        self.lane_threads.handle().id()
    }

    /// Ends the tasks of a failed start.
    pub(super) async fn abandon(&self) {
        let all = [&self.lanes, &self.api, &self.accept, &self.events, &self.record, &self.heartbeat];
        all.iter().for_each(|stage| stage.stop.cancel());
        let _late = timeout(GIVE_UP_TIMEOUT, self.api.end()).await;
    }

    /// Ends the lanes first, so that requests are still answered while lanes finish their attempts.
    pub(super) async fn drain(&self) {
        self.lanes.end().await;
        self.api.end().await;
        tokio::join!(self.accept.end(), self.events.end());
        self.record.end().await;
        self.heartbeat.end().await;
    }
}
