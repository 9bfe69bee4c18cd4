//! A node, put together and taken apart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::database::Database;
use super::listeners::{Listeners, serve};
use super::reload::{Reload, ReloadedLane, Reloader};
use super::supervisor::{Failure, Supervisor};
use super::threads::Threads;
use super::{Role, Shutdown, senders};
use crate::api::Surface;
use crate::api::health::Health;
use crate::api::rates::Rates;
use crate::config::Config;
use crate::dispatch::{Brakes, LaneSetup};
use crate::domain::{Apps, Class, Finding, InstallationKey};
use crate::fanout::FanOuts;
use crate::queue::accept::Acceptor;
use crate::queue::backlog::Backlog;
use crate::queue::holdings::Holdings;
use crate::queue::intake::{Intake, Intakes};
use crate::queue::membership::Membership;
use crate::queue::pulse::Pulse;
use crate::queue::recorder::Recorder;
use crate::queue::wake::Waker;
use crate::registry::audience::Finder;
use crate::registry::keys::Keys;
use crate::{api, dispatch, maintenance, store};

/// Batches of what was found about tokens that wait for the pruner; past it they are dropped and found again later.
const FINDING_BATCHES: usize = 1_024;
/// How long an attempt may take, waiting for a stream and resends included; FCM asks for at least 10 s for one request
/// (docs/providers.md 3.8).
const ATTEMPT: Duration = Duration::from_secs(20);
/// After the drain: time to put on record what has ended, and to say farewell.
const FAREWELL: Duration = Duration::from_secs(5);
const HEALTH: Duration = Duration::from_millis(500);
const SECONDS_PER_DAY: u64 = 86_400;

/// A running node.
#[derive(Debug)]
pub struct Service {
    config: Config,
    database: Database,
    membership: Arc<Membership>,
    health: Arc<Health>,
    address: Option<SocketAddr>,
    failure: Arc<Failure>,
    stages: Stages,
    farewell: PgPool,
    lanes: Vec<ReloadedLane>,
}

/// What ends when, in this order.
#[derive(Debug)]
struct Stages {
    /// Takes jobs and sends them.
    lanes: Supervisor,
    /// Answers requests.
    api: Supervisor,
    /// Commits what requests handed in.
    accept: Supervisor,
    /// Puts outcomes on record, and tokens aside.
    record: Supervisor,
    /// Beat, wake-ups, maintenance.
    pulse: Supervisor,
    /// The lanes' and the recorder's.
    _threads: Threads,
}

impl Service {
    /// Puts a node together; it works when this returns.
    ///
    /// # Errors
    /// Anything that keeps it from working: the database, a credential, the address.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        let listeners = match role.answers() {
            true => Some(Listeners::bind(&config).await?),
            false => None,
        };
        let database = Database::open(&config).await?;
        match Self::assemble(&config, role, &database, listeners).await {
            Ok(parts) => {
                let (membership, health, address, failure, stages, farewell, lanes) = parts;
                Ok(Self { config, database, membership, health, address, failure, stages, farewell, lanes })
            }
            Err(error) => {
                // Why it can't start is what the operator must read, whatever becomes of the rest.
                if let Err(error) = database.close().await {
                    tracing::error!(%error, "the database was not closed well");
                }
                Err(error)
            }
        }
    }

    /// Where the API answers; none for a worker.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// From now on, what these sources say is taken over while the node runs.
    pub fn reload(&self, reload: Reload) {
        let stage = &self.stages.lanes;
        let reloader = Reloader::new(reload, self.config.clone(), self.lanes.clone());
        stage.spawn("reload", reloader.run(stage.stop.clone()));
    }

    async fn assemble(
        config: &Config,
        role: Role,
        database: &Database,
        listeners: Option<Listeners>,
    ) -> anyhow::Result<Parts> {
        database.prepare(config.database.migrate).await?;
        let pool = database.queue_pool();
        let mut conn = pool.acquire().await.context("Postgres can't be reached")?;
        let installation = store::apps::installation_key(&mut conn).await?;
        let apps = Arc::new(senders::apps(&mut conn, config).await?);
        let setups = match role.sends() {
            true => senders::lanes(config, &apps).await?,
            false => Vec::new(),
        };
        let lanes = setups.iter().map(ReloadedLane::of).collect();
        drop(conn);
        let membership = enter(&pool, database, config).await?;

        let room = 2 * in_flight(config);
        let intakes: Intakes =
            setups.iter().map(|lane| (lane.id(), Arc::new(Intake::new(lane.id(), room)))).collect();
        let intakes = Arc::new(intakes);
        let waker = Waker::new(Arc::clone(&intakes), Arc::clone(&membership));
        let core = Core {
            pool,
            membership,
            intakes,
            waker,
            holdings: Arc::default(),
            installation,
            brakes: Arc::default(),
        };

        let failure = Arc::new(Failure::default());
        let stages = Stages::start(&failure)?;
        if role.sends() {
            core.expand(&apps, &stages.lanes);
        }
        let recorder = core.record(&stages.record);
        core.upkeep(config, role, database, &stages.pulse);
        core.send(config, setups, &recorder, &stages.lanes);
        let health = core.health(&stages.pulse);
        let hand_over = role.sends().then_some(recorder);
        let address = match listeners {
            Some(listeners) => Some(core.answer(
                config,
                database,
                apps,
                hand_over,
                Arc::clone(&health),
                listeners,
                &stages,
            )?),
            None => None,
        };
        Ok((core.membership, health, address, failure, stages, core.pool, lanes))
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
        self.stages.pulse.end().await;
    }

    async fn farewell(self, drained: bool) {
        if !drained {
            // No new attempts, and a last chance for what has ended.
            self.stages.lanes.stop.cancel();
            self.stages.api.stop.cancel();
            self.stages.accept.stop.cancel();
            let _late = timeout(FAREWELL, self.stages.record.end()).await;
            self.stages.pulse.stop.cancel();
        }
        let left = async {
            let mut conn = self.farewell.acquire().await.map_err(store::Error::from)?;
            store::nodes::leave(&mut conn, self.membership.id()).await
        };
        match timeout(FAREWELL, left).await {
            Ok(Ok(())) => tracing::info!(node = self.membership.id().0, "left"),
            Ok(Err(error)) => tracing::warn!(%error, "left without a farewell; others notice soon"),
            Err(_) => tracing::warn!("left without a farewell; others notice soon"),
        }
        let _late = timeout(FAREWELL, self.farewell.close()).await;
        if let Err(error) = self.database.close().await {
            tracing::error!(%error, "the database was not closed well");
        }
    }
}

type Parts =
    (Arc<Membership>, Arc<Health>, Option<SocketAddr>, Arc<Failure>, Stages, PgPool, Vec<ReloadedLane>);

impl Stages {
    fn start(failure: &Arc<Failure>) -> anyhow::Result<Self> {
        let threads = Threads::start().context("there are no threads for the lanes")?;
        let stage = |threads: &Handle| Supervisor::new(threads, Arc::clone(failure));
        let own = Handle::current();
        // What is recorded comes from the lanes, and as much of it.
        let [lanes, record] = [(); 2].map(|()| stage(threads.handle()));
        let [api, accept, pulse] = [(); 3].map(|()| stage(&own));
        Ok(Self { lanes, api, accept, record, pulse, _threads: threads })
    }
}

/// What the parts of a node share.
struct Core {
    pool: PgPool,
    membership: Arc<Membership>,
    intakes: Arc<Intakes>,
    waker: Waker,
    holdings: Arc<Holdings>,
    installation: InstallationKey,
    brakes: Arc<Brakes>,
}

impl Core {
    /// The recorder, and the pruner that its findings go to.
    fn record(&self, stage: &Supervisor) -> Recorder {
        let (findings_out, findings) = mpsc::channel::<Vec<Finding>>(FINDING_BATCHES);
        let holdings = Arc::clone(&self.holdings);
        let (recorder, writer) = Recorder::new(self.pool.clone(), holdings, self.waker.clone(), findings_out);
        stage.spawn("recorder", writer.run(stage.stop.clone()));
        stage.spawn("pruner", dispatch::prune(self.pool.clone(), Arc::clone(&self.brakes), findings));
        recorder
    }

    /// Beat, wake-ups and maintenance.
    fn upkeep(&self, config: &Config, role: Role, database: &Database, stage: &Supervisor) {
        let pulse = Pulse {
            pool: database.pulse_pool(),
            membership: Arc::clone(&self.membership),
            holdings: Arc::clone(&self.holdings),
            intakes: Arc::clone(&self.intakes),
            fan_outs: self.waker.fan_outs(),
            tasks: stage.tracker().clone(),
        };
        stage.spawn("pulse", pulse.run(stage.stop.clone()));
        let wake_pool = database.wake_pool();
        stage.spawn("wake-ups out", self.waker.clone().run_sender(wake_pool.clone(), stage.stop.clone()));
        if role.sends() {
            stage.spawn("wake-ups in", self.waker.clone().run_listener(wake_pool, stage.stop.clone()));
        }
        let duties = maintenance::Settings {
            pool: self.pool.clone(),
            membership: Arc::clone(&self.membership),
            retention_days: days(config.retention.notifications),
        };
        stage.spawn("maintenance", maintenance::run(duties, stage.stop.clone()));
    }

    /// The lanes.
    fn send(&self, config: &Config, setups: Vec<LaneSetup>, recorder: &Recorder, stage: &Supervisor) {
        let shared = dispatch::Shared {
            pool: self.pool.clone(),
            membership: Arc::clone(&self.membership),
            recorder: recorder.clone(),
            intakes: Arc::clone(&self.intakes),
            waker: self.waker.clone(),
            brakes: Arc::clone(&self.brakes),
            installation: self.installation.clone(),
            retry: config.delivery.retry,
            max_in_flight: in_flight(config),
            attempt_timeout: ATTEMPT,
            isolation: Arc::default(),
        };
        let spawn = |name, task| stage.spawn(name, task);
        dispatch::start(&shared, setups, stage.tracker(), &stage.stop, spawn);
    }

    /// Finds large audiences.
    fn expand(&self, apps: &Arc<Apps>, stage: &Supervisor) {
        let waker = self.waker.clone();
        let fan_outs = FanOuts {
            pool: self.pool.clone(),
            apps: Arc::clone(apps),
            some: self.waker.fan_outs(),
            found: Box::new(move |lane, priority| waker.waits(lane, Class::Bulk, priority)),
        };
        stage.spawn("fan-outs", fan_outs.run(stage.stop.clone()));
    }

    /// What `/readyz` says.
    fn health(&self, stage: &Supervisor) -> Arc<Health> {
        let health = Arc::new(Health::default());
        health.migrations_applied();
        let watch = watch_health(Arc::clone(&self.membership), Arc::clone(&health), stage.stop.clone());
        stage.spawn("health", watch);
        health
    }

    /// The API, and the committer behind it. Returns where it answers.
    #[expect(
        clippy::too_many_arguments,
        reason = "a composition root hands each part what it needs, by name"
    )]
    fn answer(
        &self,
        config: &Config,
        database: &Database,
        apps: Arc<Apps>,
        hand_over: Option<Recorder>,
        health: Arc<Health>,
        listeners: Listeners,
        stages: &Stages,
    ) -> anyhow::Result<SocketAddr> {
        let (membership, intakes) = (Arc::clone(&self.membership), Arc::clone(&self.intakes));
        let (acceptor, committer) =
            Acceptor::new(database.accept_pool(), membership, intakes, hand_over, self.waker.clone());
        stages.accept.spawn("accept", committer.run(stages.accept.stop.clone()));
        let (finder, desk) = Finder::new(database.pool().clone());
        stages.accept.spawn("finder", desk.run(stages.accept.stop.clone()));
        let state = api::State {
            apps,
            pool: database.pool().clone(),
            finder,
            installation: self.installation.clone(),
            keys: Keys::new(database.pool().clone()),
            acceptor,
            backlog: Backlog::new(database.pool().clone(), config.limits.max_pending),
            rates: Arc::new(rates(config)),
            limits: api::Limits {
                body_bytes: config.limits.body_bytes,
                targets: config.limits.targets,
                drain: config.delivery.drain_timeout,
            },
            default_ttl: config.delivery.default_ttl,
            health,
            waker: self.waker.clone(),
        };
        let address = listeners.public.local_addr().context("the listener has no address")?;
        tracing::info!(%address, "listening on http://{address}");
        let public = if listeners.internal.is_some() { Surface::Public } else { Surface::All };
        if let Some(listener) = listeners.internal {
            let address = listener.local_addr().context("the listener has no address")?;
            tracing::info!(%address, "operators' part on http://{address}");
            serve(listener, state.clone(), Surface::Internal, &stages.api);
        }
        serve(listeners.public, state, public, &stages.api);
        Ok(address)
    }
}

/// Enters this node. Alone on its own database, every other node in it is a predecessor that is gone: its jobs need not
/// wait for the node time-out.
async fn enter(pool: &PgPool, database: &Database, config: &Config) -> anyhow::Result<Arc<Membership>> {
    let name = format!("{}-{}", hostname(), std::process::id());
    let membership = Membership::enter(pool, name, config.delivery.node_timeout).await?;
    if database.was_alone() {
        let mut conn = pool.acquire().await?;
        let dead = store::nodes::bury_predecessors(&mut conn, membership.id()).await?;
        maintenance::sweep(&mut conn, &dead).await?;
    }
    Ok(Arc::new(membership))
}

fn rates(config: &Config) -> Rates {
    let limits = &config.limits;
    let proxies = config.server.trusted_proxies.clone();
    Rates::new(limits.requests_per_second, limits.register_per_minute, proxies)
}

fn in_flight(config: &Config) -> usize {
    usize::try_from(config.delivery.max_in_flight).unwrap_or(usize::MAX)
}

/// Tells `/readyz` when Postgres answers.
async fn watch_health(
    membership: Arc<Membership>,
    health: Arc<Health>,
    stop: tokio_util::sync::CancellationToken,
) {
    loop {
        if membership.since_answer() < 2 * HEALTH {
            health.postgres_answered();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEALTH) => {}
        }
    }
}

fn days(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(i32::MAX)
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}
