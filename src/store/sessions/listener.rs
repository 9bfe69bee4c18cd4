//! Hears notifications of a channel, and notices when its connection has died in silence.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::orphans::ServerProcess;
use super::{SessionPool, faults};

/// Without a notification for this long, the connection is asked whether it lives.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// To connect, and to each question.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection that listens. It is not one of its pool's, and is thrown away after its first error.
pub struct SessionListener {
    listener: PgListener,
    backend: ServerProcess,
    pool: SessionPool,
}

impl SessionPool {
    /// Listens to a channel, on a connection besides those of the pool.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn listen(&self, channel: &str) -> Result<SessionListener, sqlx::Error> {
        let connecting = async {
            let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
            let pool = pool.idle_timeout(None).max_lifetime(None).acquire_timeout(ANSWER);
            let mut listener =
                PgListener::connect_with(&pool.connect_lazy_with(self.options().clone())).await?;
            // An end of the connection is an error, after which the caller connects again.
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            let sql = "select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()";
            let row = sqlx::query(sql).fetch_one(&mut listener).await?;
            let backend = ServerProcess { pid: row.try_get(0)?, started: row.try_get(1)? };
            Ok(SessionListener { listener, backend, pool: self.clone() })
        };
        match timeout(ANSWER, connecting).await {
            Ok(listener) => listener,
            Err(_) => Err(faults::no_answer("LISTEN", ANSWER)),
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
            match timeout(QUIET_MAX, self.listener.try_recv()).await {
                Ok(Ok(Some(notification))) => return Ok(notification.payload().to_owned()),
                Ok(Ok(None)) => return Err(faults::is_gone()),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.ask().await?,
            }
        }
    }

    async fn ask(&mut self) -> Result<(), sqlx::Error> {
        match timeout(ANSWER, sqlx::query("select").execute(&mut self.listener)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(faults::no_answer("a listening connection's question", ANSWER)),
        }
    }
}

impl Drop for SessionListener {
    /// sqlx would say farewell to a connection for as long as it does not answer.
    fn drop(&mut self) {
        self.pool.end_on_server(self.backend.clone());
    }
}
