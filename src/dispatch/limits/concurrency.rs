//! How many attempts of a lane may be in flight: all that the configuration allows, but few at first after an outage or a
//! throttle, so that a provider that recovers is not overloaded again.
//!
//! The limit grows like the congestion window of TCP: it doubles with each round of good answers up to half of what it
//! was, then grows by one a round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatch::limits::adaptive::AdaptiveLimit;

/// The limit of one lane. One task waits for room; any may give a permit back.
#[derive(Debug)]
pub(in crate::dispatch) struct ConcurrencyLimit {
    limit_max: usize,
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    /// Up to this the limit doubles.
    threshold: AtomicUsize,
    /// Good answers since the limit last grew by one.
    good: AtomicUsize,
    /// Attempts that have ended since the start.
    answered: AtomicU64,
    /// Lower while urgent work comes in.
    adaptive: AdaptiveLimit,
    freed: Notify,
}

/// One attempt in flight. Dropped, it is room for another.
#[derive(Debug)]
pub(in crate::dispatch) struct Permit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    /// Starts at its maximum.
    pub(in crate::dispatch) fn new(limit_max: usize) -> Self {
        Self {
            limit_max,
            limit: AtomicUsize::new(limit_max),
            in_flight: AtomicUsize::new(0),
            threshold: AtomicUsize::new(limit_max),
            good: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            adaptive: AdaptiveLimit::new(limit_max),
            freed: Notify::new(),
        }
    }

    /// Attempts in flight.
    pub(in crate::dispatch) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// True: the limit shrank below what is in flight.
    pub(in crate::dispatch) fn is_over_full(&self) -> bool {
        self.in_flight() > self.limit()
    }

    /// Attempts that may be in flight now.
    pub(in crate::dispatch) fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire).min(self.adaptive.limit())
    }

    /// Urgent work came in.
    pub(in crate::dispatch) fn note_urgent(&self) {
        self.adaptive.note_urgent();
    }

    /// An attempt has ended at `now`, `took` after it began.
    pub(in crate::dispatch) fn answered(&self, now: Instant, took: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.adaptive.answered(now, took, self.in_flight()) {
            self.freed.notify_one();
        }
    }

    /// Attempts that have ended since the start.
    pub(in crate::dispatch) fn answered_total(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for room. Only one task may call it.
    pub(in crate::dispatch) async fn room(&self) {
        while self.in_flight() >= self.limit() {
            self.freed.notified().await;
        }
    }

    /// Starts an attempt, whether or not there is room.
    pub(in crate::dispatch) fn enter(self: &Arc<Self>) -> Permit {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Permit(Arc::clone(self))
    }

    /// Waits until nothing is in flight.
    pub(in crate::dispatch) async fn drained(&self) {
        while self.in_flight() > 0 {
            self.freed.notified().await;
        }
    }

    /// For a provider that is in trouble: the limit starts again at one.
    pub(in crate::dispatch) fn shrink(&self) {
        let was = self.limit.swap(1, Ordering::AcqRel);
        if was > 1 {
            self.threshold.store((was / 2).max(1), Ordering::Release);
        }
        self.good.store(0, Ordering::Release);
    }

    /// For each good answer.
    pub(in crate::dispatch) fn grow(&self) {
        let limit = self.limit.load(Ordering::Acquire);
        if limit >= self.limit_max {
            return;
        }
        let fast = limit < self.threshold.load(Ordering::Acquire);
        if fast || self.good.fetch_add(1, Ordering::AcqRel) + 1 >= limit {
            self.good.store(0, Ordering::Release);
            self.limit.fetch_add(1, Ordering::AcqRel);
            self.freed.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let was = self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        if was >= self.0.limit() || was == 1 {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn has_room(limit: &Arc<ConcurrencyLimit>) -> bool {
        limit.room().now_or_never().is_some()
    }

    #[test]
    fn a_permit_given_back_at_the_limit_is_room() {
        let limit = Arc::new(ConcurrencyLimit::new(2));
        let one = limit.enter();
        assert!(has_room(&limit));
        let _two = limit.enter();
        assert!(!has_room(&limit));
        drop(one);
        assert!(has_room(&limit));
        assert_eq!(limit.in_flight(), 1);
    }

    #[tokio::test]
    async fn a_task_that_waits_for_room_or_for_the_end_is_woken() {
        let limit = Arc::new(ConcurrencyLimit::new(1));
        let permit = limit.enter();
        tokio::join!(limit.room(), async { drop(permit) });
        let permit = limit.enter();
        tokio::join!(limit.drained(), async { drop(permit) });
    }

    #[test]
    fn after_trouble_the_limit_doubles_to_half_and_then_grows_by_one() {
        let limit = ConcurrencyLimit::new(100);
        limit.shrink();
        limit.shrink();
        let after = |answers: usize| {
            (0..answers).for_each(|_| limit.grow());
            limit.limit.load(Ordering::Relaxed)
        };
        assert_eq!(after(0), 1);
        assert_eq!(after(49), 50, "one more for each answer: it doubles each round");
        assert_eq!(after(50), 51, "one more for a whole round");
        assert_eq!(after(100_000), 100);
    }
}
