//! The stages of a node's shutdown, each with its tasks. Used by `service`, which ends them, and `core`, which spawns the
//! tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;

use super::supervisor::{Supervisor, TaskFailure};
use super::threads::LaneThreads;

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
    /// Record outcomes, and quarantine tokens.
    pub(super) record: Supervisor,
    /// Heartbeat, wake-ups, maintenance.
    pub(super) heartbeat: Supervisor,
    /// Threads of the lanes and the recorder; kept until the node ends.
    threads: LaneThreads,
}

impl ShutdownStages {
    /// Without tasks; `failure` is set by the first task that ends by itself.
    ///
    /// # Errors
    /// The system refuses the threads of the lanes.
    pub(super) fn start(failure: &Arc<TaskFailure>) -> anyhow::Result<Self> {
        let threads = LaneThreads::start().context("cannot start the threads of the lanes")?;
        let stage = |threads: &Handle| Supervisor::new(threads, Arc::clone(failure));
        let own = Handle::current();
        // The recorder has as much to do as the lanes, so it runs on their threads.
        let [lanes, record] = [(); 2].map(|()| stage(threads.handle()));
        let [api, accept, heartbeat] = [(); 3].map(|()| stage(&own));
        Ok(Self { lanes, api, accept, record, heartbeat, threads })
    }

    /// The runtime of the lanes and the recorder.
    pub(super) fn lane_runtime(&self) -> Id {
        self.threads.handle().id()
    }

    /// Ends the tasks of a failed start.
    pub(super) async fn abandon(&self) {
        let all = [&self.lanes, &self.api, &self.accept, &self.record, &self.heartbeat];
        all.iter().for_each(|stage| stage.stop.cancel());
        let _late = timeout(GIVE_UP_TIMEOUT, self.api.end()).await;
    }

    /// Ends the lanes first, so that requests are still answered while lanes finish their attempts.
    pub(super) async fn drain(&self) {
        self.lanes.end().await;
        self.api.end().await;
        self.accept.end().await;
        self.record.end().await;
        self.heartbeat.end().await;
    }
}
