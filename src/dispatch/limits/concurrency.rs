//! How many attempts of a lane may be under way: all that the configuration allows, but few at first after an outage or
//! a throttle, so that a provider that recovers is not knocked over again.
//!
//! Like a TCP window: it doubles with each round of good answers up to half of what it was, then grows by one a round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatch::limits::adaptive::AdaptiveLimit;

/// A lane's window. One task acquires; any may release.
#[derive(Debug)]
pub(in crate::dispatch) struct ConcurrencyLimit {
    most: usize,
    limit: AtomicUsize,
    in_flight: AtomicUsize,
    /// Up to here it doubles.
    threshold: AtomicUsize,
    /// Good answers since it last grew by one.
    good: AtomicUsize,
    /// Attempts that have ended since the start.
    answered: AtomicU64,
    /// Narrower while something urgent comes in.
    pace: AdaptiveLimit,
    freed: Notify,
}

/// Room for one attempt; gives it back when dropped.
#[derive(Debug)]
pub(in crate::dispatch) struct Permit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    /// All open.
    pub(in crate::dispatch) fn new(most: usize) -> Self {
        Self {
            most,
            limit: AtomicUsize::new(most),
            in_flight: AtomicUsize::new(0),
            threshold: AtomicUsize::new(most),
            good: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            pace: AdaptiveLimit::new(most),
            freed: Notify::new(),
        }
    }

    /// Attempts under way.
    pub(in crate::dispatch) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Are more under way than may be, since it shrank?
    pub(in crate::dispatch) fn is_over_full(&self) -> bool {
        self.in_flight() > self.limit()
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Acquire).min(self.pace.limit())
    }

    /// Something came in that shall not wait.
    pub(in crate::dispatch) fn note_urgent(&self) {
        self.pace.note_urgent();
    }

    /// An attempt ended at `now`, after so long.
    pub(in crate::dispatch) fn answered(&self, now: Instant, took: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.pace.answered(now, took, self.in_flight()) {
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

    /// Takes a place, whether or not there is room.
    pub(in crate::dispatch) fn enter(self: &Arc<Self>) -> Permit {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Permit(Arc::clone(self))
    }

    /// Waits until nothing is under way.
    pub(in crate::dispatch) async fn drained(&self) {
        while self.in_flight() > 0 {
            self.freed.notified().await;
        }
    }

    /// The provider is in trouble: start again from one.
    pub(in crate::dispatch) fn shrink(&self) {
        let was = self.limit.swap(1, Ordering::AcqRel);
        if was > 1 {
            self.threshold.store((was / 2).max(1), Ordering::Release);
        }
        self.good.store(0, Ordering::Release);
    }

    /// A good answer.
    pub(in crate::dispatch) fn grow(&self) {
        let limit = self.limit.load(Ordering::Acquire);
        if limit >= self.most {
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

    fn has_room(window: &Arc<ConcurrencyLimit>) -> bool {
        window.room().now_or_never().is_some()
    }

    #[test]
    fn it_is_full_at_its_limit_and_a_place_given_back_is_room() {
        let window = Arc::new(ConcurrencyLimit::new(2));
        let one = window.enter();
        assert!(has_room(&window));
        let _two = window.enter();
        assert!(!has_room(&window));
        drop(one);
        assert!(has_room(&window));
        assert_eq!(window.in_flight(), 1);
    }

    #[tokio::test]
    async fn who_waits_for_room_or_for_the_end_is_woken() {
        let window = Arc::new(ConcurrencyLimit::new(1));
        let place = window.enter();
        tokio::join!(window.room(), async { drop(place) });
        let place = window.enter();
        tokio::join!(window.drained(), async { drop(place) });
    }

    #[test]
    fn after_trouble_it_doubles_to_half_and_then_creeps() {
        let window = ConcurrencyLimit::new(100);
        window.shrink();
        window.shrink();
        let after = |answers: usize| {
            (0..answers).for_each(|_| window.grow());
            window.limit.load(Ordering::Relaxed)
        };
        assert_eq!(after(0), 1);
        assert_eq!(after(49), 50, "one more for each answer: it doubles each round");
        assert_eq!(after(50), 51, "one more for a whole round");
        assert_eq!(after(100_000), 100);
    }
}
