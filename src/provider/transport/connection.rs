//! What the streams, the pool and the driver of one connection share.

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

/// How long a failed request waits for its connection's last words (GOAWAY's text, a dead PING), which
/// the driver learns in the same step that fails the request.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One connection, seen from outside its driver.
pub(super) struct Connection<S> {
    /// The caller's state.
    pub(super) state: S,
    pub(super) pool: Arc<PoolState<S>>,
    pub(super) traffic: Arc<Traffic>,
    /// Taken when the last stream of a draining connection is done: `h2` closes when nobody can send any more.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Places taken. Written under the pool_state's lock only.
    open: AtomicUsize,
    /// Takes no new streams. Written under the pool_state's lock only, and never undone.
    draining: AtomicBool,
    /// To be dropped as it is.
    killed: AtomicBool,
    /// The peer accepted a request.
    proven: AtomicBool,
    /// The peer's limit of streams as last seen.
    peer_streams: AtomicUsize,
    /// How many streams a fresh connection is trusted with so far, and after how many answers that doubles.
    share: AtomicUsize,
    share_left: AtomicUsize,
    /// A PING is unanswered.
    suspect: AtomicBool,
    /// Time-outs since the last answer.
    timeouts: AtomicU32,
    answered: AtomicBool,
    /// When a request was last sent, in milliseconds since the pool's beginning.
    last_used: AtomicU64,
    /// When the first request was sent since something was read, and how many reads there had been.
    waiting_since: AtomicU64,
    waiting_reads: AtomicU64,
    /// Why the connection ended, or will.
    fate: OnceLock<TransportErrorKind>,
    ended: CancellationToken,
    /// Set when the driver has more to look at than frames.
    disturbed: AtomicBool,
    driver: AtomicWaker,
}

impl<S: Default> Connection<S> {
    pub(super) fn new(
        pool: Arc<PoolState<S>>,
        sender: SendRequest<Bytes>,
        traffic: Arc<Traffic>,
        initial_streams: usize,
    ) -> Self {
        let share = pool.settings.first_streams.max(1);
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
            share: AtomicUsize::new(share),
            share_left: AtomicUsize::new(share),
            suspect: AtomicBool::new(false),
            timeouts: AtomicU32::new(0),
            answered: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            waiting_reads: AtomicU64::new(u64::MAX),
            fate: OnceLock::new(),
            ended: CancellationToken::new(),
            disturbed: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        };
        connection.touch(Instant::now(), 0);
        connection
    }
}

/// The account. What changes it is called by the pool_state, under its lock.
impl<S> Connection<S> {
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn take_place(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives a place back and says how many are taken still.
    pub(super) fn give_place(&self) -> usize {
        self.open.fetch_sub(1, Ordering::AcqRel) - 1
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The last request timed out.
    pub(super) fn is_stalled(&self) -> bool {
        self.timeouts.load(Ordering::Relaxed) > 0
    }

    /// A PING is unanswered: not to be trusted with anything new.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// How many streams may be open now.
    pub(super) fn limit(&self) -> usize {
        if self.is_suspect() { 0 } else { self.full_limit().min(self.trusted()) }
    }

    /// It has not shown yet that it is of use. In its first round of answers it hasn't, even if the peer allows one
    /// stream: that limit is about to rise (docs/providers.md#apns-http2).
    pub(super) fn is_untried(&self) -> bool {
        let settings = &self.pool.settings;
        let share = self.share.load(Ordering::Acquire);
        self.is_unproven() || share <= settings.first_streams && share < settings.max_streams
    }

    /// It is trusted with more with each round of answers.
    pub(super) fn is_widening(&self) -> bool {
        self.share.load(Ordering::Acquire) < self.full_limit()
    }

    fn is_unproven(&self) -> bool {
        self.pool.settings.prove_first && !self.proven.load(Ordering::Acquire)
    }

    /// What we and the peer allow.
    pub(super) fn full_limit(&self) -> usize {
        self.pool.settings.max_streams.min(self.peer_streams.load(Ordering::Acquire))
    }

    /// What a connection that has answered so much may bear.
    fn trusted(&self) -> usize {
        if self.is_unproven() { 1 } else { self.share.load(Ordering::Acquire) }
    }
}

/// What streams tell.
impl<S> Connection<S> {
    /// A handle to send with, or why there is none.
    pub(super) fn sender(&self) -> Result<SendRequest<Bytes>, TransportError> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sender {
            Some(sender) if !self.is_draining() => Ok(sender.clone()),
            _ => {
                Err(TransportError::not_sent(self.fate.get().cloned().unwrap_or(TransportErrorKind::Retired)))
            }
        }
    }

    pub(super) fn mark_proven(&self) {
        if !self.proven.swap(true, Ordering::AcqRel) {
            self.pool.serve();
            self.disturb();
        }
    }

    /// A request is about to be sent, after so many reads.
    pub(super) fn touch(&self, now: Instant, reads: u64) {
        let millis = now.saturating_duration_since(self.pool.epoch).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.last_used.store(millis, Ordering::Relaxed);
        // Those after the first one don't put off the end of a connection that is silent.
        if self.waiting_reads.load(Ordering::Relaxed) != reads {
            self.waiting_reads.store(reads, Ordering::Relaxed);
            self.waiting_since.store(millis, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> Instant {
        self.pool.epoch + Duration::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    /// When the first request was sent since something was read; where none was, some time before that.
    pub(super) fn waiting_since(&self) -> Instant {
        self.pool.epoch + Duration::from_millis(self.waiting_since.load(Ordering::Relaxed))
    }

    /// An answer began to arrive; `able` if it shows that the peer can bear more.
    pub(super) fn note_answer(&self, able: bool) {
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
        if !self.answered.swap(true, Ordering::Relaxed) {
            self.pool.note_success();
        }
        let share = self.share.load(Ordering::Relaxed);
        if able && share < self.pool.settings.max_streams {
            self.widen(share);
        }
    }

    /// One more answer on a fresh connection. Answers that come at once may be counted once too few, never too
    /// many.
    fn widen(&self, share: usize) {
        if self.share_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let wider = share.saturating_mul(2);
            self.share.store(wider, Ordering::Release);
            self.share_left.store(wider, Ordering::Release);
            self.pool.serve();
            self.disturb();
        }
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// A request timed out; `silent` if nothing at all was read while it waited. After too many the connection
    /// is given up: dropped if it is silent, else left to finish what may still be answered. One is too many
    /// for a connection that never answered: its window may be shut, or nobody is behind it.
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

    /// The transport error for `error`, which a stream of this connection met that was queued when `writes` had
    /// been tried.
    pub(super) async fn explain(&self, error: &h2::Error, writes: u64) -> TransportError {
        let mut explained = TransportError::of_stream(error);
        if matches!(explained.kind, TransportErrorKind::Closed(_)) {
            // Bounded; only the wording depends on it.
            let _ = timeout(LAST_WORDS, self.ended.cancelled()).await;
            if let Some(fate) = self.fate.get() {
                explained.kind = fate.clone();
            }
            if self.traffic.writes() == writes {
                explained.sent = Sent::NotSent;
            }
        }
        explained
    }
}

/// What the driver hears and does.
impl<S> Connection<S> {
    /// Ends the connection as it is: its streams end with `why`.
    pub(super) fn kill(self: &Arc<Self>, why: TransportErrorKind) {
        let _ = self.fate.set(why);
        self.killed.store(true, Ordering::Release);
        self.pool.retire(self);
        self.disturb();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Makes the driver look again.
    pub(super) fn disturb(&self) {
        self.disturbed.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Registers the driver and says whether it was called.
    pub(super) fn listen(&self, waker: &Waker) -> bool {
        self.driver.register(waker);
        self.disturbed.load(Ordering::Acquire) && self.disturbed.swap(false, Ordering::AcqRel)
    }

    /// A PING went out into silence.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    /// Something was read. Says whether the connection was suspect.
    pub(super) fn trust(&self) -> bool {
        self.is_suspect() && self.suspect.swap(false, Ordering::AcqRel)
    }

    /// Takes over the peer's limit of streams and says whether it rose.
    pub(super) fn set_peer_streams(&self, limit: usize) -> bool {
        self.peer_streams.swap(limit, Ordering::AcqRel) < limit
    }

    /// Whether `h2` would open another stream: not after a GOAWAY, nor when stream ids ran out.
    pub(super) fn accepts_streams(&self, cx: &mut Context<'_>) -> bool {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.as_mut().map(|sender| sender.poll_ready(cx)) {
            Some(Poll::Ready(Err(error))) => {
                if error.is_go_away() {
                    self.set_fate(of_connection(&error));
                }
                false
            }
            _ => true,
        }
    }

    /// Lets `h2` close: no request can be sent any more. Says whether it was not so before.
    pub(super) fn forget_sender(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// The first word holds.
    pub(super) fn set_fate(&self, fate: TransportErrorKind) {
        let _ = self.fate.set(fate);
    }

    pub(super) fn fate(&self) -> Option<&TransportErrorKind> {
        self.fate.get()
    }

    /// The driver is gone.
    pub(super) fn end(&self) {
        self.set_fate(TransportErrorKind::Closed("the connection ended".into()));
        self.forget_sender();
        self.ended.cancel();
    }
}
