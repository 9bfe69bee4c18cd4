//! A lane of this node: owns the parts of the lane, and starts them.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::traced::AttemptTracer;
use super::attempt::{AttemptMeter, Attempter};
use super::context::{LaneContext, LaneSetup, Spawn};
use super::credentials::{LaneCredentials, rotation};
use super::environment_probe::{EnvironmentProbes, ProbedLane, ProbedLanes};
use super::fcm_apns_key::FcmApnsKey;
use super::health::{LaneGate, suspension};
use super::isolated_attempt::IsolatedAttempts;
use super::lane_sync::SyncedLane;
use super::lane_view::LaneView;
use super::limits::concurrency::ConcurrencyLimit;
use super::prefetch::judge::DeviceJudge;
use super::prefetch::queue::ReadyQueue;
use super::prefetch::{PrefetchParts, Prefetcher};
use super::worker::{Supply, Worker};
use crate::provider::SenderMetrics;
use crate::pruning::PruningGuard;
use crate::queue::lane_intake::LaneIntake;
use crate::queue::node_lease::NodeLease;
use crate::store::SessionPool;
use crate::telemetry::metrics::{LaneMetrics, RefreshGuard};

/// Devices are loaded ahead up to this many times what may be in flight. While one such batch is sent the next one is
/// claimed and loaded, which on a busy machine takes about as long. A lane that sends slowly would have to revalidate more
/// than that each second.
const PREFETCH_LIMITS: usize = 2;

/// The parts of one lane, before they run.
#[derive(Debug)]
pub(super) struct Lane {
    pool: SessionPool,
    node_lease: Arc<NodeLease>,
    gate: Arc<LaneGate>,
    guard: Arc<PruningGuard>,
    intake: Arc<LaneIntake>,
    limit: Arc<ConcurrencyLimit>,
    credentials: Arc<LaneCredentials>,
    prefetcher: Prefetcher,
    worker: Worker,
    metrics: Arc<LaneMetrics>,
    shown: RefreshGuard,
}

impl Lane {
    pub(super) fn new(context: &LaneContext, setup: LaneSetup, lanes: &Arc<ProbedLanes>) -> Self {
        let name = setup.name();
        let LaneSetup { app, key, credentials } = setup;
        let id = app.lane(key).id;
        let prefetch_max = context.max_in_flight.saturating_mul(PREFETCH_LIMITS);
        let metrics = context.metrics.lanes.lane(&name);
        let intake = LaneIntake::new(id, prefetch_max).counting(metrics.handovers.clone());
        let intake = Arc::new(intake);
        let gate = LaneGate::new(id, key, name.clone(), credentials.fingerprint(), Arc::clone(&intake));
        let gate = Arc::new(gate);
        let guard = context.pruning_guards.get_or_add(id, Some(&name));
        let limit = Arc::new(ConcurrencyLimit::new(context.max_in_flight));
        let queue = Arc::new(ReadyQueue::new(Arc::clone(&intake), prefetch_max));
        let sender_metrics = Arc::new(SenderMetrics::new(Arc::clone(&metrics)));
        credentials.count_in(Arc::clone(&sender_metrics));
        let view = LaneView {
            metrics: sender_metrics,
            gate: Arc::clone(&gate),
            limit: Arc::clone(&limit),
            queue: Arc::clone(&queue),
            quota: Arc::clone(credentials.quota()),
            reasons: credentials.current().sender().provider().reasons(),
        };
        let shown = context.metrics.before_scrape(move || view.refresh());

        let probed = ProbedLane {
            gate: Arc::clone(&gate),
            credentials: Arc::clone(&credentials),
            guard: Arc::clone(&guard),
        };
        let probed = Arc::new(probed);
        lanes.add(Arc::clone(&probed));
        let guards = Arc::clone(&context.pruning_guards);
        let environments = Arc::new(EnvironmentProbes::new(probed, &app, key, Arc::clone(lanes), guards));
        let attempter = Arc::new(Attempter {
            lane: name.clone(),
            node_lease: Arc::clone(&context.node_lease),
            installation: context.installation.clone(),
            retry: context.retry,
            timeout: context.attempt_timeout,
            gate: Arc::clone(&gate),
            credentials: Arc::clone(&credentials),
            limit: Arc::clone(&limit),
            quota: Arc::clone(credentials.quota()),
            guard: Arc::clone(&guard),
            environments: Arc::clone(&environments),
            fcm_apns_key: FcmApnsKey::default(),
            tracer: AttemptTracer {
                tracer: context.tracer.clone(),
                installation: context.installation.clone(),
                app: app.id,
            },
            meter: AttemptMeter::new(&context.metrics, &metrics, credentials.current().sender().provider()),
        });
        let isolated = IsolatedAttempts {
            gate: Arc::clone(&gate),
            limit: Arc::clone(&limit),
            recorder: context.recorder.clone(),
            attempter: Arc::clone(&attempter),
        };
        let parts = PrefetchParts {
            gate: Arc::clone(&gate),
            intake: Arc::clone(&intake),
            queue: Arc::clone(&queue),
            limit: Arc::clone(&limit),
            node_lease: Arc::clone(&context.node_lease),
            recorder: context.recorder.clone(),
            isolated,
            environments,
            judge: Arc::new(DeviceJudge {
                lane: name,
                app,
                key,
                provider: credentials.current().sender().provider(),
            }),
            credentials: Arc::clone(&credentials),
            claim_seconds: context.metrics.record.claim_seconds.clone(),
        };
        let prefetcher = Prefetcher::new(context.pool.clone(), parts);
        let supply = Supply { queue, limit: Arc::clone(&limit), quota: Arc::clone(credentials.quota()) };
        let worker =
            Worker { gate: Arc::clone(&gate), supply, attempter, credentials: Arc::clone(&credentials) };
        let pool = context.pool.clone();
        let node_lease = Arc::clone(&context.node_lease);
        Self { pool, node_lease, gate, guard, intake, limit, credentials, prefetcher, worker, metrics, shown }
    }

    /// Where jobs are handed over to the lane.
    pub(super) fn intake(&self) -> Arc<LaneIntake> {
        Arc::clone(&self.intake)
    }

    /// Starts the parts. Attempts, and senders that close, run as `attempts`. Returns what is synchronised with the
    /// database.
    pub(super) fn start(self, spawn: &Spawn, attempts: &TaskTracker, stop: &CancellationToken) -> SyncedLane {
        let rotation = rotation::run(
            Arc::clone(&self.credentials),
            Arc::clone(&self.gate),
            self.node_lease,
            attempts.clone(),
            stop.clone(),
        );
        // An attempt that ends after the stop may still find the credential rejected.
        let drained = CancellationToken::new();
        let suspension = suspension::run(Arc::clone(&self.gate), self.pool, drained.clone());
        let worker = Arc::new(self.worker).run(attempts.clone(), stop.clone());
        // The lane's series last as long as its worker.
        let metrics = self.metrics;
        let worker = async move {
            let _metrics = metrics;
            worker.await;
            drained.cancel();
        };
        spawn("prefetcher", self.prefetcher.run(stop.clone()).boxed());
        spawn("credential rotation", rotation.boxed());
        spawn("suspensions", suspension.boxed());
        spawn("worker", worker.boxed());
        SyncedLane::new(self.gate, self.guard, self.limit, self.credentials, self.shown)
    }
}
