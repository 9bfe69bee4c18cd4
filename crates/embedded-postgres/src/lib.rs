//! A private Postgres under a data folder: found, initialised, started, stopped.
//!
//! With it `pushpost serve` and `pushpost demo` need no database to be set up first; the tests and benches use it too. It
//! downloads nothing. It runs the newest installed server programs (`programs`), as another user if this process is root
//! (`account`), and connects over a Unix socket in a folder with a short path (`socket`).
//!
//! Several processes of one container may use one data folder at once (`serve`, and `keys create` beside it). Each
//! holds a shared lock while it does (`locks`); the first starts the server, the last stops it. Another container is
//! refused until all of them and the server have ended (`holder`). A process need not
//! end in order. After `kill -9` of this process the server runs on, and the next process attaches to it. After `kill -9`
//! of the server the next start removes what it left (`processes`, `server`).

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod account;
mod error;
mod holder;
mod home;
mod initialise;
mod locks;
mod names;
mod parameters;
mod processes;
mod programs;
mod run;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use self::holder::Entry;
use self::home::Home;
use self::locks::{StartLock, UserLock};
use self::run::Runner;
use self::server::{Server, Start, Users};

pub use self::error::Error;

/// The superuser that initdb makes, and the database of the service.
const NAME: &str = "pushpost";
/// Part of the socket's name only: the server does not listen on TCP.
const PORT: u16 = 5432;
/// How long a start may take unless its caller says otherwise, recovery after a crash included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often [`EmbeddedPostgres::keep_running`] looks whether the server lives.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What a private Postgres needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the service's data (`database.data_dir`); made if missing, may be relative.
    pub data_dir: PathBuf,
    /// Folder of `postgres`, `initdb` and `pg_ctl` (`database.postgres_bin_dir`); the newest found if absent.
    pub postgres_bin_dir: Option<PathBuf>,
    /// The server's `max_connections`: connections of all processes together.
    pub max_connections: u16,
}

/// A running private Postgres that this process uses.
///
/// Dropping it leaves the server running, as a crash would; end it with [`EmbeddedPostgres::stop`].
pub struct EmbeddedPostgres {
    server: Server,
    password: String,
    users: UserLock,
    alone: bool,
}

/// What a server needs before it is started.
struct Prepared {
    home: Home,
    runner: Runner,
    password: String,
    starting: StartLock,
    users: UserLock,
    alone: bool,
}

impl EmbeddedPostgres {
    /// Attaches to the server of this data folder if it runs, else initialises (if needed) and starts it, and makes
    /// the database `pushpost` if missing.
    ///
    /// Takes some seconds the first time, at most about a minute after a crash.
    ///
    /// # Errors
    /// No usable Postgres is installed, the folder cannot be used or another container uses it, or the server does
    /// not come up.
    pub async fn start(settings: &Settings) -> Result<Self, Error> {
        Self::start_until(settings, Duration::ZERO, START_TIMEOUT, &CancellationToken::new()).await
    }

    /// As [`Self::start`], waiting at most `patience` for another container to let go of the data folder, at most `timeout`
    /// for the server, and at most until `stop`.
    ///
    /// # Errors
    /// As [`Self::start`], or `stop` came first. No server is left running unless another process uses it.
    pub async fn start_until(
        settings: &Settings,
        patience: Duration,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let start = Start { timeout, stop };
        let prepared = tokio::select! {
            prepared = Self::prepare(settings, patience) => prepared?,
            () = stop.cancelled() => return Err(Error::Stopped),
        };
        let Prepared { home, runner, password, starting, users, alone } = prepared;
        let others = if alone { Users::WeAlone } else { Users::Others };
        let server =
            Server::ensure(home, runner, settings.max_connections, &password, others, start, &starting)
                .await?;
        Ok(Self { server, password, users, alone })
    }

    /// Everything before the server; it may be dropped at any time.
    async fn prepare(settings: &Settings, patience: Duration) -> Result<Prepared, Error> {
        let wanted = home::major_of(&settings.data_dir)?;
        let programs = programs::find(settings.postgres_bin_dir.as_deref(), wanted).await?;
        let home = Home::settle(&settings.data_dir).await?;
        let Entry { starting, users, is_alone: alone } = holder::enter(home.folder(), patience).await?;
        let runner = Runner::new(home.account().clone(), programs);
        let password = initialise::ensure(&home, &runner).await?;
        Ok(Prepared { home, runner, password, starting, users, alone })
    }

    /// Is there a database in this data folder? Changes nothing.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn exists(data_dir: &Path) -> Result<bool, Error> {
        Ok(home::major_of(data_dir)?.is_some())
    }

    /// How to reach the database `pushpost`. The same for as long as the data folder stays where it is.
    pub fn connect_options(&self) -> PgConnectOptions {
        server::connect_options(self.server.socket(), &self.password, NAME)
    }

    /// The same for people and children (`psql`). Contains the password: never log it.
    pub fn url(&self) -> String {
        let socket = self.server.socket().to_string_lossy().replace('/', "%2F");
        format!("postgres://{NAME}:{}@{socket}:{PORT}/{NAME}", self.password)
    }

    /// True if no other pushpost process used the data folder when this one came (then every node row of a
    /// predecessor is dead), whether the server was running or not.
    pub fn was_alone(&self) -> bool {
        self.alone
    }

    /// Starts the server again whenever it has died or its socket is gone, until dropped. The service runs this beside
    /// its other duties, so that `kill -9` of Postgres or a clean-up of `/tmp` costs seconds;
    /// [`Self::connect_options`] stay valid.
    pub async fn keep_running(&self) {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            if !self.server.seems_alive().await {
                tracing::warn!("the embedded Postgres is not running: starting it again");
            } else if socket::is_gone(self.server.socket()) {
                tracing::warn!("the socket of the embedded Postgres is gone: restarting it");
            } else {
                continue;
            }
            match self.start_again().await {
                Ok(()) => tracing::info!("the embedded Postgres runs again"),
                Err(error) => tracing::error!(%error, "the embedded Postgres does not start"),
            }
        }
    }

    /// This process has used the socket, so what it does not see is gone for all in this container.
    async fn start_again(&self) -> Result<(), Error> {
        let starting = StartLock::take(self.server.home().folder()).await?;
        let start = Start { timeout: START_TIMEOUT, stop: &CancellationToken::new() };
        self.server.ensure_running(&self.password, Users::WeAlone, start, &starting).await.map(drop)
    }

    /// Stops the server if no other process uses it, else leaves it running.
    ///
    /// Connections still open are ended; transactions not committed are rolled back.
    ///
    /// # Errors
    /// The lock could not be taken, or the server does not end within two minutes.
    pub async fn stop(self) -> Result<(), Error> {
        let starting = StartLock::take(self.server.home().folder()).await?;
        if self.users.is_alone(&starting)? {
            self.server.stop().await
        } else {
            tracing::debug!("others use the embedded Postgres: left running");
            Ok(())
        }
    }
}

/// Removes the database of a data folder, wherever it is. No process may be using it.
///
/// # Errors
/// Something of it can't be removed.
pub fn remove(data_dir: &Path) -> Result<(), Error> {
    home::remove(data_dir)
}

impl fmt::Debug for EmbeddedPostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedPostgres")
            .field("folder", &self.server.home().folder())
            .field("alone", &self.alone)
            .finish_non_exhaustive()
    }
}
