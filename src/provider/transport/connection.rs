//! What the streams, the pool and the driver of one connection share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::client::SendRequest;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection_state::{ConnectionState, SharedConnectionState};
use super::error::{Sent, TransportError, TransportErrorKind, of_connection};
use super::pool_state::PoolState;
use super::request_history::RequestHistory;
use super::stream_limits::StreamLimits;
use super::wire::Traffic;
use crate::telemetry::metrics::{ConnectionEnd, LaneMetrics};

/// A failed request waits this long for the cause of the connection's end (GOAWAY's text, an unanswered PING). The
/// driver learns the cause in the same step that fails the request.
const END_CAUSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many connections this process has opened.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// One connection, as everything but its driver uses it.
pub(super) struct Connection<S> {
    /// Which connection of this process it is, from 1: it names the connection in the log.
    pub(super) number: u64,
    /// The pool user's own state for this connection.
    pub(super) of_user: S,
    pub(super) pool: Arc<PoolState<S>>,
    pub(super) traffic: Arc<Traffic>,
    /// When its requests were sent and answered.
    pub(super) history: RequestHistory,
    /// Dropped when the last stream of a draining connection ends, because `h2` closes once no sender is left.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Changed under the pool's lock only, as far as it decides whether the connection takes streams.
    state: SharedConnectionState,
    limits: StreamLimits,
    /// Reserved and open streams. Written under the pool's lock only.
    open: AtomicUsize,
    /// Why the connection ended or will end.
    end_cause: OnceLock<TransportErrorKind>,
    /// Why this side ends the connection, if it does: for the metrics.
    retired_for: OnceLock<ConnectionEnd>,
    /// Where the connection was counted as open.
    counted_in: OnceLock<Arc<LaneMetrics>>,
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
        Self {
            number: CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1,
            of_user: S::default(),
            traffic,
            history: RequestHistory::new(pool.epoch),
            sender: Mutex::new(Some(sender)),
            state: SharedConnectionState::open(),
            limits: StreamLimits::new(&pool.settings, initial_streams),
            open: AtomicUsize::new(0),
            end_cause: OnceLock::new(),
            retired_for: OnceLock::new(),
            counted_in: OnceLock::new(),
            ended: CancellationToken::new(),
            wake_requested: AtomicBool::new(false),
            driver: AtomicWaker::new(),
            pool,
        }
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

    pub(super) fn state(&self) -> ConnectionState {
        self.state.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state().is_draining()
    }

    pub(super) fn start_draining(&self) {
        self.state.advance(ConnectionState::Draining);
    }

    /// The present limit of open streams.
    pub(super) fn limit(&self) -> usize {
        if self.state() == ConnectionState::Open { self.limits.limit(&self.pool.settings) } else { 0 }
    }

    /// Whether the connection is unproven or still in its first round of answers.
    pub(super) fn is_untried(&self) -> bool {
        self.limits.is_untried(&self.pool.settings)
    }

    /// Whether the limit of streams still grows with each round of answers.
    pub(super) fn is_widening(&self) -> bool {
        self.limits.is_widening(&self.pool.settings)
    }

    /// The limit of streams by the pool's settings and the peer.
    pub(super) fn full_limit(&self) -> usize {
        self.limits.full_limit(&self.pool.settings)
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
        if self.limits.prove() {
            self.pool.serve_waiters();
            self.wake_driver();
        }
    }

    /// Records that an answer began to arrive. `able` is false if the answer shows that the peer is overloaded.
    pub(super) fn note_answer(&self, able: bool) {
        if self.history.note_answer() {
            self.pool.note_success();
        }
        if able && self.limits.count_answer(&self.pool.settings) {
            self.pool.serve_waiters();
            self.wake_driver();
        }
    }

    /// Records that a request timed out. `silent` means that nothing was read while the request waited.
    ///
    /// After `evict_after_timeouts` in a row the connection is given up. A silent one is dropped at once, another one
    /// may finish its streams. A connection that never answered is given up after one time-out, because its window may
    /// be closed or the peer may be gone.
    pub(super) fn note_timeout(self: &Arc<Self>, silent: bool) {
        let allowed = self.pool.settings.evict_after_timeouts;
        let most = if self.history.has_answered() { allowed } else { allowed.min(1) };
        let in_row = self.history.note_timeout();
        if most == 0 || in_row < most {
            return;
        }
        if silent {
            self.kill(TransportErrorKind::Evicted);
        } else {
            self.note_retirement(ConnectionEnd::Silent);
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
        self.pool.retire(self);
        self.state.advance(ConnectionState::Killed);
        self.wake_driver();
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
        self.state.advance(ConnectionState::Suspect);
    }

    /// Records that something was read. Says whether the connection was suspect.
    pub(super) fn clear_suspect(&self) -> bool {
        self.state.trust_again()
    }

    /// Stores the peer's limit of streams, and says whether it rose.
    pub(super) fn set_peer_streams(&self, limit: usize) -> bool {
        self.limits.set_of_peer(limit)
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

    /// Counts the connection as open, if the pool has metrics.
    pub(super) fn count_opened(&self) {
        if let Some(metrics) = self.pool.metrics.get() {
            metrics.connections.inc();
            let _ = self.counted_in.set(Arc::clone(metrics));
        }
    }

    /// Counts the end of the connection, if its opening was counted.
    pub(super) fn count_ended(&self) {
        if let Some(metrics) = self.counted_in.get() {
            metrics.connections.dec();
            metrics.connection_ends(self.end_word()).inc();
        }
    }

    /// Notes why this side ends the connection. Only the first reason is kept.
    pub(super) fn note_retirement(&self, why: ConnectionEnd) {
        let _ = self.retired_for.set(why);
    }

    /// Why the connection ended, as the metrics name it.
    pub(super) fn end_word(&self) -> ConnectionEnd {
        match self.end_cause.get() {
            Some(TransportErrorKind::GoAway { .. }) => ConnectionEnd::Goaway,
            Some(TransportErrorKind::PingTimeout | TransportErrorKind::Evicted) => ConnectionEnd::Silent,
            Some(TransportErrorKind::Retired | TransportErrorKind::PoolClosed) | None => {
                self.retired_for.get().copied().unwrap_or(ConnectionEnd::Idle)
            }
            Some(_) => ConnectionEnd::Error,
        }
    }

    /// Records that the driver ended.
    pub(super) fn end(&self) {
        self.set_end_cause(TransportErrorKind::Closed("the connection ended".into()));
        self.drop_sender();
        self.state.advance(ConnectionState::Ended);
        self.ended.cancel();
    }
}
