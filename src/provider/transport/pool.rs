//! The pool as its users see it.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::{TransportError, TransportErrorKind};
use super::exchange::Stream;
use super::pool_state::{PoolState, StreamClaim};
use super::{Destination, Settings};

/// Connections to one origin. `S` is the caller's own state per connection.
///
/// Connects on demand and grows while all connections are beyond half of their streams. Dropping it drops
/// the connections as they are; requests on their way then fail.
pub struct Pool<S> {
    shared: Arc<PoolState<S>>,
}

/// What a pool is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections that take new streams.
    pub connections: usize,
    /// Connections that finish their streams and then close.
    pub draining: usize,
    /// Streams reserved or open, on all connections.
    pub open_streams: usize,
    /// Callers of [`Pool::reserve`] that wait for a place.
    pub waiting: usize,
}

impl<S> Pool<S> {
    /// Makes a pool; connects nothing yet.
    pub fn new(origin: Destination, settings: Settings) -> Self {
        Self { shared: Arc::new(PoolState::new(origin, settings)) }
    }

    /// Retires every connection there is, as when the credential changed; new ones are opened on demand.
    pub fn retire_all(&self) {
        self.shared.retire_all();
    }

    /// Connections and streams now.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Opens nothing more, lets open streams end (a request time-out at most) and closes. Waiters and
    /// later reservations fail with [`TransportErrorKind::PoolClosed`].
    pub async fn shutdown(&self) {
        self.shared.close();
        self.shared.tasks.wait().await;
    }
}

impl<S: Default + Send + Sync + 'static> Pool<S> {
    /// A place on the least loaded connection; first come, first served where all are full.
    ///
    /// # Errors
    /// All are `NotSent`. A failed connect is told to everyone who waits and has no other connection; those
    /// who come during the pause after it (5 s at most) wait for the next attempt. When `deadline` passes:
    /// the last connect failure if there is no connection, else [`TransportErrorKind::Timeout`].
    pub async fn reserve(&self, deadline: Instant) -> Result<Stream<S>, TransportError> {
        let (claim, opening) = self.shared.claim();
        if let Some(opening) = opening {
            self.shared.start(opening);
        }
        let waiting = match claim {
            StreamClaim::Granted(slot) => return Ok(Stream::new(slot)),
            StreamClaim::Closed => return Err(TransportError::not_sent(TransportErrorKind::PoolClosed)),
            StreamClaim::Queued(waiting) => waiting,
        };
        match timeout_at(deadline, waiting).await {
            Ok(Ok(grant)) => grant.map(Stream::new),
            Ok(Err(_)) => Err(TransportError::not_sent(TransportErrorKind::PoolClosed)),
            Err(_) => Err(TransportError::not_sent(self.shared.why_none())),
        }
    }
}

#[cfg(test)]
impl<S> Pool<S> {
    /// To see whether all is freed.
    pub(super) fn weak(&self) -> std::sync::Weak<PoolState<S>> {
        Arc::downgrade(&self.shared)
    }

    /// Writes on all connections.
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
