//! Limits the number of connections of a listener, and chooses which ones are closed when another client connects.
//!
//! A connection takes a file descriptor, which Postgres, the providers and the configuration's files need too. When all
//! slots are taken, connections without a request so far are closed first, then those idle for the longest time. A
//! connection with a request in progress is never closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::idle_timeout::{ConnectionActivity, IdleState};

/// One connection in this many is evicted at once, so that in a flood not every new connection needs a search through
/// all others.
const EVICTED_PART: usize = 64;
/// Between two searches while every connection has a request in progress.
const RECHECK: Duration = Duration::from_millis(250);

/// The slots of one listener.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    max: AtomicUsize,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// The connections in the order of their arrival.
    connections: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    activity: ConnectionActivity,
    evicted: CancellationToken,
}

/// The slot of one connection; free again when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    /// Whether the connection has requests in progress, and since when not.
    pub(super) activity: ConnectionActivity,
    /// Cancelled when the connection must end, to free its slot.
    pub(super) evicted: CancellationToken,
}

impl ConnectionSlots {
    /// With `max` slots, at least one.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max.max(1)), open: Mutex::default(), freed: Notify::new() })
    }

    /// Sets the number of slots, at least one. Connections beyond it are evicted at once, except those with a request
    /// in progress.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max.max(1), Ordering::Relaxed);
        let open = self.open();
        open.evict(open.connections.len().saturating_sub(self.max()));
    }

    /// The number of slots, free or not.
    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Takes a slot; none if all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let mut open = self.open();
        if open.connections.len() >= self.max() {
            return None;
        }
        let (activity, evicted) = (ConnectionActivity::new(), CancellationToken::new());
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Entry { activity: activity.clone(), evicted: evicted.clone() });
        Some(ConnectionSlot { slots: Arc::clone(self), number, activity, evicted })
    }

    /// Evicts connections, and waits for a free slot. For the accept loop only, because only one waiter is woken.
    pub(super) async fn take_evicting(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            let freed = self.freed.notified();
            if let Some(slot) = self.take() {
                return slot;
            }
            self.evict();
            let _later = timeout(RECHECK, freed).await;
        }
    }

    /// Evicts the connections beyond the number of slots, and a part of that number besides.
    fn evict(&self) {
        let (max, open) = (self.max(), self.open());
        open.evict(open.connections.len().saturating_sub(max) + max.div_ceil(EVICTED_PART));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Evicts up to `count` connections, unless some are being evicted already.
    fn evict(&self, count: usize) {
        if self.connections.values().any(|entry| entry.evicted.is_cancelled()) {
            return;
        }
        let states = self.connections.values().map(|entry| (entry.activity.idle_state(), entry));
        let mut candidates: Vec<_> =
            states.filter(|(idle_state, _)| *idle_state != IdleState::UnderWay).collect();
        candidates.sort_by_key(|(idle_state, _)| *idle_state);
        for (_, entry) in candidates.iter().take(count) {
            entry.evicted.cancel();
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.open().connections.remove(&self.number);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::Version;

    use super::*;

    fn evicted(slots: &[ConnectionSlot]) -> Vec<bool> {
        slots.iter().map(|slot| slot.evicted.is_cancelled()).collect()
    }

    async fn minute() {
        tokio::time::advance(Duration::from_secs(60)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn unused_then_longest_idle_connections_are_evicted_and_busy_ones_never() {
        let slots = ConnectionSlots::new(4);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take().expect("free"));
            minute().await;
        }
        assert!(slots.take().is_none(), "all are taken");
        // The first has a request in progress, the second is idle for one minute, the third for two, the fourth had no
        // request.
        let under_way = taken[0].activity.begin(Version::HTTP_11);
        drop(taken[2].activity.begin(Version::HTTP_11));
        minute().await;
        drop(taken[1].activity.begin(Version::HTTP_11));
        for (goes, expected) in
            [(3, [false, false, false, true].as_slice()), (2, &[false, false, true]), (1, &[false, true])]
        {
            let room = slots.take_evicting().now_or_never();
            assert!(room.is_none(), "the evicted connection has not ended yet");
            assert_eq!(evicted(&taken), expected);
            taken.truncate(goes);
            let slot = slots.take_evicting().await;
            // The new connection has a request in progress from now on, so it stays.
            std::mem::forget(slot.activity.begin(Version::HTTP_11));
            std::mem::forget(slot);
        }
        let room = timeout(Duration::from_secs(3600), slots.take_evicting()).await;
        assert!(room.is_err(), "connections with requests in progress stay");
        drop(under_way);
        assert!(timeout(Duration::from_secs(1), slots.take_evicting()).await.is_err());
        assert_eq!(evicted(&taken), [true]);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_connections_of_a_flood_are_evicted_in_batches() {
        let slots = ConnectionSlots::new(640);
        let taken: Vec<_> = (0..640).map(|_| slots.take().expect("free")).collect();
        assert!(slots.take_evicting().now_or_never().is_none());
        assert_eq!(evicted(&taken).iter().filter(|evicted| **evicted).count(), 10);
        assert!(evicted(&taken)[..10].iter().all(|evicted| *evicted), "the oldest");
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_slots_evict_the_longest_idle_connections_at_once() {
        let slots = ConnectionSlots::new(6);
        let mut taken = Vec::new();
        for _ in 0..6 {
            let slot = slots.take().expect("free");
            drop(slot.activity.begin(Version::HTTP_11));
            taken.push(slot);
            minute().await;
        }
        let under_way = taken[0].activity.begin(Version::HTTP_11);
        slots.set_max(2);
        assert_eq!(evicted(&taken), [false, true, true, true, true, false]);
        taken.retain(|slot| !slot.evicted.is_cancelled());
        assert!(slots.take().is_none(), "both slots are taken");
        slots.set_max(3);
        assert!(slots.take().is_some(), "there is one slot more");
        drop(under_way);
    }
}
