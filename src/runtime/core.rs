//! What the parts of a node share, and how each part is started from it. Used by `service`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Role;
use super::database::Database;
use super::listeners::Listeners;
use super::node_figures::measure_lag;
use super::stages::ShutdownStages;
use super::supervisor::Supervisor;
use crate::api::dashboard::{DashboardLive, LiveSettings, LiveWorker};
use crate::api::health::Health;
use crate::api::rates::RateLimiter;
use crate::audience::DeviceLookup;
use crate::audience::FanOutWorker;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::domain::{Finding, InstallationKey, ServedApps};
use crate::events::sequencer::Sequencer;
use crate::events::streams::{EventStreams, StreamLimits};
use crate::events::webhooks::{self, WebhookRegistry, WebhookServices};
use crate::events::{EventLog, EventReader};
use crate::notifications::deliveries::StreamPermits;
use crate::pruning::{self, PrunedMeter, PruningGuards};
use crate::queue::accept::Acceptor;
use crate::queue::backlog::Backlog;
use crate::queue::heartbeat::Heartbeat;
use crate::queue::lane_intake::LaneIntakes;
use crate::queue::lane_minutes::LaneMinuteWriter;
use crate::queue::leases::Leases;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::queue::recorder::OutcomeRecorder;
use crate::registry::keys::ApiKeys;
use crate::store::SessionPool;
use crate::telemetry::metrics::{Metrics, RuntimeName};
use crate::telemetry::trace::Tracer;
use crate::{api, dispatch, maintenance};

/// Batches of findings about tokens that wait for the pruner. Further ones are dropped, because a later attempt finds
/// the same again.
const FINDING_BATCHES: usize = 1_024;
/// How long an attempt may take, including the wait for a stream and resends. FCM asks for at least 10 s for one
/// request (docs/providers.md#fcm-retries).
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two updates of what `/readyz` answers.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// What the parts of a node share.
pub(super) struct Core {
    pub(super) pool: SessionPool,
    pub(super) node_lease: Arc<NodeLease>,
    pub(super) intakes: Arc<LaneIntakes>,
    pub(super) notifier: Notifier,
    pub(super) leases: Arc<Leases>,
    pub(super) installation: InstallationKey,
    pub(super) pruning_guards: Arc<PruningGuards>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    /// Is sent to whenever this node has added something to the event log.
    pub(super) events_logged: watch::Sender<()>,
    /// One for streams and webhooks, which share what it has read.
    pub(super) event_reader: EventReader,
}

impl Core {
    /// Starts the recorder, and the pruner that gets its findings.
    pub(super) fn start_recorder(
        &self,
        config: &Config,
        database: &Database,
        stage: &Supervisor,
    ) -> OutcomeRecorder {
        let (findings_out, findings) = mpsc::channel::<Vec<Finding>>(FINDING_BATCHES);
        let (pool, leases) = (database.record_pool(), Arc::clone(&self.leases));
        let (recorder, writer) = OutcomeRecorder::new(
            pool,
            leases,
            self.notifier.clone(),
            findings_out,
            Arc::clone(&self.metrics),
        );
        let writer = writer.with_tracer(self.tracer.clone());
        stage.spawn("recorder", writer.run(stage.stop.clone()));
        let meter = PrunedMeter {
            metrics: Arc::clone(&self.metrics),
            reasons: config.providers.iter().flat_map(|provider| provider.reasons()).copied().collect(),
        };
        let (pool, guards) = (self.pool.clone(), Arc::clone(&self.pruning_guards));
        stage.spawn("pruner", pruning::run(pool, guards, findings, meter));
        recorder
    }

    /// Starts the heartbeat, the wake-ups and the maintenance.
    pub(super) fn start_upkeep(
        &self,
        config: &Config,
        role: Role,
        database: &Database,
        apps: Arc<ServedApps>,
        stage: &Supervisor,
    ) {
        let heartbeat = Heartbeat {
            pool: database.heartbeat_pool(),
            node_lease: Arc::clone(&self.node_lease),
            leases: Arc::clone(&self.leases),
            intakes: Arc::clone(&self.intakes),
            fan_outs: self.notifier.fan_outs(),
            tasks: stage.tracker().clone(),
        };
        stage.spawn("heartbeat", heartbeat.run(stage.stop.clone()));
        let wake_pool = database.wake_pool();
        stage.spawn("wake-ups out", self.notifier.clone().run_sender(wake_pool.clone(), stage.stop.clone()));
        if role.has_lanes() {
            stage.spawn("wake-ups in", self.notifier.clone().run_listener(wake_pool, stage.stop.clone()));
        }
        let minutes = LaneMinuteWriter {
            pool: self.pool.clone(),
            node_lease: Arc::clone(&self.node_lease),
            metrics: Arc::clone(&self.metrics),
            apps: Arc::clone(&apps),
        };
        stage.spawn("lane minutes", minutes.run(stage.stop.clone()));
        let duties = maintenance::Settings {
            pool: database.maintenance_pool(),
            node_lease: Arc::clone(&self.node_lease),
            retention: maintenance::Retention {
                notifications: config.retention.notifications,
                content: config.retention.content,
                quarantine: config.retention.quarantine,
                events: config.retention.events,
            },
            apps,
        };
        stage.spawn("maintenance", maintenance::run(duties, stage.stop.clone()));
        let figures = maintenance::FigureSettings {
            pool: database.observe_pool(),
            node_lease: Arc::clone(&self.node_lease),
            metrics: Arc::clone(&self.metrics),
        };
        if self.pool.logs_events() {
            let sequencer = Sequencer {
                pool: self.pool.clone(),
                metrics: Arc::clone(&self.metrics),
                logged: self.events_logged.clone(),
            };
            stage.spawn("events", sequencer.run(stage.stop.clone()));
        }
        stage.spawn("figures", maintenance::read_figures(figures, stage.stop.clone()));
    }

    /// The dispatcher, which starts lanes.
    pub(super) fn dispatcher(
        &self,
        config: &Config,
        recorder: &OutcomeRecorder,
        stage: &Supervisor,
    ) -> Dispatcher {
        let shared = dispatch::LaneContext {
            pool: self.pool.clone(),
            node_lease: Arc::clone(&self.node_lease),
            recorder: recorder.clone(),
            intakes: Arc::clone(&self.intakes),
            notifier: self.notifier.clone(),
            pruning_guards: Arc::clone(&self.pruning_guards),
            installation: self.installation.clone(),
            retry: config.delivery.retry,
            max_in_flight: in_flight(config),
            attempt_timeout: ATTEMPT_TIMEOUT,
            tracer: self.tracer.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let (attempts, stop, stage) = (stage.tracker().clone(), stage.stop.clone(), stage.clone());
        Dispatcher::new(shared, attempts, stop, Arc::new(move |name, task| stage.spawn(name, task)))
    }

    /// Starts the task that resolves large audiences.
    pub(super) fn start_fan_outs(&self, apps: &Arc<ServedApps>, stage: &Supervisor) {
        let notifier = self.notifier.clone();
        let fan_outs = FanOutWorker {
            pool: self.pool.clone(),
            apps: Arc::clone(apps),
            metrics: Arc::clone(&self.metrics),
            wake: self.notifier.fan_outs(),
            on_jobs_added: Box::new(move |lane, class, priority| {
                notifier.notify_waiting(lane, class, priority);
            }),
            tracer: self.tracer.clone(),
        };
        stage.spawn("fan-outs", fan_outs.run(stage.stop.clone()));
    }

    /// Starts the tasks that keep `/readyz` up to date.
    pub(super) fn start_health(&self, database: &Database, health: &Arc<Health>, stage: &Supervisor) {
        health.migrations_applied();
        let watch = watch_health(Arc::clone(&self.node_lease), Arc::clone(health), stage.stop.clone());
        stage.spawn("health", watch);
        let pools = [database.accept_pool(), database.record_pool()];
        stage.spawn("writes", watch_writes(pools, Arc::clone(health), stage.stop.clone()));
    }

    /// Starts measuring how late timers are, on the threads of requests and on those of the lanes.
    pub(super) fn start_lag_timers(&self, stages: &ShutdownStages) {
        for (runtime, stage) in [(RuntimeName::Api, &stages.heartbeat), (RuntimeName::Lanes, &stages.record)]
        {
            let lag = self.metrics.node.runtime_lag_seconds(runtime);
            stage.spawn("lag timer", measure_lag(lag, stage.stop.clone()));
        }
    }

    /// Starts the API, and the committer behind it.
    #[expect(
        clippy::too_many_arguments,
        reason = "a composition root hands each part what it needs, by name"
    )]
    pub(super) fn start_api(
        &self,
        config: &Config,
        database: &Database,
        apps: Arc<ServedApps>,
        webhooks: Arc<WebhookRegistry>,
        hand_over: Option<OutcomeRecorder>,
        health: Arc<Health>,
        listeners: &Listeners,
        stages: &ShutdownStages,
    ) {
        let (node_lease, intakes) = (Arc::clone(&self.node_lease), Arc::clone(&self.intakes));
        let (acceptor, committer) = Acceptor::new(
            database.accept_pool(),
            node_lease,
            intakes,
            hand_over,
            self.notifier.clone(),
            Arc::clone(&self.metrics),
        );
        let committer = committer.with_tracer(self.tracer.clone());
        let former_keys = committer.former_keys().run(database.observe_pool(), stages.accept.stop.clone());
        stages.accept.spawn("former keys", former_keys);
        stages.accept.spawn("accept", committer.run(stages.accept.stop.clone()));
        let (lookup, worker) = DeviceLookup::new(database.pool().clone());
        stages.accept.spawn("audience lookup", worker.run(stages.accept.stop.clone()));
        let keys = ApiKeys::new(database.pool().clone());
        let (uses, pool, stop) = (keys.uses(), database.pool().clone(), stages.accept.stop.clone());
        stages.accept.spawn("key uses", async move { uses.run(pool, stop).await });
        let logs_events = self.pool.logs_events();
        let log = self.start_event_streams(database, &health, &stages.events);
        let live = self.start_live(&log, database, Arc::clone(&apps), &stages.accept);
        let events = logs_events.then_some(log);
        let state = api::State::from(api::StateParts {
            providers: config.providers.clone(),
            apps,
            pool: database.pool().clone(),
            observe: database.observe_pool(),
            lookup,
            installation: self.installation.clone(),
            keys,
            acceptor,
            backlog: Backlog::new(database.pool().clone(), config.limits.max_pending),
            rates: Arc::new(rates(config)),
            cors_origins: config.server.cors_origins.as_slice().into(),
            limits: listeners.limits,
            parse_pool: api::parse_pool::ParsePool::default(),
            batch_permits: api::batch_permits::BatchPermits::default(),
            stream_permits: StreamPermits::default(),
            events,
            live,
            webhooks,
            default_ttl: config.delivery.default_ttl,
            health,
            notifier: self.notifier.clone(),
            node_lease: Arc::clone(&self.node_lease),
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            trace_page: config.telemetry.trace_url.clone(),
        });
        listeners.open(&state);
    }

    /// Starts what posts events to webhooks, and ends what is under way in its time.
    pub(super) fn start_webhooks(
        &self,
        config: &Config,
        database: &Database,
        apps: Arc<ServedApps>,
        registry: Arc<WebhookRegistry>,
        stage: &Supervisor,
    ) {
        if !self.pool.logs_events() {
            return;
        }
        let services = WebhookServices {
            pool: database.observe_pool(),
            node_lease: Arc::clone(&self.node_lease),
            node_name: super::node_name(),
            reader: self.event_reader.clone(),
            registry,
            apps,
            installation: self.installation.clone(),
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
        };
        let (most, logged) = (config.webhooks.max_in_flight.into(), self.events_logged.subscribe());
        stage.spawn("webhooks", webhooks::run(Arc::new(services), most, logged, stage.stop.clone()));
    }

    /// Starts what reads figures while pages of the dashboard are open.
    fn start_live(
        &self,
        log: &EventLog,
        database: &Database,
        apps: Arc<ServedApps>,
        stage: &Supervisor,
    ) -> DashboardLive {
        let live = DashboardLive::new(log.clone());
        let settings = LiveSettings {
            pool: database.observe_pool(),
            apps,
            node_lease: Arc::clone(&self.node_lease),
            installation: self.installation.clone(),
            events_off: !self.pool.logs_events(),
        };
        stage.spawn("dashboard", LiveWorker::new(live.clone(), settings).run(stage.stop.clone()));
        live
    }

    /// Starts what reads the event log for clients that stay connected. It ends after the API.
    fn start_event_streams(&self, database: &Database, health: &Health, stage: &Supervisor) -> EventLog {
        let reader = self.event_reader.clone();
        let metrics = self.metrics.event_streams.clone();
        let (streams, worker) =
            EventStreams::new(reader.clone(), StreamLimits::default(), health.drain_signal(), metrics);
        let keys = database.observe_pool();
        stage.spawn("event streams", worker.run(self.events_logged.subscribe(), keys, stage.stop.clone()));
        EventLog { reader, streams }
    }
}

fn rates(config: &Config) -> RateLimiter {
    let limits = &config.limits;
    let proxies = config.server.trusted_proxies.clone();
    RateLimiter::new(limits.requests_per_second, limits.register_per_minute, proxies)
}

/// Requests in flight of each lane at most.
fn in_flight(config: &Config) -> usize {
    usize::try_from(config.delivery.max_in_flight).unwrap_or(usize::MAX)
}

/// Updates `/readyz` with failing writes, and repeats a write while they fail. Without that, a node would stay not
/// ready for ever, because a load balancer sends it no requests.
async fn watch_writes(
    pools: [SessionPool; 2],
    health: Arc<Health>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
        let since = pools.iter().filter_map(SessionPool::failing_since).min();
        health.writes_fail_since(since);
        for pool in pools.iter().filter(|pool| pool.failing_since().is_some()) {
            let probe = async {
                if let Err(error) = pool.probe().await {
                    tracing::debug!(%error, "writes still fail");
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = probe => {}
            }
        }
    }
}

/// Updates `/readyz` with the time of Postgres's last answer.
async fn watch_health(
    node_lease: Arc<NodeLease>,
    health: Arc<Health>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        if node_lease.since_answer() < 2 * HEALTH_INTERVAL {
            health.postgres_answered();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
}
