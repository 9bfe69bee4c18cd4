//! Limits how many devices of an app may wait (`limits.max_pending`). Asked by the API before a notification is stored.
//!
//! No counter is kept in the database, because all requests and records would contend for its row. Every few seconds,
//! and only while requests come in, one request reads how many devices wait; between two readings this node adds what
//! it admits. A large table is sampled ([`store::backlog`]), so a reading costs about the same whatever its size.
//! Before a request is refused, the backlog is read again, at most five times a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::domain::AppId;
use crate::store;
use crate::store::SessionPool;

/// Age up to which a reading is used while there is room.
const STALENESS_MAX: Duration = Duration::from_secs(3);
/// Age up to which a reading is used to refuse a request.
const STALENESS_MAX_WHEN_FULL: Duration = Duration::from_millis(200);
/// Longest wait of a request for a reading.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of waiting devices per app. Cheap to clone; clones share one reading.
#[derive(Clone, Debug)]
pub struct Backlog {
    pool: SessionPool,
    limit: u64,
    reading: Arc<Mutex<Reading>>,
    /// Held by the request that reads the backlog.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Too many devices of the app wait already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {limit} devices would wait")]
pub struct BacklogFull {
    /// Most devices of an app that may wait.
    pub limit: u64,
}

/// Waiting devices per app: as last read, with what was admitted since.
#[derive(Debug, Default)]
struct Reading {
    made_at: Option<Instant>,
    waiting: HashMap<AppId, u64>,
}

impl Backlog {
    /// A backlog that was not read yet. `limit`: most waiting devices of each app.
    pub fn new(pool: SessionPool, limit: u64) -> Self {
        Self { pool, limit, reading: Arc::default(), turn: Arc::default() }
    }

    /// Admits a request that names so many devices, users and tokens. To be called before anything of it is stored.
    /// While nothing waits, any request is admitted: a larger one than the limit would otherwise be refused for ever.
    ///
    /// # Errors
    /// The request would exceed the limit.
    pub async fn admit(&self, app: AppId, named: usize) -> Result<(), BacklogFull> {
        let named = u64::try_from(named).unwrap_or(u64::MAX);
        if !self.is_younger(STALENESS_MAX)
            && let Ok(_turn) = self.turn.try_lock()
        {
            self.read().await;
        }
        if self.lock().admit(app, named, self.limit) {
            return Ok(());
        }
        let turn = self.turn.lock().await;
        if !self.is_younger(STALENESS_MAX_WHEN_FULL) {
            self.read().await;
        }
        drop(turn);
        if self.lock().admit(app, named, self.limit) {
            Ok(())
        } else {
            Err(BacklogFull { limit: self.limit })
        }
    }

    /// Reads the backlog. If Postgres does not answer, the last reading stays: a request that is admitted finds out
    /// when it is stored.
    async fn read(&self) {
        let read = async {
            let mut conn = self.pool.acquire().await?;
            store::backlog::waiting(&mut conn).await
        };
        let detail = "the last reading is used";
        match timeout(READ_TIMEOUT, read).await {
            Ok(Ok(waiting)) => *self.lock() = Reading { made_at: Some(Instant::now()), waiting },
            Ok(Err(error)) => tracing::warn!(%error, detail, "backlog can't be read"),
            Err(_) => tracing::warn!(detail, "backlog can't be read in time"),
        }
    }

    fn is_younger(&self, age: Duration) -> bool {
        self.lock().made_at.is_some_and(|at| at.elapsed() < age)
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn admit(&mut self, app: AppId, named: u64, limit: u64) -> bool {
        let waiting = self.waiting.entry(app).or_default();
        let fits = *waiting == 0 || waiting.saturating_add(named) <= limit;
        if fits {
            *waiting = waiting.saturating_add(named);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admitted_devices_count_until_the_next_reading() {
        let mut reading = Reading { waiting: HashMap::from([(AppId(1), 7)]), ..Reading::default() };
        assert!(reading.admit(AppId(1), 2, 10));
        assert!(!reading.admit(AppId(1), 2, 10));
        assert!(reading.admit(AppId(1), 1, 10));
        assert!(!reading.admit(AppId(1), 1, 10));
        assert!(reading.admit(AppId(2), 10, 10), "each app has a limit of its own");
    }

    #[test]
    fn any_request_is_admitted_while_nothing_waits() {
        let mut reading = Reading::default();
        assert!(reading.admit(AppId(1), 11, 10));
        assert!(!reading.admit(AppId(1), 1, 10));
    }
}
