//! A node, put together and taken apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::database::Database;
use super::listeners::Listeners;
use super::postgres::PostgresUnusable;
use super::reload::{Reload, Reloader};
use super::served::{Additions, Served};
use super::supervisor::{Supervisor, TaskFailure};
use super::threads::LaneThreads;
use super::{Role, Shutdown, hostname};
use crate::api::health::Health;
use crate::config::Config;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::store::SessionPool;
use crate::{maintenance, store};

/// After the drain: time to put on record what has ended, and to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// After a start that came to nothing: time for answers under way, which are short.
const GIVE_UP: Duration = Duration::from_secs(1);

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
    farewell: SessionPool,
    served: Served,
}

/// What ends when, in this order.
#[derive(Debug)]
pub(super) struct ShutdownStages {
    /// Takes jobs and sends them.
    lanes: Supervisor,
    /// Answers requests.
    pub(super) api: Supervisor,
    /// Commits what requests handed in.
    pub(super) accept: Supervisor,
    /// Puts outcomes on record, and tokens aside.
    record: Supervisor,
    /// Beat, wake-ups, maintenance.
    heartbeat: Supervisor,
    /// The lanes' and the recorder's.
    _threads: LaneThreads,
}

impl Service {
    /// Puts a node together; it works when this returns.
    ///
    /// # Errors
    /// Anything that keeps it from working: the database, a credential, the address.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        let started = Self::start_until(config, role, &CancellationToken::new()).await?;
        Ok(started.expect("a start that is not stopped ends with a node or an error"))
    }

    /// As [`Self::start`]; none if `stop` came first. Health is answered from the first moment, and nothing that was started
    /// is left behind.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_until(
        config: Config,
        role: Role,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let (failure, health) = (Arc::new(TaskFailure::default()), Arc::new(Health::default()));
        let stages = ShutdownStages::start(&failure)?;
        let listeners = Listeners::bind(&config, role, &health, &stages.api).await?;
        let opened = {
            let mut opening = pin!(Database::open_until(&config, stop));
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
            Err(error) => return stages.give_up(error, stop).await,
        };
        let assembled = tokio::select! {
            assembled = Self::assemble(&config, role, &database, &health, &listeners, &stages) => assembled,
            () = stop.cancelled() => Err(PostgresUnusable::Stopped.into()),
        };
        match assembled {
            Ok(Parts { node_lease, farewell, served }) => Ok(Some(Self {
                config,
                database,
                node_lease,
                health,
                listeners,
                failure,
                stages,
                farewell,
                served,
            })),
            Err(error) => {
                health.start_draining();
                // Why it can't start is what the operator must read, whatever becomes of the rest.
                if let Err(error) = database.close().await {
                    tracing::error!(%error, "the database was not closed well");
                }
                stages.give_up(error, stop).await
            }
        }
    }

    /// Where the API answers; none for a worker.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.api
    }

    /// Where `/healthz` and `/readyz` are answered.
    pub fn health_address(&self) -> SocketAddr {
        self.listeners.health
    }

    /// From now on, what these sources say is taken over while the node runs.
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
        listeners: &Listeners,
        stages: &ShutdownStages,
    ) -> anyhow::Result<Parts> {
        database.prepare(config.database.migrate).await?;
        let pool = database.queue_pool();
        let mut conn = pool.acquire().await.context("Postgres can't be reached")?;
        let installation = store::apps::installation_key(&mut conn).await?;
        drop(conn);
        let no_app = Config { apps: BTreeMap::new(), ..config.clone() };
        let additions = Additions::find(&no_app, config, role, &pool).await?;
        let node_lease = enter(&pool, database, config).await?;

        let intakes = Arc::default();
        let notifier = Notifier::new(Arc::clone(&intakes), Arc::clone(&node_lease));
        let core = Core {
            pool,
            node_lease,
            intakes,
            notifier,
            leases: Arc::default(),
            installation,
            pruning_guards: Arc::default(),
        };

        let recorder = core.record(database, &stages.record);
        let dispatcher = role.sends().then(|| core.dispatcher(config, &recorder, &stages.lanes));
        let connections = listeners.connections.clone();
        let mut served = Served::new(no_app, role, dispatcher, connections, core.pool.clone());
        if let Some(additions) = additions {
            served.add(additions);
        }
        if role.sends() {
            core.expand(served.apps(), &stages.lanes);
        }
        core.upkeep(config, role, database, &stages.heartbeat);
        core.watch(database, health, &stages.heartbeat);
        if role.answers() {
            let hand_over = role.sends().then_some(recorder);
            let apps = Arc::clone(served.apps());
            core.answer(config, database, apps, hand_over, Arc::clone(health), listeners, stages);
        }
        Ok(Parts { node_lease: core.node_lease, farewell: core.pool, served })
    }

    /// Works until told to stop, or until a part of it dies.
    ///
    /// # Errors
    /// A part of it died, or the embedded Postgres would not stop.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let drained = tokio::select! {
            drained = self.work_and_drain(&shutdown) => drained,
            // To the end of the drain: without Postgres the last outcomes can't go on record.
            () = self.database.keep_running() => false,
        };
        if !drained {
            tracing::warn!(
                "not drained in time: what is still held goes to other nodes, or to the next start"
            );
        }
        let failure = Arc::clone(&self.failure);
        self.farewell(drained).await;
        if let Some(task) = failure.name() {
            bail!("task {task} died");
        }
        Ok(())
    }

    /// Returns whether everything came to its end in time.
    async fn work_and_drain(&self, shutdown: &Shutdown) -> bool {
        tokio::select! {
            () = shutdown.drain.cancelled() => {}
            () = shutdown.abort.cancelled() => {}
            () = self.failure.happened() => {}
        }
        self.health.start_draining();
        tokio::select! {
            drained = timeout(self.config.delivery.drain_timeout, self.drain()) => drained.is_ok(),
            () = shutdown.abort.cancelled() => false,
        }
    }

    /// Lanes first, so that requests are still answered while they finish.
    async fn drain(&self) {
        self.stages.lanes.end().await;
        self.stages.api.end().await;
        self.stages.accept.end().await;
        self.stages.record.end().await;
        self.stages.heartbeat.end().await;
    }

    async fn farewell(self, drained: bool) {
        if !drained {
            // No new attempts, and a last chance for what has ended.
            self.stages.lanes.stop.cancel();
            self.stages.api.stop.cancel();
            self.stages.accept.stop.cancel();
            let _late = timeout(FAREWELL, self.stages.record.end()).await;
            self.stages.heartbeat.stop.cancel();
        }
        let left = async {
            let mut conn = self.farewell.acquire().await.map_err(store::Error::from)?;
            store::nodes::deregister(&mut conn, self.node_lease.id()).await
        };
        match timeout(FAREWELL, left).await {
            Ok(Ok(())) => tracing::info!(node = self.node_lease.id().0, "left"),
            Ok(Err(error)) => tracing::warn!(%error, "left without a farewell; others notice soon"),
            Err(_) => tracing::warn!("left without a farewell; others notice soon"),
        }
        let _late = timeout(FAREWELL, self.farewell.close()).await;
        if let Err(error) = self.database.close().await {
            tracing::error!(%error, "the database was not closed well");
        }
    }
}

/// What a node that works keeps for later.
struct Parts {
    node_lease: Arc<NodeLease>,
    farewell: SessionPool,
    served: Served,
}

impl ShutdownStages {
    fn start(failure: &Arc<TaskFailure>) -> anyhow::Result<Self> {
        let threads = LaneThreads::start().context("there are no threads for the lanes")?;
        let stage = |threads: &Handle| Supervisor::new(threads, Arc::clone(failure));
        let own = Handle::current();
        // What is recorded comes from the lanes, and as much of it.
        let [lanes, record] = [(); 2].map(|()| stage(threads.handle()));
        let [api, accept, heartbeat] = [(); 3].map(|()| stage(&own));
        Ok(Self { lanes, api, accept, record, heartbeat, _threads: threads })
    }

    /// Ends what a start began that came to nothing: with its reason, or without one if it was told to stop.
    async fn give_up(
        &self,
        reason: anyhow::Error,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Service>> {
        let all = [&self.lanes, &self.api, &self.accept, &self.record, &self.heartbeat];
        all.iter().for_each(|stage| stage.stop.cancel());
        let _late = timeout(GIVE_UP, self.api.end()).await;
        if stop.is_cancelled() { Ok(None) } else { Err(reason) }
    }
}

/// Enters this node. Alone on its own database, every other node in it is a predecessor that is gone: its jobs need not
/// wait for the node time-out.
async fn enter(pool: &SessionPool, database: &Database, config: &Config) -> anyhow::Result<Arc<NodeLease>> {
    let name = format!("{}-{}", hostname(), std::process::id());
    let node_lease = NodeLease::register(pool, name, config.delivery.node_timeout).await?;
    if database.was_alone() {
        let mut conn = pool.acquire().await?;
        let dead = store::nodes::mark_others_dead(&mut conn, node_lease.id()).await?;
        maintenance::sweep(&mut conn, &dead).await?;
    }
    Ok(Arc::new(node_lease))
}
