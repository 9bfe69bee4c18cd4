//! The server process: attached to if it runs, started if not, and stopped.
//!
//! Whether it is ready is found by connecting, never by reading its log.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection as _, Executor as _};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::home::{self, Home};
use super::locks::{ServerLock, StartLock};
use super::processes::{self, Presence};
use super::run::{self, Runner};
use super::{NAME, PORT, parameters, socket};

/// `CREATE DATABASE` copies a template of some megabytes.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A server that stops removes its socket just before it ends; one without a socket for longer has lost it.
const SOCKET_PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_STEP: Duration = Duration::from_millis(50);
const START_STEP: Duration = Duration::from_secs(1);
/// `pg_ctl stop -t`; fast mode writes a checkpoint, which can take that long.
const STOP_SECONDS: &str = "60";
/// The same for a server that was never ready.
const STOP_SOON_SECONDS: &str = "5";
/// Above what `pg_ctl` was told to wait.
const PG_CTL_DEADLINE: Duration = Duration::from_secs(70);
/// At a start, a longer log is put aside as `server.log.1`.
const LOG_BYTES: u64 = 8 << 20;

/// A server and how to start it again.
#[derive(Debug)]
pub(super) struct Server {
    home: Home,
    runner: Runner,
    max_connections: u16,
    socket: PathBuf,
}

/// How long a start may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// From the first try to a connection, recovery after a crash included.
    pub(super) timeout: Duration,
    /// Ends the start at once.
    pub(super) stop: &'a CancellationToken,
}

/// Whether a server that cannot be reached may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// No other process uses it.
    WeAlone,
    /// Other processes use it, and may see a socket that this process does not (a service with a private `/tmp`).
    Others,
}

/// Why there is no connection now.
enum Unready {
    /// There may be one later: the server starts or stops.
    Yet(String),
    /// Waiting does not help.
    Ever(sqlx::Error),
}

impl Server {
    /// A server that takes connections to the database `pushpost`.
    pub(super) async fn ensure(
        home: Home,
        runner: Runner,
        max_connections: u16,
        password: &str,
        users: Users,
        start: Start<'_>,
        starting: &StartLock,
    ) -> Result<Self, Error> {
        let mut server = Self { home, runner, max_connections, socket: PathBuf::new() };
        match server.ensure_running(password, users, start, starting).await {
            Ok(socket) => {
                server.socket = socket;
                Ok(server)
            }
            Err(error) => {
                if users == Users::WeAlone {
                    server.stop_what_was_started().await;
                }
                Err(error)
            }
        }
    }

    /// A start that fails leaves no server behind. If the server does not stop either, the error of the start is answered.
    async fn stop_what_was_started(&self) {
        let stopped = match processes::look(&self.home, &self.runner).await {
            Ok(Presence::Postmaster(found)) => self.stop_soon(found.socket.as_deref()).await,
            Ok(Presence::Orphans(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            tracing::error!(%error, "the embedded Postgres may still run after a failed start");
        }
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The folder of the Unix socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) async fn seems_alive(&self) -> bool {
        processes::seems_alive(&self.home, &self.runner).await
    }

    /// Attaches to a running server or starts one; returns the folder of its socket.
    pub(super) async fn ensure_running(
        &self,
        password: &str,
        users: Users,
        start: Start<'_>,
        starting: &StartLock,
    ) -> Result<PathBuf, Error> {
        let begun = Instant::now();
        let give_up = begun + start.timeout;
        let mut detail = String::from("nothing tried");
        while Instant::now() < give_up {
            if start.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            match processes::look(&self.home, &self.runner).await? {
                Presence::Postmaster(processes::PidFile { socket: Some(socket), .. }) => {
                    let ensured = tokio::select! {
                        ensured = ensure_database(&socket, password) => ensured,
                        () = start.stop.cancelled() => return Err(Error::Stopped),
                    };
                    match ensured {
                        Ok(()) => return Ok(socket),
                        Err(Unready::Ever(error)) => return Err(Error::Refused(error)),
                        Err(Unready::Yet(words)) => detail = words,
                    }
                    if users == Users::WeAlone
                        && begun.elapsed() > SOCKET_PATIENCE
                        && socket::is_gone(&socket)
                    {
                        tracing::warn!(socket = %socket.display(), "the socket was removed: restarting the embedded Postgres");
                        self.stop().await?;
                    }
                    sleep(CONNECT_STEP).await;
                }
                Presence::Postmaster(_) => sleep(CONNECT_STEP).await,
                Presence::Orphans(orphans) => {
                    processes::end_orphans(orphans, &self.home, &self.runner).await?;
                    let Some(lock) = ServerLock::take(self.home.folder(), starting)? else {
                        detail =
                            String::from("a server process that is not seen from here holds server.lock");
                        sleep(START_STEP).await;
                        continue;
                    };
                    processes::remove_pid_file(&self.home, &lock)?;
                    // Not the end: an orphan's shared memory may take a moment to go.
                    let patience = give_up.saturating_duration_since(Instant::now());
                    if let Err(error) = self.spawn(lock, patience, start.stop).await
                        && !start.stop.is_cancelled()
                    {
                        detail = format!("{error}; its log ends: {}", self.end_of_log());
                        tracing::warn!(detail, "the embedded Postgres did not start yet");
                        sleep(START_STEP).await;
                    }
                }
            }
        }
        Err(Error::NotReady { seconds: start.timeout.as_secs(), detail, log: self.home.log() })
    }

    /// Starts a postmaster that outlives this process. `pg_ctl` gives it a session of its own, `/dev/null` as its input and
    /// the log as its output, and is not its parent for long, so it never becomes a zombie of this process. All names are
    /// relative to the home, since `pg_ctl` puts them into a shell command.
    ///
    /// `pg_ctl` is never abandoned before the postmaster can be found by its file, so that none is left behind.
    async fn spawn(
        &self,
        lock: ServerLock,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let socket = socket::prepare(self.home.folder(), self.home.account(), &lock)?;
        let conf = parameters::text(&socket, self.max_connections);
        home::write_whole(&self.home.folder().join("server.conf"), conf.as_bytes(), 0o644, None)?;
        self.home.restrict()?;
        self.prepare_log()?;
        let seconds = patience.as_secs().max(1).to_string();
        let options = "-c config_file=server.conf";
        let arguments =
            ["start", "-s", "-w", "-t", &seconds, "-D", "data", "-l", "server.log", "-o", options];
        let deadline = patience + PG_CTL_DEADLINE;
        let mut started =
            pin!(self.runner.run_with_lock("pg_ctl", arguments, self.home.folder(), deadline, lock));
        tokio::select! {
            started = &mut started => return started,
            () = stop.cancelled() => {}
        }
        loop {
            // In mid-recovery there is nothing to write down: a crash costs no more than any other end.
            if let Ok(Presence::Postmaster(_)) = processes::look(&self.home, &self.runner).await
                && let Err(error) = self.pg_ctl_stop("immediate", STOP_SECONDS).await
            {
                tracing::debug!(%error, "the embedded Postgres does not stop yet");
            }
            tokio::select! {
                _ = &mut started => return Err(Error::Stopped),
                () = sleep(CONNECT_STEP) => {}
            }
        }
    }

    /// Ends the server: open transactions are rolled back, a checkpoint is written.
    pub(super) async fn stop(&self) -> Result<(), Error> {
        let fast = self.pg_ctl_stop("fast", STOP_SECONDS).await;
        if let Err(error) = fast
            && let Presence::Postmaster(_) = processes::look(&self.home, &self.runner).await?
        {
            tracing::warn!(%error, "the embedded Postgres does not stop: ending it as a crash would");
            self.pg_ctl_stop("immediate", STOP_SECONDS).await?;
        }
        socket::remove(&self.socket);
        Ok(())
    }

    /// As [`Self::stop`], faster: for a server that was not used yet, which has little to write, while a caller waits.
    async fn stop_soon(&self, socket: Option<&Path>) -> Result<(), Error> {
        if self.pg_ctl_stop("fast", STOP_SOON_SECONDS).await.is_err()
            && let Presence::Postmaster(_) = processes::look(&self.home, &self.runner).await?
        {
            self.pg_ctl_stop("immediate", STOP_SECONDS).await?;
        }
        socket.into_iter().for_each(socket::remove);
        Ok(())
    }

    async fn pg_ctl_stop(&self, mode: &str, seconds: &str) -> Result<(), Error> {
        let arguments = ["stop", "-s", "-w", "-t", seconds, "-D", "data", "-m", mode];
        self.runner.run("pg_ctl", arguments, self.home.folder(), PG_CTL_DEADLINE).await
    }

    /// The log must be there before `pg_ctl` appends to it: its user may make no file in the home.
    fn prepare_log(&self) -> Result<(), Error> {
        let path = self.home.log();
        if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_BYTES) {
            let older = path.with_added_extension("1");
            fs::rename(&path, &older).map_err(Error::io("rename to", &older))?;
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => self.home.account().own_file(&file).map_err(Error::io("give away", &path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("make", &path)(error)),
        }
    }

    fn end_of_log(&self) -> String {
        run::one_line(&fs::read(self.home.log()).unwrap_or_default())
    }
}

/// How to reach a database behind a socket. Nothing is taken from libpq's variables, which may name another server,
/// but `PGOPTIONS`, which can't be taken back: `cli` begins anew without it.
pub(super) fn connect_options(socket: &Path, password: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(PORT)
        .username(NAME)
        .password(password)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name(NAME)
}

/// Connects to the database `pushpost`, and makes it if the server has none of the name.
async fn ensure_database(socket: &Path, password: &str) -> Result<(), Unready> {
    let error = match connect(&connect_options(socket, password, NAME)).await {
        Ok(connection) => {
            close(connection).await;
            return Ok(());
        }
        Err(error) => error,
    };
    match code_of(&error).as_deref() {
        // invalid_catalog_name: no such database.
        Some("3D000") => {
            let mut connection =
                connect(&connect_options(socket, password, "postgres")).await.map_err(yet)?;
            let create = timeout(CREATE_DEADLINE, connection.execute("CREATE DATABASE pushpost"));
            create.await.map_err(|_| Unready::Yet("CREATE DATABASE takes too long".into()))?.map_err(yet)?;
            close(connection).await;
            Ok(())
        }
        // invalid_authorization_specification, invalid_password.
        Some("28000" | "28P01") => Err(Unready::Ever(error)),
        _ => Err(yet(error)),
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::Error::from(ErrorKind::TimedOut));
    timeout(CONNECT_DEADLINE, PgConnection::connect_with(options)).await.map_err(late)?
}

async fn close(connection: PgConnection) {
    let _ = timeout(CONNECT_DEADLINE, connection.close()).await;
}

fn yet(error: sqlx::Error) -> Unready {
    Unready::Yet(error.to_string())
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}
