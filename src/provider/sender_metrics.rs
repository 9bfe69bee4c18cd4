//! What a lane's senders count: connections, and the age of the provider token that the last request carried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::metrics::LaneMetrics;

/// Shared by the senders that a lane has had. A lane changes its sender with its credential.
#[derive(Debug)]
pub struct SenderMetrics {
    /// The lane's metrics.
    pub lane: Arc<LaneMetrics>,
    made_at: Instant,
    /// When the token of the last request was made or fetched, and when that request was made: in milliseconds after
    /// `made_at`, plus 1 so that 0 means never. Nothing is decided by them, so their order does not matter.
    token_ms: AtomicU64,
    used_ms: AtomicU64,
}

impl SenderMetrics {
    /// Nothing was sent yet.
    pub fn new(lane: Arc<LaneMetrics>) -> Self {
        Self { lane, made_at: Instant::now(), token_ms: AtomicU64::new(0), used_ms: AtomicU64::new(0) }
    }

    /// Notes a request at `now` with a token of this age.
    pub fn note_token(&self, now: Instant, age: Duration) {
        // A token that is older than this is as old as this: it was made by the sender before.
        let made = now.checked_sub(age).unwrap_or(self.made_at);
        self.token_ms.store(self.millis(made), Ordering::Relaxed);
        self.used_ms.store(self.millis(now), Ordering::Relaxed);
    }

    /// The age at `now` of the token of the last request. Zero if there was no request within `idle_max`.
    pub fn token_age(&self, now: Instant, idle_max: Duration) -> Duration {
        let (made, used) = (self.token_ms.load(Ordering::Relaxed), self.used_ms.load(Ordering::Relaxed));
        let now = self.millis(now);
        if used == 0 || Duration::from_millis(now.saturating_sub(used)) >= idle_max {
            return Duration::ZERO;
        }
        Duration::from_millis(now.saturating_sub(made))
    }

    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.made_at).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn the_age_is_that_of_the_token_in_use_until_the_lane_is_idle() {
        let idle_max = Duration::from_secs(300);
        let metrics = SenderMetrics::new(Metrics::new().lanes.lane("shop/fcm"));
        let age = || metrics.token_age(Instant::now(), idle_max).as_secs();
        assert_eq!(age(), 0);
        tokio::time::advance(Duration::from_secs(1_000)).await;
        metrics.note_token(Instant::now(), Duration::from_secs(60));
        assert_eq!(age(), 60);
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(age(), 359, "it becomes older between requests");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(age(), 0, "after five minutes without a request");
    }
}
