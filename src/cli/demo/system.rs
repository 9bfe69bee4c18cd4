//! What the demo plays on: its folder, the stand-ins for the providers, and the service.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::progress::Progress;
use crate::cli::command_error::CommandError;
use crate::cli::signals::StopSignals;
use crate::config::Config;
use crate::domain::Scopes;
use crate::registry::keys;
use crate::runtime::{Database, Role, SchemaAccess, Service, Shutdown};
use crate::store::sessions;
use pushpost_simulator::{Settings, Simulator};

/// The app that the stand-ins' configuration names.
const APP: &str = "shop";
/// What a backend of one's own would have.
const SCOPES: &str = "send,read,devices,admin";
/// The providers' usual waits are for an outage, not for an audience.
const OVERRIDES: [(&str, &str); 6] = [
    ("PUSHPOST__SERVER__LISTEN", "127.0.0.1:0"),
    ("PUSHPOST__DATABASE__MAX_CONNECTIONS", "32"),
    ("PUSHPOST__DELIVERY__RETRY_INITIAL", "500ms"),
    ("PUSHPOST__DELIVERY__RETRY_THROTTLED", "1s"),
    ("PUSHPOST__DELIVERY__RETRY_MAX", "2s"),
    ("PUSHPOST__DELIVERY__DRAIN_TIMEOUT", "10s"),
];
/// The one thing that only the machine's owner can know.
const PASSED_ON: &str = "PUSHPOST__DATABASE__POSTGRES_BIN_DIR";

/// What there is to play with.
pub(super) struct DemoSystem {
    pub(super) simulator: Simulator,
    folder: Folder,
    config: Config,
    url: String,
    key: String,
}

/// The service, which runs.
pub(super) struct RunningService {
    service: JoinSet<anyhow::Result<()>>,
    shutdown: Shutdown,
}

/// The demo's folder. Dropped, it is removed again if it was not there before.
struct Folder {
    path: PathBuf,
    database: Option<PathBuf>,
    is_new: bool,
    _lock: File,
}

impl DemoSystem {
    /// Starts all of it.
    ///
    /// # Errors
    /// Another demo runs in the folder, or a part does not start.
    pub(super) async fn set_up(
        folder: &Path,
        progress: &Progress,
    ) -> Result<(Self, RunningService), CommandError> {
        let mut folder = Folder::take(folder)?;
        let settings = Settings { sandbox_port: None, control_port: None, ..Settings::default() };
        let simulator = Simulator::start(settings).await.map_err(anyhow::Error::from)?;
        simulator.write_files(&folder.path).map_err(anyhow::Error::from)?;
        let (apns, fcm) = (simulator.apns_endpoint(), simulator.fcm_endpoint());
        progress.tell(&format!("stand-ins listen: APNs on {apns}, FCM on {fcm}"))?;

        let own = std::env::var(PASSED_ON).ok().map(|value| (PASSED_ON.to_owned(), value));
        let overrides = OVERRIDES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(Some(&folder.path.join("pushpost.toml")), overrides.chain(own))?;
        folder.database = Some(config.database.data_dir.clone());
        let service = progress.during(Service::start(config.clone(), Role::All)).await?;
        let address = service.address().context("the service does not listen")?;
        let mut running = RunningService { service: JoinSet::new(), shutdown: Shutdown::default() };
        running.service.spawn(service.run(running.shutdown.clone()));
        let key = match make_key(&config).await {
            Ok(key) => key,
            Err(error) => {
                running.stop().await?;
                return Err(error.into());
            }
        };
        let system = Self { simulator, folder, config, url: format!("http://{address}"), key };
        progress.tell(&format!(
            "Pushpost serves {}, its own Postgres is in {}",
            system.url,
            system.folder.path.display()
        ))?;
        Ok((system, running))
    }

    /// Where the API answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The secret of an API key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Ends every session of the database but the one that does it, some times in a row; says how many.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub(super) async fn cut_postgres(&self, times: u32, between: Duration) -> anyhow::Result<usize> {
        let database = Database::open(&self.config, SchemaAccess::Use).await?;
        // The same session throughout: of any other, the first cut would leave a dead connection.
        let mut conn = database.connection().await?;
        let mut cut = 0;
        for _ in 0..times {
            cut += sessions::end_others(&mut conn).await?;
            tokio::time::sleep(between).await;
        }
        drop(conn);
        database.close().await?;
        Ok(cut)
    }

    /// Goes, and takes everything along.
    ///
    /// # Errors
    /// The folder can't be removed.
    pub(super) async fn leave(mut self) -> anyhow::Result<()> {
        self.simulator.stop().await;
        self.folder.remove()
    }
}

impl RunningService {
    /// Waits until the service ends, which it should not.
    pub(super) async fn died(&mut self) -> CommandError {
        match self.service.join_next().await {
            Some(Ok(Err(error))) => error.context("the service ended").into(),
            Some(Err(error)) => anyhow::Error::from(error).context("the service ended").into(),
            Some(Ok(Ok(()))) | None => CommandError::failed("the service ended"),
        }
    }

    /// Lets it finish what is in flight; a signal hurries it up.
    ///
    /// # Errors
    /// It ended badly.
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

impl Folder {
    fn take(path: &Path) -> Result<Self, CommandError> {
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
                Err(failure.hint("end it first, or start this one in another folder"))
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
    /// After a start that failed. It leaves what can't be removed: why the start failed is worth more.
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

async fn make_key(config: &Config) -> anyhow::Result<String> {
    let scopes = Scopes::parse(SCOPES).context("the demo's scopes")?;
    let database = Database::open(config, SchemaAccess::Use).await?;
    let made = async {
        let mut conn = database.connection().await?;
        Ok::<_, anyhow::Error>(keys::create(&mut conn, APP, scopes, Some("demo")).await?.1)
    };
    let made = made.await;
    database.close().await?;
    made
}
