//! What a connection's requests say about it: when they were sent, whether they were answered or timed out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The history of one connection's requests. Its times are exact to a millisecond.
#[derive(Debug)]
pub(super) struct RequestHistory {
    /// Times are counted from this moment.
    epoch: Instant,
    /// Requests that timed out since the last answer.
    timeouts: AtomicU32,
    answered: AtomicBool,
    /// When a request was last sent, in milliseconds since `epoch`.
    last_used: AtomicU64,
    /// When the first request after the last read was sent (milliseconds since `epoch`), and the count of reads then.
    waiting_since: AtomicU64,
    waiting_reads: AtomicU64,
}

impl RequestHistory {
    /// Of a connection that was just opened, by a pool with this epoch.
    pub(super) fn new(epoch: Instant) -> Self {
        let history = Self {
            epoch,
            timeouts: AtomicU32::new(0),
            answered: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            waiting_reads: AtomicU64::new(u64::MAX),
        };
        history.note_request(Instant::now(), 0);
        history
    }

    /// Records that a request is about to be sent. `reads` is the connection's present count of reads.
    pub(super) fn note_request(&self, now: Instant, reads: u64) {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.last_used.store(millis, Ordering::Relaxed);
        // Only the first request after a read counts. Later requests must not delay the end of a silent connection.
        if self.waiting_reads.load(Ordering::Relaxed) != reads {
            self.waiting_reads.store(reads, Ordering::Relaxed);
            self.waiting_since.store(millis, Ordering::Relaxed);
        }
    }

    /// Records that an answer began to arrive. Says whether it is the first one.
    pub(super) fn note_answer(&self) -> bool {
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
        !self.answered.swap(true, Ordering::Relaxed)
    }

    /// Records that a request timed out; returns how many did in a row.
    pub(super) fn note_timeout(&self) -> u32 {
        self.timeouts.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// Whether any request was answered.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether the last request timed out.
    pub(super) fn is_stalled(&self) -> bool {
        self.timeouts.load(Ordering::Relaxed) > 0
    }

    /// When a request was last sent.
    pub(super) fn last_used(&self) -> Instant {
        self.epoch + Duration::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    /// When the first request after the last read was sent. An earlier time if no request was sent since.
    pub(super) fn waiting_since(&self) -> Instant {
        self.epoch + Duration::from_millis(self.waiting_since.load(Ordering::Relaxed))
    }
}
