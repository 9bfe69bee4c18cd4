//! How many connections there are at a time, and which of them goes when one more comes.
//!
//! A connection costs a file descriptor, which Postgres, the providers and the configuration's files need too. So a
//! listener has a number of slots. When all are taken, a connection goes that never sent a request, else the one that
//! has been idle the longest; a connection with a request under way never goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::idle_timeout::{ConnectionActivity, IdleState};

/// Part of all connections that goes at once, so that a flood does not cost a look at all of them for each of its own.
const EVICTED_PART: usize = 64;
/// While every connection has a request under way: time to the next look.
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
    /// By their order of arrival.
    connections: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    activity: ConnectionActivity,
    evicted: CancellationToken,
}

/// One connection's slot; free again when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    /// What goes on on this connection.
    pub(super) activity: ConnectionActivity,
    /// Set when the connection is to make room.
    pub(super) evicted: CancellationToken,
}

impl ConnectionSlots {
    /// At least one.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max.max(1)), open: Mutex::default(), freed: Notify::new() })
    }

    /// So many from now on, at least one. Connections beyond it go at once, but for those with a request under way.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max.max(1), Ordering::Relaxed);
        let open = self.open();
        open.evict(open.connections.len().saturating_sub(self.max()));
    }

    /// How many there are.
    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// A slot, if one is free.
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

    /// Evicts, and waits until a slot is free. For the listener's one loop only.
    pub(super) async fn make_room(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            let freed = self.freed.notified();
            if let Some(slot) = self.take() {
                return slot;
            }
            self.make_way();
            let _later = timeout(RECHECK, freed).await;
        }
    }

    /// Tells some to go where all slots are taken: what is beyond the number of slots, and a part of that number.
    fn make_way(&self) {
        let (max, open) = (self.max(), self.open());
        open.evict(open.connections.len().saturating_sub(max) + max.div_ceil(EVICTED_PART));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells up to `count` connections to go, unless some are about to.
    fn evict(&self, count: usize) {
        if self.connections.values().any(|entry| entry.evicted.is_cancelled()) {
            return;
        }
        let states = self.connections.values().map(|entry| (entry.activity.idle_state(), entry));
        let mut ready: Vec<_> = states.filter(|(idle_state, _)| *idle_state != IdleState::UnderWay).collect();
        ready.sort_by_key(|(idle_state, _)| *idle_state);
        for (_, entry) in ready.iter().take(count) {
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
    async fn the_silent_go_first_then_the_longest_idle_and_those_under_way_never() {
        let slots = ConnectionSlots::new(4);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take().expect("free"));
            minute().await;
        }
        assert!(slots.take().is_none(), "all are taken");
        // The first is under way, the second idle since the last minute, the third for longer; the fourth is silent.
        let under_way = taken[0].activity.begin(Version::HTTP_11);
        drop(taken[2].activity.begin(Version::HTTP_11));
        minute().await;
        drop(taken[1].activity.begin(Version::HTTP_11));
        for (goes, expected) in
            [(3, [false, false, false, true].as_slice()), (2, &[false, false, true]), (1, &[false, true])]
        {
            let room = slots.make_room().now_or_never();
            assert!(room.is_none(), "the connection has yet to go");
            assert_eq!(evicted(&taken), expected);
            taken.truncate(goes);
            let slot = slots.make_room().await;
            // The newcomer has a request under way at once, so that it stays.
            std::mem::forget(slot.activity.begin(Version::HTTP_11));
            std::mem::forget(slot);
        }
        let room = timeout(Duration::from_secs(3600), slots.make_room()).await;
        assert!(room.is_err(), "nothing that is under way goes");
        drop(under_way);
        assert!(timeout(Duration::from_secs(1), slots.make_room()).await.is_err());
        assert_eq!(evicted(&taken), [true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_silent_connections_goes_in_batches() {
        let slots = ConnectionSlots::new(640);
        let taken: Vec<_> = (0..640).map(|_| slots.take().expect("free")).collect();
        assert!(slots.make_room().now_or_never().is_none());
        assert_eq!(evicted(&taken).iter().filter(|evicted| **evicted).count(), 10);
        assert!(evicted(&taken)[..10].iter().all(|evicted| *evicted), "the oldest");
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_are_fewer_places_than_before_the_oldest_idle_connections_go_at_once() {
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
