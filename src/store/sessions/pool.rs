//! A pool that lends sessions, a fixed number at a time.
//!
//! sqlx's own pool pings each connection that comes back, without a deadline, and its place is lost for ever if the
//! connection does not answer. This pool pings when it lends, with a deadline, and only a connection that was idle.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::hosts::{self, DatabaseHosts};
use super::orphans::ServerProcess;
use super::setup::{self, Purpose};
use super::shared_state::SharedPoolState;
use super::{DatabaseTime, PooledConnection, Session, faults};
use crate::domain::Platforms;
use crate::store::error_text;
use crate::telemetry::metrics::{Held, PoolMetrics, PostgresErrorClass, PostgresMetrics};

/// Longest time of a connection attempt, with the statements that set the session up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was used within this time is lent without a ping. A ping takes as long as the one statement of
/// most requests.
const UNPINGED_IDLE_MAX: Duration = Duration::from_secs(1);
/// An idle connection is closed after this long.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Any connection is closed after this long, because its caches in the server grow.
const AGE_MAX: Duration = Duration::from_secs(1800);
/// Longest time of the orderly end of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limits of a pool.
#[derive(Clone, Copy)]
pub(super) struct PoolLimits {
    /// The wait for a place in the pool, and for Postgres to accept connections again.
    acquire: Duration,
    /// A connection attempt, with the statements that set the session up.
    pub(super) connect: Duration,
    /// The answer of an idle connection to a ping.
    ping: Duration,
    /// A statement, from its start to its last row.
    pub(super) statement: Duration,
}

impl PoolLimits {
    fn of(purpose: Purpose) -> Self {
        Self {
            acquire: Duration::from_secs(5),
            connect: CONNECT_TIMEOUT,
            ping: Duration::from_secs(2),
            statement: purpose.statement_deadline(),
        }
    }
}

/// Lends [`Session`]s to one kind of work. A clone is the same pool.
#[derive(Clone)]
pub struct SessionPool {
    pub(super) inner: Arc<PoolInner>,
}

/// A pool's limits and idle connections. Clones of a [`SessionPool`] share it.
pub(super) struct PoolInner {
    pub(super) shared: Arc<SharedPoolState>,
    pub(super) limits: PoolLimits,
    pub(super) purpose: Purpose,
    pub(super) platforms: Platforms,
    places: Arc<Semaphore>,
    places_max: u32,
    idle: Mutex<Vec<IdleConnection>>,
    failure: Mutex<Option<PoolFailure>>,
    pub(super) metrics: PoolMetrics,
}

/// A place in the pool, which a session has until it is ready for its next use.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

/// A connection that waits for its next use.
struct IdleConnection {
    held: PooledConnection,
    _counted: Held,
}

/// Every statement and connection attempt of a pool has failed since some moment.
struct PoolFailure {
    since: Instant,
    /// The text of the last error.
    text: String,
}

impl SessionPool {
    /// A pool of at most `sessions_max` connections. None is opened before it is needed.
    pub fn new(options: PgConnectOptions, purpose: Purpose, sessions_max: u32) -> Self {
        Self::over_hosts(vec![options], purpose, sessions_max)
    }

    /// As [`Self::new`], for several hosts: each connection goes to the host that was used last, or to the next one
    /// that accepts writes.
    ///
    /// # Panics
    /// If `hosts` is empty.
    pub fn over_hosts(hosts: Vec<PgConnectOptions>, purpose: Purpose, sessions_max: u32) -> Self {
        Self::measured(hosts, purpose, sessions_max, PostgresMetrics::default())
    }

    /// As [`Self::over_hosts`]. This pool and its siblings count into `metrics`.
    ///
    /// # Panics
    /// If `hosts` is empty.
    pub fn measured(
        hosts: Vec<PgConnectOptions>,
        purpose: Purpose,
        sessions_max: u32,
        metrics: PostgresMetrics,
    ) -> Self {
        let hosts = hosts.into_iter().map(setup::without_parameters).collect();
        let shared = SharedPoolState::new(DatabaseHosts::new(hosts), metrics);
        Self::of(Arc::new(shared), purpose, sessions_max, PoolLimits::of(purpose), Platforms::default())
    }

    /// Another pool of the same database, for another purpose.
    pub fn sibling(&self, purpose: Purpose, sessions_max: u32) -> Self {
        let PoolInner { shared, platforms, .. } = &*self.inner;
        Self::of(Arc::clone(shared), purpose, sessions_max, PoolLimits::of(purpose), platforms.clone())
    }

    /// A new pool with sessions that understand the numbers of these platforms. Without any, no device or lane can be read.
    pub fn with_platforms(&self, platforms: Platforms) -> Self {
        let PoolInner { shared, purpose, places_max, limits, .. } = &*self.inner;
        Self::of(Arc::clone(shared), *purpose, *places_max, *limits, platforms)
    }

    /// A new pool with another deadline for each statement.
    pub fn with_statement_deadline(&self, statement: Duration) -> Self {
        self.with_limits(PoolLimits { statement, ..self.inner.limits })
    }

    /// A new pool with one value for all its time limits: for tests with a clock that runs ahead of the server.
    pub fn with_patience(&self, patience: Duration) -> Self {
        self.with_limits(PoolLimits {
            acquire: patience,
            connect: patience,
            ping: patience,
            statement: patience,
        })
    }

    fn with_limits(&self, limits: PoolLimits) -> Self {
        let PoolInner { shared, purpose, places_max, platforms, .. } = &*self.inner;
        Self::of(Arc::clone(shared), *purpose, *places_max, limits, platforms.clone())
    }

    fn of(
        shared: Arc<SharedPoolState>,
        purpose: Purpose,
        places_max: u32,
        limits: PoolLimits,
        platforms: Platforms,
    ) -> Self {
        let metrics = shared.metrics.pool(purpose.as_str());
        let inner = PoolInner {
            shared,
            metrics,
            limits,
            purpose,
            platforms,
            places: Arc::new(Semaphore::new(places_max as usize)),
            places_max,
            idle: Mutex::default(),
            failure: Mutex::default(),
        };
        let inner = Arc::new(inner);
        inner.shared.add(&inner);
        Self { inner }
    }

    /// Borrows a session, which goes back when it is dropped.
    ///
    /// # Errors
    /// All sessions were on loan for 5 s, Postgres is out of reach, or it refused the connection.
    pub async fn acquire(&self) -> Result<Session, sqlx::Error> {
        let asked = Instant::now();
        let acquired = self.acquire_until(asked + self.inner.limits.acquire).await;
        let waited = asked.elapsed();
        self.inner.metrics.wait.observe(waited);
        DatabaseTime::add(waited);
        acquired
    }

    async fn acquire_until(&self, until: Instant) -> Result<Session, sqlx::Error> {
        let permit = match timeout_at(until, Arc::clone(&self.inner.places).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(sqlx::Error::PoolClosed),
            Err(_) => return Err(self.inner.timed_out()),
        };
        let place = Place { _permit: permit, _counted: Held::new(&self.inner.metrics.used) };
        let held = match self.inner.take_living().await {
            Some(held) => held,
            None => self.inner.connect(until).await.inspect_err(|error| {
                self.inner.metrics.errors(faults::class(error)).inc();
                self.inner.note_failure(error);
            })?,
        };
        Ok(Session::new(held, Arc::clone(&self.inner), place))
    }

    /// A connection without deadlines for its statements: for migrations only, which may take long. `name` is its
    /// `application_name` on the server.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn connect_without_deadline(&self, name: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.options().clone().application_name(name);
        match timeout(CONNECT_TIMEOUT, setup::open(&options, Purpose::Migration, None, true)).await {
            Ok(opened) => Ok(opened?.0),
            Err(_) => Err(faults::no_answer("a connection attempt", CONNECT_TIMEOUT)),
        }
    }

    /// Host and port of each server that the database may be on.
    pub fn addresses(&self) -> String {
        hosts::addresses(self.inner.shared.hosts.all())
    }

    /// The name of the database; none if the URL leaves it to the server, which then takes the user's name.
    pub fn database_name(&self) -> Option<&str> {
        self.options().get_database()
    }

    pub(super) fn metrics(&self) -> &PoolMetrics {
        &self.inner.metrics
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        self.inner.shared.hosts.current().1
    }

    pub(super) fn end_on_server(&self, backend: ServerProcess) {
        self.inner.shared.end_on_server(backend);
    }

    /// Closes the pool: lends no session any more, waits until all are back, and closes their connections.
    pub async fn close(&self) {
        let _all = self.inner.places.acquire_many(self.inner.places_max).await;
        self.inner.places.close();
        let idle = std::mem::take(&mut *self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for held in idle {
            let _late = timeout(CLOSE_TIMEOUT, held.held.conn.close()).await;
        }
    }

    /// When the pool's statements began to fail because Postgres is out of reach. None: the last one did not.
    pub fn failing_since(&self) -> Option<Instant> {
        let failure = self.inner.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map(|failure| failure.since)
    }

    /// Runs a statement that fails if nothing can be written. Its success ends [`Self::failing_since`].
    ///
    /// # Errors
    /// Postgres is out of reach, or read-only.
    pub async fn probe(&self) -> Result<(), sqlx::Error> {
        // Fails with 25006 if the session is read-only, and stores nothing.
        sqlx::query("select pg_current_xact_id()").execute(&mut self.acquire().await?).await.map(|_| ())
    }
}

impl PoolInner {
    /// Notes an error after which the connection, or the attempt to open one, is given up.
    pub(super) fn note_failure(&self, error: &sqlx::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failure.as_ref().map_or_else(Instant::now, |failure| failure.since);
        *failure = Some(PoolFailure { since, text: error_text(error) });
    }

    pub(super) fn note_success(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The error of a wait for a place in the pool. While Postgres is out of reach it is the reason for that.
    fn timed_out(&self) -> sqlx::Error {
        self.metrics.errors(PostgresErrorClass::Timeout).inc();
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => io::Error::new(io::ErrorKind::TimedOut, failure.text.clone()).into(),
            None => sqlx::Error::PoolTimedOut,
        }
    }

    /// Takes an idle connection that answers. One that does not is thrown away, and so are the others of its
    /// generation.
    async fn take_living(&self) -> Option<PooledConnection> {
        while let Some(mut held) = self.take_idle() {
            if held.idle_since.elapsed() < UNPINGED_IDLE_MAX {
                return Some(held);
            }
            match timeout(self.limits.ping, held.conn.ping()).await {
                Ok(Ok(())) => return Some(held),
                _ => {
                    self.shared.distrust(held.state.generation);
                    self.shared.end_on_server(held.state.backend);
                }
            }
        }
        None
    }

    /// Takes the connection that came back last. The others close when they have been idle for [`IDLE_MAX`].
    fn take_idle(&self) -> Option<PooledConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.held.idle_since.elapsed() < IDLE_MAX);
        idle.pop().map(|idle| idle.held)
    }

    /// Throws away idle connections of this generation and older ones. The server ends their sessions, so that its
    /// connection slots are free before new connections are opened.
    pub(super) fn throw_away(&self, generation: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for idle in idle.extract_if(.., |idle| idle.held.state.generation <= generation) {
            self.shared.end_on_server(idle.held.state.backend);
        }
    }

    pub(super) fn put_back(&self, mut held: PooledConnection) {
        let old = held.connected_at.elapsed() > AGE_MAX;
        let suspected = held.state.generation != self.shared.generation.load(Ordering::Acquire);
        if suspected {
            return self.shared.end_on_server(held.state.backend);
        }
        if old || self.places.is_closed() {
            return self.shared.spawn(async move {
                let _late = timeout(CLOSE_TIMEOUT, held.conn.close()).await;
            });
        }
        held.idle_since = Instant::now();
        let idle = IdleConnection { held, _counted: Held::new(&self.metrics.idle) };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPool").field("purpose", &self.inner.purpose).finish_non_exhaustive()
    }
}
