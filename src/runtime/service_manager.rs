//! What a service manager such as systemd is told about a node (`sd_notify(3)`): that it is ready, reloads, or stops.
//!
//! The manager names its socket in the variable `NOTIFY_SOCKET`. Without that variable nothing is sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::api::health::Health;

/// Between two looks whether the node is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Tells the service manager what the node does. The order of the messages is fixed: ready once, then reloads, then
/// stopping, and nothing after that.
#[derive(Debug, Default)]
pub struct ServiceManager(Mutex<Phase>);

/// What the service manager was told last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Stopping,
}

impl ServiceManager {
    /// Reports that the node is ready as soon as `/readyz` answers 200, and that it stops when its drain begins. Never
    /// returns.
    pub(super) async fn follow(&self, health: &Health) {
        tokio::select! {
            () = until_ready(health) => self.enter(Phase::Ready),
            () = health.draining() => {}
        }
        health.draining().await;
        self.enter(Phase::Stopping);
        std::future::pending().await
    }

    /// Reports that the node reads its configuration again. A node that is not ready yet, or stops, reports nothing.
    pub fn reload_begins(&self) {
        if self.phase() == Phase::Ready {
            // `Type=notify-reload` of systemd 253 requires the time; `Type=notify` ignores it.
            let time = NotifyState::monotonic_usec_now().ok();
            send(&std::iter::once(NotifyState::Reloading).chain(time).collect::<Vec<_>>());
        }
    }

    /// Reports that the reload is over, whether or not the configuration was taken over.
    pub fn reload_ends(&self) {
        if self.phase() == Phase::Ready {
            send(&[NotifyState::Ready]);
        }
    }

    fn phase(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        match phase {
            Phase::Starting => {}
            Phase::Ready => send(&[NotifyState::Ready]),
            Phase::Stopping => send(&[NotifyState::Stopping]),
        }
    }
}

async fn until_ready(health: &Health) {
    while health.ready().is_err() {
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(
            %error,
            hint = "check that the process may write to the socket that NOTIFY_SOCKET names",
            "service manager cannot be notified"
        );
    }
}
