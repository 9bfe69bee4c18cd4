//! Opens connections one at a time, with an exponential back-off while they fail.
//!
//! One connect serves all waiters, so that thousands of waiters do not cause thousands of connects. Waiters that
//! arrive during a pause wait for the next connect, so they can't cause a busy loop either.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::connection::Connection;
use super::dial::dial;
use super::driver::Driver;
use super::pool_state::{Opening, PoolState};

/// Pause after the first failure. It doubles with each further failure.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause, reached after eight failures in a row.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pause after this many failures in a row, with jitter so that nodes do not reconnect together.
pub(super) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    full.mul_f64(rand::random_range(0.5..1.0))
}

impl<S: Default + Send + Sync + 'static> PoolState<S> {
    /// Gives free streams to waiters, and opens a connection if waiters are left. Called after every event that may
    /// free streams or end a connection.
    pub(super) fn maintain(self: &Arc<Self>) {
        self.serve_waiters();
        if let Some(opening) = self.wanted() {
            self.start_opening(opening);
        }
    }

    /// Opens a connection in a new task, which then drives it.
    pub(super) fn start_opening(&self, opening: Opening<S>) {
        self.tasks.spawn(open(opening));
    }
}

async fn open<S: Default + Send + Sync + 'static>(opening: Opening<S>) {
    let pool = opening.pool.clone();
    let dialled = tokio::select! {
        () = pool.closing.cancelled() => return,
        dialled = async {
            sleep_until(opening.not_before).await;
            dial(&pool.origin, &pool.settings).await
        } => dialled,
    };
    match dialled {
        Ok(dialled) => {
            let (traffic, streams) = (dialled.traffic, dialled.initial_streams);
            let connection = Arc::new(Connection::new(pool.clone(), dialled.sender, traffic, streams));
            let driver = Driver::new(dialled.http2, connection.clone());
            pool.add(&connection, opening);
            pool.maintain();
            drop((pool, connection));
            driver.run().await;
        }
        Err(kind) => {
            tracing::debug!(host = %pool.origin.host, %kind, "connect failed");
            pool.fail_opening(&kind, opening);
        }
    }
}
