//! What a lane is made from: its own setup, and what all lanes of a node share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::credentials::LaneCredentials;
use crate::domain::{App, InstallationKey, LaneKey, RetryPolicy};
use crate::pruning::PruningGuards;
use crate::queue::lane_intake::LaneIntakes;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::queue::recorder::OutcomeRecorder;
use crate::store::SessionPool;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracer;

/// A lane that this node has credentials for.
pub struct LaneSetup {
    /// The app that the lane belongs to.
    pub app: Arc<App>,
    /// The lane within the app.
    pub key: LaneKey,
    /// What the lane sends with, and the quota of its project.
    pub credentials: Arc<LaneCredentials>,
}

impl fmt::Debug for LaneSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneSetup({})", self.name())
    }
}

impl LaneSetup {
    /// As logs name it: `shop/apns-production`.
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
    /// Wakes [`lane_sync`](super::lane_sync) when an operator decided something.
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
    /// Takes the spans of attempts.
    pub tracer: Tracer,
    /// What the lanes count.
    pub metrics: Arc<Metrics>,
}

/// Starts a task that lasts as long as its lane, under a name for the log.
pub type Spawn = Arc<dyn Fn(&'static str, BoxFuture<'static, ()>) + Send + Sync>;
