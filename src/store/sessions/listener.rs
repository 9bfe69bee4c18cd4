//! Listens to a notification channel, and notices when its connection has died in silence.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::orphans::ServerProcess;
use super::{SessionPool, faults};
use crate::telemetry::metrics::Held;

/// Without a notification for this long, the connection is checked by a statement.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time to connect, and to answer a check.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that listens. It is not one of the pool's connections, and is thrown away after its first error.
pub struct SessionListener {
    listener: PgListener,
    backend: ServerProcess,
    pool: SessionPool,
    _counted: Held,
}

impl SessionPool {
    /// Listens to a channel, on a connection beside those of the pool.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn listen(&self, channel: &str) -> Result<SessionListener, sqlx::Error> {
        let connecting = async {
            let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
            // At the time-out the caller reports the connection in plain words, so sqlx warns of nothing before.
            let pool = pool.acquire_slow_threshold(ANSWER_TIMEOUT);
            let pool = pool.idle_timeout(None).max_lifetime(None).acquire_timeout(ANSWER_TIMEOUT);
            let mut listener =
                PgListener::connect_with(&pool.connect_lazy_with(self.options().clone())).await?;
            // The end of the connection is an error, after which the caller connects again.
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            let sql = "select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()";
            let row = sqlx::query(sql).fetch_one(&mut listener).await?;
            let backend = ServerProcess { pid: row.try_get(0)?, started: row.try_get(1)? };
            let counted = Held::new(&self.metrics().used);
            Ok(SessionListener { listener, backend, pool: self.clone(), _counted: counted })
        };
        match timeout(ANSWER_TIMEOUT, connecting).await {
            Ok(listener) => listener,
            Err(_) => Err(faults::no_answer("LISTEN", ANSWER_TIMEOUT)),
        }
    }
}

impl SessionListener {
    /// The payload of the next notification.
    ///
    /// # Errors
    /// The connection has ended, or died in silence.
    pub async fn recv(&mut self) -> Result<String, sqlx::Error> {
        loop {
            match timeout(IDLE_TIMEOUT, self.listener.try_recv()).await {
                Ok(Ok(Some(notification))) => return Ok(notification.payload().to_owned()),
                Ok(Ok(None)) => return Err(faults::is_gone()),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.check().await?,
            }
        }
    }

    async fn check(&mut self) -> Result<(), sqlx::Error> {
        match timeout(ANSWER_TIMEOUT, sqlx::query("select").execute(&mut self.listener)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(faults::no_answer("a listening connection's question", ANSWER_TIMEOUT)),
        }
    }
}

impl Drop for SessionListener {
    /// The server ends the session. Without this, sqlx would wait for an orderly end for as long as the connection does
    /// not answer.
    fn drop(&mut self) {
        self.pool.end_on_server(self.backend.clone());
    }
}
