//! Opens connections one at a time, and less and less often while they fail.
//!
//! Thousands of waiters must not make thousands of connects, and a peer that is down must not be
//! hammered: one attempt answers all waiters, and those that come during the pause wait for the next
//! attempt, so they can't spin either.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::connection::Connection;
use super::dial::dial;
use super::driver::Driver;
use super::pool_state::{Opening, PoolState};

/// Pause after the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long to wait after `failures` in a row, with jitter so that nodes don't return together.
pub(super) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    full.mul_f64(rand::random_range(0.5..1.0))
}

impl<S: Default + Send + Sync + 'static> PoolState<S> {
    /// Hands out free places and opens a connection if waiters are left. Called after whatever may have
    /// changed the answer.
    pub(super) fn maintain(self: &Arc<Self>) {
        self.serve();
        if let Some(opening) = self.wanted() {
            self.start(opening);
        }
    }

    /// Opens a connection, in a task that then drives it.
    pub(super) fn start(&self, opening: Opening<S>) {
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
            pool.fail(&kind, opening);
        }
    }
}
