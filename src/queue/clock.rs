//! Postgres's time, as this node knows it.
//!
//! All stored times are made and compared by Postgres. What a node computes from them (time to live, `apns-expiration`,
//! ids) uses this clock, so a wrong clock on a node does no harm.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Postgres's time, read with each heartbeat and continued by the node's monotonic clock.
#[derive(Debug)]
pub struct Clock {
    base: Instant,
    /// Microseconds since 1970 at `base`.
    epoch_at_base: AtomicI64,
}

impl Clock {
    /// A clock that shows `at` at this moment.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self { base: Instant::now(), epoch_at_base: AtomicI64::new(at.timestamp_micros()) }
    }

    /// Sets the clock to Postgres's time.
    pub fn set(&self, at: DateTime<Utc>) {
        self.epoch_at_base.store(at.timestamp_micros() - self.micros_to(Instant::now()), Ordering::Relaxed);
    }

    /// Postgres's time at this moment.
    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    /// Postgres's time at a moment of the node's monotonic clock.
    pub fn at(&self, moment: Instant) -> DateTime<Utc> {
        let micros = self.epoch_at_base.load(Ordering::Relaxed) + self.micros_to(moment);
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }

    fn micros_to(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.base).as_micros()).unwrap_or(i64::MAX)
    }
}
