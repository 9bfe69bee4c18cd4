//! Configuration and credentials that change while the node runs.
//!
//! The sources are read again each `server.reload_interval`, and on request. What they say is compared by
//! content, since files are swapped behind symbolic links without a signal. All of it or nothing: what is broken
//! changes nothing, and is told once. New credentials are offered to their lanes, which try them first. Apps and platforms
//! that are new are served from then on; those that are gone stay until a restart.

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::served::{Offer, Served};
use crate::config::{Config, ContentHash, Sources};
use crate::store;

/// What a node reads again and again, and who asks it to do so at once.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    asked: mpsc::Receiver<oneshot::Sender<anyhow::Result<()>>>,
}

/// Asks a node to read its configuration again.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<anyhow::Result<()>>>);

impl Reload {
    /// Both ends.
    pub fn new(sources: Sources) -> (Self, ReloadHandle) {
        let (ask, asked) = mpsc::channel(1);
        (Self { sources, asked }, ReloadHandle(ask))
    }
}

impl ReloadHandle {
    /// Returns when the configuration has been read and its changes have been taken over, or why nothing was.
    ///
    /// # Errors
    /// What is wrong with the configuration; it is in the log too. Or the node is gone.
    pub async fn ask(&self) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| anyhow!("the node is gone"))?;
        answered.await.context("the node is gone")?
    }
}

pub(super) struct Reloader {
    reload: Reload,
    served: Served,
    /// What was read last and was taken over; at first what the node was started with.
    seen: Config,
    /// What was read last, if it was not taken over.
    refused: Option<Refused>,
    /// What waits for a restart.
    waiting: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Refused {
    content: ContentHash,
    /// The database was in the way: the same content may be taken over at the next look.
    is_passing: bool,
}

impl Reloader {
    pub(super) fn new(reload: Reload, served: Served) -> Self {
        let seen = served.config().clone();
        Self { reload, served, seen, refused: None, waiting: Vec::new() }
    }

    /// Runs until told to stop. A turn that is under way then has changed nothing yet.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                Some(asked) = self.reload.asked.recv() => Some(asked),
                () = tokio::time::sleep(self.seen.server.reload_interval) => None,
            };
            let taken = tokio::select! {
                () = stop.cancelled() => return,
                taken = self.turn(asked.is_some()) => taken,
            };
            if let Some(answer) = asked {
                // The asking side may have gone.
                let _ = answer.send(taken);
            }
        }
    }

    /// `asked`: the result is waited for, so it is told even if it was told before.
    async fn turn(&mut self, asked: bool) -> anyhow::Result<()> {
        let sources = self.reload.sources.clone();
        let (content, config) = spawn_blocking(move || sources.read()).await.map_err(|_| {
            // The error would quote the panic, which may hold a secret.
            anyhow::anyhow!("reading the configuration panicked")
        })?;
        let is_known = self.refused == Some(Refused { content, is_passing: false });
        if !asked && is_known {
            return Ok(());
        }
        let taken = match config {
            Ok(config) => self.take_over(config, asked).await,
            Err(error) => Err(error.into()),
        };
        let before = self.refused.take();
        if let Err(error) = &taken {
            let refused = Refused { content, is_passing: error.is::<store::Error>() };
            if asked || before != Some(refused) {
                tracing::error!("the configuration was not taken over, nothing has changed: {error:#}");
            }
            self.refused = Some(refused);
        }
        taken
    }

    /// All of it or nothing: from the first change on nothing can fail, and nothing is waited for.
    async fn take_over(&mut self, config: Config, asked: bool) -> anyhow::Result<()> {
        if config == self.seen {
            if asked || self.refused.is_some() {
                tracing::info!("the configuration is what is in use");
            }
            return Ok(());
        }
        let offers = self.served.changed_senders(&self.seen, &config).await?;
        let additions = self.served.find_additions(&config).await?;
        tracing::info!(lanes = offers.len(), "the configuration has changed");
        offers.into_iter().for_each(Offer::make);
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
                hint = "restart this node; until then it goes on as before, and serves what was removed",
                "configuration has changes that take a restart: {keys}"
            );
        }
        self.waiting = waiting;
        self.seen = config;
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

    /// On a database that is never asked.
    fn nothing_served(config: Config) -> Served {
        let pool = SessionPool::new(PgConnectOptions::new(), Purpose::Queue, 1);
        Served::new(config, Role::Api, None, ConnectionLimits::new(Role::Api), pool)
    }

    #[tokio::test]
    async fn what_is_broken_is_told_once_and_again_to_whoever_asks() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pushpost.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("a file");
        let right = "[limits]\ntargets = 5\n";
        write(right);
        let sources = Sources::new(Some(&file), std::iter::empty());
        let config = sources.load().expect("it is right");
        let (reload, _now) = Reload::new(sources);
        let mut reloader = Reloader::new(reload, nothing_served(config.clone()));
        assert!(reloader.turn(false).await.is_ok());

        for broken in ["[limits]\ntargets = 0\n", "[limits]\ntargets = 0\n\n", "[limit"] {
            write(broken);
            assert!(reloader.turn(false).await.is_err(), "{broken}");
            assert!(reloader.turn(false).await.is_ok(), "said already: {broken}");
            assert!(reloader.turn(true).await.is_err(), "somebody asks: {broken}");
            assert_eq!(reloader.seen, config, "nothing has changed");
        }
        write(right);
        assert!(reloader.turn(true).await.is_ok());
        write("[limit");
        assert!(reloader.turn(false).await.is_err(), "broken anew");

        write("[limits]\ntargets = 6\n[server]\nreload_interval = \"1m\"\n");
        assert!(reloader.turn(false).await.is_ok());
        assert_eq!(reloader.waiting, ["limits.targets"]);
        assert_eq!(reloader.seen.server.reload_interval, std::time::Duration::from_secs(60));
    }
}
