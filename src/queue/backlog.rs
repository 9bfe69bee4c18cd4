//! How much waits, per app, and that no more is taken than may wait.
//!
//! There is no counter to keep, for anybody to fight over. Every few seconds, and only while requests come in, one of
//! them reads how many devices wait; between two readings what was taken here is added. A large table is sampled
//! ([`store::backlog`]), so a reading costs about the same however much there is. Where a request would be refused, the
//! reading is made anew first, at most a few times a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::domain::AppId;
use crate::store;
use crate::store::SessionPool;

/// A reading is good for so long while there is room.
const FRESH: Duration = Duration::from_secs(3);
/// And for so long where there is none.
const FRESH_WHEN_FULL: Duration = Duration::from_millis(200);
/// No request waits longer for a reading.
const PATIENCE: Duration = Duration::from_secs(2);

/// What waits. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Backlog {
    pool: SessionPool,
    limit: u64,
    reading: Arc<Mutex<Reading>>,
    /// LeasedJob by the one who reads.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Too much waits already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {limit} devices would wait")]
pub struct BacklogFull {
    /// Most devices that may wait.
    pub limit: u64,
}

/// Devices waiting per app, as read or added since.
#[derive(Debug, Default)]
struct Reading {
    made_at: Option<Instant>,
    waiting: HashMap<AppId, u64>,
}

impl Backlog {
    /// Knows nothing yet. `limit` is for each app.
    pub fn new(pool: SessionPool, limit: u64) -> Self {
        Self { pool, limit, reading: Arc::default(), turn: Arc::default() }
    }

    /// Counts a request that names so many devices, users and tokens; to be called before anything of it is stored.
    /// Where nothing waits, any request is taken: it would be refused for ever.
    ///
    /// # Errors
    /// Too much waits.
    pub async fn admit(&self, app: AppId, named: usize) -> Result<(), BacklogFull> {
        let named = u64::try_from(named).unwrap_or(u64::MAX);
        if !self.is_younger(FRESH)
            && let Ok(_turn) = self.turn.try_lock()
        {
            self.read().await;
        }
        if self.lock().take(app, named, self.limit) {
            return Ok(());
        }
        let turn = self.turn.lock().await;
        if !self.is_younger(FRESH_WHEN_FULL) {
            self.read().await;
        }
        drop(turn);
        if self.lock().take(app, named, self.limit) { Ok(()) } else { Err(BacklogFull { limit: self.limit }) }
    }

    /// Without an answer things stay as they are: whoever asks in order to store something learns it soon enough.
    async fn read(&self) {
        let read = async {
            let mut conn = self.pool.acquire().await?;
            store::backlog::waiting(&mut conn).await
        };
        match timeout(PATIENCE, read).await {
            Ok(Ok(waiting)) => *self.lock() = Reading { made_at: Some(Instant::now()), waiting },
            Ok(Err(error)) => tracing::warn!(%error, "the backlog can't be read"),
            Err(_) => tracing::warn!("the backlog can't be read in time"),
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
    fn take(&mut self, app: AppId, named: u64, limit: u64) -> bool {
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
    fn what_was_taken_counts_until_the_next_reading() {
        let mut reading = Reading { waiting: HashMap::from([(AppId(1), 7)]), ..Reading::default() };
        assert!(reading.take(AppId(1), 2, 10));
        assert!(!reading.take(AppId(1), 2, 10));
        assert!(reading.take(AppId(1), 1, 10));
        assert!(!reading.take(AppId(1), 1, 10));
        assert!(reading.take(AppId(2), 10, 10), "each app for itself");
    }

    #[test]
    fn where_nothing_waits_anything_is_taken() {
        let mut reading = Reading::default();
        assert!(reading.take(AppId(1), 11, 10));
        assert!(!reading.take(AppId(1), 1, 10));
    }
}
