//! SIGTERM and Ctrl-C: the first asks to drain, the second to let go. SIGHUP asks to read the configuration again.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::{ReloadHandle, Shutdown};

/// Both signals that ask a process to end.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// The signal of a terminal that goes, and of whoever has changed a configuration.
pub(super) struct HangupSignal(Signal);

impl StopSignals {
    /// From here on they no longer kill the process.
    pub(super) fn catch() -> anyhow::Result<Self> {
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for either.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Hands them on, for as long as it is polled.
    pub(super) async fn drive(mut self, shutdown: &Shutdown) {
        self.next().await;
        tracing::info!("stopping: finishing what is in flight; a second signal ends it at once");
        shutdown.drain.cancel();
        self.next().await;
        tracing::warn!("stopping at once");
        shutdown.abort.cancel();
        std::future::pending().await
    }
}

impl HangupSignal {
    /// From here on it no longer kills the process.
    pub(super) fn catch() -> anyhow::Result<Self> {
        Ok(Self(catch(SignalKind::hangup())?))
    }

    /// Hands it on, for as long as it is polled.
    pub(super) async fn drive(mut self, reload: &ReloadHandle) {
        while self.0.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the configuration again");
            // What comes of it is in the log.
            let _ = reload.ask().await;
        }
        std::future::pending().await
    }
}

fn catch(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot catch signals")
}
