//! SIGTERM and Ctrl-C: the first asks to drain, the second to let go.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::Shutdown;

/// Both signals that ask a process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer kill the process.
    pub(super) fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
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
