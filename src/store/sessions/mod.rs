//! Connections to Postgres: pools of sessions in which every statement has a deadline.
//!
//! A connection may die in silence, and a failover may leave it read-only. sqlx then waits for ever, and its pool waits
//! for such a connection before it lends another one. So no other module has a connection or a pool of sqlx:
//! - [`SessionPool`] lends [`Session`]s. A statement that is not answered by its deadline ends with an error, the
//!   connection is thrown away, and the server is told to end the session ([`orphans`]).
//! - A session stays only if its last statement succeeded, or failed for its values or for an ordinary serialization
//!   failure. Everything else throws its connection away ([`faults`]).
//! - A session that is given back in the middle of a statement or a transaction is rolled back, with a deadline, or
//!   thrown away.
//! - Each connection is set up by `SET` ([`setup`]): no start-up parameters, which connection poolers refuse.

mod connect;
mod database_time;
mod delivery_counts;
mod event_notices;
mod executor;
mod faults;
mod hosts;
mod listener;
mod orphans;
mod pool;
mod setup;
mod shared_state;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, timeout};

pub use database_time::DatabaseTime;
pub use hosts::{address, addresses};
pub use listener::SessionListener;
pub use pool::SessionPool;
pub use setup::{Purpose, check_session_pooling, is_durable};
pub use transaction::Transaction;
pub use transaction::begin;
pub(super) use transaction::begin_with;

use super::Error;
use crate::domain::{DeliveryStatus, LaneId, Platforms};
use orphans::ServerProcess;
use pool::{Place, PoolInner};

/// Longest time to make a session ready again that was given back in the middle of a statement or transaction.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection on loan from a [`SessionPool`]. Each statement has a deadline. It runs `sqlx` queries as a connection
/// does.
pub struct Session {
    held: Option<PooledConnection>,
    pool: Arc<PoolInner>,
    place: Option<Place>,
    /// Final outcomes of the present transaction: they are counted after its commit.
    uncommitted: Vec<(LaneId, DeliveryStatus, u64)>,
    /// The present transaction has written to the event log's outbox.
    has_uncommitted_events: bool,
}

/// A connection and what is known about it.
struct PooledConnection {
    conn: PgConnection,
    state: SessionState,
    connected_at: Instant,
    idle_since: Instant,
}

/// What is known about a connection, apart from it, so that both can be borrowed.
struct SessionState {
    backend: ServerProcess,
    /// Rises when connections are distrusted: see [`shared_state::SharedPoolState::distrust`].
    generation: u64,
    /// A statement has begun and not ended.
    busy: bool,
    transaction: InTransaction,
    /// The connection can't be used any more.
    broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InTransaction {
    No,
    Yes,
    /// Its [`Transaction`] was dropped: `ROLLBACK` is sent before the next statement.
    Abandoned,
}

impl Session {
    fn new(held: PooledConnection, pool: Arc<PoolInner>, place: Place) -> Self {
        Self {
            held: Some(held),
            pool,
            place: Some(place),
            uncommitted: Vec::new(),
            has_uncommitted_events: false,
        }
    }

    /// The platforms that this node knows by their numbers.
    pub fn platforms(&self) -> &Platforms {
        &self.pool.platforms
    }

    /// Throws the connection away, and tells the server to end what still runs on it.
    pub fn discard(mut self) {
        if let Some(held) = self.held.take() {
            self.pool.shared.end_on_server(held.state.backend);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(held), Some(place)) = (self.held.take(), self.place.take()) else { return };
        if held.state.broken {
            return;
        }
        if !held.state.busy && held.state.transaction == InTransaction::No {
            return self.pool.put_back(held);
        }
        let pool = Arc::clone(&self.pool);
        self.pool.shared.spawn(recover(held, pool, place));
    }
}

/// Makes a session ready for its next use, or throws it away. Its place in the pool stays taken meanwhile.
async fn recover(mut held: PooledConnection, pool: Arc<PoolInner>, place: Place) {
    let ready = timeout(RECOVERY_TIMEOUT, async {
        match held.state.transaction {
            InTransaction::No => sqlx::Connection::ping(&mut held.conn).await,
            _ => sqlx::Executor::execute(&mut held.conn, "ROLLBACK").await.map(|_| ()),
        }
    });
    if let Ok(Ok(())) = ready.await {
        (held.state.busy, held.state.transaction) = (false, InTransaction::No);
        pool.put_back(held);
    } else {
        pool.shared.end_on_server(held.state.backend);
    }
    drop(place);
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.held.as_ref().map(|held| held.state.backend.pid);
        f.debug_struct("Session").field("backend", &backend).finish_non_exhaustive()
    }
}

/// Ends all sessions of this database but the caller's. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn end_others(conn: &mut Session) -> Result<usize, Error> {
    let ended = sqlx::query_scalar!(
        "
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
        "
    )
    .fetch_all(conn)
    .await?;
    Ok(ended.into_iter().filter(|ended| *ended == Some(true)).count())
}
