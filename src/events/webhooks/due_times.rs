//! When messages that failed on this node are due again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};

/// The times. All are kept: a webhook may fail again before the time of another one has come.
#[derive(Debug, Default)]
pub(super) struct DueTimes(Mutex<BTreeSet<Instant>>);

impl DueTimes {
    /// Adds a time. [`Self::next`] has to be called anew, because it waits for those that it knew.
    pub(super) fn add(&self, at: Instant) {
        self.lock().insert(at);
    }

    /// Waits for the first of the times, and forgets those that have come. Ends never if there is none.
    pub(super) async fn next(&self) {
        let first = self.lock().first().copied();
        let Some(first) = first else { return std::future::pending().await };
        sleep_until(first).await;
        let now = Instant::now();
        self.lock().retain(|at| *at > now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_time_comes() {
        let times = DueTimes::default();
        let (second, begin) = (Duration::from_secs(1), Instant::now());
        for seconds in [3, 1, 2, 2] {
            times.add(begin + seconds * second);
        }
        for seconds in [1, 2, 3] {
            times.next().await;
            assert_eq!(begin.elapsed(), seconds * second);
        }
        timeout(60 * second, times.next()).await.expect_err("there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn times_that_have_come_together_come_once() {
        let times = DueTimes::default();
        let (second, begin) = (Duration::from_secs(1), Instant::now());
        times.add(begin + second);
        times.add(begin + 2 * second);
        tokio::time::advance(5 * second).await;
        times.next().await;
        timeout(60 * second, times.next()).await.expect_err("there is none");
    }
}
