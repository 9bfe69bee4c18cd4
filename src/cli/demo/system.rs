//! What the demo starts and ends: its folder, the stand-ins for the providers, the service with its own Postgres, and
//! the file with the service's log.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::progress::Progress;
use crate::cli::command_error::CommandError;
use crate::cli::signals::StopSignals;
use crate::config::Config;
use crate::domain::Scopes;
use crate::registry::keys;
use crate::runtime::{Database, Role, SchemaAccess, Service, Shutdown};
use crate::store::sessions;
use pushpost_simulator::{Settings, Simulator};

/// The app in the configuration that the stand-ins write.
const APP: &str = "shop";
/// The scopes of the demo's API key; `admin` to resume a lane.
const SCOPES: &str = "send,read,devices,admin";
/// Settings of the demo. The retry times are much shorter than the defaults, so that the demo takes one minute.
const OVERRIDES: [(&str, &str); 6] = [
    ("PUSHPOST__SERVER__LISTEN", "127.0.0.1:0"),
    ("PUSHPOST__DATABASE__MAX_CONNECTIONS", "32"),
    ("PUSHPOST__DELIVERY__RETRY_INITIAL", "500ms"),
    ("PUSHPOST__DELIVERY__RETRY_THROTTLED", "1s"),
    ("PUSHPOST__DELIVERY__RETRY_MAX", "2s"),
    ("PUSHPOST__DELIVERY__DRAIN_TIMEOUT", "10s"),
];
/// The only variable of the environment that the demo uses: where Postgres is installed.
const BIN_DIR: &str = "PUSHPOST__DATABASE__POSTGRES_BIN_DIR";

/// How long a session of Postgres is tried for, with which pause: on a slow machine one try may time out.
const SESSION_TIMEOUT: Duration = Duration::from_secs(120);
const SESSION_PAUSE: Duration = Duration::from_millis(500);

/// The service's log, in the current directory: outside the demo's folder, which is removed.
pub(super) const LOG_FILE: &str = "./pushpost-demo.log";

/// Adds where the details of a failure are.
pub(super) fn see_log(error: CommandError) -> CommandError {
    error.hint(format!("the service's log has details: {LOG_FILE}"))
}

/// Everything that runs, besides the service.
pub(super) struct DemoSystem {
    pub(super) simulator: Simulator,
    folder: Folder,
    config: Config,
    url: String,
    key: String,
}

/// The service as a task of this process.
pub(super) struct RunningService {
    service: JoinSet<anyhow::Result<()>>,
    shutdown: Shutdown,
}

/// The demo's folder, locked against a second demo. When this is dropped, the folder is removed, unless it was there
/// before.
struct Folder {
    path: PathBuf,
    database: Option<PathBuf>,
    is_new: bool,
    _lock: File,
}

impl DemoSystem {
    /// Starts the stand-ins and the service, and creates an API key.
    ///
    /// # Errors
    /// Another demo runs in the folder, or a part does not start.
    pub(super) async fn start(
        folder: &Path,
        progress: &Progress,
    ) -> Result<(Self, RunningService), CommandError> {
        let mut folder = Folder::lock(folder)?;
        let settings = Settings { sandbox_port: None, control_port: None, ..Settings::default() };
        let simulator = Simulator::start(settings).await.map_err(anyhow::Error::from)?;
        simulator.write_files(&folder.path).map_err(anyhow::Error::from)?;
        let (apns, fcm) = (simulator.apns_endpoint(), simulator.fcm_endpoint());
        progress.tell(&format!("stand-ins for the providers listen: APNs on {apns}, FCM on {fcm}"))?;

        let own = std::env::var(BIN_DIR).ok().map(|value| (BIN_DIR.to_owned(), value));
        let overrides = OVERRIDES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(Some(&folder.path.join("pushpost.toml")), overrides.chain(own))?;
        folder.database = Some(config.database.data_dir.clone());
        let service = progress.during(Service::start(config.clone(), Role::All)).await?;
        let address = service.address().context("the service does not listen")?;
        let mut running = RunningService { service: JoinSet::new(), shutdown: Shutdown::default() };
        running.service.spawn(service.run(running.shutdown.clone()));
        let key = match create_key(&config).await {
            Ok(key) => key,
            Err(error) => {
                running.stop().await?;
                return Err(error.into());
            }
        };
        let system = Self { simulator, folder, config, url: format!("http://{address}"), key };
        progress.tell(&format!(
            "Pushpost listens on {}, with its own Postgres in {}",
            system.url,
            system.folder.path.display()
        ))?;
        Ok((system, running))
    }

    /// The base URL of the API.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The secret of the demo's API key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Ends all other sessions of the database, several times in a row, and returns how many it ended.
    ///
    /// # Errors
    /// Postgres can't be reached.
    pub(super) async fn cut_postgres(&self, times: u32, between: Duration) -> anyhow::Result<usize> {
        let database = Database::open(&self.config, SchemaAccess::Use).await?;
        // One session for all cuts, because each cut ends all others.
        let deadline = Instant::now() + SESSION_TIMEOUT;
        let mut conn = loop {
            match database.connection().await {
                Err(_) if Instant::now() < deadline => sleep(SESSION_PAUSE).await,
                opened => break opened?,
            }
        };
        let mut cut = 0;
        for _ in 0..times {
            cut += sessions::end_others(&mut conn).await?;
            sleep(between).await;
        }
        drop(conn);
        database.close().await?;
        Ok(cut)
    }

    /// Stops the stand-ins, and removes the folder if the demo made it.
    ///
    /// # Errors
    /// The folder can't be removed.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.simulator.stop().await;
        self.folder.remove()
    }
}

impl RunningService {
    /// Waits until the service ends by itself, which is an error.
    pub(super) async fn failed(&mut self) -> CommandError {
        match self.service.join_next().await {
            Some(Ok(Err(error))) => error.context("the service ended").into(),
            Some(Err(error)) => anyhow::Error::from(error).context("the service ended").into(),
            Some(Ok(Ok(()))) | None => CommandError::failed("the service ended"),
        }
    }

    /// Stops the service: it finishes what is in flight, or with a signal ends at once.
    ///
    /// # Errors
    /// The service ended with an error.
    pub(super) async fn end(mut self, signals: &mut StopSignals) -> anyhow::Result<()> {
        let abort = self.shutdown.abort.clone();
        let mut stopping = std::pin::pin!(self.stop());
        tokio::select! {
            stopped = &mut stopping => stopped,
            () = signals.next() => {
                abort.cancel();
                stopping.await
            }
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.shutdown.drain.cancel();
        match self.service.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }
}

/// Opens the file of the service's log, emptied. While another demo writes to it, it is opened as it is, since that
/// demo also holds the folder and this one will not start.
///
/// # Errors
/// The file can't be opened.
pub(in crate::cli) fn open_log() -> anyhow::Result<File> {
    let failed = || format!("cannot write to {LOG_FILE}");
    let file = OpenOptions::new().append(true).create(true).open(LOG_FILE).with_context(failed)?;
    if file.try_lock().is_ok() {
        file.set_len(0).with_context(failed)?;
    }
    Ok(file)
}

impl Folder {
    fn lock(path: &Path) -> Result<Self, CommandError> {
        let is_new = !path.exists();
        let failed = || format!("cannot use {}", path.display());
        std::fs::create_dir_all(path).with_context(failed)?;
        let lock = path.join("demo.lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(lock).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), database: None, is_new, _lock: file }),
            Err(TryLockError::WouldBlock) => {
                let failure = CommandError::failed(format_args!("another demo runs in {}", path.display()));
                Err(failure.hint("end the other demo, or start this one from another directory"))
            }
            Err(TryLockError::Error(error)) => Err(anyhow::Error::from(error).context(failed()).into()),
        }
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.is_new) {
            return Ok(());
        }
        if let Some(database) = &self.database {
            pushpost_embedded_postgres::remove(database)?;
        }
        std::fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

impl Drop for Folder {
    /// For a start that failed. An error is ignored, because the cause of the failed start is to be reported.
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

async fn create_key(config: &Config) -> anyhow::Result<String> {
    let scopes = Scopes::parse(SCOPES).context("the demo's scopes")?;
    let database = Database::open(config, SchemaAccess::Use).await?;
    let created = async {
        let mut conn = database.connection().await?;
        Ok::<_, anyhow::Error>(keys::create(&mut conn, APP, scopes, Some("demo"), None).await?.secret)
    };
    let created = created.await;
    database.close().await?;
    created
}
