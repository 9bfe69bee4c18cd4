//! Values that are kept for a short time, up to a number of bytes. The oldest go first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// What one value takes beside its own bytes, so that empty values are bounded too.
const ENTRY_BYTES: usize = 200;

/// Values by their keys.
#[derive(Debug)]
pub(super) struct ShortLived<K, V> {
    time: Duration,
    bytes_max: usize,
    kept: HashMap<K, Kept<V>>,
    /// In the order in which they came.
    order: VecDeque<K>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<V> {
    since: Instant,
    bytes: usize,
    value: V,
}

impl<K: Copy + Eq + Hash, V> ShortLived<K, V> {
    /// Values are kept for this time, as long as all of them have at most so many bytes.
    pub(super) fn new(time: Duration, bytes_max: usize) -> Self {
        Self { time, bytes_max, kept: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn find(&self, key: K) -> Option<&V> {
        let kept = self.kept.get(&key)?;
        (kept.since.elapsed() < self.time).then_some(&kept.value)
    }

    /// `bytes`: what the value holds.
    pub(super) fn keep(&mut self, key: K, value: V, bytes: usize) {
        let now = Instant::now();
        self.drop_old(now);
        let bytes = bytes + ENTRY_BYTES;
        self.bytes += bytes;
        match self.kept.insert(key, Kept { since: now, bytes, value }) {
            // It keeps its place in the order, and is dropped a little earlier.
            Some(before) => self.bytes -= before.bytes,
            None => self.order.push_back(key),
        }
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some(key) = self.order.front().copied() {
            let is_old = self.kept.get(&key).is_none_or(|kept| now - kept.since >= self.time);
            if !is_old && self.bytes <= self.bytes_max {
                return;
            }
            self.order.pop_front();
            if let Some(kept) = self.kept.remove(&key) {
                self.bytes -= kept.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn a_value_is_kept_for_its_time() {
        let mut values = ShortLived::new(TIME, 1_000_000);
        values.keep(1, "one", 3);
        assert_eq!((values.find(1), values.find(2)), (Some(&"one"), None));
        tokio::time::advance(TIME).await;
        assert_eq!(values.find(1), None);
        values.keep(2, "two", 3);
        assert_eq!(values.kept.len(), 1, "an old value takes no room");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_values_go_where_there_are_too_many_bytes() {
        let mut values = ShortLived::new(TIME, 8 << 20);
        for key in 1..=200 {
            values.keep(key, key, 100_000);
        }
        let held = (1..=200).filter(|key| values.find(*key).is_some()).count();
        assert!((80..=84).contains(&held), "{held} values of 100 KB in 8 MB");
        assert!(values.find(200).is_some());
        // A value that comes twice counts once.
        let before = values.bytes;
        values.keep(200, 200, 100_000);
        assert!(values.bytes <= before);
    }
}
