//! The lanes: claims, attempts, and what stops and starts them.
//!
//! Each lane runs by itself; what goes wrong in it stays in it. A prefetcher ([`prefetch`]) takes jobs (handed over, or claimed as far
//! as there is room), loads their tokens and puts the devices into the ready queue, where they are revalidated if they wait for long; the [`lane`] waits for room, takes the most urgent device, and spawns one
//! [`attempt`]; how it ended goes to the recorder. What must be tried alone, the prefetcher tries itself ([`isolated_attempt`]). The lane's
//! [`health`] stops and starts the lane, its [`limits`] measure how much it sends, and [`credentials`] lets a new credential take the place of the old one. Two tasks serve all
//! lanes: [`lane_sync`] tells of them and reads what operators and other nodes decided, and [`pruning`](crate::pruning) sets dead tokens
//! aside, unless the guard of the lane is engaged.

mod attempt;
mod credentials;
mod environment_probe;
mod fcm_apns_key;
mod health;
mod isolated_attempt;
mod lane;
mod lane_sync;
mod limits;
mod panics;
mod prefetch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{App, DeliveryStatus, InstallationKey, LaneId, LaneKey, PushpostReason, RetryPolicy};
use crate::pruning::PruningGuards;
use crate::queue::lane_intake::LaneIntakes;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::queue::recorder::{Disposition, OutcomeRecorder};
use crate::store::SessionPool;

pub use credentials::LaneCredentials;
pub use health::LaneGate;
pub use limits::quota::Quota;

/// A lane that this node has credentials for.
pub struct LaneSetup {
    /// Whose.
    pub app: Arc<App>,
    /// Which.
    pub key: LaneKey,
    /// How to send.
    pub credentials: Arc<LaneCredentials>,
    /// How much of it, where that is a project's and not a connection's affair.
    pub quota: Option<Arc<Quota>>,
}

impl std::fmt::Debug for LaneSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LaneSetup({})", self.name())
    }
}

impl LaneSetup {
    /// The lane's row.
    pub fn id(&self) -> LaneId {
        self.app.lane(self.key).id
    }

    /// As logs and metrics name it: `shop/apns-production`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.app.name, self.key)
    }
}

/// What all lanes share.
#[derive(Clone, Debug)]
pub struct LaneContext {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// This node.
    pub node_lease: Arc<NodeLease>,
    /// Where outcomes go.
    pub recorder: OutcomeRecorder,
    /// Where jobs come from.
    pub intakes: Arc<LaneIntakes>,
    /// Tells when operators decided something.
    pub notifier: Notifier,
    /// When too many tokens are called dead.
    pub pruning_guards: Arc<PruningGuards>,
    /// `apns-id`s and public ids come from it.
    pub installation: InstallationKey,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Most attempts under way, per lane.
    pub max_in_flight: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// Held while a job that may kill this process is tried: one at a time in all lanes.
    pub isolation: Arc<Mutex<()>>,
}

/// Where tasks run that last as long as their lane, each under its name.
pub type Spawn = Arc<dyn Fn(&'static str, BoxFuture<'static, ()>) + Send + Sync>;

/// Starts lanes: those of the node's start, and later those that a reload of the configuration adds.
#[derive(Clone)]
pub struct Dispatcher {
    shared: LaneContext,
    peers: Arc<environment_probe::ProbePeers>,
    /// To the one task that tells of all lanes.
    started: mpsc::UnboundedSender<Arc<lane::Lane>>,
    attempts: TaskTracker,
    stop: CancellationToken,
    spawn: Spawn,
}

impl Dispatcher {
    /// No lane yet. `stop`: take nothing more, end what is in flight (as `attempts`), give back the rest.
    pub fn new(shared: LaneContext, attempts: TaskTracker, stop: CancellationToken, spawn: Spawn) -> Self {
        let (started, to_watch) = mpsc::unbounded_channel();
        spawn("standing", lane_sync::run(shared.clone(), to_watch, stop.clone()).boxed());
        Self { shared, peers: Arc::default(), started, attempts, stop, spawn }
    }

    /// Starts these lanes beside those that run: jobs are handed over and claimed from here on.
    pub fn start(&self, lanes: Vec<LaneSetup>) {
        for setup in lanes {
            let lane = Arc::new(lane::Lane::new(self.shared.clone(), setup, &self.peers));
            self.peers.add(&lane);
            let stop = || self.stop.clone();
            (self.spawn)("feeder", prefetch::run(Arc::clone(&lane), stop()).boxed());
            let attend = credentials::rotation::run(Arc::clone(&lane), self.attempts.clone(), stop());
            (self.spawn)("senders", attend.boxed());
            (self.spawn)("lane", lane::run(Arc::clone(&lane), self.attempts.clone(), stop()).boxed());
            self.shared.intakes.add(Arc::clone(&lane.intake));
            // That task ends only when the node stops.
            let _stopping = self.started.send(lane);
        }
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

fn rejected(reason: PushpostReason, attempted: bool) -> Disposition {
    let reason = Some(reason.into());
    Disposition::Final { status: DeliveryStatus::Rejected, attempted, reason, provider_id: None }
}
