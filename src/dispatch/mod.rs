//! Sends notifications: one lane per app, provider and environment that this node has credentials for.
//!
//! Each lane runs by itself, and what goes wrong in a lane stays in it. [`lane`] owns the parts of a lane and starts them:
//!
//! - [`prefetch`] takes jobs, handed over or claimed, and loads their devices into a queue ahead of sending;
//! - [`worker`] takes the most urgent device as soon as the [`limits`] allow, and runs an [`attempt`];
//! - [`health`] decides whether the lane may send, from what attempts meet;
//! - [`credentials`] has the sender in use, and tries a new one beside it;
//! - [`environment_probe`], [`isolated_attempt`] and [`fcm_apns_key`] are for devices, jobs and keys out of the ordinary.
//!
//! [`lane_sync`] reports all lanes to the database, and reads there what operators and other nodes decided. Verdicts about
//! tokens go by way of the recorder to [`pruning`](crate::pruning). `docs/lane_states.md` draws the states of a lane.

mod attempt;
mod credentials;
mod disposition;
mod environment_probe;
mod fcm_apns_key;
mod health;
mod isolated_attempt;
mod lane;
mod lane_sync;
mod limits;
mod panics;
mod prefetch;
mod ready_device;
mod rendered;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{App, InstallationKey, LaneKey, RetryPolicy};
use crate::pruning::PruningGuards;
use crate::queue::lane_intake::LaneIntakes;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::queue::recorder::OutcomeRecorder;
use crate::store::SessionPool;

use environment_probe::ProbedLanes;
use lane::Lane;
use lane_sync::SyncedLane;

pub use credentials::LaneCredentials;
pub use health::LaneGate;
pub use limits::quota::Quota;

/// A lane that this node has credentials for.
pub struct LaneSetup {
    /// The app that the lane belongs to.
    pub app: Arc<App>,
    /// The lane within the app.
    pub key: LaneKey,
    /// What the lane sends with.
    pub credentials: Arc<LaneCredentials>,
    /// The provider's quota for the lane's project, shared with the project's other lanes; none: the provider has none.
    pub quota: Option<Arc<Quota>>,
}

impl std::fmt::Debug for LaneSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LaneSetup({})", self.name())
    }
}

impl LaneSetup {
    /// As logs and metrics name it: `shop/apns-production`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.app.name, self.key)
    }
}

/// What all lanes of a node share.
#[derive(Clone, Debug)]
pub struct LaneContext {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// This node's lease, on which its jobs depend.
    pub node_lease: Arc<NodeLease>,
    /// Takes the outcome of each device.
    pub recorder: OutcomeRecorder,
    /// Where requests hand jobs over to lanes.
    pub intakes: Arc<LaneIntakes>,
    /// Wakes [`lane_sync`] when an operator decided something.
    pub notifier: Notifier,
    /// Count verdicts about tokens, and say when too many tokens are called dead.
    pub pruning_guards: Arc<PruningGuards>,
    /// The `apns-id` of each attempt is derived from it.
    pub installation: InstallationKey,
    /// When a device is tried again.
    pub retry: RetryPolicy,
    /// Most attempts in flight, per lane.
    pub max_in_flight: usize,
    /// Time that a provider has to answer one attempt.
    pub attempt_timeout: Duration,
}

/// Starts a task that lasts as long as its lane, under a name for the log.
pub type Spawn = Arc<dyn Fn(&'static str, BoxFuture<'static, ()>) + Send + Sync>;

/// Starts lanes: those of the node's start, and later those that a reload of the configuration adds.
#[derive(Clone)]
pub struct Dispatcher {
    context: LaneContext,
    probed_lanes: Arc<ProbedLanes>,
    /// To [`lane_sync`].
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
