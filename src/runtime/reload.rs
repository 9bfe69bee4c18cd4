//! Configuration and credentials that change while the node runs.
//!
//! The sources are read again each `server.reload_interval`, and when somebody asks. What they say is compared by
//! content, since files are swapped behind symbolic links without a signal. All of it or nothing: what is broken
//! changes nothing, and is told once. New credentials are offered to their lanes, which try them first.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::senders;
use crate::config::{Config, Content, Sources};
use crate::dispatch::{LaneSetup, Senders};
use crate::domain::LaneKey;

/// What a node reads again and again, and who asks it to do so at once.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    asked: mpsc::Receiver<oneshot::Sender<anyhow::Result<()>>>,
}

/// Asks a node to read its configuration again.
#[derive(Clone, Debug)]
pub struct ReloadNow(mpsc::Sender<oneshot::Sender<anyhow::Result<()>>>);

impl Reload {
    /// Both ends.
    pub fn new(sources: Sources) -> (Self, ReloadNow) {
        let (ask, asked) = mpsc::channel(1);
        (Self { sources, asked }, ReloadNow(ask))
    }
}

impl ReloadNow {
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

/// A lane whose credentials can change.
#[derive(Clone, Debug)]
pub(super) struct ReloadedLane {
    app: String,
    key: LaneKey,
    senders: Arc<Senders>,
}

pub(super) struct Reloader {
    reload: Reload,
    lanes: Vec<ReloadedLane>,
    /// What the node was started with.
    started: Config,
    /// What was read last and was right.
    seen: Config,
    /// What was read last, if it was wrong.
    broken: Option<Content>,
    /// What waits for a restart.
    waiting: Vec<String>,
}

impl ReloadedLane {
    pub(super) fn of(setup: &LaneSetup) -> Self {
        Self { app: setup.app.name.clone(), key: setup.key, senders: Arc::clone(&setup.senders) }
    }
}

impl Reloader {
    pub(super) fn new(reload: Reload, config: Config, lanes: Vec<ReloadedLane>) -> Self {
        Self { reload, lanes, started: config.clone(), seen: config, broken: None, waiting: Vec::new() }
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                Some(asked) = self.reload.asked.recv() => Some(asked),
                () = tokio::time::sleep(self.seen.server.reload_interval) => None,
            };
            let taken = self.turn(asked.is_some()).await;
            if let Some(answer) = asked {
                // Whoever asked may have gone.
                let _ = answer.send(taken);
            }
        }
    }

    /// `asked`: somebody waits for a word, even if it is an old one.
    async fn turn(&mut self, asked: bool) -> anyhow::Result<()> {
        let sources = self.reload.sources.clone();
        let (content, config) = spawn_blocking(move || sources.read()).await.map_err(|_| {
            // The error would quote the panic, which may hold a secret.
            anyhow::anyhow!("reading the configuration panicked")
        })?;
        if !asked && self.broken == Some(content) {
            return Ok(());
        }
        let taken = match config {
            Ok(config) => self.take_over(config, asked).await,
            Err(error) => Err(error.into()),
        };
        self.broken = taken.is_err().then_some(content);
        if let Err(error) = &taken {
            tracing::error!("the configuration was not taken over, nothing has changed: {error:#}");
        }
        taken
    }

    async fn take_over(&mut self, config: Config, asked: bool) -> anyhow::Result<()> {
        if config == self.seen {
            if asked || self.broken.is_some() {
                tracing::info!("the configuration is what is in use");
            }
            return Ok(());
        }
        let mut offers = Vec::new();
        for lane in &self.lanes {
            if let Some(sender) = self.changed_sender(lane, &config).await? {
                offers.push((&lane.senders, sender));
            }
        }
        tracing::info!(lanes = offers.len(), "the configuration has changed");
        for (senders, sender) in offers {
            senders.offer(sender);
        }
        let waiting = self.started.changes_for_restart(&config);
        if !waiting.is_empty() && waiting != self.waiting {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "what has changed here takes effect with a restart: {keys}");
        }
        self.waiting = waiting;
        self.seen = config;
        Ok(())
    }

    /// A new sender for a lane whose settings have changed. One of a lane that lost them stays.
    async fn changed_sender(
        &self,
        lane: &ReloadedLane,
        config: &Config,
    ) -> anyhow::Result<Option<crate::provider::Sender>> {
        let (old, new) = (self.seen.apps.get(&lane.app), config.apps.get(&lane.app));
        let Some(new) = new else { return Ok(None) };
        let same = match lane.key {
            LaneKey::Apns(_) => old.is_some_and(|old| old.apns == new.apns),
            LaneKey::Fcm => old.is_some_and(|old| old.fcm == new.fcm),
        };
        if same {
            return Ok(None);
        }
        let max_in_flight = self.started.delivery.max_in_flight;
        let proxy = senders::proxy(&self.started.network);
        let sender = senders::sender(&lane.app, new, lane.key, max_in_flight, proxy).await;
        sender.context("a credential can't be used")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut reloader = Reloader::new(reload, config.clone(), Vec::new());
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
