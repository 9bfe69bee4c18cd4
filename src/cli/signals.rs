//! Signals: the first SIGTERM or SIGINT starts the drain, the second ends the process at once; SIGHUP reloads the
//! configuration.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::{ReloadHandle, ServiceManager, Shutdown};

/// SIGTERM and SIGINT, which ask a process to end.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// SIGHUP, which asks the service to read its configuration again.
pub(super) struct HangupSignal(Signal);

impl StopSignals {
    /// Catches the signals; from now on they do not end the process.
    pub(super) fn catch() -> anyhow::Result<Self> {
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes the signals on to a service. Never returns.
    pub(super) async fn drive(mut self, shutdown: &Shutdown) {
        self.next().await;
        tracing::info!(
            hint = "a second signal ends the process at once",
            "stopping, requests in flight are finished"
        );
        shutdown.drain.cancel();
        self.next().await;
        tracing::warn!("second signal, stopping at once");
        shutdown.abort.cancel();
        std::future::pending().await
    }
}

impl HangupSignal {
    /// Catches the signal; from now on it does not end the process.
    pub(super) fn catch() -> anyhow::Result<Self> {
        Ok(Self(catch(SignalKind::hangup())?))
    }

    /// Reloads the configuration at each signal, and reports each reload to the service manager. Never returns.
    pub(super) async fn drive(mut self, reload: &ReloadHandle, manager: &ServiceManager) {
        while self.0.recv().await.is_some() {
            tracing::info!("SIGHUP received, reading the configuration again");
            manager.reload_begins();
            // The result is logged by the reload itself.
            let _ = reload.ask().await;
            manager.reload_ends();
        }
        std::future::pending().await
    }
}

fn catch(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot catch signals")
}
