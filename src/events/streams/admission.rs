//! How many streams a node serves, and which of them have to end: those of revoked keys, and those that take nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::KeyId;
use crate::telemetry::metrics::Held;

/// The most streams of a node, and of one key on it, and how long a socket may take nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamLimits {
    /// Of a node.
    pub per_node: usize,
    /// Of one key.
    pub per_key: usize,
    /// A socket that takes nothing for so long is cut.
    pub stall_max: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { per_node: 200, per_key: 10, stall_max: Duration::from_secs(60) }
    }
}

/// Why a stream is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamRefusal {
    /// The node has as many streams as it may.
    #[error("the node serves {0} streams already")]
    NodeIsFull(usize),
    /// The key has as many streams as it may.
    #[error("the key has {0} streams already")]
    KeyIsFull(usize),
    /// The node is being shut down.
    #[error("the node is being shut down")]
    ShuttingDown,
}

/// The streams that a node serves.
#[derive(Debug, Default)]
pub(super) struct Admission {
    limits: StreamLimits,
    open: Mutex<Open>,
    /// Notified when a stream begins, and when one ends.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: KeyId,
    ended: CancellationToken,
    /// Ends the connection at once.
    cut: CancellationToken,
    /// Since when a piece waits that the socket has not taken.
    handed_at: Mutex<Option<Instant>>,
}

/// The place of a stream; free again when this is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    admission: Arc<Admission>,
    number: u64,
    entry: Arc<Entry>,
    _counted: Held,
}

impl Admission {
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// `cut` ends the connection of the stream, which may have other requests.
    pub(super) fn admit(
        self: &Arc<Self>,
        key: KeyId,
        cut: CancellationToken,
        counted: Held,
    ) -> Result<StreamSlot, StreamRefusal> {
        let StreamLimits { per_node, per_key, stall_max: _ } = self.limits;
        let mut open = self.open();
        if open.streams.len() >= per_node {
            return Err(StreamRefusal::NodeIsFull(per_node));
        }
        if open.streams.values().filter(|entry| entry.key == key).count() >= per_key {
            return Err(StreamRefusal::KeyIsFull(per_key));
        }
        let handed_at = Mutex::default();
        let entry = Arc::new(Entry { key, ended: CancellationToken::new(), cut, handed_at });
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, Arc::clone(&entry));
        drop(open);
        self.changed.notify_one();
        Ok(StreamSlot { admission: Arc::clone(self), number, entry, _counted: counted })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open().streams.is_empty()
    }

    /// The keys that have streams, each once.
    pub(super) fn keys(&self) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> = self.open().streams.values().map(|entry| entry.key).collect();
        keys.sort_unstable_by_key(|key| key.0);
        keys.dedup();
        keys
    }

    /// Ends the streams of keys that were asked about and are not valid. A key may have got its first stream since then.
    pub(super) fn end_revoked(&self, asked: &[KeyId], valid: &[KeyId]) {
        let open = self.open();
        let is_revoked = |key: &KeyId| asked.contains(key) && !valid.contains(key);
        let revoked = open.streams.values().filter(|entry| is_revoked(&entry.key));
        revoked.for_each(|entry| entry.ended.cancel());
    }

    /// Cuts the connections that have not taken a piece for too long. Returns how many.
    pub(super) fn cut_stalled(&self) -> usize {
        let now = Instant::now();
        let is_stalled = |entry: &&Arc<Entry>| {
            let handed_at = *entry.handed_at.lock().unwrap_or_else(PoisonError::into_inner);
            handed_at.is_some_and(|at| now.saturating_duration_since(at) > self.limits.stall_max)
        };
        let open = self.open();
        open.streams.values().filter(is_stalled).inspect(|entry| entry.cut.cancel()).count()
    }

    /// Cuts the connections of all streams.
    pub(super) fn cut_all(&self) {
        self.open().streams.values().for_each(|entry| entry.cut.cancel());
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes for a stream whether its socket takes what it gets.
#[derive(Clone, Debug)]
pub struct StreamPulse(Arc<Entry>);

impl StreamPulse {
    /// Notes that the socket waits for the next piece.
    pub fn note_asked(&self) {
        *self.0.handed_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes that a piece was handed out. Until the next one is asked for, the socket has room for no more.
    pub fn note_handed(&self) {
        *self.0.handed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl StreamSlot {
    /// Notes whether the socket of the stream takes what it gets.
    pub(super) fn pulse(&self) -> StreamPulse {
        StreamPulse(Arc::clone(&self.entry))
    }

    /// Cancelled when the key is revoked.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.entry.ended
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.admission.open().streams.remove(&self.number);
        self.admission.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Gauge;

    const MINUTE: Duration = Duration::from_secs(60);

    fn admission() -> Arc<Admission> {
        Arc::new(Admission::new(StreamLimits { per_node: 3, per_key: 2, stall_max: MINUTE }))
    }

    fn admit(admission: &Arc<Admission>, key: KeyId) -> Result<StreamSlot, StreamRefusal> {
        admission.admit(key, CancellationToken::new(), Held::new(&Gauge::default()))
    }

    #[tokio::test]
    async fn a_node_and_a_key_have_so_many_streams_and_an_ended_one_makes_room() {
        let (admission, first, second) = (admission(), KeyId::random(), KeyId::random());
        let one = admit(&admission, first).expect("room");
        let _two = admit(&admission, first).expect("room");
        assert_eq!(admit(&admission, first).err(), Some(StreamRefusal::KeyIsFull(2)));
        let _three = admit(&admission, second).expect("room");
        assert_eq!(admit(&admission, second).err(), Some(StreamRefusal::NodeIsFull(3)));
        drop(one);
        assert!(admit(&admission, second).is_ok());
        assert_eq!(admission.keys().len(), 2);
    }

    #[tokio::test]
    async fn the_streams_of_a_revoked_key_end_and_those_of_others_go_on() {
        let (admission, kept, revoked) = (admission(), KeyId::random(), KeyId::random());
        let streams = [kept, revoked].map(|key| admit(&admission, key).expect("room"));
        let asked = admission.keys();
        let since = admit(&admission, KeyId::random()).expect("room");
        admission.end_revoked(&asked, &[kept]);
        assert_eq!(streams.each_ref().map(|slot| slot.ended().is_cancelled()), [false, true]);
        assert!(!since.ended().is_cancelled(), "nothing was asked about its key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_takes_nothing_is_cut_and_one_that_waits_for_events_is_not() {
        let (admission, key) = (admission(), KeyId::random());
        let (stalled, waiting) =
            (admit(&admission, key).expect("room"), admit(&admission, key).expect("room"));
        stalled.pulse().note_handed();
        waiting.pulse().note_handed();
        waiting.pulse().note_asked();
        tokio::time::advance(MINUTE).await;
        assert_eq!(admission.cut_stalled(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(admission.cut_stalled(), 1);
        assert!(stalled.entry.cut.is_cancelled() && !waiting.entry.cut.is_cancelled());
    }
}
