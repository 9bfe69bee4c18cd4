//! Reloads the configuration and its credentials while the node runs.
//!
//! The sources are read every `server.reload_interval`, and on request. They are compared by content, because
//! Kubernetes swaps files behind symbolic links without a signal. A configuration is applied as a whole: one with
//! faults changes nothing, and is logged once. New credentials are offered to their lanes, which try them first. New
//! apps and platforms are served from then on; removed ones are served until a restart. The keys of user tokens are
//! replaced at once, so that a removed key verifies nothing any more.

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::served::Served;
use crate::config::{Config, Sources};
use crate::settings::ContentHash;
use crate::store;

/// The sources that a node reads repeatedly, and the requests to read them at once.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    asked: mpsc::Receiver<oneshot::Sender<anyhow::Result<()>>>,
}

/// Asks a node to read its configuration at once.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<anyhow::Result<()>>>);

impl Reload {
    /// The two ends: one for the node, one for requests.
    pub fn new(sources: Sources) -> (Self, ReloadHandle) {
        let (ask, asked) = mpsc::channel(1);
        (Self { sources, asked }, ReloadHandle(ask))
    }
}

impl ReloadHandle {
    /// Returns when the configuration has been read and its changes have been applied.
    ///
    /// # Errors
    /// The configuration has faults, which are logged too, or the node has ended.
    pub async fn ask(&self) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| anyhow!("the node has ended"))?;
        answered.await.context("the node has ended")?
    }
}

pub(super) struct Reloader {
    reload: Reload,
    served: Served,
    /// The configuration that was applied last; at first that of the start.
    applied: Config,
    /// The content that was read last, if it was not applied.
    refused: Option<Refused>,
    /// The keys with changes that wait for a restart.
    waiting: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Refused {
    content: ContentHash,
    /// The database could not be reached, so that the same content may be applied the next time.
    is_temporary: bool,
}

impl Reloader {
    pub(super) fn new(reload: Reload, served: Served) -> Self {
        let applied = served.config().clone();
        Self { reload, served, applied, refused: None, waiting: Vec::new() }
    }

    /// Runs until `stop`. A reload that is under way then has not changed anything.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                Some(asked) = self.reload.asked.recv() => Some(asked),
                () = tokio::time::sleep(self.applied.server.reload_interval) => None,
            };
            let result = tokio::select! {
                () = stop.cancelled() => return,
                result = self.reload(asked.is_some()) => result,
            };
            if let Some(answer) = asked {
                // The requester may have gone.
                let _ = answer.send(result);
            }
        }
    }

    /// Reads the sources once. `asked`: an error is logged even if it was logged before.
    async fn reload(&mut self, asked: bool) -> anyhow::Result<()> {
        let sources = self.reload.sources.clone();
        let (content, config) = spawn_blocking(move || sources.read()).await.map_err(|_| {
            // The error itself would contain the panic's text, which may contain a secret.
            anyhow::anyhow!("reading the configuration panicked")
        })?;
        let is_known = self.refused == Some(Refused { content, is_temporary: false });
        if !asked && is_known {
            return Ok(());
        }
        let result = match config {
            Ok(config) => self.apply(config, asked).await,
            Err(error) => Err(error.into()),
        };
        let before = self.refused.take();
        if let Err(error) = &result {
            let refused = Refused { content, is_temporary: error.is::<store::Error>() };
            if asked || before != Some(refused) {
                tracing::error!("the configuration was not taken over, nothing has changed: {error:#}");
            }
            self.refused = Some(refused);
        }
        result
    }

    /// Applies a configuration as a whole: after the first change nothing can fail, and there is no await.
    async fn apply(&mut self, config: Config, asked: bool) -> anyhow::Result<()> {
        if config == self.applied {
            if asked || self.refused.is_some() {
                tracing::info!("configuration has not changed");
            }
            return Ok(());
        }
        let offers = self.served.changed_senders(&self.applied, &config).await?;
        let additions = self.served.find_additions(&config).await?;
        tracing::info!(lanes = offers.len(), "the configuration has changed");
        self.served.offer(offers);
        if let Some(additions) = additions {
            additions.announce(&self.served);
            self.served.add(additions);
            self.served.share_connections();
        }
        let waiting = self.served.config().changes_for_restart(&config);
        if !waiting.is_empty() && waiting != self.waiting {
            let keys = waiting.join(", ");
            tracing::warn!(
                keys,
                hint = "restart this node; until then the old values apply, and removed apps are served",
                "configuration has changes that take a restart: {keys}"
            );
        }
        self.waiting = waiting;
        self.applied = config;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;

    use super::*;
    use crate::runtime::Role;
    use crate::runtime::listeners::ConnectionLimits;
    use crate::store::{Purpose, SessionPool};

    /// With a database that is never used.
    fn nothing_served(config: Config) -> Served {
        let pool = SessionPool::new(PgConnectOptions::new(), Purpose::Queue, 1);
        Served::new(config, Role::Api, None, ConnectionLimits::new(Role::Api), pool)
    }

    #[tokio::test]
    async fn faults_are_logged_once_and_again_on_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pushpost.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("a file");
        let right = "[limits]\ntargets = 5\n";
        write(right);
        let sources = Sources::new(Some(&file), std::iter::empty());
        let config = sources.load().expect("it is right");
        let (reload, _now) = Reload::new(sources);
        let mut reloader = Reloader::new(reload, nothing_served(config.clone()));
        assert!(reloader.reload(false).await.is_ok());

        for broken in ["[limits]\ntargets = 0\n", "[limits]\ntargets = 0\n\n", "[limit"] {
            write(broken);
            assert!(reloader.reload(false).await.is_err(), "{broken}");
            assert!(reloader.reload(false).await.is_ok(), "logged already: {broken}");
            assert!(reloader.reload(true).await.is_err(), "on request: {broken}");
            assert_eq!(reloader.applied, config, "nothing has changed");
        }
        write(right);
        assert!(reloader.reload(true).await.is_ok());
        write("[limit");
        assert!(reloader.reload(false).await.is_err(), "broken anew");

        write("[limits]\ntargets = 6\n[server]\nreload_interval = \"1m\"\n");
        assert!(reloader.reload(false).await.is_ok());
        assert_eq!(reloader.waiting, ["limits.targets"]);
        assert_eq!(reloader.applied.server.reload_interval, std::time::Duration::from_secs(60));
    }
}
