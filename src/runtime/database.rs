//! The database: the embedded Postgres where none is configured, connections for each use, and migrations.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio_util::sync::CancellationToken;

use super::postgres::{self, Unusable};
use super::schema::{self, SchemaAccess};
use crate::config::{Config, DatabaseSettings, PostgresUrl};
use crate::domain::{Apps, InstallationKey};
use crate::embedded_postgres::{EmbeddedPostgres, Settings};
use crate::store::migrations::{Migrations, SchemaState};
use crate::store::{self, planner};

/// Nobody waits longer for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection of the requests' that was used so lately lives: else one of them in so many seconds is told that Postgres
/// is out of reach, which it was.
const TRUSTED: Duration = Duration::from_secs(1);
/// At the end, nobody waits longer for connections that are still in use; the process takes them along.
const CLOSE: Duration = Duration::from_secs(5);
/// Connections of the queue: leader, pruner, fan-outs, and the lanes' feeders.
const QUEUE_CONNECTIONS: u32 = 5;
/// Accept has one to itself: callers wait for it.
const ACCEPT_CONNECTIONS: u32 = 1;
/// And the recorder, whose one statement is the largest there is: each server process plans it, and warms its caches for it.
const RECORD_CONNECTIONS: u32 = 1;
/// Beat and tick have one to themselves; wake-ups two.
const PULSE_CONNECTIONS: u32 = 1;
const WAKE_CONNECTIONS: u32 = 2;
/// All of them together, besides those of the requests.
const OTHER_CONNECTIONS: u32 =
    QUEUE_CONNECTIONS + ACCEPT_CONNECTIONS + RECORD_CONNECTIONS + PULSE_CONNECTIONS + WAKE_CONNECTIONS;
/// Least connections of the requests.
const REQUEST_CONNECTIONS_MIN: u32 = 2;
/// The embedded server's own limit: several processes may use it.
const SERVER_CONNECTIONS: u16 = 100;

/// An open database, with the embedded Postgres where none is configured.
#[derive(Debug)]
pub struct Database {
    embedded: Option<EmbeddedPostgres>,
    options: PgConnectOptions,
    pool: PgPool,
    most: u32,
}

/// Most connections to Postgres at a time, of all pools together.
pub(super) fn connections_max(settings: &DatabaseSettings) -> u32 {
    settings.max_connections.max(OTHER_CONNECTIONS + REQUEST_CONNECTIONS_MIN)
}

impl Database {
    /// Connects, and starts the embedded Postgres first if there is no `database.url`. The schema may be missing or old:
    /// see [`Self::admit`].
    ///
    /// # Errors
    /// The URL can't be read, the server can't be reached or started, or there is no embedded database and `access` does
    /// not allow to make one.
    pub async fn open(config: &Config, access: SchemaAccess) -> anyhow::Result<Self> {
        let (embedded, hosts) =
            find(&config.database, access, Duration::ZERO, &CancellationToken::new()).await?;
        let usable = postgres::check(&hosts).await;
        Self::of(config, embedded, usable).await
    }

    /// As [`Self::open`], for a service: waits for Postgres, or for another container that holds `database.data_dir`, for
    /// `database.start_timeout`, at most until `stop`.
    ///
    /// # Errors
    /// As [`Self::open`], or `stop` came first. No embedded server is left running.
    pub(super) async fn open_until(config: &Config, stop: &CancellationToken) -> anyhow::Result<Self> {
        let patience = config.database.start_timeout;
        let (embedded, hosts) = find(&config.database, SchemaAccess::Upgrade, patience, stop).await?;
        let usable = postgres::wait_until_usable(&hosts, patience, stop).await;
        Self::of(config, embedded, usable).await
    }

    async fn of(
        config: &Config,
        embedded: Option<EmbeddedPostgres>,
        usable: Result<PgConnectOptions, Unusable>,
    ) -> anyhow::Result<Self> {
        let options = match usable {
            Ok(options) => options,
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
        // Asking a connection whether it lives takes as long as most requests' one statement does.
        let pool = pool(rest).test_before_acquire(false).before_acquire(|connection, about| {
            Box::pin(async move {
                match about.idle_for < TRUSTED {
                    true => Ok(true),
                    false => connection.ping().await.map(|()| true),
                }
            })
        });
        let pool = pool.connect_lazy_with(options.clone().options(planner::REQUESTS));
        Ok(Self { embedded, options, pool, most })
    }

    /// For requests and commands.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One connection for a command.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn connection(&self) -> anyhow::Result<PoolConnection<sqlx::Postgres>> {
        Ok(self.pool.acquire().await.map_err(store::Error::from)?)
    }

    /// The configured apps, with their rows, which are made if they are missing.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn apps(&self, config: &Config) -> anyhow::Result<Apps> {
        super::senders::apps(&mut *self.connection().await?, config).await
    }

    /// Makes public ids.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn installation_key(&self) -> anyhow::Result<InstallationKey> {
        Ok(store::apps::installation_key(&mut *self.connection().await?).await?)
    }

    /// Connections that work the queue.
    pub(super) fn queue_pool(&self) -> PgPool {
        self.pool_of_the_queue(QUEUE_CONNECTIONS.min(self.most))
    }

    /// The connection of what is accepted.
    pub(super) fn accept_pool(&self) -> PgPool {
        self.pool_of_the_queue(ACCEPT_CONNECTIONS)
    }

    /// The recorder's connection.
    pub(super) fn record_pool(&self) -> PgPool {
        self.pool_of_the_queue(RECORD_CONNECTIONS)
    }

    /// The beat's own connection.
    pub(super) fn pulse_pool(&self) -> PgPool {
        self.pool_of_the_queue(PULSE_CONNECTIONS)
    }

    /// They are used all the time: asking each whether it lives would double the round trips, and whoever uses them tries
    /// again anyway.
    fn pool_of_the_queue(&self, connections: u32) -> PgPool {
        let options = self.options.clone().options(planner::QUEUE);
        pool(connections).test_before_acquire(false).connect_lazy_with(options)
    }

    /// Connections of wake-ups.
    pub(super) fn wake_pool(&self) -> PgPool {
        pool(WAKE_CONNECTIONS).connect_lazy_with(self.options.clone())
    }

    /// Does this process have the database to itself, so that every node in it is a predecessor of ours?
    pub(super) fn was_alone(&self) -> bool {
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
        let mut conn = self.options.clone().application_name(&name).connect().await?;
        let applied = schema::migrate(&mut conn, &Migrations::of_this_program()).await?;
        conn.close().await?;
        Ok(applied)
    }

    /// How the schema compares with the program's.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn schema(&self) -> anyhow::Result<SchemaState> {
        let mut conn = self.pool.acquire().await?;
        Ok(Migrations::of_this_program().state(&mut conn).await?)
    }

    /// Migrates if the configuration says so; else insists that nothing is pending.
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

    /// Lets go; the embedded Postgres stops unless another process uses it.
    ///
    /// # Errors
    /// It would not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        let _late = tokio::time::timeout(CLOSE, self.pool.close()).await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await.context("the embedded Postgres did not stop")?;
        }
        Ok(())
    }
}

/// Where the database is: the configured one, or the embedded one, which runs then.
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
                tracing::debug!(parameter, "a parameter of database.url has no effect");
            }
            let read = |host| url.url_of(host).parse::<PgConnectOptions>();
            let hosts: Result<Vec<_>, _> = url.hosts.iter().map(read).collect();
            (None, hosts.map_err(|_| anyhow!("database.url can't be read"))?)
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
    Ok((embedded, hosts.into_iter().map(|host| host.application_name("pushpost")).collect()))
}

fn pool(most: u32) -> PgPoolOptions {
    let options = PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE);
    // Before anything is stored over it.
    options.after_connect(|connection, _| Box::pin(store::timeline::follow(connection)))
}
