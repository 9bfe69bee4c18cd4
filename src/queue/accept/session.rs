//! The connection of the committer, with its session on the server.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store;
use crate::store::commits::{self, ServerSession};
use crate::store::{Session, SessionPool};

/// A connection that was used within this time is used again without a ping.
const UNPINGED_IDLE_MAX: Duration = Duration::from_secs(1);
/// A connection that does not answer a ping within this time is thrown away.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection and the identity of its session on the server. The identity is read once, so that a commit costs one
/// round trip.
pub(super) struct CommitSession {
    conn: Session,
    session: ServerSession,
    used_at: Instant,
}

impl CommitSession {
    async fn open(pool: &SessionPool) -> Result<Self, store::Error> {
        let mut conn = pool.acquire().await?;
        let session = commits::session(&mut conn).await?;
        Ok(Self { conn, session, used_at: Instant::now() })
    }

    /// The kept connection, or a new one. A connection that was idle may have ended meanwhile. It is pinged before it
    /// is used, so that no request loses its answer by it.
    pub(super) async fn take(kept: &mut Option<Self>, pool: &SessionPool) -> Result<Self, store::Error> {
        if let Some(mut kept) = kept.take()
            && (kept.used_at.elapsed() < UNPINGED_IDLE_MAX
                || matches!(timeout(PING_TIMEOUT, kept.conn.ping()).await, Ok(Ok(()))))
        {
            return Ok(kept);
        }
        Self::open(pool).await
    }

    /// The connection, for a statement now.
    pub(super) fn conn(&mut self) -> &mut Session {
        self.used_at = Instant::now();
        &mut self.conn
    }

    /// Throws the connection away, because its place in the pool is needed. The session on the server may live on.
    pub(super) fn discard(self) -> ServerSession {
        self.conn.discard();
        self.session
    }
}
