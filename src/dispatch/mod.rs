//! Sends notifications: one lane per app, provider and environment that this node has credentials for.
//!
//! Each lane runs by itself, and what goes wrong in a lane stays in it. [`lane`] owns the parts of a lane and starts them:
//!
//! - [`prefetch`] takes jobs, handed over or claimed, and loads their devices into a queue ahead of sending;
//! - [`worker`] takes the most urgent device as soon as the [`limits`] allow, and runs an [`attempt`];
//! - [`health`] decides whether the lane may send, from what attempts meet;
//! - [`credentials`] has the sender in use, and tries a new one beside it;
//! - [`expiry`] ends devices that have no time left;
//! - [`environment_probe`], [`isolated_attempt`] and [`fcm_apns_key`] are for devices, jobs and keys out of the ordinary.
//!
//! [`lane_sync`] reports all lanes to the database, and reads there what operators and other nodes decided. Verdicts about
//! tokens go by way of the recorder to [`pruning`](crate::pruning). `docs/lane_states.md` draws the states of a lane.

mod attempt;
mod context;
mod credentials;
mod disposition;
mod environment_probe;
mod expiry;
mod fcm_apns_key;
mod health;
mod isolated_attempt;
mod lane;
mod lane_sync;
mod lane_view;
mod limits;
mod panics;
mod prefetch;
mod ready_device;
mod rendered;
mod worker;

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use environment_probe::ProbedLanes;
use lane::Lane;
use lane_sync::SyncedLane;

pub use context::{LaneContext, LaneSetup, Spawn};
pub use credentials::LaneCredentials;
pub use limits::quota::Quota;

/// Starts lanes: those of the node's start, and later those that a reload of the configuration adds.
#[derive(Clone)]
pub struct Dispatcher {
    context: LaneContext,
    probed_lanes: Arc<ProbedLanes>,
    /// Where [`lane_sync`] learns of new lanes.
    started: mpsc::UnboundedSender<SyncedLane>,
    attempts: TaskTracker,
    stop: CancellationToken,
    spawn: Spawn,
}

impl Dispatcher {
    /// No lane yet. After `stop` lanes take no more jobs, end what is in flight (as `attempts`) and give back the rest.
    pub fn new(context: LaneContext, attempts: TaskTracker, stop: CancellationToken, spawn: Spawn) -> Self {
        let (started, to_sync) = mpsc::unbounded_channel();
        spawn("lane sync", lane_sync::run(context.clone(), to_sync, stop.clone()).boxed());
        Self { context, probed_lanes: Arc::default(), started, attempts, stop, spawn }
    }

    /// Starts these lanes beside those that run. From here on jobs are handed over to them and claimed for them.
    pub fn start(&self, lanes: Vec<LaneSetup>) {
        for setup in lanes {
            let lane = Lane::new(&self.context, setup, &self.probed_lanes);
            let intake = lane.intake();
            let synced = lane.start(&self.spawn, &self.attempts, &self.stop);
            self.context.intakes.add(intake);
            // The other end goes only when the node stops.
            let _stopping = self.started.send(synced);
        }
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}
