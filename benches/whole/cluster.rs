//! The Postgres of the bench: the product's own embedded one, in a folder that stays, so that templates do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pushpost::provider::built_in_platforms;
use pushpost::store::{Purpose, SessionPool};
use pushpost_embedded_postgres::{EmbeddedPostgres, Settings};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::usage;
use crate::wait::{SHORT, within};
use crate::watchdog::{Ward, Watchdog};

/// As the service starts its embedded server.
const CONNECTIONS: u16 = 100;
/// Databases of one run; templates have other names.
const SCRATCH: &str = "run_";
/// Copying and dropping a large database, and what it waits for: a checkpoint.
const LONG: Duration = Duration::from_secs(600);
/// Copying files, not pages through the write-ahead log, is many times faster; Postgres has the choice since 15.
const FILE_COPY_SINCE: i32 = 150_000;

/// A running Postgres.
pub(crate) struct Cluster {
    postgres: EmbeddedPostgres,
    version: i32,
    postmaster: u32,
}

impl Cluster {
    /// Starts it, or attaches to one that an earlier run left, and drops what that left in it.
    pub(crate) async fn start(folder: &Path, watchdog: &Watchdog) -> anyhow::Result<Self> {
        let settings =
            Settings { data_dir: folder.to_owned(), postgres_bin_dir: None, max_connections: CONNECTIONS };
        let postgres = EmbeddedPostgres::start(&settings).await.context("Postgres does not start")?;
        if !postgres.was_alone() {
            bail!("another bench runs in {}", folder.display());
        }
        let mut conn = PgConnection::connect_with(&postgres.connect_options()).await?;
        let (backend, version): (i32, i32) =
            sqlx::query_as("select pg_backend_pid(), current_setting('server_version_num')::int")
                .fetch_one(&mut conn)
                .await?;
        conn.close().await?;
        let postmaster = usage::parent_of(u32::try_from(backend)?)?;
        watchdog.guard(Ward::postmaster(postmaster))?;
        let cluster = Self { postgres, version, postmaster };
        cluster.sweep().await?;
        Ok(cluster)
    }

    /// Drops what measurements have left that came to no end.
    pub(crate) async fn sweep(&self) -> anyhow::Result<()> {
        for left in self.names(SCRATCH).await? {
            self.drop_database(&left).await?;
        }
        Ok(())
    }

    /// The process that all others of it are children of.
    pub(crate) fn postmaster(&self) -> u32 {
        self.postmaster
    }

    /// The server's version, such as `15.18`.
    pub(crate) fn version(&self) -> String {
        format!("{}.{}", self.version / 10_000, self.version % 10_000)
    }

    /// How a process of its own reaches a database. Contains the password.
    pub(crate) fn url(&self, database: &str) -> String {
        let url = self.postgres.url();
        let (server, _) = url.rsplit_once('/').expect("a URL names a database");
        format!("{server}/{database}")
    }

    /// How we reach a database.
    pub(crate) fn options(&self, database: &str) -> PgConnectOptions {
        self.postgres.connect_options().database(database)
    }

    /// As the service reaches a database for requests.
    pub(crate) fn pool(&self, database: &str) -> SessionPool {
        SessionPool::new(self.options(database), Purpose::Requests, 1).with_platforms(built_in_platforms())
    }

    /// A connection of sqlx. Its statements have no deadline.
    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = self.options(database);
        let connected = async { Ok(PgConnection::connect_with(&options).await?) };
        within(SHORT, "connecting to Postgres", connected).await
    }

    /// Runs statements, which are ours, one after the other.
    pub(crate) async fn run(&self, database: &str, sql: &str, limit: Duration) -> anyhow::Result<()> {
        let mut conn = self.connect(database).await?;
        let what: String = sql.trim_start().chars().take(60).collect();
        let executed = async { Ok(conn.execute(AssertSqlSafe(sql)).await?) };
        within(limit, &what, executed).await?;
        Ok(conn.close().await?)
    }

    /// Is there a database of this name?
    pub(crate) async fn has(&self, database: &str) -> anyhow::Result<bool> {
        Ok(self.names(database).await?.iter().any(|name| name == database))
    }

    /// The databases with names that begin so.
    pub(crate) async fn names(&self, beginning: &str) -> anyhow::Result<Vec<String>> {
        let mut conn = self.connect("postgres").await?;
        let names =
            sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)");
        let names = names.bind(beginning).fetch_all(&mut conn).await?;
        conn.close().await?;
        Ok(names)
    }

    /// A new database for one measurement, with everything that the template has.
    pub(crate) async fn scratch(&self, template: &str) -> anyhow::Result<String> {
        let name = format!("{SCRATCH}{:016x}", rand::random::<u64>());
        self.create(&name, template).await?;
        // Today's partitions: the template may be older.
        let days = "call create_day((now() at time zone 'UTC')::date);
                    call create_day((now() at time zone 'UTC')::date + 1);";
        self.run(&name, days, SHORT).await?;
        // What copying left to be written is written before anything is measured.
        self.run("postgres", "checkpoint", LONG).await?;
        Ok(name)
    }

    /// A database from another.
    pub(crate) async fn create(&self, name: &str, template: &str) -> anyhow::Result<()> {
        let strategy = if self.version >= FILE_COPY_SINCE { "strategy file_copy" } else { "" };
        self.run("postgres", &format!("create database {name} template {template} {strategy}"), LONG).await
    }

    /// Drops a database and ends its connections.
    pub(crate) async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.run("postgres", &format!("drop database if exists {name} with (force)"), LONG).await
    }

    /// Stops the server, and takes it off the watchdog's list.
    pub(crate) async fn stop(self, watchdog: &Watchdog) -> anyhow::Result<()> {
        let postmaster = self.postmaster;
        self.postgres.stop().await.context("Postgres does not stop")?;
        watchdog.forget(Ward::postmaster(postmaster));
        Ok(())
    }
}
