//! The state of one connection that its streams, its pool and its driver trusted_streams.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::client::SendRequest;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::error::{Sent, TransportError, TransportErrorKind, of_connection};
use super::pool_state::PoolState;
use super::wire::Traffic;

/// A failed request waits this long for the cause of the connection's end (GOAWAY's text, an unanswered PING). The
/// driver learns the cause in the same step that fails the request.
const END_CAUSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// One connection, as everything but its driver uses it.
pub(super) struct Connection<S> {
    /// The pool user's own state for this connection.
    pub(super) state: S,
    pub(super) pool: Arc<PoolState<S>>,
    pub(super) traffic: Arc<Traffic>,
    /// Dropped when the last stream of a draining connection ends, because `h2` closes once no sender is left.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Reserved and open streams. Written under the pool's lock only.
    open: AtomicUsize,
    /// The connection takes no new streams. Set under the pool's lock only, and never reset.
    draining: AtomicBool,
    /// The driver must drop the connection at once.
    killed: AtomicBool,
    /// The peer has accepted a request on this connection.
    proven: AtomicBool,
    /// The peer's limit of open streams, from its latest SETTINGS.
    peer_streams: AtomicUsize,
    /// How many streams a fresh connection may have so far.
    trusted_streams: AtomicUsize,
    /// How many answers are missing until `trusted_streams` doubles.
    answers_until_doubling: AtomicUsize,
    /// A PING is unanswered, so new streams must wait.
    suspect: AtomicBool,
    /// Requests that timed out since the last answer.
    timeouts: AtomicU32,
    answered: AtomicBool,
    /// When a request was last sent, in milliseconds since the pool's `epoch`.
    last_used: AtomicU64,
    /// When the first request after the last read was sent (milliseconds since `epoch`), and the count of reads then.
    waiting_since: AtomicU64,
    waiting_reads: AtomicU64,
    /// Why the connection ended or will end.
    end_cause: OnceLock<TransportErrorKind>,
    ended: CancellationToken,
    /// Set when the driver must check its deadlines and the pool, not only frames.
    wake_requested: AtomicBool,
    driver: AtomicWaker,
}

impl<S: Default> Connection<S> {
    pub(super) fn new(
        pool: Arc<PoolState<S>>,
        sender: SendRequest<Bytes>,
        traffic: Arc<Traffic>,
        initial_streams: usize,
    ) -> Self {
        let trusted_streams = pool.settings.first_streams.max(1);
        let connection = Self {
            state: S::default(),
            pool,
            traffic,
            sender: Mutex::new(Some(sender)),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            peer_streams: AtomicUsize::new(initial_streams),
            trusted_streams: AtomicUsize::new(trusted_streams),
            answers_until_doubling: AtomicUsize::new(trusted_streams),
            suspect: AtomicBool::new(false),
            timeouts: AtomicU32::new(0),
            answered: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            waiting_reads: AtomicU64::new(u64::MAX),
            end_cause: OnceLock::new(),
            ended: CancellationToken::new(),
            wake_requested: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        };
        connection.note_request(Instant::now(), 0);
        connection
    }
}

/// Counts and limits of streams. The pool changes them, under its lock.
impl<S> Connection<S> {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn take_slot(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns a slot, and says how many are still taken.
    pub(super) fn return_slot(&self) -> usize {
        self.open.fetch_sub(1, Ordering::AcqRel) - 1
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the last request timed out.
    pub(super) fn is_stalled(&self) -> bool {
        self.timeouts.load(Ordering::Relaxed) > 0
    }

    /// Whether a PING is unanswered. Such a connection gets no new streams.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// The present limit of open streams.
    pub(super) fn limit(&self) -> usize {
        if self.is_suspect() { 0 } else { self.full_limit().min(self.trusted_limit()) }
    }

    /// Whether the connection is unproven or still in its first round of answers. The round counts even if the peer
    /// allows only one stream, because that limit is about to rise (docs/providers.md#apns-http2).
    pub(super) fn is_untried(&self) -> bool {
        let settings = &self.pool.settings;
        let trusted_streams = self.trusted_streams.load(Ordering::Acquire);
        self.is_unproven()
            || trusted_streams <= settings.first_streams && trusted_streams < settings.max_streams
    }

    /// Whether the limit of streams still grows with each round of answers.
    pub(super) fn is_widening(&self) -> bool {
        self.trusted_streams.load(Ordering::Acquire) < self.full_limit()
    }

    fn is_unproven(&self) -> bool {
        self.pool.settings.prove_first && !self.proven.load(Ordering::Acquire)
    }

    /// The limit of streams by the pool's settings and the peer.
    pub(super) fn full_limit(&self) -> usize {
        self.pool.settings.max_streams.min(self.peer_streams.load(Ordering::Acquire))
    }

    /// The limit of streams that the answers so far allow.
    fn trusted_limit(&self) -> usize {
        if self.is_unproven() { 1 } else { self.trusted_streams.load(Ordering::Acquire) }
    }
}

/// Events that streams report.
impl<S> Connection<S> {
    /// A handle to send with, or the reason why the connection can't send.
    pub(super) fn sender(&self) -> Result<SendRequest<Bytes>, TransportError> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sender {
            Some(sender) if !self.is_draining() => Ok(sender.clone()),
            _ => Err(TransportError::not_sent(
                self.end_cause.get().cloned().unwrap_or(TransportErrorKind::Retired),
            )),
        }
    }

    pub(super) fn mark_proven(&self) {
        if !self.proven.swap(true, Ordering::AcqRel) {
            self.pool.serve_waiters();
            self.wake_driver();
        }
    }

    /// Records that a request is about to be sent. `reads` is the present count of reads.
    pub(super) fn note_request(&self, now: Instant, reads: u64) {
        let millis = now.saturating_duration_since(self.pool.epoch).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.last_used.store(millis, Ordering::Relaxed);
        // Only the first request after a read counts. Later requests must not delay the end of a silent connection.
        if self.waiting_reads.load(Ordering::Relaxed) != reads {
            self.waiting_reads.store(reads, Ordering::Relaxed);
            self.waiting_since.store(millis, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> Instant {
        self.pool.epoch + Duration::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    /// When the first request after the last read was sent. An earlier time if no request was sent since.
    pub(super) fn waiting_since(&self) -> Instant {
        self.pool.epoch + Duration::from_millis(self.waiting_since.load(Ordering::Relaxed))
    }

    /// Records that an answer began to arrive. `able` is false if the answer shows that the peer is overloaded.
    pub(super) fn note_answer(&self, able: bool) {
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
        if !self.answered.swap(true, Ordering::Relaxed) {
            self.pool.note_success();
        }
        let trusted_streams = self.trusted_streams.load(Ordering::Relaxed);
        if able && trusted_streams < self.pool.settings.max_streams {
            self.widen(trusted_streams);
        }
    }

    /// Counts one more answer on a fresh connection, and doubles its streams after a full round. Simultaneous answers
    /// may be counted too low, never too high.
    fn widen(&self, trusted_streams: usize) {
        if self.answers_until_doubling.fetch_sub(1, Ordering::AcqRel) == 1 {
            let wider = trusted_streams.saturating_mul(2);
            self.trusted_streams.store(wider, Ordering::Release);
            self.answers_until_doubling.store(wider, Ordering::Release);
            self.pool.serve_waiters();
            self.wake_driver();
        }
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Records that a request timed out. `silent` means that nothing was read while the request waited.
    ///
    /// After `evict_after_timeouts` in a row the connection is given up. A silent one is dropped at once, another one
    /// may finish its streams. A connection that never answered is given up after one time-out, because its window may
    /// be closed or the peer may be gone.
    pub(super) fn note_timeout(self: &Arc<Self>, silent: bool) {
        let allowed = self.pool.settings.evict_after_timeouts;
        let most = if self.has_answered() { allowed } else { allowed.min(1) };
        let in_row = self.timeouts.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if most == 0 || in_row < most {
            return;
        }
        if silent {
            self.kill(TransportErrorKind::Evicted);
        } else {
            self.pool.retire(self);
        }
    }

    /// The transport error for the error of a stream. `writes` is the count of writes when the request was queued. If
    /// nothing was written since, the request was not sent.
    pub(super) async fn explain(&self, error: &h2::Error, writes: u64) -> TransportError {
        let mut explained = TransportError::of_stream(error);
        if matches!(explained.kind, TransportErrorKind::Closed(_)) {
            // The wait is bounded, because only the text of the error depends on it.
            let _ = timeout(END_CAUSE_WAIT_MAX, self.ended.cancelled()).await;
            if let Some(end_cause) = self.end_cause.get() {
                explained.kind = end_cause.clone();
            }
            if self.traffic.writes() == writes {
                explained.sent = Sent::NotSent;
            }
        }
        explained
    }
}

/// Events that the driver reports and handles.
impl<S> Connection<S> {
    /// Ends the connection at once. Its streams fail with `why`.
    pub(super) fn kill(self: &Arc<Self>, why: TransportErrorKind) {
        let _ = self.end_cause.set(why);
        self.killed.store(true, Ordering::Release);
        self.pool.retire(self);
        self.wake_driver();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Wakes the driver, so that it checks its deadlines and the pool.
    pub(super) fn wake_driver(&self) {
        self.wake_requested.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Registers the driver's waker, and says whether a wake-up was requested since the last call.
    pub(super) fn register_driver(&self, waker: &Waker) -> bool {
        self.driver.register(waker);
        self.wake_requested.load(Ordering::Acquire) && self.wake_requested.swap(false, Ordering::AcqRel)
    }

    /// Records that a PING was sent and not answered yet.
    pub(super) fn mark_suspect(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Records that something was read. Says whether the connection was suspect.
    pub(super) fn clear_suspect(&self) -> bool {
        self.is_suspect() && self.suspect.swap(false, Ordering::AcqRel)
    }

    /// Stores the peer's limit of streams, and says whether it rose.
    pub(super) fn set_peer_streams(&self, limit: usize) -> bool {
        self.peer_streams.swap(limit, Ordering::AcqRel) < limit
    }

    /// Whether `h2` would open another stream. It does not after a GOAWAY or when the stream ids are used up.
    pub(super) fn accepts_streams(&self, cx: &mut Context<'_>) -> bool {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_mut().map(|sender| sender.poll_ready(cx)) {
            Some(Poll::Ready(Err(error))) => {
                if error.is_go_away() {
                    self.set_end_cause(of_connection(&error));
                }
                false
            }
            _ => true,
        }
    }

    /// Drops the sender, so that `h2` closes the connection. Says whether there was one.
    pub(super) fn drop_sender(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Stores why the connection ends. Only the first cause is kept.
    pub(super) fn set_end_cause(&self, end_cause: TransportErrorKind) {
        let _ = self.end_cause.set(end_cause);
    }

    pub(super) fn end_cause(&self) -> Option<&TransportErrorKind> {
        self.end_cause.get()
    }

    /// Records that the driver ended.
    pub(super) fn end(&self) {
        self.set_end_cause(TransportErrorKind::Closed("the connection ended".into()));
        self.drop_sender();
        self.ended.cancel();
    }
}
