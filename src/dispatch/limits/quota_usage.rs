//! How much of a quota was used within the last minute. Only metrics read it, without the quota's lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const SECONDS: u64 = 60;

/// Counts sent messages by seconds. Nothing is decided by it, so its order of memory does not matter.
#[derive(Debug)]
pub(super) struct QuotaUsage {
    made_at: Instant,
    per_minute: AtomicU32,
    nodes: AtomicU32,
    /// Milliseconds from `made_at` to the end of the wait that the provider asked for; 0: none.
    wait_ends_ms: AtomicU64,
    /// The number of the second in the upper half, and the messages of that second in the lower one.
    sent: [AtomicU64; SECONDS as usize],
}

impl QuotaUsage {
    /// Nothing was sent yet, and one node has all of the quota.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            made_at: Instant::now(),
            per_minute: AtomicU32::new(per_minute),
            nodes: AtomicU32::new(1),
            wait_ends_ms: AtomicU64::new(0),
            sent: [const { AtomicU64::new(0) }; SECONDS as usize],
        }
    }

    /// Another quota, or another number of nodes that share it.
    pub(super) fn set_share(&self, per_minute: u32, nodes: u32) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
        self.nodes.store(nodes, Ordering::Relaxed);
    }

    /// The provider asked for a wait, or it ended.
    pub(super) fn set_wait(&self, until: Option<Instant>) {
        self.wait_ends_ms.store(until.map_or(0, |until| self.millis(until)), Ordering::Relaxed);
    }

    /// Counts a message that was sent, or may have been.
    pub(super) fn note_sent(&self) {
        let second = self.second(Instant::now());
        let counted = |slot: u64| Some(if slot >> 32 == second { slot + 1 } else { (second << 32) + 1 });
        let slot = &self.sent[(second % SECONDS) as usize];
        let _before = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }

    /// Does the provider say that the project is over its quota?
    pub(super) fn is_over(&self) -> bool {
        self.wait_ends_ms.load(Ordering::Relaxed) > self.millis(Instant::now())
    }

    /// What is left of this node's part of the last minute: 0 to 1.
    pub(super) fn remaining(&self) -> f64 {
        if self.is_over() {
            return 0.0;
        }
        let now = self.second(Instant::now());
        let slots = self.sent.iter().map(|slot| slot.load(Ordering::Relaxed));
        let sent: u64 =
            slots.filter(|slot| (slot >> 32) + SECONDS > now).map(|slot| slot & u64::from(u32::MAX)).sum();
        let nodes = self.nodes.load(Ordering::Relaxed).max(1);
        let part = f64::from(self.per_minute.load(Ordering::Relaxed)) / f64::from(nodes);
        (1.0 - sent as f64 / part.max(1.0)).clamp(0.0, 1.0)
    }

    /// Counted from 1, so that an empty slot belongs to no second.
    fn second(&self, at: Instant) -> u64 {
        self.millis(at) / 1_000 + SECONDS
    }

    fn millis(&self, at: Instant) -> u64 {
        let since: Duration = at.saturating_duration_since(self.made_at);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_within_a_minute_is_missing() {
        let usage = QuotaUsage::new(100);
        assert_eq!(usage.remaining(), 1.0);
        (0..20).for_each(|_| usage.note_sent());
        tokio::time::advance(Duration::from_secs(30)).await;
        (0..5).for_each(|_| usage.note_sent());
        assert_eq!(usage.remaining(), 0.75);
        usage.set_share(100, 2);
        assert_eq!(usage.remaining(), 0.5, "of half as much");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(usage.remaining(), 0.9, "the first ones were sent a minute ago");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(usage.remaining(), 1.0);
        (0..200).for_each(|_| usage.note_sent());
        assert_eq!(usage.remaining(), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_while_the_provider_says_so() {
        let usage = QuotaUsage::new(100);
        usage.set_wait(Some(Instant::now() + Duration::from_secs(10)));
        assert!(usage.is_over() && usage.remaining() == 0.0);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!usage.is_over() && usage.remaining() == 1.0);
        usage.set_wait(Some(Instant::now() + Duration::from_secs(10)));
        usage.set_wait(None);
        assert!(!usage.is_over(), "an operator's word ends it");
    }
}
