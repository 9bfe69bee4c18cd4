//! Opens the database for the service and for commands: starts the embedded Postgres if no URL is configured, checks
//! the schema, and divides the connections among their uses.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::postgres::{self, PostgresUnusable};
use super::schema::{self, SchemaAccess};
use crate::config::{Config, DatabaseSettings, PostgresUrl};
use crate::domain::{Apps, InstallationKey};
use crate::store::migrations::{Migrations, SchemaState};
use crate::store::{self, Purpose, Session, SessionPool};
use crate::telemetry::metrics::PostgresMetrics;
use pushpost_embedded_postgres::{EmbeddedPostgres, Settings};

/// How long reading the applied migrations may take.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(15);
/// How long closing waits for connections in use. Those left end with the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of the queue: pruner, fan-outs, and the lanes' prefetchers.
const QUEUE_CONNECTIONS: u32 = 4;
/// A connection for the leader's duties alone, because their statements may take longer.
const MAINTENANCE_CONNECTIONS: u32 = 1;
/// A connection for accept alone, because callers wait for it, and one for notifications with idempotency keys.
const ACCEPT_CONNECTIONS: u32 = 1;
const ACCEPT_KEYED_CONNECTIONS: u32 = 1;
/// A connection for the recorder alone: its statement is the largest one, and each server process plans it and fills
/// its caches for it.
const RECORD_CONNECTIONS: u32 = 1;
/// A connection for the heartbeat and its tick. Wake-ups have two, of which one listens and is outside the pool.
const PULSE_CONNECTIONS: u32 = 1;
const WAKE_CONNECTIONS: u32 = 2;
const LISTENING_CONNECTIONS: u32 = 1;
/// Connections of what operators are shown.
const OBSERVE_CONNECTIONS: u32 = 2;
/// All connections but those of requests.
const OTHER_CONNECTIONS: u32 = QUEUE_CONNECTIONS
    + MAINTENANCE_CONNECTIONS
    + ACCEPT_CONNECTIONS
    + ACCEPT_KEYED_CONNECTIONS
    + RECORD_CONNECTIONS
    + PULSE_CONNECTIONS
    + WAKE_CONNECTIONS
    + OBSERVE_CONNECTIONS;
/// Connections of requests at least.
const REQUEST_CONNECTIONS_MIN: u32 = 2;
/// `max_connections` of the embedded server, which several processes may use.
const SERVER_CONNECTIONS: u16 = 100;

/// An open database, with the embedded Postgres if no URL is configured.
#[derive(Debug)]
pub struct Database {
    embedded: Option<EmbeddedPostgres>,
    pool: SessionPool,
    accept: SessionPool,
    record: SessionPool,
    observe: SessionPool,
    most: u32,
}

/// Connections of this process to Postgres at most, of all pools together.
pub(super) fn connections_max(settings: &DatabaseSettings) -> u32 {
    settings.max_connections.max(OTHER_CONNECTIONS + REQUEST_CONNECTIONS_MIN)
}

impl Database {
    /// Connects, after starting the embedded Postgres if there is no `database.url`. The schema may be missing or old:
    /// see [`Self::admit`].
    ///
    /// # Errors
    /// The URL can't be read, the server can't be reached or started, or there is no embedded database and `access`
    /// does not allow to create one.
    pub async fn open(config: &Config, access: SchemaAccess) -> anyhow::Result<Self> {
        let (embedded, hosts) =
            find(&config.database, access, Duration::ZERO, &CancellationToken::new()).await?;
        let usable = postgres::check(&hosts).await;
        Self::of(config, embedded, usable, PostgresMetrics::default()).await
    }

    /// As [`Self::open`], for a service: waits up to `database.start_timeout` for Postgres, or for another container
    /// that holds `database.data_dir`, and at most until `stop`.
    ///
    /// # Errors
    /// As [`Self::open`], or `stop` came first. No embedded server is left running.
    pub(super) async fn open_until(
        config: &Config,
        metrics: &PostgresMetrics,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let patience = config.database.start_timeout;
        let (embedded, hosts) = find(&config.database, SchemaAccess::Upgrade, patience, stop).await?;
        let usable = postgres::wait_until_usable(&hosts, patience, stop).await;
        Self::of(config, embedded, usable, metrics.clone()).await
    }

    async fn of(
        config: &Config,
        embedded: Option<EmbeddedPostgres>,
        usable: Result<Vec<PgConnectOptions>, PostgresUnusable>,
        metrics: PostgresMetrics,
    ) -> anyhow::Result<Self> {
        let hosts = match usable {
            Ok(hosts) => hosts,
            Err(unusable) => {
                if let Some(embedded) = embedded
                    && let Err(error) = embedded.stop().await
                {
                    tracing::error!(%error, "the embedded Postgres did not stop");
                }
                return Err(unusable.into());
            }
        };
        let settings = &config.database;
        let most = settings.max_connections;
        let rest = most.saturating_sub(OTHER_CONNECTIONS).max(REQUEST_CONNECTIONS_MIN);
        let pool = SessionPool::measured(hosts, Purpose::Requests, rest, metrics);
        let pool = pool.with_platforms(config.providers.platforms());
        if config.retention.events.is_zero() {
            pool.log_no_events();
        }
        let accept = pool.sibling(Purpose::Accept, ACCEPT_CONNECTIONS);
        let record = pool.sibling(Purpose::Record, RECORD_CONNECTIONS);
        let observe = pool.sibling(Purpose::Observe, OBSERVE_CONNECTIONS);
        Ok(Self { embedded, pool, accept, record, observe, most })
    }

    /// The connections of requests and commands.
    pub fn pool(&self) -> &SessionPool {
        &self.pool
    }

    /// One connection for a command.
    ///
    /// # Errors
    /// Postgres can't be reached.
    pub async fn connection(&self) -> anyhow::Result<Session> {
        self.pool.acquire().await.map_err(store::Error::from).with_context(|| self.place())
    }

    /// The configured apps. Their rows are created if they are missing.
    ///
    /// # Errors
    /// Postgres can't be reached.
    pub async fn apps(&self, config: &Config) -> anyhow::Result<Apps> {
        super::senders::apps(&mut self.connection().await?, config).await
    }

    /// The key that public ids are made with.
    ///
    /// # Errors
    /// Postgres can't be reached.
    pub async fn installation_key(&self) -> anyhow::Result<InstallationKey> {
        Ok(store::apps::installation_key(&mut self.connection().await?).await?)
    }

    /// Connections for the queue: pruner, fan-outs and lanes.
    pub(super) fn queue_pool(&self) -> SessionPool {
        self.pool.sibling(Purpose::Queue, QUEUE_CONNECTIONS.min(self.most))
    }

    /// The connection of the leader, or of a command that does the leader's work.
    pub fn maintenance_pool(&self) -> SessionPool {
        self.pool.sibling(Purpose::Maintenance, MAINTENANCE_CONNECTIONS)
    }

    /// The connection of accept.
    pub(super) fn accept_pool(&self) -> SessionPool {
        self.accept.clone()
    }

    /// The recorder's connection.
    pub(super) fn record_pool(&self) -> SessionPool {
        self.record.clone()
    }

    /// Connections of what operators are shown: the leader's figures, and answers about single notifications.
    pub fn observe_pool(&self) -> SessionPool {
        self.observe.clone()
    }

    /// The heartbeat's own connection.
    pub(super) fn heartbeat_pool(&self) -> SessionPool {
        self.pool.sibling(Purpose::Heartbeat, PULSE_CONNECTIONS)
    }

    /// Connections for wake-ups.
    pub(super) fn wake_pool(&self) -> SessionPool {
        self.pool.sibling(Purpose::WakeUps, WAKE_CONNECTIONS - LISTENING_CONNECTIONS)
    }

    /// Whether the database is embedded and no other process used it at the start. Then every other node in it has
    /// ended.
    pub fn was_alone(&self) -> bool {
        self.embedded.as_ref().is_some_and(EmbeddedPostgres::was_alone)
    }

    /// Restarts an embedded server that was killed; never returns.
    pub(super) async fn keep_running(&self) {
        match &self.embedded {
            Some(embedded) => {
                embedded.keep_running().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Applies pending migrations if `access` allows to, and returns the names of those that were pending.
    ///
    /// # Errors
    /// The schema is missing, older or newer, and `access` does not allow to change that; or a migration failed.
    pub async fn admit(&self, access: SchemaAccess) -> anyhow::Result<Vec<String>> {
        if !access.decide(&self.schema().await?)? {
            return Ok(Vec::new());
        }
        // On a connection of its own: a migration may take longer than any request.
        let name = format!("pushpost migrates on {}, process {}", super::hostname(), std::process::id());
        let conn = self.pool.connect_without_deadline(&name).await.map_err(store::Error::from);
        let mut conn = conn.with_context(|| self.place())?;
        let applied = schema::migrate(&mut conn, &Migrations::of_this_program()).await;
        let applied = applied.with_context(|| self.place())?;
        // The migrations are done, so an error at the end of the connection does not matter.
        let _late = tokio::time::timeout(CLOSE_TIMEOUT, conn.close()).await;
        Ok(applied)
    }

    /// How the schema compares with the program's.
    ///
    /// # Errors
    /// Postgres can't be reached.
    pub async fn schema(&self) -> anyhow::Result<SchemaState> {
        let conn = self.pool.connect_without_deadline("pushpost").await.map_err(store::Error::from);
        let mut conn = conn.with_context(|| self.place())?;
        let state =
            tokio::time::timeout(SCHEMA_TIMEOUT, Migrations::of_this_program().state(&mut conn)).await;
        let state = match state {
            Ok(state) => state.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow!("no answer within {} s", SCHEMA_TIMEOUT.as_secs())),
        };
        state.context("the schema can't be read").with_context(|| self.place())
    }

    /// The context of an error: which Postgres, by its addresses.
    pub fn place(&self) -> String {
        format!("PostgreSQL at {}", self.pool.addresses())
    }

    /// Applies pending migrations if `migrate`; else checks that there are none.
    ///
    /// # Errors
    /// Migrations are pending and may not be applied, or can't be.
    pub(super) async fn prepare(&self, migrate: bool) -> anyhow::Result<()> {
        let access = if migrate { SchemaAccess::Upgrade } else { SchemaAccess::Use };
        for name in self.admit(access).await? {
            tracing::info!(name, "migration is applied");
        }
        Ok(())
    }

    /// Closes all connections. The embedded Postgres stops, unless another process uses it.
    ///
    /// # Errors
    /// The embedded Postgres did not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        let _late = tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close()).await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await.context("the embedded Postgres did not stop")?;
        }
        Ok(())
    }
}

/// The hosts of the configured database, or the embedded one, which runs when this returns.
async fn find(
    settings: &DatabaseSettings,
    access: SchemaAccess,
    patience: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<(Option<EmbeddedPostgres>, Vec<PgConnectOptions>)> {
    let (embedded, hosts) = match &settings.url {
        Some(url) => {
            let url = PostgresUrl::parse(url.expose()).map_err(|fault| anyhow!("database.url {fault}"))?;
            for parameter in &url.without_effect {
                tracing::debug!(parameter, "parameter of database.url has no effect");
            }
            (None, postgres::hosts_of(&url).map_err(|_| anyhow!("database.url can't be read"))?)
        }
        None => {
            if !access.may_create() && !EmbeddedPostgres::exists(&settings.data_dir)? {
                let folder = settings.data_dir.display();
                bail!("there is no database in {folder} yet; start pushpost serve, or run pushpost migrate");
            }
            let server = Settings {
                data_dir: settings.data_dir.clone(),
                postgres_bin_dir: settings.postgres_bin_dir.clone(),
                max_connections: SERVER_CONNECTIONS,
            };
            let embedded = EmbeddedPostgres::start_until(&server, patience, settings.start_timeout, stop)
                .await
                .context("the embedded Postgres can't be used")?;
            let options = embedded.connect_options();
            (Some(embedded), vec![options])
        }
    };
    // No other parameters at the start of a session, because connection poolers refuse them.
    let plain = |host: PgConnectOptions| host.application_name("pushpost").extra_float_digits(None);
    Ok((embedded, hosts.into_iter().map(plain).collect()))
}
