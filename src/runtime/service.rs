//! A node: how its parts are put together at the start, and how they end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Id;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::database::Database;
use super::listeners::Listeners;
use super::postgres::PostgresUnusable;
use super::reload::{Reload, Reloader};
use super::served::{Additions, Served};
use super::stages::ShutdownStages;
use super::supervisor::TaskFailure;
use super::traces;
use super::{Role, Shutdown, node_figures, node_name};
use crate::api::health::Health;
use crate::config::Config;
use crate::events::EventReader;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::store::SessionPool;
use crate::store::nodes::NodeDescription;
use crate::telemetry::metrics::{Metrics, RefreshGuard};
use crate::telemetry::trace::TraceExporter;
use crate::{api, maintenance, store};

/// After the drain: how long the recorder may take for the last outcomes, and each following step of the shutdown.
const SHUTDOWN_STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Detail of the warning about a node that ends without removing its row.
const NOT_REMOVED: &str = "other nodes declare this node dead after delivery.node_timeout";

/// A running node.
#[derive(Debug)]
pub struct Service {
    config: Config,
    database: Database,
    node_lease: Arc<NodeLease>,
    health: Arc<Health>,
    listeners: Listeners,
    failure: Arc<TaskFailure>,
    stages: ShutdownStages,
    node_pool: SessionPool,
    served: Served,
    _refreshes: [RefreshGuard; 2],
    /// None: nothing is traced.
    traces: Option<TraceExporter>,
}

impl Service {
    /// Starts a node.
    ///
    /// # Errors
    /// The database can't be used, a credential is wrong, or an address is taken.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        let started = Self::start_until(config, role, &CancellationToken::new()).await?;
        Ok(started.expect("a start that is not stopped ends with a node or an error"))
    }

    /// As [`Self::start`], until `stop`: then it returns none, with everything ended that was started. Health requests
    /// are answered from the beginning.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_until(
        config: Config,
        role: Role,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let (failure, health) = (Arc::new(TaskFailure::default()), Arc::new(Health::default()));
        let metrics = Metrics::new();
        let draining = node_figures::show_draining(&metrics, &health);
        let stages = ShutdownStages::start(&failure)?;
        let listeners = Listeners::bind(&config, role, &health, &metrics, &stages.api).await?;
        let opened = {
            let mut opening = pin!(Database::open_until(&config, &metrics.postgres, stop));
            tokio::select! {
                opened = &mut opening => opened,
                () = stop.cancelled() => {
                    health.start_draining();
                    opening.await
                }
            }
        };
        let database = match opened {
            Ok(database) => database,
            Err(error) => {
                stages.abandon().await;
                return if stop.is_cancelled() { Ok(None) } else { Err(error) };
            }
        };
        let assembled = tokio::select! {
            assembled = Self::assemble(&config, role, &database, &health, &metrics, &listeners, &stages) => assembled,
            () = stop.cancelled() => Err(PostgresUnusable::Stopped.into()),
        };
        match assembled {
            Ok(Parts { node_lease, node_pool, served, lease_shown, traces }) => Ok(Some(Self {
                config,
                database,
                node_lease,
                health,
                listeners,
                failure,
                stages,
                node_pool,
                served,
                _refreshes: [draining, lease_shown],
                traces,
            })),
            Err(error) => {
                health.start_draining();
                // The error of the start is returned, because the operator must act on it.
                if let Err(error) = database.close().await {
                    tracing::error!(%error, "database is not closed cleanly");
                }
                stages.abandon().await;
                if stop.is_cancelled() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// The runtime of the lanes and the recorder.
    pub fn lane_runtime(&self) -> Id {
        self.stages.lane_runtime()
    }

    /// The address of the API; none for a worker.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.api
    }

    /// The address of `/healthz` and `/readyz`.
    pub fn health_address(&self) -> SocketAddr {
        self.listeners.health
    }

    /// What `/readyz` answers, and whether the drain has begun.
    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// From now on, changes in these sources are applied while the node runs.
    pub fn reload(&self, reload: Reload) {
        let stage = &self.stages.lanes;
        let reloader = Reloader::new(reload, self.served.clone());
        stage.spawn("reload", reloader.run(stage.stop.clone()));
    }

    async fn assemble(
        config: &Config,
        role: Role,
        database: &Database,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
        listeners: &Listeners,
        stages: &ShutdownStages,
    ) -> anyhow::Result<Parts> {
        database.prepare(config.database.migrate).await?;
        let pool = database.queue_pool();
        pool.count_deliveries_in(metrics.deliveries.clone());
        let mut conn = pool.acquire().await.context("Postgres can't be reached")?;
        let installation = store::apps::installation_key(&mut conn).await?;
        drop(conn);
        let no_app = Config { apps: BTreeMap::new(), ..config.clone() };
        let additions = Additions::find(&no_app, config, role, &pool).await?;
        let node_lease = enter(&pool, database, config, role).await?;

        let (tracer, traces) = traces::start(&config.telemetry, &node_lease, &metrics.trace)?;

        let intakes = Arc::default();
        let notifier = Notifier::new(Arc::clone(&intakes), Arc::clone(&node_lease));
        let event_writer = api::events::writer(installation.clone());
        let core = Core {
            event_reader: EventReader::new(database.observe_pool(), installation.clone(), event_writer),
            pool,
            node_lease,
            intakes,
            notifier,
            leases: Arc::default(),
            installation,
            pruning_guards: Arc::default(),
            metrics: Arc::clone(metrics),
            tracer,
            events_logged: watch::Sender::default(),
        };

        let recorder = core.start_recorder(config, database, &stages.record);
        let dispatcher = role.has_lanes().then(|| core.dispatcher(config, &recorder, &stages.lanes));
        let connections = listeners.connections.clone();
        let mut served = Served::new(no_app, role, dispatcher, connections, core.pool.clone());
        if let Some(additions) = additions {
            served.add(additions);
        }
        if role.has_lanes() {
            core.start_fan_outs(served.apps(), &stages.lanes);
        }
        let (apps, webhooks) = (Arc::clone(served.apps()), Arc::clone(served.webhooks()));
        core.start_webhooks(config, database, apps, webhooks, &stages.events);
        core.start_lag_timers(stages);
        core.start_upkeep(config, role, database, Arc::clone(served.apps()), &stages.heartbeat);
        // Before the API, so that no scrape shows a figure that nothing has set.
        let lease_shown = node_figures::show_lease(metrics, &core.node_lease);
        if role.has_api() {
            let hand_over = role.has_lanes().then_some(recorder);
            let apps = Arc::clone(served.apps());
            let webhooks = Arc::clone(served.webhooks());
            core.start_api(
                config,
                database,
                apps,
                webhooks,
                hand_over,
                Arc::clone(health),
                listeners,
                stages,
            );
        }
        // After the API: once `/readyz` answers 200, requests are answered.
        core.start_health(database, health, &stages.heartbeat);
        Ok(Parts { node_lease: core.node_lease, node_pool: core.pool, served, lease_shown, traces })
    }

    /// Runs until `shutdown`, or until a task ends by itself.
    ///
    /// # Errors
    /// A task ended by itself.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let drained = tokio::select! {
            drained = self.work_and_drain(&shutdown) => drained,
            // Until the end of the drain, because the last outcomes can't be recorded without Postgres.
            () = self.database.keep_running() => false,
        };
        if !drained {
            tracing::warn!(
                detail = "jobs that this node still holds go to other nodes, or to the next start",
                "drain is not complete after delivery.drain_timeout"
            );
        }
        let failure = Arc::clone(&self.failure);
        self.shut_down(drained).await;
        if let Some(task) = failure.name() {
            bail!("task {task} ended by itself");
        }
        Ok(())
    }

    /// Returns whether all tasks ended in time.
    async fn work_and_drain(&self, shutdown: &Shutdown) -> bool {
        tokio::select! {
            () = shutdown.drain.cancelled() => {}
            () = shutdown.abort.cancelled() => {}
            () = self.failure.happened() => {}
        }
        self.health.start_draining();
        self.node_lease.start_draining();
        tokio::select! {
            drained = timeout(self.config.delivery.drain_timeout, self.stages.drain()) => drained.is_ok(),
            () = shutdown.abort.cancelled() => false,
        }
    }

    async fn shut_down(self, drained: bool) {
        if !drained {
            // No new attempts; outcomes that are known get a last chance to be recorded.
            self.stages.lanes.stop.cancel();
            self.stages.api.stop.cancel();
            self.stages.accept.stop.cancel();
            self.stages.events.stop.cancel();
            let _late = timeout(SHUTDOWN_STEP_TIMEOUT, self.stages.record.end()).await;
            self.stages.heartbeat.stop.cancel();
        }
        let left = async {
            let mut conn = self.node_pool.acquire().await.map_err(store::Error::from)?;
            store::nodes::deregister(&mut conn, self.node_lease.id()).await
        };
        match timeout(SHUTDOWN_STEP_TIMEOUT, left).await {
            Ok(Ok(())) => tracing::info!(node = self.node_lease.id().0, "node is stopped"),
            Ok(Err(error)) => {
                tracing::warn!(%error, detail = NOT_REMOVED, "node row is not removed at shutdown")
            }
            Err(_) => tracing::warn!(detail = NOT_REMOVED, "node row is not removed at shutdown"),
        }
        if let Some(traces) = self.traces {
            traces.shutdown().await;
        }
        let _late = timeout(SHUTDOWN_STEP_TIMEOUT, self.node_pool.close()).await;
        if let Err(error) = self.database.close().await {
            tracing::error!(%error, "database is not closed cleanly");
        }
    }
}

/// What [`Service`] keeps of a started node.
struct Parts {
    node_lease: Arc<NodeLease>,
    node_pool: SessionPool,
    served: Served,
    lease_shown: RefreshGuard,
    traces: Option<TraceExporter>,
}

/// Adds this node's row. On an embedded database that no other process uses, every other node is an earlier process
/// that has ended, so its jobs need not wait for `delivery.node_timeout`.
async fn enter(
    pool: &SessionPool,
    database: &Database,
    config: &Config,
    role: Role,
) -> anyhow::Result<Arc<NodeLease>> {
    let node = NodeDescription { role: role.name(), ..NodeDescription::of_this_program(node_name()) };
    let node_lease = NodeLease::register(pool, node, config.delivery.node_timeout).await?;
    if database.was_alone() {
        let mut conn = pool.acquire().await?;
        let dead = store::nodes::mark_others_dead(&mut conn, node_lease.id()).await?;
        maintenance::sweep(&mut conn, &dead).await?;
    }
    Ok(Arc::new(node_lease))
}
