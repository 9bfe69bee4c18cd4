//! How many streams a connection may have: few on a fresh one, then as many as settings and peer allow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Settings;

/// The limits of one connection's open streams.
#[derive(Debug)]
pub(super) struct StreamLimits {
    /// The peer has accepted a request on this connection.
    proven: AtomicBool,
    /// The peer's limit of open streams, from its latest SETTINGS.
    of_peer: AtomicUsize,
    /// How many streams a fresh connection may have so far.
    trusted: AtomicUsize,
    /// How many answers are missing until `trusted` doubles.
    answers_until_doubling: AtomicUsize,
}

impl StreamLimits {
    /// The limits of a fresh connection with this limit of the peer.
    pub(super) fn new(settings: &Settings, of_peer: usize) -> Self {
        let trusted = settings.first_streams.max(1);
        Self {
            proven: AtomicBool::new(false),
            of_peer: AtomicUsize::new(of_peer),
            trusted: AtomicUsize::new(trusted),
            answers_until_doubling: AtomicUsize::new(trusted),
        }
    }

    /// The present limit of open streams.
    pub(super) fn limit(&self, settings: &Settings) -> usize {
        let trusted = if self.is_unproven(settings) { 1 } else { self.trusted.load(Ordering::Acquire) };
        self.full_limit(settings).min(trusted)
    }

    /// The limit of streams by the settings and the peer.
    pub(super) fn full_limit(&self, settings: &Settings) -> usize {
        settings.max_streams.min(self.of_peer.load(Ordering::Acquire))
    }

    /// Whether the connection is unproven or still in its first round of answers. The round counts even if the peer
    /// allows only one stream, because that limit is about to rise (docs/providers.md#apns-http2).
    pub(super) fn is_untried(&self, settings: &Settings) -> bool {
        let trusted = self.trusted.load(Ordering::Acquire);
        self.is_unproven(settings) || trusted <= settings.first_streams && trusted < settings.max_streams
    }

    /// Whether the limit still grows with each round of answers.
    pub(super) fn is_widening(&self, settings: &Settings) -> bool {
        self.trusted.load(Ordering::Acquire) < self.full_limit(settings)
    }

    fn is_unproven(&self, settings: &Settings) -> bool {
        settings.prove_first && !self.proven.load(Ordering::Acquire)
    }

    /// Ends the limit of `prove_first`. Says whether it was not proven before.
    pub(super) fn prove(&self) -> bool {
        !self.proven.swap(true, Ordering::AcqRel)
    }

    /// Stores the peer's limit, and says whether it rose.
    pub(super) fn set_of_peer(&self, limit: usize) -> bool {
        self.of_peer.swap(limit, Ordering::AcqRel) < limit
    }

    /// Counts one more answer on a fresh connection, and doubles its streams after a full round; says whether it did.
    /// Simultaneous answers may be counted too low, never too high.
    pub(super) fn count_answer(&self, settings: &Settings) -> bool {
        let trusted = self.trusted.load(Ordering::Relaxed);
        if trusted >= settings.max_streams || self.answers_until_doubling.fetch_sub(1, Ordering::AcqRel) != 1
        {
            return false;
        }
        let wider = trusted.saturating_mul(2);
        self.trusted.store(wider, Ordering::Release);
        self.answers_until_doubling.store(wider, Ordering::Release);
        true
    }
}
