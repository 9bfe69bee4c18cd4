//! The public interface of a pool of connections.

use std::iter::Sum;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::{TransportError, TransportErrorKind};
use super::exchange::Stream;
use super::pool_state::{PoolState, StreamClaim};
use super::{Destination, Settings};
use crate::telemetry::metrics::LaneMetrics;

/// Connections to one origin. `S` is the pool user's own state per connection.
///
/// It connects on demand, and opens further connections while more than half of the streams of every connection are
/// used. Dropping the pool drops the connections at once, and requests in flight fail.
pub struct Pool<S> {
    shared: Arc<PoolState<S>>,
}

/// The present numbers of connections, streams and waiters of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections that take new streams.
    pub connections: usize,
    /// Connections that take no new streams and close after the open ones.
    pub draining: usize,
    /// Streams reserved or open, on all connections.
    pub open_streams: usize,
    /// Callers of [`Pool::reserve`] that wait for a stream.
    pub waiting: usize,
}

/// Adds up the numbers of several pools.
impl Sum for PoolStats {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + one.connections,
            draining: sum.draining + one.draining,
            open_streams: sum.open_streams + one.open_streams,
            waiting: sum.waiting + one.waiting,
        })
    }
}

impl<S> Pool<S> {
    /// Creates a pool. Opens no connection yet.
    pub fn new(origin: Destination, settings: Settings) -> Self {
        Self { shared: Arc::new(PoolState::new(origin, settings)) }
    }

    /// Counts connections that are opened from now on. Called once, before the first of them.
    pub fn count_in(&self, metrics: &Arc<LaneMetrics>) {
        let _ = self.shared.metrics.set(Arc::clone(metrics));
    }

    /// Retires all present connections, for example after a change of the credential. New ones are opened on demand.
    pub fn retire_all(&self) {
        self.shared.retire_all();
    }

    /// The present numbers of connections, streams and waiters.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Waits for open streams, for a request time-out at most, then closes all connections. Waiters and later
    /// reservations fail with [`TransportErrorKind::PoolClosed`].
    pub async fn shutdown(&self) {
        self.shared.close();
        self.shared.tasks.wait().await;
    }
}

impl<S: Default + Send + Sync + 'static> Pool<S> {
    /// Reserves a stream on the least loaded connection. If all are full, callers wait in the order of arrival.
    ///
    /// # Errors
    /// All errors are `NotSent`. A failed connect fails all waiters if the pool has no other connection. Callers that
    /// arrive during the pause after it (5 s at most) wait for the next connect. When `deadline` passes, the error is
    /// the last connect failure if there is no connection, else [`TransportErrorKind::Timeout`].
    pub async fn reserve(&self, deadline: Instant) -> Result<Stream<S>, TransportError> {
        let (claim, opening) = self.shared.claim();
        if let Some(opening) = opening {
            self.shared.start_opening(opening);
        }
        let waiting = match claim {
            StreamClaim::Granted(slot) => return Ok(Stream::new(slot)),
            StreamClaim::Closed => return Err(TransportError::not_sent(TransportErrorKind::PoolClosed)),
            StreamClaim::Queued(waiting) => waiting,
        };
        match timeout_at(deadline, waiting).await {
            Ok(Ok(grant)) => grant.map(Stream::new),
            Ok(Err(_)) => Err(TransportError::not_sent(TransportErrorKind::PoolClosed)),
            Err(_) => Err(TransportError::not_sent(self.shared.deadline_error())),
        }
    }
}

#[cfg(test)]
impl<S> Pool<S> {
    /// For tests that check that everything is freed.
    pub(super) fn weak(&self) -> std::sync::Weak<PoolState<S>> {
        Arc::downgrade(&self.shared)
    }

    /// The number of writes on all connections.
    pub(super) fn writes(&self) -> u64 {
        self.shared.writes()
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.kill_all();
    }
}
