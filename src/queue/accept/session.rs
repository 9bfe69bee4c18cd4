//! The connection that commits.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::store;
use crate::store::commits::{self, ServerSession};
use crate::store::{Session, SessionPool};

/// A connection that was used so lately lives.
const TRUSTED: Duration = Duration::from_secs(1);
/// A connection that lives answers a ping within this time.
const PING: Duration = Duration::from_secs(2);

/// A connection, and its session on the server: asked for once, so that a commit costs one round trip.
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

    /// The kept one, or a new one. A connection that was idle may have ended meanwhile: asked before it is used, it costs no
    /// request its answer.
    pub(super) async fn take(kept: &mut Option<Self>, pool: &SessionPool) -> Result<Self, store::Error> {
        if let Some(mut kept) = kept.take()
            && (kept.used_at.elapsed() < TRUSTED
                || matches!(timeout(PING, kept.conn.ping()).await, Ok(Ok(()))))
        {
            return Ok(kept);
        }
        Self::open(pool).await
    }

    /// For a statement now.
    pub(super) fn conn(&mut self) -> &mut Session {
        self.used_at = Instant::now();
        &mut self.conn
    }

    /// Throws the connection away, since its place in the pool is needed; the session may live on.
    pub(super) fn discard(self) -> ServerSession {
        self.conn.discard();
        self.session
    }
}
